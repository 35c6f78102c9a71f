"""Gatan DM files to MRC and MRCZ."""

import io
import logging
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mrcz import convert, readMRC
from mrcz.cli import main
from mrcz.convert import dm_to_mrcz
from mrcz.errors import MRCFormatError, MRCTruncatedError
from mrcz.header import IMAGE_STACK, VOLUME
from mrcz.ioDM4 import DMImage, readDM4

from . import dm_writer as w

TAGS = {"Microscope Info": {"Voltage": w.float64(300000), "Cs(mm)": w.float64(2.7)},
        "Acquisition": {"Parameters": {"High Level": {"Exposure (s)": w.float64(0.5),
                                                      "Live Time": w.float64(math.inf)}}},
        "Calibration": {"Dose Rate": {"Calibration": w.float64(1.25)}},
        "long": w.array(3, range(2000))}
NM = [w.axis(0.2, 0, "s"), w.axis(0.25, 0, "nm"), w.axis(0.125, 0, "nm")]


@pytest.fixture()
def make(tmp_path):
    def write(data, **options):
        return w.write(tmp_path / "source.dm4", w.document(w.image_of(data, **options)))

    return write


def movie(frames=5, dtype="i2"):
    return np.arange(frames * 12).reshape(frames, 3, 4).astype(dtype)


@pytest.mark.parametrize("name", ["out.mrc", "out.mrcz"])
def test_a_movie(tmp_path, make, name):
    data = movie()
    source = make(data, axes=NM, tags=TAGS)
    dm_to_mrcz(source, tmp_path / name)
    read, header = readMRC(tmp_path / name)
    assert read.dtype == data.dtype
    np.testing.assert_array_equal(read, data[:, ::-1])
    assert header["compressor"] == (None if name == "out.mrc" else "zstd")
    np.testing.assert_allclose(header["pixelsize"], [2.5, 2.5, 1.25])
    assert header["voltage"] == 300
    assert header["C3"] == pytest.approx(2.7)
    assert header["gain"] == 1.25
    assert header["exposure"] == 0.5
    assert header["imageInfo"]["DimZUnits"] == "s"
    tags = header["dm4"]["ImageList"][1]
    assert tags["ImageTags"]["Microscope Info"]["Voltage"] == 300000
    assert tags["ImageTags"]["Acquisition"]["Parameters"]["High Level"]["Live Time"] == math.inf
    assert "long" not in tags["ImageTags"]
    assert "Data" not in tags["ImageData"]


@pytest.mark.parametrize("dtype", w.PIXELS.values())
@pytest.mark.parametrize("order", "<>")
def test_every_type_that_mrc_can_hold(tmp_path, dtype, order):
    data = movie(dtype=dtype)
    source = w.write(tmp_path / "a.dm4", w.document(w.image_of(data)), 4, order)
    dm_to_mrcz(source, tmp_path / "a.mrc")
    np.testing.assert_array_equal(readMRC(tmp_path / "a.mrc")[0], data[:, ::-1])


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_shapes(tmp_path, make, shape):
    data = np.arange(math.prod(shape), dtype="i2").reshape(shape)
    dm_to_mrcz(make(data), tmp_path / "a.mrc")
    read, header = readMRC(tmp_path / "a.mrc")
    turned = data[..., ::-1, :] if data.ndim > 1 else data[np.newaxis]
    frames = turned.reshape(-1, *shape[-2:]) if data.ndim > 3 else turned
    np.testing.assert_array_equal(read, frames)
    assert header["dm4"]["ImageList"][1]["ImageData"]["Dimensions"] == list(shape[::-1])


NM_THRICE = [w.axis(0.25, 0, "nm")] * 3
NM_TWICE = NM_THRICE[1:]


