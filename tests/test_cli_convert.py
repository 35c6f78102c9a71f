"""`mrcz convert` between MRC, MRCZ, NumPy and DM: every pixel where it belongs."""

import gzip
import lzma
import os
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mrcz
from mrcz.cli import main
from mrcz.commands.transforms import keep_bits
from mrcz.convert import describe_dm
from mrcz.copies import slabs

from .dm_writer import Leaf, document, image, image_of
from .dm_writer import write as write_dm

SAMPLE = files("mrcz") / "data" / "EMD-3001.map"
MOVIE = np.random.default_rng(5).poisson(2, (12, 20, 31)).astype("int8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mrcz.writeMRC(MOVIE, "movie.mrcz", compressor="zstd", pixelsize=[3, 2, 1], voltage=300.0,
                  C3=2.7, gain=1.5, meta={"dose": 1.5})
    return tmp_path


def convert(*arguments):
    return main(["convert", "-q", *map(str, arguments)])


@pytest.mark.parametrize("name", ["a.mrc", "a.mrcz", "a.rec", "a.mrc.gz", "a.mrc.bz2",
                                  "a.mrcs.xz"])
def test_the_mrc_family(folder, name):
    assert convert("movie.mrcz", name) == 0
    image, header = mrcz.readMRC(name)
    np.testing.assert_array_equal(image, MOVIE)
    assert image.dtype == MOVIE.dtype
    assert header["pixelsize"] == pytest.approx([3, 2, 1])
    assert (header["voltage"], header["gain"], header["dose"]) == (300.0, 1.5, 1.5)
    assert header["C3"] == pytest.approx(2.7)
    assert header["compressor"] == ("zstd" if name == "a.mrcz" else None)
    assert "mrczConvert" not in header
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(os.path.splitext(name)[1])
    if opener:
        with opener(name) as stream:
            assert len(stream.read()) > MOVIE.nbytes


def test_numpy_both_ways(folder):
    assert convert("movie.mrcz", "a.npy") == 0
    np.testing.assert_array_equal(np.load("a.npy"), MOVIE)
    assert convert("a.npy", "b.mrcz", "--pixelsize", "1.5", "-c", "lz4") == 0
    image, header = mrcz.readMRC("b.mrcz")
    np.testing.assert_array_equal(image, MOVIE)
    assert header["pixelsize"] == pytest.approx([1.5] * 3) and header["compressor"] == "lz4"
    np.savez("c.npz", one=MOVIE, two=MOVIE + 1)
    assert convert("c.npz", "c.mrc", "--item", "two") == 0
    np.testing.assert_array_equal(mrcz.readMRC("c.mrc")[0], MOVIE + 1)
    np.save("d.npy", MOVIE[0].astype("float64"))
    assert convert("d.npy", "d.mrc") == 0
    assert mrcz.readMRC("d.mrc")[0].dtype == "float32"
    np.save("e.npy", MOVIE.reshape(3, 4, 20, 31))
    assert convert("e.npy", "e.mrcz") == 0
    assert [item.shape for item in mrcz.readMRC("e.mrcz")[0]] == [(4, 20, 31)] * 3


def test_dm4(folder):
    pixels = np.arange(2 * 3 * 4, dtype="int16").reshape(2, 3, 4)
    write_dm(folder / "a.dm4", document(image_of(pixels)))
    pixels = describe_dm("a.dm4")[0].read()
    assert sorted(pixels.ravel()) == list(range(24))
    assert convert("a.dm4", "a.mrcz") == 0
    image, header = mrcz.readMRC("a.mrcz")
    np.testing.assert_array_equal(image, pixels)
    assert "dm4" in header
    assert convert("a.dm4", "b.mrc", "--slice", "1,:2,::3") == 0
    np.testing.assert_array_equal(mrcz.readMRC("b.mrc")[0], pixels[1, :2, ::3])


@pytest.mark.parametrize("text,key", [
    ("0:10", np.s_[0:10]), ("3", np.s_[3:4]), ("-1", np.s_[-1:]), ("::2", np.s_[::2]),
    (":,5:10", np.s_[:, 5:10]), ("2:8:3,1:,:-4:2", np.s_[2:8:3, 1:, :-4:2]),
])
def test_slices_are_those_of_python(folder, text, key):
    assert convert("movie.mrcz", "a.mrcz", f"--slice={text}") == 0
    image, header = mrcz.readMRC("a.mrcz")
    np.testing.assert_array_equal(image, np.squeeze(MOVIE[key]))
    assert header["mrczConvert"]["slice"][0] == [*_edges(key)]


