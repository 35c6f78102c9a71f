"""Every MODE, both byte orders, and the records of other programs."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

from . import builders
from .builders import EMAN2_MODES, EXTENDED_HEADERS, MODES, fields_of, header, mrc, ramp
from .checks import assert_identical, read, round_trip, written

ORDERS = ("<", ">")
SHAPE = (3, 5, 7)


# ---- reading

@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode,dtype", MODES.items())
def test_every_mode_is_read_in_either_byte_order(mode, dtype, order):
    image = ramp(SHAPE, dtype)
    found, head = read(mrc(image, order=order, mode=mode))
    assert_identical(found, image)
    assert head["MRCtype"] == mode
    assert np.dtype(head["dtype"]).newbyteorder("=") == image.dtype
    assert list(head["dimensions"]) == [3, 5, 7]
    assert head["compressor"] is None


@pytest.mark.parametrize("order", ORDERS)
def test_complex_int16_comes_back_as_complex64(order):
    pairs = ramp((*SHAPE, 2), "i2")
    data = bytes(header(SHAPE, 3, order=order)) + pairs.astype(order + "i2").tobytes()
    assert_identical(read(data)[0], (pairs[..., 0] + 1j * pairs[..., 1]).astype("c8"))


@pytest.mark.parametrize("order", ORDERS)
def test_rgb_has_a_last_axis_of_three(order):
    pixels = ramp((*SHAPE, 3), "u1")
    found, _ = read(bytes(header(SHAPE, 16, order=order)) + pixels.tobytes())
    assert_identical(found, pixels)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nx", [1, 2, 7, 8])
@pytest.mark.parametrize("nz", [1, 3])
def test_packed_pixels_are_unpacked_row_by_row(nx, nz, order):
    image = (ramp((nz, 5, nx), "u1") % 16).astype("u1")
    data = bytes(header((nz, 5, nx), 101, order=order)) + builders.pack_uint4(image)
    assert_identical(read(data)[0], image if nz > 1 else image[0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode,dtype", EMAN2_MODES.items())
def test_eman2_numbers_types_its_own_way(mode, dtype, order):
    image = ramp(SHAPE, dtype)
    found, _ = read(mrc(image, order=order, mode=mode), fileConvention="eman2")
    assert_identical(found, image)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="fileConvention"):
        read(mrc(ramp(SHAPE, "i2")), fileConvention="spider")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flags,dtype", [(0, "u1"), (builders.IMOD_SIGNED_BYTES, "i1"),
                                         (2, "u1"), (3, "i1")])
def test_imods_flags_tell_whether_bytes_have_signs(flags, dtype, order):
    image = np.arange(105, dtype="u1").reshape(SHAPE) * 2
    data = mrc(image.view("i1"), order=order, imod_stamp=builders.IMOD_STAMP, imod_flags=flags)
    assert_identical(read(data)[0], image.view(dtype))


def test_imod_flags_without_its_stamp_mean_nothing():
    image = ramp(SHAPE, "i1")
    assert_identical(read(mrc(image, imod_stamp=77, imod_flags=0))[0], image)


UNSIGNED = np.arange(105, dtype="u1").reshape(SHAPE) * 2


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stats,dtype", [
    ((0.0, 208.0, 104.0), "u1"), ((0.0, 128.0, 1.0), "u1"), ((0.0, 255.0, 0.0), "u1"),
    ((0.0, 127.0, 1.0), "i1"), ((-1.0, 208.0, 1.0), "i1"), ((0.0, 256.0, 1.0), "i1"),
    ((0.0, -1.0, -2.0), "i1"), ((0.0, float("nan"), 0.0), "i1")])
def test_a_maximum_that_no_signed_byte_can_be(order, stats, dtype):
    """EMAN2's 8-bit files have no mark, nor have IMOD's before 4.2.23."""
    data = mrc(UNSIGNED.view("i1"), order=order, stats=stats)
    found, head = read(data)
    assert_identical(found, UNSIGNED.view(dtype))
    assert head["dtype"] == order + dtype
    with mrcz.open(io.BytesIO(data)) as stack:
        assert_identical(stack[1], UNSIGNED.view(dtype)[1])


def test_a_maximum_says_nothing_against_imods_flag_or_a_label_of_ours():
    image = UNSIGNED.view("i1")
    flag = {"imod_stamp": builders.IMOD_STAMP, "imod_flags": builders.IMOD_SIGNED_BYTES}
    for fields in (flag, {"label": b"MRCZ0.6.0", "nlabl": 1}, {"label": b"MRCZ1.0.0", "nlabl": 1}):
        assert_identical(read(mrc(image, stats=(0.0, 200.0, 1.0), **fields), slices=0)[0], image)


def test_a_new_header_keeps_bytes_unsigned(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(UNSIGNED.view("i1"), stats=(0.0, 208.0, 104.0)))
    header, slices = mrcz.readMRCHeader(path)
    with path.open("r+b") as file:
        mrcz.writeMRCHeader(file, header | {"minImage": 0.0, "maxImage": 1.0}, slices)
    found, header = mrcz.readMRC(path)
    assert_identical(found, UNSIGNED)
    assert header["maxImage"] == 1.0


@pytest.mark.parametrize("order", ORDERS)
def test_eman2s_signed_bytes(order, tmp_path):
    """Mode 17 is EMAN2's own, which takes mode 0 as unsigned."""
    image = ramp(SHAPE, "i1")
    data = mrc(image, order=order, mode=17)
    assert_identical(read(data)[0], image)
    (tmp_path / "a.mrc").write_bytes(data)
    assert main(["compress", "-q", str(tmp_path / "a.mrc")]) == 0
    assert_identical(mrcz.readMRC(tmp_path / "a.mrcz")[0], image)
    assert main(["decompress", "-q", "--force", str(tmp_path / "a.mrcz")]) == 0
    assert (tmp_path / "a.mrc").read_bytes() == data