@pytest.mark.parametrize(("axes", "kind", "ispg"), [
    (NM_THRICE, "", VOLUME),
    (NM_THRICE, "Image stack", VOLUME),
    ([w.axis(1, 0, "µm"), *NM_TWICE], "", VOLUME),
    ([w.axis(0.1, 0, "s"), *NM_TWICE], "", IMAGE_STACK),
    ([w.axis(), *NM_TWICE], "Image stack", IMAGE_STACK),
    ([w.axis(1, 0, "eV"), *NM_TWICE], "Spectrum image", IMAGE_STACK),
    # The third axis of a spectrum image of light is a length too: the wavelength.
    (NM_THRICE, "Spectrum image", IMAGE_STACK),
    ([w.axis(1, 0, "nm"), *[w.axis(0.1, 0, "1/nm")] * 2], "", IMAGE_STACK),
    ([w.axis()] * 3, "", IMAGE_STACK),
])
@pytest.mark.parametrize("name", ["out.mrc", "out.mrcz"])
@pytest.mark.parametrize("write", ["library", "command line"])
def test_only_volumes_are_volumes(tmp_path, make, axes, kind, ispg, name, write):
    source = make(movie(), axes=axes, tags={"Meta Data": {"Format": w.text(kind)}})
    target = tmp_path / name
    if write == "library":
        dm_to_mrcz(source, target)
    else:
        assert main(["convert", "--quiet", str(source), str(target)]) == 0
    read, header = readMRC(target)
    fields = header.record.fields
    assert fields["ispg"] == ispg
    if name == "out.mrc":
        assert fields["mz"] == (5 if ispg == VOLUME else 1)
    np.testing.assert_array_equal(read, movie()[:, ::-1])  # one array, never a list
    z, y, _ = header["pixelsize"]
    expected = {"nm": 2.5, "µm": 1e4}[header["imageInfo"]["DimZUnits"]] if ispg == VOLUME else y
    assert z == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 2, 3, 4)])
def test_other_stacks_are_no_volumes(tmp_path, make, shape):
    data = np.arange(math.prod(shape), dtype="i2").reshape(shape)
    dm_to_mrcz(make(data, axes=[w.axis(1, 0, "nm")] * len(shape)), tmp_path / "a.mrc")
    fields = readMRC(tmp_path / "a.mrc")[1].record.fields
    assert (fields["ispg"], fields["mz"]) == ((IMAGE_STACK, 1) if len(shape) > 3 else (VOLUME, 1))


@pytest.mark.parametrize(("units", "angstrom"), [
    ("nm", 5), ("µm", 5000), ("Å", 0.5), ("A", 0.5), ("pm", 0.005), ("1/nm", 0), ("", 0),
    ("nanometers", 5), ("Micrometers", 5000), ("micrometre", 5000), ("cm", 5e7), (" Å ", 0.5)])
def test_units(tmp_path, make, caplog, units, angstrom):
    axes = [w.axis(0.5, 0, units)] * 3
    with caplog.at_level(logging.WARNING, "mrcz"):
        dm_to_mrcz(make(movie(), axes=axes), tmp_path / "a.mrc")
    np.testing.assert_allclose(readMRC(tmp_path / "a.mrc")[1]["pixelsize"], [angstrom] * 3, 1e-6)
    assert ("1/nm" in caplog.text) == (units == "1/nm")


def test_gain_from_the_scale_of_intensities(tmp_path, make):
    dm_to_mrcz(make(movie(), brightness=w.axis(0.25, 0, "e-")), tmp_path / "a.mrc")
    assert readMRC(tmp_path / "a.mrc")[1]["gain"] == 4


def test_what_is_given_counts_more(tmp_path, make):
    source = readDM4(make(movie(), axes=NM, tags=TAGS), flip=False)
    dm_to_mrcz(source, tmp_path / "a.mrcz", compressor="lz4", voltage=200, pixelsize=3.0,
               meta={"exposure": 1, "who": "me"})
    read, header = readMRC(tmp_path / "a.mrcz")
    np.testing.assert_array_equal(read, movie())
    assert (header["compressor"], header["voltage"]) == ("lz4", 200)
    np.testing.assert_allclose(header["pixelsize"], [3, 3, 3])
    assert (header["exposure"], header["who"]) == (1, "me")


