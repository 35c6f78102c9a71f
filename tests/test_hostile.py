"""Damaged and hostile files: a clear error of ours or the system's, soon, in little memory."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcz

from .builders import DATA, FIELDS, IMOD_STAMP, header, mrc, ramp
from .checks import assert_identical, read, written

IMAGE = ramp((4, 33, 40), "i2")
GOLDEN = {name: (DATA / "golden" / name).read_bytes() for name in (
    "0.6.0_u2_zstd.mrcz", "0.6.0_i1_lz4.mrcz", "0.6.0_list2d_zstd.mrcz", "0.6.0_f4_raw.mrc",
    "0.6.0_uint4_raw.mrc", "c-mrcz-0.1.3_u2_lz4_filter1.mrcz", "0.5.10_be_f4.mrc")}
REFUSALS = (mrcz.MRCError, OSError)


def packed(codec="zstd") -> bytearray:
    return bytearray(written(IMAGE, compressor=codec))


def with_field(data: bytes, name: str, value) -> bytes:
    offset, form = FIELDS[name]
    changed = bytearray(data)
    struct.pack_into("<" + form, changed, offset, *(value if isinstance(value, tuple)
                                                    else (value,)))
    return bytes(changed)


def refused(data: bytes, **options) -> BaseException:
    """Check that reading raises the right kind of error within 10 MB, and give the error."""
    tracemalloc.start()
    try:
        with pytest.raises(REFUSALS) as caught:
            read(data, **options)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
    assert str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", GOLDEN)
def test_a_file_cut_anywhere_is_refused(name, tmp_path):
    data = GOLDEN[name]
    steps = {0, 1, 3, 4, 100, 1023, 1024, 1025, 1039, 1040, len(data) - 1, len(data) // 2}
    for length in sorted(steps | set(range(1024, len(data), 1 + len(data) // 60))):
        path = tmp_path / "cut.mrc"
        path.write_bytes(data[:length])
        with pytest.raises(mrcz.MRCFormatError, match=r"cut\.mrc"):
            mrcz.readMRC(path)


@pytest.mark.parametrize("length", [0, 5, 20, 500, -1, -9])
def test_a_cut_gzip_is_refused(length):
    data = gzip.compress(GOLDEN["0.6.0_f4_raw.mrc"])
    refused(data[:length])


def test_errors_say_where(tmp_path):
    path = tmp_path / "damaged.mrcz"
    path.write_bytes(GOLDEN["0.6.0_u2_zstd.mrcz"][:-100])
    with pytest.raises(mrcz.MRCTruncatedError, match=r"damaged\.mrcz") as caught:
        mrcz.readMRC(path)
    error = caught.value
    assert isinstance(error, (ValueError, EOFError))
    assert error.offset is not None
    assert error.expected is not None
    assert error.found is not None


@pytest.mark.parametrize("mode", [0, 2, 4, 6, 16, 101, 6002, 2006])
@pytest.mark.parametrize("dims", [(10_000, 10_000, 10_000), (2**31 - 1,) * 3, (1, 1, 2**31 - 1),
                                  (2**31 - 1, 1, 1), (2**31 - 1, 2**31 - 1, 1),
                                  (65536, 65536, 65536)])
def test_a_terabyte_in_a_kilobyte_is_refused(dims, mode):
    refused(bytes(header(dims, mode)) + bytes(100))


@pytest.mark.parametrize("dims", [(-1, 5, 7), (5, -5, 7), (5, 5, -7), (-1, -1, -1),
                                  (-2**31, -2**31, -2**31)])
def test_negative_dimensions_are_refused(dims):
    refused(bytes(header(dims, 2)) + bytes(4096))


@pytest.mark.parametrize("call", [mrcz.readMRC, mrcz.readMRCHeader, mrcz.open])
def test_columns_of_packed_bytes_beyond_32_bits(call):
    record = header((1, 1, 2**30), 0, imod_stamp=IMOD_STAMP, imod_flags=16)
    with pytest.raises(mrcz.MRCFormatError, match="NX"):
        call(io.BytesIO(bytes(record) + bytes(100)))


@pytest.mark.parametrize("nsymbt", [-1, -1024, 1 << 30, 2**31 - 1, 300_000])
def test_an_extended_header_of_impossible_length_is_refused(nsymbt):
    refused(with_field(mrc(IMAGE), "nsymbt", nsymbt))


@pytest.mark.parametrize("data", [b"", b"\0" * 1024, b"\xff" * 4096, b"GIF89a" + b"\0" * 2000,
                                  b"MRCZ" * 600, b" " * 1024, b"text\n" * 1000,
                                  b"\x1f\x8b" + b"\0" * 2000, b"BZh9" + b"\0" * 2000,
                                  b"\xfd7zXZ\0" + b"\0" * 2000])
def test_what_is_no_mrc_file_is_refused(data):
    refused(data)


@pytest.mark.parametrize("offset", [4, 8, 12], ids=["nbytes", "blocksize", "cbytes"])
@pytest.mark.parametrize("value", [0, 1, 15, -1, -2**31, 2**31 - 1, 1 << 20, 2639, 2641])
@pytest.mark.parametrize("chunk", [0, 3])
def test_chunks_that_lie_are_refused(offset, value, chunk):
    data = packed()
    start = 1024
    for _ in range(chunk):
        start += struct.unpack_from("<i", data, start + 12)[0]
    if struct.unpack_from("<i", data, start + offset)[0] == value:
        pytest.fail("the lie is the truth: choose another value")
    struct.pack_into("<i", data, start + offset, value)
    refused(bytes(data))


@pytest.mark.parametrize("version", [0, 77, 255])
def test_chunks_of_unknown_version_are_refused(version):
    data = packed()
    data[1024] = version
    refused(bytes(data))


def test_fewer_chunks_than_frames_are_refused():
    refused(with_field(bytes(packed()), "dims", (40, 33, 5)))
    refused(with_field(bytes(packed()), "dims", (40, 33, 2**31 - 1)))


def test_frames_of_another_size_than_the_chunks_are_refused():
    for dims in ((40, 34, 4), (41, 33, 4), (20, 33, 4), (1, 1, 4)):
        refused(with_field(bytes(packed()), "dims", dims))


def test_a_decompression_bomb_takes_no_memory():
    """A chunk of 100 MB of zeros where a frame of 2640 bytes should be."""
    import blosc
    bomb = blosc.compress(bytes(100_000_000), 1)
    assert len(bomb) < 2_000_000
    refused(bytes(header((1, 33, 40), 6001)) + bomb)


def test_a_gzip_bomb_takes_no_memory():
    """Packed zeros behind the pixels are not unpacked for the sake of the header."""
    data = mrc(IMAGE)
    bomb = gzip.compress(data + bytes(300_000_000), 1)
    tracemalloc.start()
    try:
        head, _ = mrcz.readMRCHeader(io.BytesIO(bomb))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert list(head["dimensions"]) == [4, 33, 40]


@pytest.mark.parametrize("slices", [5, 7, -1, -2, 1000, 2**40, 1.5, "two"])
def test_slices_that_do_not_divide(slices):
    with pytest.raises((ValueError, TypeError), match="slices"):
        read(mrc(IMAGE), slices=slices)


@pytest.mark.parametrize("value", ["-1", "3", "1e9", '"two"', "null", "[1]", "true", "1.5"])
def test_json_slices_that_cannot_be(value):
    """A file's own `slices` may be nonsense: it is ignored, and the pixels are not garbled."""
    data = mrc(IMAGE, extended=b'{"slices": ' + value.encode() + b"}", exttyp=b"json")
    found, _ = read(data)
    assert_identical(np.concatenate([np.atleast_3d(f).reshape(-1, 33, 40) for f in found]),
                     IMAGE)


MUTATIONS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("name", GOLDEN)
@given(near_header=MUTATIONS, anywhere=MUTATIONS)
def test_random_damage_gives_pixels_or_our_errors(name, near_header, anywhere):
    """Changed bytes give pixels or a proper error: no other exception, no crash."""
    data = bytearray(GOLDEN[name])
    for place, value in near_header:
        data[place % 1100] = value
    for place, value in anywhere:
        data[place % len(data)] = value
    try:
        read(bytes(data))
    except REFUSALS as error:
        assert str(error)