def test_imod_flags_concern_bytes_alone():
    image = ramp(SHAPE, "i2")
    assert_identical(read(mrc(image, imod_stamp=builders.IMOD_STAMP, imod_flags=0))[0], image)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("exttyp,length", EXTENDED_HEADERS.items())
def test_extended_headers_are_skipped(exttyp, length, order):
    image = ramp(SHAPE, "u2")
    extended = bytes(i % 251 for i in range(length))
    found, head = read(mrc(image, order=order, extended=extended, exttyp=exttyp))
    assert_identical(found, image)
    assert head["extendedBytes"] == length
    assert head.extended == extended


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"    ", b"\x44\0\0\0", b"\xff\xff\xff\xff",
                                   b"\x33\x22\0\0"])
def test_bogus_stamp_falls_back_on_mode(stamp, order):
    image = ramp(SHAPE, "i2")
    assert_identical(read(mrc(image, order=order, stamp=stamp))[0], image)


@pytest.mark.parametrize("stamp", [b"\x44\x41\0\0", b"\x44\x44\x44\x44"])
def test_other_little_endian_stamps(stamp):
    image = ramp(SHAPE, "i2")
    assert_identical(read(mrc(image, stamp=stamp), endian="be")[0], image)


@pytest.mark.parametrize("order,endian", [("<", "le"), (">", "be")])
def test_endian_decides_when_nothing_else_does(order, endian):
    image = ramp(SHAPE, "i1")  # MODE 0 looks the same from both sides
    data = mrc(image, order=order, stamp=b"\0\0\0\0")
    assert_identical(read(data, endian=endian)[0], image)


def test_endian_must_be_known():
    with pytest.raises(ValueError, match="endian"):
        read(mrc(ramp(SHAPE, "i2")), endian="middle")
    with pytest.raises(ValueError, match="endian"):
        written(ramp(SHAPE, "i2"), endian="middle")


@pytest.mark.parametrize("ispg,mz", [(0, 1), (0, 3), (1, 3), (4, 72), (401, 1), (401, 3)])
def test_files_of_other_programs_are_one_array(ispg, mz):
    image = ramp(SHAPE, "f4")
    found, _ = read(mrc(image, ispg=ispg, m=(7, 5, mz), label=b"Fourier Inc.", nlabl=1))
    assert_identical(found, image)


def test_bytes_behind_the_pixels_do_no_harm():
    image = ramp(SHAPE, "f4")
    assert_identical(read(mrc(image) + b"\0" * 4096)[0], image)


@pytest.mark.parametrize("mode", [5, 9, 13, 77, 100, 102, -1])
def test_an_unknown_mode_is_refused(mode):
    data = bytes(header(SHAPE, mode)) + bytes(1000)
    with pytest.raises(mrcz.MRCFormatError, match=str(mode)):
        read(data)


@pytest.mark.parametrize("compressor_id", [999, 77])
def test_an_unknown_compressor_id_is_refused(compressor_id):
    data = bytes(header(SHAPE, 1000 * compressor_id + 2)) + bytes(1000)
    text = f"unrecognized MRCZ compressor id = {compressor_id}"
    with pytest.raises(ValueError, match=text):
        read(data)


# ---- writing

@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("mode,dtype", MODES.items())
def test_every_type_gets_its_mode(mode, dtype, endian):
    image = ramp(SHAPE, dtype)
    data = written(image, endian=endian)
    assert data[12:16] == struct.pack("<i" if endian == "le" else ">i", mode)
    assert_identical(read(data)[0], image)


CASTS = {"u1": "u2", "?": "i1", "f8": "f4", "c16": "c8"}


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("given,stored", CASTS.items())
def test_types_without_a_mode_are_widened_or_narrowed(given, stored, compressor):
    image = ramp(SHAPE, "i1").astype(given) if given == "?" else ramp(SHAPE, given)
    found, _ = round_trip(image, compressor=compressor)
    assert_identical(found, image.astype(stored))