def test_the_image_that_is_displayed(tmp_path, caplog):
    tree = w.document(w.image_of(movie(2)), w.image_of(movie(3)))
    source = w.write(tmp_path / "a.dm4", tree)
    for number, frames in ((None, 2), (1, 2), (2, 3), (-1, 3)):
        dm_to_mrcz(source, tmp_path / "a.mrc", image=number)
        assert readMRC(tmp_path / "a.mrc")[0].shape[0] == frames
        # Whoever did not choose is told that there is more.
        assert [record.getMessage().endswith("number 1; others: 2") for record in caplog.records
                ] == [True] * (number is None)
        caplog.clear()
    tree.pop("ImageSourceList")
    dm_to_mrcz(w.write(source, tree), tmp_path / "a.mrc")
    assert readMRC(tmp_path / "a.mrc")[0].shape[0] == 3
    with pytest.raises(ValueError, match="3 images, and none of number 3"):
        dm_to_mrcz(source, tmp_path / "a.mrc", image=3)


@pytest.mark.parametrize("before", [1, 0])
@pytest.mark.parametrize("gone", [[], ["ImageSourceList"]])
@pytest.mark.parametrize("empty", [{}, {"ImageData": {}, "Name": w.text("none")}])
def test_entries_without_pixels_count_among_the_images(tmp_path, empty, gone, before):
    """References to images are places in the ImageList, not among those that have pixels."""
    tree = w.document(w.image_of(movie(2)))
    tree["ImageList"].insert(before, empty)
    tree["ImageSourceList"][0]["ImageRef"] = w.uint32(2)
    tree["Thumbnails"] = [{"ImageIndex": w.uint32(1 - before)}]
    for name in gone:
        tree.pop(name)
    dm_to_mrcz(w.write(tmp_path / "a.dm4", tree), tmp_path / "a.mrc")
    assert readMRC(tmp_path / "a.mrc")[0].shape[0] == 2
    assert [image.place for image in readDM4(tmp_path / "a.dm4").im] == [1 - before, 2]


@pytest.mark.parametrize("tags", [
    {"ImageSourceList": [{"ImageRef": w.text("x")}]},
    {"ImageSourceList": [{"ImageRef": w.float64(1)}]},
    {"ImageSourceList": [{"ImageRef": w.array(3, [1, 2])}]},
    {"ImageSourceList": [{"ImageRef": w.boolean(False)}]},
    {"ImageSourceList": [{"ImageRef": w.uint32(7)}]}, {"ImageSourceList": w.text("x")}])
def test_tags_of_unexpected_types(tmp_path, tags):
    odd = {"Origin": w.text("x"), "Scale": w.text("y"), "Units": w.array(4, [0xD800])}
    entry = w.image_of(movie(), axes=[odd] * 3, brightness=odd, tags={
        "Microscope Info": {"Voltage": w.text("high"), "Cs(mm)": w.array(3, [1, 2])},
        "Calibration": {"Dose Rate": {"Calibration": w.struct_of([3], [1])}},
        "Meta Data": {"Format": w.number(3, 1)}})
    dm_to_mrcz(w.write(tmp_path / "a.dm4", {**w.document(entry), **tags}), tmp_path / "a.mrc")
    read, header = readMRC(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read, movie()[:, ::-1])
    assert (header["voltage"], header["C3"], header["gain"]) == (0, 0, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, -1e300])
def test_numbers_that_a_header_can_not_hold(tmp_path, make, caplog, value):
    axis = {**w.axis(0, 0, "m"), "Scale": w.float64(value)}
    dm_to_mrcz(make(movie(), axes=[axis] * 3, tags={
        "Microscope Info": {"Voltage": w.float64(value), "Cs(mm)": w.float64(value)},
        "Calibration": {"Dose Rate": {"Calibration": w.float64(value)}}}), tmp_path / "a.mrc")
    header = readMRC(tmp_path / "a.mrc")[1]
    assert (header["voltage"], header["C3"], header["gain"]) == (0, 0, 1)
    np.testing.assert_array_equal(header["pixelsize"], [0, 0, 0])
    assert not caplog.records


def test_a_pixel_of_which_no_cell_can_be_stored_is_unknown(tmp_path, make):
    axis = {**w.axis(0, 0, "m"), "Scale": w.float64(1e20)}  # 1e30 angstrom
    dm_to_mrcz(make(movie(), axes=[axis] * 3), tmp_path / "a.mrc")
    np.testing.assert_array_equal(readMRC(tmp_path / "a.mrc")[1]["pixelsize"], [0, 0, 0])


