"""`mrcz convert` from and to TIFF, and from EER, with tifffile as the judge."""

import logging
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

import mrcz
from mrcz.cli import main
from mrcz.importers import open_frames

from ..builders import mrc

MOVIE = np.random.default_rng(5).poisson(0.5, (6, 64, 80)).astype("uint8")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(*arguments):
    return main(["convert", "-q", *map(str, arguments)])


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_movies_of_many_pages(compression, bigtiff, byteorder):
    with tifffile.TiffWriter("k3.tif", bigtiff=bigtiff, byteorder=byteorder) as tiff:
        for frame in MOVIE:  # page by page, as cameras write
            tiff.write(frame, compression=compression, contiguous=False, metadata=None,
                       resolution=((125_000_000, 1),) * 2, resolutionunit="CENTIMETER",
                       description="SerialEM: K3")
    assert convert("k3.tif", "k3.mrcz") == 0
    image, header = mrcz.readMRC("k3.mrcz")
    np.testing.assert_array_equal(image, MOVIE)
    assert header["pixelsize"] == pytest.approx([0.8] * 3, rel=1e-6)
    assert header["imageDescription"] == "SerialEM: K3"
    assert convert("k3.tif", "part.mrc", "--slice", "1:4,10:20,:5", "--dtype", "int8") == 0
    np.testing.assert_array_equal(mrcz.readMRC("part.mrc")[0], MOVIE[1:4, 10:20, :5])


def test_damage_is_told_of_the_file_that_has_it(capsys, caplog):
    """Others, in other threads, are read meanwhile."""
    tifffile.imwrite("good.tif", MOVIE)
    tifffile.imwrite("cut.tif", MOVIE, contiguous=False, metadata=None)
    Path("cut.tif").write_bytes(Path("cut.tif").read_bytes()[:3000])
    with open_frames("good.tif", threads=1) as frames:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(convert, "cut.tif", "cut.mrc").result() == 1
        np.testing.assert_array_equal(frames.read(range(6)), MOVIE)
    assert "damaged" in capsys.readouterr().err
    assert not caplog.records
    assert logging.getLogger("tifffile").propagate


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_stacks_of_imagej(dtype):
    tifffile.imwrite("ij.tif", MOVIE.astype(dtype), imagej=dtype != "int16",
                     resolution=(1 / 1.2e-3, 1 / 1.2e-3),
                     metadata={"spacing": 0.002, "unit": "um"} if dtype != "int16" else None)
    assert convert("ij.tif", "ij.mrc") == 0
    image, header = mrcz.readMRC("ij.mrc")
    np.testing.assert_array_equal(image, MOVIE)
    if dtype != "int16":
        assert header["pixelsize"] == pytest.approx([20, 12, 12], rel=1e-5)


def test_72_dpi_is_no_pixel_size():
    tifffile.imwrite("a.tif", MOVIE, resolution=(72, 72), resolutionunit="INCH")
    assert convert("a.tif", "a.mrc") == 0
    assert not mrcz.readMRC("a.mrc")[1]["pixelsize"].any()