NOTICES_SCRIPT = """
import io, logging, sys
import numpy as np, mrcz
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
for _ in range(2):
    mrcz.writeMRC(np.ones((3, 4), sys.argv[1]), io.BytesIO())
"""


@pytest.mark.parametrize("given", CASTS)
def test_widening_or_narrowing_is_logged_once(given):
    """In a process of its own, where nobody has been told yet."""
    done = subprocess.run([sys.executable, "-c", NOTICES_SCRIPT, given], check=True, text=True,
                          capture_output=True, cwd=Path(mrcz.__file__).parents[1])
    assert len(done.stdout.splitlines()) == 1
    assert np.dtype(given).name in done.stdout


@pytest.mark.parametrize("given", ["i8", "u8", "S4", "O", "M8[s]", "g"])
def test_unsupported_dtype_lists_the_supported(given, tmp_path):
    image = np.zeros(SHAPE, given)
    if image.dtype == np.dtype("f8"):
        pytest.fail("long double is double here: choose another platform's dtype")
    with pytest.raises(TypeError, match="uint16"):
        mrcz.writeMRC(image, tmp_path / "a.mrc")
    assert not (tmp_path / "a.mrc").exists()


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("given,stored", [("f8", "f4"), ("i8", "i2"), ("u1", "i1"), ("f4", "f2"),
                                          ("i2", "f4"), ("f4", "i2"), ("i4", np.uint16),
                                          ("f4", np.dtype("c8")), ("i8", "int32")])
def test_a_cast_that_keeps_every_value(given, stored, compressor):
    image = np.arange(105).reshape(SHAPE).astype(given)
    options = {"dtype": stored, "compressor": compressor}
    assert_identical(round_trip(image, **options)[0], image.astype(stored))
    assert_identical(round_trip(list(image), **options)[0], list(image.astype(stored)))


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("value,given,stored", [
    (300, "i2", "i1"), (-129, "i2", "i1"), (-1, "i2", "u2"), (70000, "i4", "u2"),
    (1e10, "f4", "i4"), (np.nan, "f4", "i2"), (np.inf, "f4", "u2"), (16, "u1", "uint4"),
    (-1, "i1", "uint4"), (2**31, "u4", "i4"), (2**31, "f4", "i4"), (-2**31 - 256, "f4", "i4"),
    (2**32, "f4", "u4"), (np.inf, "f2", "u2"), (np.inf, "f2", "i4"), (-np.inf, "f2", "i4"),
    (2.0**31, "f8", "i4"), (2**63, "u8", "i4"), (128.0, "f2", "i1")])
@pytest.mark.parametrize("where", [0, 2])
def test_a_cast_that_would_wrap_is_refused(value, given, stored, compressor, where, tmp_path):
    image = np.zeros(SHAPE, given)
    image[where, 2, 3] = value
    limits = "0 to 15" if stored == "uint4" else np.dtype(stored).name
    with pytest.raises(ValueError, match=limits):
        mrcz.writeMRC(image, tmp_path / "a.mrc", dtype=stored, compressor=compressor)
    assert not (tmp_path / "a.mrc").exists()


@pytest.mark.parametrize("given,stored,values", [
    ("f4", "i4", [-2**31, 2**31 - 128, -0.75]), ("f4", "u4", [0, 2**32 - 256, -0.75]),
    ("f8", "i4", [-2**31 - 0.5, 2**31 - 0.5, 1.5]), ("f2", "u2", [0, 65504, 0.5]),
    ("i8", "i4", [-2**31, 2**31 - 1, 0])])
def test_cast_to_the_edge_truncates_as_numpy_does(given, stored, values):
    image = np.array([values], given)
    assert_identical(round_trip(image, dtype=stored)[0], np.trunc(image).astype(stored))


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("nx", [1, 2, 7, 8, 31])
@pytest.mark.parametrize("given", ["u1", "i1", "i4", "f4"])
def test_packed_pixels_are_two_a_byte(given, nx, endian):
    image = (np.arange(3 * 5 * nx).reshape(3, 5, nx) % 16).astype(given)
    data = written(image, dtype="uint4", endian=endian)
    assert data[1024:] == builders.pack_uint4(image.astype("u1"))
    assert fields_of(data, "<" if endian == "le" else ">")["mode"] == 101
    found, head = read(data)
    assert_identical(found, image.astype("u1"))
    assert (head["minImage"], head["maxImage"]) == (image[0].min(), image[0].max())


def test_packed_lists_stay_lists():
    image = (np.arange(3 * 5 * 7).reshape(3, 5, 7) % 16).astype("u1")
    assert_identical(round_trip(list(image), dtype="uint4")[0], list(image))


@pytest.mark.parametrize("shape", [(3, 5, 7), (5, 8)])
def test_packed_pixels_survive_compression(shape):
    image = (np.arange(np.prod(shape)).reshape(shape) % 16).astype("u1")
    assert_identical(round_trip(image, dtype="uint4", compressor="zstd")[0], image)