def test_not_into_itself(tmp_path, make):
    source = make(movie())
    content = source.read_bytes()
    link = tmp_path / "link.mrcz"
    link.symlink_to(source)
    for target in (source, str(source), bytes(source), link):
        for given in (source, readDM4(source)):
            with pytest.raises(ValueError, match="into itself"):
                dm_to_mrcz(given, target)
    assert source.read_bytes() == content


def test_the_image_that_is_no_thumbnail(tmp_path):
    tree = w.document(w.image_of(movie(2)), w.thumbnail(), Thumbnails=[
        {"ImageIndex": w.uint32(0)}, {"ImageIndex": w.uint32(2)}, {}])
    tree.pop("ImageSourceList")
    dm_to_mrcz(w.write(tmp_path / "a.dm4", tree), tmp_path / "a.mrc")
    assert readMRC(tmp_path / "a.mrc")[0].shape == (2, 3, 4)


def test_to_a_file_object(make):
    file = io.BytesIO()
    dm_to_mrcz(make(movie()), file)
    file.seek(0)
    np.testing.assert_array_equal(readMRC(file)[0], movie()[:, ::-1])


def test_what_mrc_can_not_hold(tmp_path, make):
    with pytest.raises(TypeError):
        dm_to_mrcz(make(movie()), tmp_path / "a.mrc", image=0)
    data = movie(dtype="i8")
    entry = w.image(39, data.shape, w.pixels(data))
    with pytest.raises(TypeError, match="int64"):
        dm_to_mrcz(w.write(tmp_path / "a.dm4", w.document(entry)), tmp_path / "a.mrc")
    entry["ImageData"]["DataType"] = w.uint32(99)
    with pytest.raises(MRCFormatError, match="99"):
        dm_to_mrcz(w.write(tmp_path / "a.dm4", w.document(entry)), tmp_path / "a.mrc")
    empty = w.document(w.image_of(np.zeros((0, 3, 4), "i2")))
    with pytest.raises(ValueError, match="no pixels"):
        dm_to_mrcz(w.write(tmp_path / "a.dm4", empty), tmp_path / "a.mrc")
    assert not (tmp_path / "a.mrc").exists()


def test_a_source_cut_meanwhile_leaves_nothing(tmp_path, make):
    dm = readDM4(make(movie(100)))
    with Path(dm.filename).open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(MRCTruncatedError):
        dm_to_mrcz(dm, tmp_path / "a.mrc")
    assert [path.name for path in tmp_path.iterdir()] == ["source.dm4"]


def test_every_tenth_frame_reads_no_others(tmp_path, make, monkeypatch):
    source, read = make(movie(101)), []
    real = DMImage.read_frames
    monkeypatch.setattr(DMImage, "read_frames", lambda image, first, last: (
        read.append(last - first), real(image, first, last))[1])
    assert main(["convert", "-q", str(source), str(tmp_path / "a.mrc"), "--slice", "5::10"]) == 0
    np.testing.assert_array_equal(readMRC(tmp_path / "a.mrc")[0],
                                  readDM4(source).im[-1].read()[5::10])
    assert max(read) == 1


def test_memory_is_bounded(tmp_path, make, monkeypatch):
    monkeypatch.setattr(convert, "BATCH_PIXELS", 1 << 18)
    frames = np.random.default_rng(0).integers(0, 9, (200, 256, 256), "u1")
    source = make(frames)
    tracemalloc.start()
    try:
        dm_to_mrcz(source, tmp_path / "a.mrcz", n_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < frames.nbytes / 4
    np.testing.assert_array_equal(readMRC(tmp_path / "a.mrcz")[0], frames[:, ::-1])


@pytest.mark.parametrize("wrong", [slice(None), slice(0, 1), "0", 0.0, True])
def test_a_number_of_an_image_is_an_integer(tmp_path, make, wrong):
    with pytest.raises(TypeError, match="image must be an integer or None"):
        dm_to_mrcz(make(np.zeros((4, 5), "f4")), tmp_path / "a.mrc", image=wrong)


def test_a_name_of_bytes_tells_the_format_too(tmp_path, make):
    dm_to_mrcz(make(movie()), bytes(tmp_path / "a.mrcz"))
    assert readMRC(tmp_path / "a.mrcz")[1]["compressor"] == "zstd"
