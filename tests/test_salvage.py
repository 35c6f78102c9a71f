"""Repair in bounded time: files made of false chunk headers; and streams unpacked no further."""

from __future__ import annotations

import contextlib
import gzip
import struct
import sys
import time
from pathlib import Path

import blosc
import numpy as np
import pytest

import mrcz
from mrcz import chunksearch
from mrcz.reader import MRCReader

from .builders import header

SIZE = 16 << 20
SIDE = 1024
FRAME = SIDE * SIDE  # of int8
MOVIE = np.random.default_rng(4).poisson(2, (12, 40, 50)).astype("int16")


def fake(cbytes: int, flags: int = 0x15, blocksize: int = FRAME, tail: bytes = b"") -> bytes:
    return struct.pack("<4B3i", 2, 1, flags, 1, FRAME, blocksize, cbytes) + tail


def nearly_sound() -> bytes:
    """A chunk of 16 blocks that decode, except for the last one."""
    before = blosc.get_blocksize()
    blosc.set_blocksize(1 << 16)
    try:
        chunk = bytearray(blosc.compress(bytes(FRAME), 1, cname="zstd", shuffle=blosc.NOSHUFFLE))
    finally:
        blosc.set_blocksize(before)
    chunk[-12:] = bytes(12)
    return bytes(chunk)


def cpu_seconds(path: Path, output: Path) -> float:
    began = time.process_time()
    with contextlib.suppress(mrcz.MRCFormatError):
        mrcz.repair(path, output)
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.parametrize("unit", [
    fake(FRAME + 16), fake(FRAME // 2), fake(16 + 4 + 10), fake(FRAME, blocksize=1 << 14),
    fake(FRAME // 2, tail=struct.pack("<i", 20)), nearly_sound(),
    struct.pack("<i", FRAME),
], ids=["large", "half", "small", "many blocks", "with a table", "nearly sound", "sizes alone"])
def test_false_headers_do_not_hold_repair_up(tmp_path: Path, unit: bytes) -> None:
    """16 MB of them: seconds, where it took hours when each was read to its end."""
    path = tmp_path / "a.mrcz"
    data = (unit * (SIZE // len(unit) + 1))[:SIZE]
    path.write_bytes(bytes(header((4000, SIDE, SIDE), 6000)) + b"\1" + data)
    seconds = cpu_seconds(path, tmp_path / "b.mrcz")
    print(f"{seconds:.1f} s")
    assert seconds < 7.5


def test_what_is_intact_among_false_headers_is_found(tmp_path: Path) -> None:
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    image = np.random.default_rng(0).poisson(2, (4, SIDE, SIDE)).astype("i1")
    mrcz.writeMRC(image, path, compressor="zstd")
    with MRCReader(path) as reader:
        start, stop = reader.table.span(1)
    data = bytearray(path.read_bytes())
    junk = fake((stop - start) * 2) * ((stop - start) // 16)
    data[start : start + len(junk)] = junk
    path.write_bytes(data)
    report = mrcz.repair(path, output)
    assert report.recovered == [0, 2, 3]
    assert np.array_equal(mrcz.readMRC(output)[0][2:], image[2:])


def test_giving_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunksearch, "_TRIAL_BYTES", 1 << 40)
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    with MRCReader(path) as reader:
        start, _ = reader.table.span(3)
    data = bytearray(path.read_bytes())
    data[start + 25 : start + 60] = bytes(35)
    path.write_bytes(data)
    report = mrcz.repair(path, output)
    assert report.recovered == [0, 1, 2]
    assert any(f"byte {start}" in note for note in report.notes)


@pytest.mark.parametrize("offset", [0, 5, 4 << 20, (4 << 20) - 3, (4 << 20) - 16, (8 << 20) - 7])
def test_chunks_are_found_wherever_they_start(tmp_path: Path, offset: int) -> None:
    """Also where a header lies across the edge of what is read at a time."""
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    data = path.read_bytes()
    path.write_bytes(data[:1024] + bytes(offset) + data[1024:])
    report = mrcz.repair(path, output)
    assert report.recovered == list(range(12))
    assert np.array_equal(mrcz.readMRC(output)[0], MOVIE)


@pytest.mark.parametrize("compressor", ["lz4", "zstd", "zlib"])
@pytest.mark.parametrize("count", [1, 3])
def test_checksums_that_no_frame_has_are_believed(
    tmp_path: Path, count: int, compressor: str
) -> None:
    """Not searched for chunks without them, which would be kept with wrong pixels."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE[:count], path, compressor=compressor, checksum=True)
    data = bytearray(path.read_bytes())
    trailer = 1024 + mrcz.readMRCHeader(path)[0]["packedBytes"]
    for frame in range(count):
        offset, length = struct.unpack_from("<2Q", data, trailer + 32 + 24 * frame)
        data[offset + length // 2] ^= 4
    path.write_bytes(data)
    assert len(mrcz.verify(path)) == count
    with pytest.raises(mrcz.MRCFormatError, match="no frame is intact"):
        mrcz.repair(path, tmp_path / "b.mrcz")
    assert not (tmp_path / "b.mrcz").exists()


def test_a_missing_codec_is_told_and_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE[0], path, compressor="zstd")
    data = bytearray(path.read_bytes())
    data[1024] = 5  # blosc2's version of chunks
    path.write_bytes(data)
    monkeypatch.setitem(sys.modules, "blosc2", None)
    with pytest.raises(mrcz.MissingCodecError, match="blosc2"):
        mrcz.repair(path, tmp_path / "b.mrcz")


def test_a_stream_is_unpacked_as_far_as_it_is_needed(tmp_path: Path) -> None:
    """The first frame of chunks whose number is known, but not their length, as c-mrcz's."""
    path = tmp_path / "a.mrcz"
    noise = np.random.default_rng(0).integers(0, 256, (40, 512, 512)).astype("u1").view("i1")
    mrcz.writeMRC(noise, path, compressor="lz4")
    data = bytearray(path.read_bytes())
    data[144:196] = bytes(52)  # packed bytes and index
    packed = tmp_path / "a.mrcz.gz"
    packed.write_bytes(gzip.compress(bytes(data), 1))
    with mrcz.open(packed) as stack:
        assert np.array_equal(stack[0], noise[0])
        assert stack._reader.source._available < 4 << 20
        assert np.array_equal(stack[5], noise[5])
        assert stack._reader.source._available < 8 << 20
        assert np.array_equal(stack[39], noise[39])
    packed.write_bytes(gzip.compress(bytes(data[:-100]), 1))
    with mrcz.open(packed) as stack:
        assert np.array_equal(stack[5], noise[5])
        with pytest.raises(mrcz.MRCTruncatedError, match="frame 39 of 40 is cut"):
            stack[39]
    packed.write_bytes(gzip.compress(bytes(data[: len(data) // 2]), 1))
    with mrcz.open(packed) as stack, pytest.raises(mrcz.MRCTruncatedError, match="of 40"):
        stack[39]
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    with mrcz.open(path, verify=False) as stack:
        assert np.array_equal(stack[0], noise[0])
        assert stack._reader.source._available < 4 << 20
