"""The trailer, `verify` and `repair`."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import xxhash

import mrcz
from mrcz import decoding, descriptors, encoding, trailer
from mrcz.checksums import checksum_of
from mrcz.reader import MRCReader

MOVIE = np.random.default_rng(4).poisson(2, (12, 40, 50)).astype("int16")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd", checksum=True, meta={"a": 1})
    return path


def chunks_of(path: Path) -> list[tuple[int, int]]:
    with mrcz.open(path) as stack:
        table = stack._reader.table
        return [table.span(frame) for frame in range(len(stack))]


def flip(path: Path, offset: int, value: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= value
    path.write_bytes(data)


def as_specified(chunk: bytes) -> int:
    """Return the checksum of a chunk as docs/specification.rst has it."""
    flags, nbytes, blocksize = struct.unpack_from("<xxBx2i", chunk)
    step = max(1, 4194304 // blocksize)
    count = -(-nbytes // blocksize)
    starts = struct.unpack_from(f"<{count}i", chunk, 16) if not flags & 2 else [
        16 + blocksize * number for number in range(count)]
    edges = [0, len(chunk)]
    if nbytes > 4194304 and list(starts) == sorted(starts):
        edges[1:1] = starts[step::step]
    digests = [xxhash.xxh3_64_digest(chunk[start:stop])[::-1]  # little-endian
               for start, stop in itertools.pairwise(edges)]
    if len(digests) == 1:
        return int.from_bytes(digests[0], "little")
    return xxhash.xxh3_64_intdigest(b"".join(digests))


@pytest.mark.parametrize(("dtype", "scale"), [("i1", 1), ("u2", 3000), ("f4", 1), ("f4", 0)])
@pytest.mark.parametrize("blocksize", [None, 30_000, 3 << 20])
def test_checksums_of_frames_in_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, scale: float,
    blocksize: int | None,
) -> None:
    path = tmp_path / "a.mrcz"
    pixels = np.random.default_rng(5).standard_normal((2, 3001, 1000)) * scale
    if scale == 0:  # nothing to compress: the chunks are stored as they are
        pixels = np.random.default_rng(6).integers(0, 1 << 32, pixels.shape, "u4").view("f4")
    pixels = pixels.astype(dtype)
    for piece in (encoding.PIECE_BYTES, 1 << 20):  # of who writes
        monkeypatch.setattr(encoding, "PIECE_BYTES", piece)
        encoding._block_bytes.cache_clear()
        mrcz.writeMRC(pixels, path, compressor="lz4", blocksize=blocksize, checksum=True)
        encoding._block_bytes.cache_clear()
        raw = path.read_bytes()
        spans = chunks_of(path)
        with MRCReader(path) as reader:
            assert reader.trailer is not None
            assert list(reader.trailer.checksums) == [as_specified(raw[a:b]) for a, b in spans]
            assert [checksum_of(raw[a:b]) for a, b in spans] == list(reader.trailer.checksums)
    assert mrcz.verify(path) == []
    start, stop = spans[1]
    for piece in (4 << 20, 1 << 18):  # of who reads
        monkeypatch.setattr(decoding, "PIECE_BYTES", piece)
        for threads in (1, 3):
            assert mrcz.readMRC(path, n_threads=threads)[0].tobytes() == pixels.tobytes()
        for offset in (*range(start, stop, (stop - start) // 9), stop - 1):
            damaged = bytearray(raw)
            damaged[offset] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(mrcz.MRCFormatError, match="frame 1"):
                mrcz.readMRC(path)
            assert mrcz.readMRC(path, idx=0)[0].tobytes() == pixels[0].tobytes()
        path.write_bytes(raw)


def test_segments_are_not_made_of_nonsense() -> None:
    """Only of blocks that lie in order; whatever else a damaged chunk says, it has a checksum."""
    dice = np.random.default_rng(7)
    for count in (0, 1, 3, 1000):
        for flags in (0, 2):
            for nbytes in (0, 5 << 20, 2**31 - 1, -1):
                for blocksize in (0, 1, 4 << 20, 2**31 - 1, -1):
                    body = dice.integers(-50, 1 << 12, count, "i4").tobytes()
                    chunk = struct.pack("<4B3i", 2, 1, flags, 1, nbytes, blocksize, 0) + body
                    assert checksum_of(chunk) == xxhash.xxh3_64_intdigest(chunk)


def test_trailer_byte_by_byte(path: Path) -> None:
    """As docs/specification.rst has it."""
    raw = path.read_bytes()
    packed = struct.unpack_from("<q", raw, 144)[0]
    start = 1024 + struct.unpack_from("<i", raw, 92)[0]
    trailer = raw[start + packed :]
    magic, version, entry, count, head = struct.unpack_from("<8sIIQQ", trailer)
    assert (magic, version, entry, count) == (b"MRCZTRLR", 2, 24, 12)
    assert head == xxhash.xxh3_64_intdigest(raw[:start])
    position = start
    for frame in range(count):
        offset, length, checksum = struct.unpack_from("<3Q", trailer, 32 + 24 * frame)
        assert offset == position
        assert checksum == as_specified(raw[offset : offset + length])
        position += length
    assert position == start + packed
    body = trailer[: 32 + 24 * count]
    assert trailer[len(body) :] == struct.pack("<Q8s", xxhash.xxh3_64_intdigest(body), b"MRCZTEND")


def test_without_checksum_there_is_no_trailer(tmp_path: Path) -> None:
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    packed = mrcz.readMRCHeader(tmp_path / "a.mrcz")[0]["packedBytes"]
    assert (tmp_path / "a.mrcz").stat().st_size == 1024 + packed
    with pytest.raises(ValueError, match="compressor"):
        mrcz.writeMRC(MOVIE, tmp_path / "a.mrc", checksum=True)


def test_every_flipped_byte_of_every_chunk_is_noticed(path: Path) -> None:
    raw = path.read_bytes()
    spans = chunks_of(path)
    for offset in range(spans[0][0], spans[-1][1], 37):
        damaged = bytearray(raw)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(mrcz.MRCChecksumError, match="frame"):
            mrcz.readMRC(path)


def test_verification_can_be_left_out_or_extended(path: Path) -> None:
    start, _ = chunks_of(path)[3]
    flip(path, start + 16 + 4 + 4 + 60, 1)
    assert np.array_equal(mrcz.readMRC(path, idx=2)[0], MOVIE[2])
    with pytest.raises(mrcz.MRCChecksumError, match="frame 3"):
        mrcz.readMRC(path, idx=3)
    with mrcz.open(path, verify=True) as stack, pytest.raises(mrcz.MRCChecksumError):
        stack[3, 2:4]
    with mrcz.open(path, verify=False) as stack:
        for frame in (2, 4):
            assert np.array_equal(stack[frame], MOVIE[frame])


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("threads", [1, 3])
def test_frames_in_pieces_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endian: str, threads: int
) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(decoding, "PIECE_BYTES", 1 << 14)
    encoding._block_bytes.cache_clear()
    path = tmp_path / "a.mrcz"
    movie = np.random.default_rng(0).poisson(3, (3, 200, 300)).astype("int16")
    mrcz.writeMRC(movie, path, compressor="zstd", checksum=True, blocksize=1 << 12,
                  n_threads=threads, endian=endian)  # fmt: skip
    encoding._block_bytes.cache_clear()
    assert np.array_equal(mrcz.readMRC(path, n_threads=threads)[0], movie)
    assert mrcz.verify(path) == []
    start, stop = chunks_of(path)[1]
    for offset in (start + 20, start + 300, stop - 5):
        flip(path, offset, 1)
        with pytest.raises(mrcz.MRCFormatError, match="frame 1"):
            mrcz.readMRC(path, n_threads=threads)
        flip(path, offset, 1)


def test_append_and_overwrite_keep_the_trailer_right(path: Path) -> None:
    expected = MOVIE.copy()
    mrcz.writeMRC(MOVIE[:3], path, idx=12)
    mrcz.writeMRC(MOVIE[5:7], path, idx=2)
    expected[2:4] = MOVIE[5:7]
    expected = np.concatenate([expected, MOVIE[:3]])
    assert np.array_equal(mrcz.readMRC(path)[0], expected)
    assert mrcz.verify(path) == []
    with mrcz.open(path) as stack:
        assert stack._reader.trailer is not None
        assert len(stack._reader.trailer.lengths) == 15


def test_a_cut_trailer_is_told_with_what_is_left_of_it(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    (found, *_) = mrcz.verify(path)
    assert "the trailer is cut" in str(found)
    with MRCReader(path) as reader, pytest.raises(mrcz.MRCChecksumError) as error:
        start = trailer.trailer_start(reader.source, reader.record)
        assert start is not None
        trailer.read_trailer(reader.source, reader.record, start)
    assert error.value.expected == f"{len(data) - start} bytes"
    assert error.value.found == f"{len(data) - start - 10} bytes"


def test_damaged_trailer_or_header_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    end = chunks_of(path)[-1][1]
    flip(path, end + 40)
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    assert "checksums are not used" in caplog.text
    assert [str(found) for found in mrcz.verify(path)] == [
        f"the trailer is damaged (at byte {end})"
    ]
    flip(path, end + 40)
    flip(path, 133)  # voltage
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    assert "header or the metadata have changed" in caplog.text
    assert "header or the metadata have changed" in str(mrcz.verify(path)[0])


@pytest.mark.parametrize("place", [0, 7, -1])
def test_a_trailer_is_known_by_either_end(path: Path, caplog: pytest.LogCaptureFixture,
                                          place: int) -> None:  # fmt: skip
    """Else damage across its border would be to pixels that nobody compares any more."""
    end = chunks_of(path)[-1][1]
    flip(path, end + place if place >= 0 else path.stat().st_size + place)
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    assert "checksums are not used" in caplog.text
    assert [str(found) for found in mrcz.verify(path)] == [
        f"the trailer is damaged (at byte {end})"
    ]


def test_verify_finds_each_damaged_frame(path: Path) -> None:
    assert mrcz.verify(path) == []
    spans = chunks_of(path)
    flip(path, spans[2][0] + 100)
    flip(path, spans[7][0] + 100)
    assert [found.frame for found in mrcz.verify(path)] == [2, 7]
    assert mrcz.verify(path, deep=False) == []
    path.write_bytes(path.read_bytes()[: spans[5][0] + 10])
    assert "too short" in str(mrcz.verify(path)[0]) or "ends" in str(mrcz.verify(path)[0])
    path.write_bytes(b"nonsense")
    assert mrcz.verify(path)
    with pytest.raises(FileNotFoundError):
        mrcz.verify(path.with_name("missing"))


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("lost", [[0], [5], [11], [3, 4], [2, 8]])
def test_repair_recovers_what_is_intact(
    tmp_path: Path, with_index: bool, lost: list[int]
) -> None:
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd", checksum=with_index, meta={"a": 1})
    data = bytearray(path.read_bytes())
    for start, stop in [chunks_of(path)[frame] for frame in lost]:
        data[start:stop] = bytes(stop - start)  # a hole, header and all
    path.write_bytes(data)
    report = mrcz.repair(path, output)
    assert report.lost == lost
    assert report.recovered == [frame for frame in range(12) if frame not in lost]
    image, header = mrcz.readMRC(output)
    expected = MOVIE.copy()
    expected[lost] = 0
    assert np.array_equal(image, expected)
    assert header["a"] == 1
    assert mrcz.verify(output) == []


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_repair_of_a_cut_file(tmp_path: Path, compressor: str | None) -> None:
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor=compressor)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(mrcz.MRCTruncatedError):
        mrcz.readMRC(path)
    report = mrcz.repair(path, output)
    image = mrcz.readMRC(output)[0]
    kept = len(report.recovered)
    assert 7 <= kept <= 9
    assert report.lost == list(range(kept, 12))
    assert np.array_equal(image[:kept], MOVIE[:kept])
    assert not image[kept + 1 :].any()
    with pytest.raises(ValueError, match="new file"):
        mrcz.repair(path, path)


def test_repair_gives_up_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    path.write_bytes(path.read_bytes()[:1024] + bytes(5000))
    with pytest.raises(mrcz.MRCFormatError, match="no frame"):
        mrcz.repair(path, tmp_path / "b.mrcz")
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.parametrize("to", ["file", "object", "no pread"])
def test_checksums_of_large_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    if to == "no pread":
        monkeypatch.setattr(descriptors, "_HAS_PWRITE", False)
    image = np.random.default_rng(2).standard_normal((2, 2048, 2048)).astype("f4")
    path = tmp_path / "a.mrcz"
    whole = io.BytesIO()
    mrcz.writeMRC(image, whole if to == "object" else path, compressor="zstd", checksum=True)
    if to == "object":
        path.write_bytes(whole.getvalue())
    assert mrcz.verify(path, deep=True) == []
    with MRCReader(path) as reader:
        assert reader.trailer is not None and len(reader.trailer.checksums) == 2
    np.testing.assert_array_equal(mrcz.readMRC(path)[0], image)


def test_repair_finds_chunks_whose_items_are_four_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).poisson(0.75, (5, 2048, 2048)).astype("i1")
    path, output = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    mrcz.writeMRC(pixels, path, compressor="lz4")
    raw = bytearray(path.read_bytes())
    assert raw[1024 + 3] == 4
    second = 1024 + struct.unpack_from("<i", raw, 1024 + 12)[0]
    raw[second : second + 16] = bytes(16)
    path.write_bytes(raw)
    report = mrcz.repair(path, output)
    assert report.lost == [1]
    np.testing.assert_array_equal(np.delete(mrcz.readMRC(output)[0], 1, 0),
                                  np.delete(pixels, 1, 0))


def test_rows_of_many_small_frames_are_compared_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    noise = np.random.default_rng(0).integers(0, 65536, (4, 40, 50)).astype("uint16")
    mrcz.writeMRC(noise, path, compressor="zstd", checksum=True)
    flip(path, chunks_of(path)[2][1] - 1)  # in the last row, stored as it is
    with mrcz.open(path) as stack:
        assert np.array_equal(stack[:, 3:5], noise[:, 3:5])
        with pytest.raises(mrcz.MRCChecksumError):
            stack[:]
    with mrcz.open(path, verify=True) as stack, pytest.raises(mrcz.MRCChecksumError):
        stack[:, 3:5]