def _edges(key):
    part = range(12)[key[0] if isinstance(key, tuple) else key]
    return part.start, part.stop, part.step


@pytest.mark.parametrize("text,bins", [("2", (1, 2, 2)), ("3,2,4", (3, 2, 4)),
                                       ("5,1,1", (5, 1, 1))])
@pytest.mark.parametrize("slab", [1, 64 << 20])
def test_binning_averages(folder, monkeypatch, text, bins, slab):
    monkeypatch.setattr(slabs, "SLAB_BYTES", slab)
    assert convert("movie.mrcz", "a.mrcz", "--bin", text) == 0
    image, header = mrcz.readMRC("a.mrcz")
    nz, ny, nx = (size // by for size, by in zip(MOVIE.shape, bins, strict=True))
    whole = MOVIE[: nz * bins[0], : ny * bins[1], : nx * bins[2]]
    expected = whole.reshape(nz, bins[0], ny, bins[1], nx, bins[2]).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert header["pixelsize"] == pytest.approx([3 * bins[0], 2 * bins[1], bins[2]])
    assert header["mrczConvert"]["bin"] == list(bins)


def test_dtype_rounds_and_never_wraps(folder, capsys):
    assert convert("movie.mrcz", "a.mrc", "--bin", "2", "--dtype", "int16") == 0
    blocks = MOVIE[:, :20, :30].reshape(12, 10, 2, 15, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(mrcz.readMRC("a.mrc")[0], np.rint(blocks))
    for spelling in ("uint4", "UINT4", "u4bit"):
        assert convert("movie.mrcz", "b.mrc", "--force", "--dtype", spelling) == 0
        image, header = mrcz.readMRC("b.mrc")
        assert header["MRCtype"] == 101
        np.testing.assert_array_equal(image, MOVIE)
    np.save("c.npy", np.array([[300.0, 1.0]]))
    assert convert("c.npy", "c.mrc", "--dtype", "int8") == 1
    assert "int8 holds" in capsys.readouterr().err
    assert not os.path.exists("c.mrc")


def test_keep_bits_is_recorded_and_bounded(folder):
    noise = np.random.default_rng(0).normal(size=(4, 64, 64)).astype("float32")
    mrcz.writeMRC(noise, "noise.mrc")
    assert convert("noise.mrc", "a.mrcz", "--keep-bits", "5") == 0
    image, header = mrcz.readMRC("a.mrcz")
    assert np.abs(image / noise - 1).max() <= 2**-6
    assert not (image.view("uint32") & ((1 << 18) - 1)).any()
    assert header["mrczConvert"] == {"keepBits": 5}
    assert os.path.getsize("a.mrcz") < 0.5 * os.path.getsize("noise.mrc")
    assert convert("movie.mrcz", "b.mrcz", "--keep-bits", "5") == 1  # int8 has no mantissa
    assert convert("noise.mrc", "b.mrcz", "--keep-bits", "23") == 1


@given(arrays("float32", 16, elements=st.floats(width=32)), st.integers(1, 22))
def test_keep_bits_rounds_to_nearest(pixels, bits):
    rounded = keep_bits(pixels.copy(), bits)
    finite = np.isfinite(pixels)
    assert (np.isfinite(rounded) == finite).all()
    np.testing.assert_array_equal(rounded[~finite], pixels[~finite])
    assert (np.signbit(rounded) == np.signbit(pixels)).all()
    drop = 23 - bits
    assert not (rounded[finite].view("uint32") & ((1 << drop) - 1)).any()
    # No float of so few bits is nearer; below the normal numbers the step is fixed.
    exact = pixels[finite].astype("float64")
    error = np.abs(rounded[finite].astype("float64") - exact)
    _, exponent = np.frexp(exact)
    half = np.ldexp(0.5, np.maximum(exponent - 1, -126) - bits)
    top = np.abs(exact) > float(np.finfo("float32").max) * (1 - 2.0 ** -(bits + 1))
    assert (error <= np.where(top, 2 * half, half)).all()


def test_keep_bits_of_complex_pixels():
    pixels = np.array([1.2 + 3.14159j], "complex64")
    assert keep_bits(pixels.copy(), 3)[0] == 1.25 + 3.25j


@pytest.mark.parametrize(("pixels", "dtype"), [
    (np.array([[1e6, 1.0]], "float32"), "float16"),  # infinite there
    (np.array([[1 + 2j, 1.0]], "complex64"), "float32"),
], ids=["overflow", "complex"])
def test_keep_bits_casts_no_value_away(folder, pixels, dtype):
    mrcz.writeMRC(pixels, "a.mrc")
    assert convert("a.mrc", "b.mrc", "--dtype", dtype) == 1
    assert convert("a.mrc", "b.mrc", "--dtype", dtype, "--keep-bits", "5") == 1
    assert not os.path.exists("b.mrc")


def test_keep_bits_of_complex_pixels_in_columns(folder):
    np.save("a.npy", np.asfortranarray(np.full((2, 3, 4), 1.2 + 3.14159j, "complex64")))
    assert convert("a.npy", "b.mrc", "--keep-bits", "3") == 0
    assert (mrcz.readMRC("b.mrc")[0] == 1.25 + 3.25j).all()


def test_what_only_mrc_knows_is_carried_over(folder, capsys):
    data = bytearray(SAMPLE.read_bytes())
    data[196:208] = np.array([1.5, -2, 3], "<f4").tobytes()
    (folder / "a.map").write_bytes(data)
    assert convert("a.map", "b.mrcz") == 0
    assert "not carried over" in capsys.readouterr().err
    old, new = (mrcz.readMRCHeader(name)[0].record for name in ("a.map", "b.mrcz"))
    for field in ("origin", "nxstart", "nystart", "nzstart", "mapc", "mapr", "maps", "cellb",
                  "ispg"):
        np.testing.assert_array_equal(new.fields[field], old.fields[field], field)
    assert old.labels[0] in new.labels and new.version is not None
    np.testing.assert_array_equal(mrcz.readMRC("b.mrcz")[0], mrcz.readMRC("a.map")[0])
    assert convert("a.map", "c.mrc", "--slice", "2:,4:,6:") == 0
    part = mrcz.readMRCHeader("c.mrc")[0].record
    for field, move in (("nxstart", 6), ("nystart", 4), ("nzstart", 2)):
        assert part.fields[field] == old.fields[field] + move
    pixel = np.array(old.pixelsize)[::-1]
    # Its sections go along y, its rows along x and its columns along z.
    np.testing.assert_allclose(part.fields["origin"], [1.5, -2, 3] + pixel * [4, 2, 6], rtol=1e-6)


def test_a_place_beyond_32_bits_is_dropped(folder):
    data = bytearray(SAMPLE.read_bytes())
    data[16:20] = np.array([2**31 - 1], "<i4").tobytes()
    (folder / "a.map").write_bytes(data)
    assert convert("a.map", "b.mrcz", "--slice", ":,:,1:") == 0
    assert mrcz.readMRCHeader("b.mrcz")[0].record.fields["nxstart"] == 0


def test_earlier_conversions_are_remembered(folder):
    assert convert("movie.mrcz", "a.mrcz", "--slice", "2:10") == 0
    assert convert("a.mrcz", "b.mrcz") == 0
    first = {"slice": [[2, 10, 1], [0, 20, 1], [0, 31, 1]]}
    assert mrcz.readMRC("b.mrcz")[1]["mrczConvert"] == first
    assert convert("b.mrcz", "c.mrcz", "--bin", "2,1,1") == 0
    second = mrcz.readMRC("c.mrcz")[1]["mrczConvert"]
    assert (second["bin"], second["before"]) == ([2, 1, 1], first)
    assert convert("c.mrcz", "d.mrcz", "--dtype", "float16") == 0
    assert mrcz.readMRC("d.mrcz")[1]["mrczConvert"]["before"] == second


def test_lists_stay_lists(folder):
    mrcz.writeMRC([*MOVIE], "a.mrc")
    assert convert("a.mrc", "b.mrcz") == 0
    assert isinstance(mrcz.readMRC("b.mrcz")[0], list)
    mrcz.writeMRC([MOVIE[:4], MOVIE[4:8]], "c.mrcz", compressor="lz4")
    assert convert("c.mrcz", "d.mrc") == 0
    assert [item.shape for item in mrcz.readMRC("d.mrc")[0]] == [(4, 20, 31)] * 2


def test_several_files_go_to_a_folder(folder, capsys):
    np.save("a.npy", MOVIE)
    np.save("b.npy", MOVIE)
    (folder / "new").mkdir()
    (folder / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    assert convert("a.npy", "bad.npy", "b.npy", "new") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(os.listdir("new")) == ["a.mrcz", "b.mrcz"]


@pytest.mark.parametrize("arguments,code", [
    (["movie.mrcz"], 2),
    (["movie.mrcz", "out.xyz"], 2),
    (["movie.mrcz", "nowhere/"], 2),
    (["movie.mrcz", "movie.mrcz"], 2),
    (["movie.mrcz", "a.npy", "out.mrc"], 2),
    (["movie.mrcz", "out.mrc", "--slice", "a"], 2),
    (["movie.mrcz", "out.mrc", "--slice", "::-1"], 2),
    (["movie.mrcz", "out.mrc", "--bin", "0"], 2),
    (["movie.mrcz", "out.mrc", "--dtype", "int64"], 2),
    (["movie.mrcz", "out.mrc", "--slice", "50:"], 1),
    (["movie.mrcz", "out.mrc", "--bin", "99"], 1),
    (["missing.mrc", "out.mrc"], 1),
    ([".", "out.mrc"], 2),
])
def test_what_makes_no_sense_is_one_line_and_no_file(folder, capsys, arguments, code):
    assert convert(*arguments) == code
    assert "Traceback" not in capsys.readouterr().err
    assert os.listdir(folder) == ["movie.mrcz"]


def test_update_saves_old_files_anew(folder, capsys):
    old = Path(__file__).parent / "data" / "golden" / "0.4.1_list2d_raw.mrc"
    data = old.read_bytes()
    (folder / "old.mrc").write_bytes(data)
    assert main(["convert", "--update", "old.mrc", "movie.mrcz"]) == 0
    text = capsys.readouterr().out
    assert "old.mrc: saved anew" in text and "movie.mrcz: not written by" in text
    assert isinstance(mrcz.readMRC("old.mrc")[0], list)
    assert (folder / "old.mrc.before-0.5.0").read_bytes() == data


def test_nothing_is_replaced_unasked(folder, capsys):
    (folder / "out.mrc").write_text("mine")
    assert convert("movie.mrcz", "out.mrc") == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "out.mrc").read_text() == "mine"
    assert convert("movie.mrcz", "out.mrc", "--force") == 0
    np.testing.assert_array_equal(mrcz.readMRC("out.mrc")[0], MOVIE)


@pytest.fixture
def colours():
    return np.random.default_rng(8).integers(0, 256, (4, 6, 7, 3), "uint8")


def test_colours_of_mrc(folder, colours, capsys):
    mrcz.writeMRC(colours[..., 0].astype("int8"), "rgb.mrc", pixelsize=2.0)
    head = bytearray(Path("rgb.mrc").read_bytes()[:1024])
    head[12:16] = (16).to_bytes(4, "little")
    Path("rgb.mrc").write_bytes(head + colours.tobytes())
    assert main(["convert", "rgb.mrc", "red.mrc"]) == 1
    assert "--channel" in capsys.readouterr().err
    assert main(["compress", "rgb.mrc"]) == 1
    assert "--channel" in capsys.readouterr().err
    assert not Path("red.mrc").exists()
    assert main(["convert", "rgb.mrc", "green.mrcz", "--channel", "green", "--slice", "1:3"]) == 0
    image, header = mrcz.readMRC("green.mrcz")
    np.testing.assert_array_equal(image, colours[1:3, ..., 1])
    assert header["pixelsize"] == pytest.approx([2.0] * 3)


def test_colours_of_dm(folder, colours):
    stored = np.concatenate([colours[..., ::-1], np.full((4, 6, 7, 1), 255, "uint8")], axis=-1)
    leaf = Leaf((20, 3, stored.nbytes // 4), stored.tobytes())
    write_dm("rgb.dm4", document(image(23, stored.shape[:-1], leaf)))
    assert main(["convert", "rgb.dm4", "blue.mrc", "--channel", "blue"]) == 0
    np.testing.assert_array_equal(mrcz.readMRC("blue.mrc")[0], colours[:, ::-1, :, 2])


def test_what_nobody_reads_is_told_as_such(folder, capsys, monkeypatch):
    Path("notes.txt").write_text("hello")
    Path("cut.mrc").write_text("hello")
    monkeypatch.setitem(sys.modules, "hyperspy", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["convert", "notes.txt", "a.mrc"]) == 1
    assert "no reader knows this file" in capsys.readouterr().err
    assert main(["convert", "cut.mrc", "a.mrc"]) == 1
    assert "shorter than an MRC header" in capsys.readouterr().err


def test_errors_name_the_file_and_the_option(folder, capsys):
    np.save("wide.npy", np.zeros((3, 4), "int64"))
    np.save("floats.npy", np.zeros((3, 4), "float32"))
    Path("out").mkdir()
    assert main(["convert", "wide.npy", "floats.npy", "out", "--jobs", "2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mrcz convert: wide.npy: ") and "--dtype" in line
    assert main(["convert", "movie.mrcz", "floats.npy", "out", "--force", "--keep-bits", "9"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mrcz convert: movie.mrcz: ")


@pytest.mark.parametrize("output", ["a.npy", "a.tif"])
@pytest.mark.parametrize("dtype,values", [("uint4", [0, 16]), ("uint4", [-1, 3]),
                                          ("bool", [0, 2]), ("bool", [-1, 1])])
def test_values_beyond_what_other_programs_have_no_type_for(folder, dtype, values, output, capsys):
    """NumPy and TIFF store uint4 in bytes, and NumPy makes True of whatever is not 0."""
    mrcz.writeMRC(np.array([values], "int16"), "in.mrc")
    assert main(["convert", "in.mrc", output, "--dtype", dtype]) == 1
    assert "in.mrc" in capsys.readouterr().err
    assert not os.path.exists(output)


def test_pixels_of_0_and_1_as_bool(folder):
    pixels = MOVIE.clip(0, 1)
    mrcz.writeMRC(pixels, "in.mrc")
    assert convert("in.mrc", "a.npy", "--dtype", "bool") == 0
    np.testing.assert_array_equal(np.load("a.npy"), pixels.astype(bool))


def test_what_is_no_array_in_an_npz(folder, capsys):
    """np.load gives it as bytes."""
    np.savez("a.npz", a=MOVIE)
    with zipfile.ZipFile("a.npz", "a") as archive:
        archive.writestr("readme", "text")
    assert convert("a.npz", "a.mrc") == 0
    np.testing.assert_array_equal(mrcz.readMRC("a.mrc")[0], MOVIE)
    assert convert("a.npz", "b.mrc", "--item", "readme") == 1
    assert "no array 'readme', only a" in capsys.readouterr().err


@pytest.mark.parametrize("option,value", [("--pixelsize", "nan"), ("--pixelsize", "-1"),
                                          ("--pixelsize", "x"), ("--pixelsize", "1e39"),
                                          ("--threads", "4097"), ("--threads", "0")])
def test_numbers_that_no_file_can_be_made_with(folder, option, value, capsys):
    assert convert("movie.mrcz", "a.mrc", f"{option}={value}") == 2
    assert option in capsys.readouterr().err
    assert not os.path.exists("a.mrc")


@pytest.mark.parametrize("output", ["a.npy", "a.tif"])
@pytest.mark.parametrize("options", [["-c", "zstd"], ["--shuffle", "bitshuffle"]])
def test_a_compression_that_is_only_mrcs(folder, output, options, capsys):
    assert convert("movie.mrcz", output, *options) == 2
    assert "MRC" in capsys.readouterr().err
    assert not os.path.exists(output)


def test_an_item_of_what_has_none(folder, capsys):
    np.save("a.npy", MOVIE)
    for name in ("movie.mrcz", "a.npy"):
        assert convert(name, "b.mrc", "--item", "1") == 1
        assert "items" in capsys.readouterr().err
    assert not os.path.exists("b.mrc")


@pytest.mark.parametrize("columns", [3, 4])
def test_a_big_endian_file_of_few_columns_is_not_gatans(folder, columns):
    """NX is what a DM file has its version in."""
    mrcz.writeMRC(MOVIE[:1, :, :columns], "in.mrc", endian="be")
    assert convert("in.mrc", "out.mrc") == 0
    np.testing.assert_array_equal(mrcz.readMRC("out.mrc")[0], MOVIE[0, :, :columns])