@pytest.mark.parametrize("shape", [(8, 9), (5, 8, 9)])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_become_one_channel(shape, planes, compression, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")
    stored = pixels if planes == "contig" else np.moveaxis(pixels, -1, -3)
    tifffile.imwrite("rgb.tif", stored, photometric="rgb", planarconfig=planes,
                     compression=compression)
    assert convert("rgb.tif", "rgb.mrc") == 1
    error = capsys.readouterr().err
    assert "colours" in error and "--channel" in error and error.count("\n") == 1
    for number, name in enumerate(("red", "green", "blue")):
        assert convert("rgb.tif", f"{name}.mrcz", "--channel", name) == 0
        np.testing.assert_array_equal(mrcz.readMRC(f"{name}.mrcz")[0], pixels[..., number])
    assert convert("rgb.tif", "grey.mrc", "--channel", "grey") == 0
    grey, header = mrcz.readMRC("grey.mrc")
    np.testing.assert_array_equal(grey, np.rint(pixels @ [0.299, 0.587, 0.114]))
    assert header["mrczConvert"] == {"channel": "grey"}


def test_alpha_is_left_out_and_greys_stay():
    tifffile.imwrite("a.tif", np.full((8, 9, 4), (10, 20, 30, 0), "uint16"), photometric="rgb",
                     extrasamples=["unassalpha"])
    assert convert("a.tif", "a.mrc", "--channel", "grey") == 0
    assert np.all(mrcz.readMRC("a.mrc")[0] == 18)
    tifffile.imwrite("b.tif", MOVIE)
    assert convert("b.tif", "b.mrc", "--channel", "grey") == 0
    np.testing.assert_array_equal(mrcz.readMRC("b.mrc")[0], MOVIE)
    assert convert("b.tif", "c.mrc", "--channel", "red") == 1


@pytest.mark.parametrize("kind,options", [
    ("white", {"photometric": "miniswhite"}),
    ("palette", {"photometric": "palette", "colormap": np.zeros((3, 256), "uint16")}),
])
def test_values_that_are_no_brightness_are_told_of(kind, options, capsys):
    """They stay: maps of elements, say, are counts with a palette to look at them."""
    pixels = np.arange(72, dtype="uint8").reshape(8, 9)
    tifffile.imwrite("a.tif", pixels, **options)
    assert convert("a.tif", "a.mrc") == 0
    error = capsys.readouterr().err
    assert kind in error and error.count("\n") == 1
    np.testing.assert_array_equal(mrcz.readMRC("a.mrc")[0], pixels)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_cut_file_fails_and_leaves_nothing(folder, capsys, compression, share):
    with tifffile.TiffWriter("a.tif") as tiff:
        for frame in MOVIE:
            tiff.write(frame, compression=compression, contiguous=False, metadata=None)
    data = (folder / "a.tif").read_bytes()
    (folder / "a.tif").write_bytes(data[: int(len(data) * share)])
    assert convert("a.tif", "a.mrc") == 1
    assert capsys.readouterr().err.startswith("mrcz convert: a.tif: ")
    assert not (folder / "a.mrc").exists()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32"])
def test_tiff_is_written(dtype):
    mrcz.writeMRC(MOVIE.astype(dtype), "a.mrcz", pixelsize=[3, 2, 0.83], compressor="zstd")
    assert convert("a.mrcz", "a.tif") == 0
    with tifffile.TiffFile("a.tif") as tiff:
        image = tiff.asarray()
        np.testing.assert_array_equal(image, MOVIE)
        assert image.dtype == dtype
        across, units = tiff.pages[0].tags["XResolution"].value
        assert 1e8 * units / across == pytest.approx(0.83, rel=1e-6)
    assert convert("a.tif", "b.mrc") == 0
    np.testing.assert_array_equal(mrcz.readMRC("b.mrc")[0], MOVIE)


def test_resolution_of_permuted_axes(folder):
    """Columns along z, rows along x."""
    nz, ny, nx = MOVIE.shape
    (folder / "a.mrc").write_bytes(mrc(
        MOVIE.astype("i1"), map_axes=(3, 1, 2), m=(ny, nz, nx),
        cella=(2.0 * ny, 3.0 * nz, 0.83 * nx)))
    assert convert("a.mrc", "a.tif") == 0
    with tifffile.TiffFile("a.tif") as tiff:
        for name, size in (("XResolution", 0.83), ("YResolution", 2.0)):
            across, units = tiff.pages[0].tags[name].value
            assert 1e8 * units / across == pytest.approx(size, rel=1e-6)


def eer_frame(image):
    """Return an image of single electrons as EER codes it: 7 bits of distance, 4 of sub-pixel."""
    bits, position = [], 0
    for electron in [*np.flatnonzero(image), image.size]:
        distance = int(electron) - position
        while distance >= 127:
            bits += [1] * 7
            distance -= 127
        bits += [distance >> n & 1 for n in range(7)]
        if electron < image.size:
            bits += [0, 1, 0, 1]
        position = int(electron) + 1
    bits += [0] * (-len(bits) % 16)  # frames are whole 16-bit words
    return np.packbits(bits, bitorder="little").tobytes()


def write_eer(path, frames):
    """Write a BigTIFF of EER frames; tifffile does not."""
    text = b'<metadata><item name="exposureTime" unit="s">2.5</item></metadata>'
    data = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
    for number, frame in enumerate(frames):
        coded = eer_frame(frame)
        tags = [(256, 3, 1, frame.shape[1]), (257, 3, 1, frame.shape[0]), (258, 3, 1, 1),
                (259, 3, 1, 65001), (262, 3, 1, 1), (273, 16, 1, 0), (277, 3, 1, 1),
                (278, 3, 1, frame.shape[0]), (279, 16, 1, len(coded)), (65001, 7, len(text), 0)]
        end = len(data) + 8 + 20 * len(tags) + 8
        values = {273: end, 65001: end + len(coded)}
        data += struct.pack("<Q", len(tags))
        for code, kind, count, value in tags:
            data += struct.pack("<HHQQ", code, kind, count, values.get(code, value))
        after = end + len(coded) + len(text)
        data += struct.pack("<Q", 0 if number == len(frames) - 1 else after) + coded + text
    with open(path, "wb") as file:
        file.write(data)


def test_eer():
    electrons = np.random.default_rng(1).random((10, 128, 128)) < 0.01
    write_eer("movie.eer", electrons)
    assert convert("movie.eer", "movie.mrcz") == 0
    image, header = mrcz.readMRC("movie.mrcz")
    np.testing.assert_array_equal(image, electrons)
    assert image.dtype == "int8"
    assert "exposureTime" in str(header["eer"]) and "2.5" in str(header["eer"])
    assert convert("movie.eer", "sum.mrc", "--bin", "5,1,1") == 0
    np.testing.assert_allclose(mrcz.readMRC("sum.mrc")[0],
                               electrons.reshape(2, 5, 128, 128).mean(axis=1), rtol=1e-6)


def test_without_tifffile_the_error_names_the_extra(monkeypatch, capsys):
    tifffile.imwrite("a.tif", MOVIE)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert convert("a.tif", "a.mrc") == 1
    assert "mrcz[tiff]" in capsys.readouterr().err


def test_pixel_sizes_of_ome():
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 3e-4}
    tifffile.imwrite("a.ome.tif", MOVIE, metadata={"axes": "ZYX", **sizes})
    assert convert("a.ome.tif", "a.mrc") == 0
    image, header = mrcz.readMRC("a.mrc")
    np.testing.assert_array_equal(image, MOVIE)
    assert header["pixelsize"] == pytest.approx([0, 3, 2], rel=1e-6)
    tifffile.imwrite("b.ome.tif", MOVIE, metadata={"axes": "TYX", "PhysicalSizeX": 1.0,
                                                   "PhysicalSizeXUnit": "pixel"})
    assert convert("b.ome.tif", "b.mrc") == 0
    assert not mrcz.readMRC("b.mrc")[1]["pixelsize"].any()


def test_series_have_numbers(capsys):
    with tifffile.TiffWriter("two.tif") as tiff:
        tiff.write(MOVIE[0], metadata=None)
        tiff.write(MOVIE[0, :8, :9].astype("uint16"), metadata=None)
    assert convert("two.tif", "second.mrc", "--item", "1") == 0
    np.testing.assert_array_equal(mrcz.readMRC("second.mrc")[0], MOVIE[0, :8, :9])
    for item in ("2", "x", ""):
        assert convert("two.tif", "none.mrc", "--item", item) == 1
        assert "two.tif" in capsys.readouterr().err


def test_a_disk_that_is_full_is_named(folder, capsys, monkeypatch):
    """What NumPy raises tells no file, and no more than numbers of items."""
    mrcz.writeMRC(MOVIE, "a.mrc")

    def full(*args, **kwargs):
        raise OSError("60000 requested and 16480 written")

    monkeypatch.setattr(tifffile, "imwrite", full)
    assert convert("a.mrc", "a.tif") == 1
    assert "a.tif: can't be written whole: 60000 requested" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.mrc"]
