"""Parts of blocks without the rest, against what blosc makes of the whole."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import blosc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcz
from mrcz import blocks, buffers, chunks, codec, decoding, lease

from .builders import mrc

FACTS = {"path": "x", "offset": 0, "frame": 0}
FILTERS = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 4, "both": 5}


def decompressed(chunk: bytes | memoryview, nbytes: int) -> np.ndarray:
    out = np.full(nbytes + 16, 0xA5, np.uint8)
    with lease.blosc_settings():
        codec.decompress(memoryview(chunk), codec.read_chunk_header(bytes(chunk[:16])),
                         buffers.address_of(out), **FACTS)
    assert (out[nbytes:] == 0xA5).all()
    return out[:nbytes]


def check_parts(chunk: bytes, data: st.DataObject) -> None:
    """Compare parts of one block with the same of the whole chunk."""
    header = codec.read_chunk_header(chunk)
    whole = decompressed(chunk, header.nbytes)
    table = blocks.parse_block_table(header, chunk, **FACTS)
    number = data.draw(st.integers(0, header.block_count - 1))
    cut = blocks.cut_chunk(header, table, number, number + 1)
    planes = blocks.Planes.of(cut.header)
    if planes is None:
        return
    start, nbytes = number * header.blocksize, cut.header.nbytes
    bare = blocks.without_filter(cut)
    ranges = [chunk[first:last] for first, last in bare.ranges]
    stored = decompressed(bare.prefix + b"".join(ranges), nbytes)
    assert 0 <= nbytes - planes.nbytes < planes.number
    expected = whole[start + planes.nbytes : start + nbytes]
    assert stored[planes.nbytes :].tobytes() == expected.tobytes()
    first = data.draw(st.integers(0, planes.nbytes - 1))
    last = data.draw(st.integers(first + 1, planes.nbytes))
    part = planes.part(stored, first, last)
    piece = np.empty(part.header.cbytes, np.uint8)
    part.gather(piece)
    assert part.header == codec.read_chunk_header(piece[:16].tobytes())
    assert part.header.nbytes <= last - first + (1 + part.runs) * planes.number
    found = np.full(last - first, 0xA5, np.uint8)
    part.scatter(decompressed(piece.data, part.header.nbytes), found)
    assert found.tobytes() == whole[start + first : start + last].tobytes()


@settings(max_examples=400, deadline=None)
@given(
    size=st.integers(1, 60_000),
    typesize=st.sampled_from([1, 2, 3, 4, 6, 7, 8, 16, 17, 24, 31, 255]),
    compressor=st.sampled_from(["blosclz", "lz4", "zstd"]),
    shuffle=st.sampled_from(["noshuffle", "shuffle", "bitshuffle"]),
    blocksize=st.sampled_from([128, 1000, 4096, 10_000, 1 << 16]),
    threads=st.sampled_from([1, 3]),
    mean=st.sampled_from([0.1, 5.0, 120.0]),
    data=st.data(),
)
def test_parts_of_blocks_are_what_blosc_gives(
    size: int, typesize: int, compressor: str, shuffle: str, blocksize: int, threads: int,
    mean: float, data: st.DataObject,
) -> None:  # fmt: skip
    """All element sizes, whatever the bytes are; short last blocks; both filters."""
    values = np.random.default_rng(size).poisson(mean, size).astype("u1")
    options = codec.parse_options(compressor, 5, shuffle=shuffle, blocksize=blocksize)
    with lease.blosc_settings(options.blocksize):
        codec.blosc_extension.set_nthreads(threads)
        chunk = codec.compress(buffers.address_of(values), size, typesize, options)
    if not codec.read_chunk_header(chunk).is_memcpy:
        check_parts(chunk, data)


@settings(max_examples=400, deadline=None)
@given(
    typesize=st.integers(1, 40),
    blocksize=st.integers(1, 5000),
    count=st.integers(1, 4),
    tail=st.integers(0, 4999),
    filter_flags=st.sampled_from(list(FILTERS.values())),
    split=st.booleans(),
    data=st.data(),
)
def test_block_sizes_that_no_writer_chooses(
    typesize: int, blocksize: int, count: int, tail: int, filter_flags: int, split: bool,
    data: st.DataObject,
) -> None:  # fmt: skip
    """Blocks that are no multiple of the element size, made by hand from stored streams."""
    nbytes = blocksize * count + tail % blocksize
    content = np.random.default_rng(nbytes).integers(0, 256, nbytes, "u1").tobytes()
    flags = filter_flags | (0 if split else 0x10) | 4 << 5
    sizes = [blocksize] * count + [tail % blocksize] * (tail % blocksize > 0)
    starts, body, position = [], b"", 16 + 4 * len(sizes)
    taken = 0
    for size in sizes:
        starts.append(position + len(body))
        streams = 1
        if split and size == blocksize and typesize <= 16 and blocksize // typesize >= 128:
            streams = typesize
        if size % streams:
            return  # blosc can't split it either
        for _ in range(streams):
            part = content[taken : taken + size // streams]
            body += struct.pack("<i", len(part)) + part
            taken += len(part)
    chunk = struct.pack("<4B3i", 2, 1, flags, typesize, nbytes, blocksize,
                        position + len(body)) + struct.pack(f"<{len(starts)}i", *starts) + body
    check_parts(chunk, data)


def test_planes_are_found_where_there_are_some() -> None:
    """Against a test that never tests: the usual cases do have planes."""
    for typesize, name, nbytes, number in (
        (1, "bitshuffle", 4096, 8), (2, "bitshuffle", 4096, 16), (8, "bitshuffle", 4096, 64),
        (4, "shuffle", 4096, 4), (4, "shuffle", 4097, 4), (2, "bitshuffle", 4097, 16),
        (1, "shuffle", 4096, 0), (4, "noshuffle", 4096, 0), (2, "bitshuffle", 4098, 0),
        (2, "both", 4096, 0), (8, "shuffle", 7, 0),
    ):  # fmt: skip
        header = codec.ChunkHeader(2, 1, FILTERS[name], typesize, nbytes, nbytes, 5000)
        planes = blocks.Planes.of(header)
        assert (planes.number if planes else 0) == number
    assert blocks.Planes.of(header._replace(version=3, nbytes=4096)) is None


@pytest.mark.parametrize("largest,number", [(15, 4), (16, 8), (-1, 8), (0, 4)])
def test_planes_of_counted_electrons(largest: int, number: int) -> None:
    """Half of them are empty, and left out; what lies in front of a part or behind is no matter."""
    pixels = np.full(4096, -128, "i1")
    pixels[1000:2000] = np.arange(1000) % 16
    pixels[1600] = largest
    chunk = blosc.compress(pixels.tobytes(), 1, 9, blosc.BITSHUFFLE, "zstd")
    header = codec.read_chunk_header(chunk)
    bare = blocks.without_filter(blocks.Cut(chunk[:20], header, [(20, len(chunk))]))
    block = decompressed(bare.prefix + chunk[20:], 4096)
    planes = blocks.Planes.of(header)
    assert planes is not None
    part = planes.part(block, 1009, 1985)
    assert len(part.planes) == number
    piece, found = np.empty(part.header.cbytes, np.uint8), np.zeros(976, np.uint8)
    part.gather(piece)
    part.scatter(decompressed(piece.data, part.header.nbytes), found)
    assert np.array_equal(found.view("i1"), pixels[1009:1985])


@pytest.mark.parametrize("dtype", ["i1", "u2", "f4", "c8"])
@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
@pytest.mark.parametrize("compressor", ["lz4", "zstd"])
@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_of_frames_in_large_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shuffle: str, compressor: str,
    endian: str, threads: int,
) -> None:  # fmt: skip
    """Rows within a block, over a border, at the ends: the same as of the whole frame."""
    random = np.random.default_rng(4)
    frame = random.poisson(3, (2, 1405, 1001)).astype(dtype)
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(frame, path, compressor=compressor, shuffle=shuffle, endian=endian)
    small = []
    real = chunks.decompress

    def counting(chunk: memoryview, header: codec.ChunkHeader, *args: object, **kw: object) -> None:
        small.append(header.nbytes)
        real(chunk, header, *args, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr(chunks, "decompress", counting)
    with mrcz.open(path, cache_bytes=0, n_threads=threads) as stack:
        edge = (1 << 20) // (1001 * frame.dtype.itemsize)
        for first, last in ((0, 3), (1402, 1405), (edge - 2, edge + 2), (edge, edge + 1),
                            (300, 301), (1, 1404), (0, 1405), (100, 600)):  # fmt: skip
            found = stack[1, first:last]
            assert np.array_equal(found, frame[1, first:last])
            assert np.array_equal(stack[:, first:last:2, 7:-3], frame[:, first:last:2, 7:-3])
    has_planes = shuffle == "bitshuffle" or (shuffle == "shuffle" and dtype != "i1")
    assert (min(small) < 1 << 16) == has_planes


def test_a_block_that_is_damaged_is_refused(tmp_path: Path) -> None:
    frame = np.random.default_rng(4).poisson(3, (1, 1024, 1024)).astype("i1")
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(frame, path, compressor="zstd")
    data = bytearray(path.read_bytes())
    for position in (1024 + 16, 1024 + 20, 1024 + 24, 1024 + 30):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        with mrcz.open(path) as stack, pytest.raises(mrcz.MRCFormatError):
            stack[0, 5:9]


def test_other_programs_chunks(tmp_path: Path) -> None:
    """Element sizes that are not the pixels': python-mrcz 0.2 called everything bytes."""
    image = np.random.default_rng(1).poisson(5, (2, 512, 512)).astype("<u2")
    for typesize in (1, 2, 4, 3, 8):
        chunks = [blosc.compress(frame.tobytes(), typesize, 1, blosc.BITSHUFFLE, "zstd")
                  for frame in image]
        path = tmp_path / f"{typesize}.mrcz"
        path.write_bytes(mrc(image[:0], mode=6006, dims=(512, 512, 2)) + b"".join(chunks))
        with mrcz.open(path, cache_bytes=0) as stack:
            for first in range(0, 512, 37):
                assert np.array_equal(stack[1, first : first + 20], image[1, first : first + 20])


def test_rows_nearby_come_from_the_block_that_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.random.default_rng(4).poisson(3, (1, 2048, 1000)).astype("i1")
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(frame, path, compressor="zstd")
    read: list[int] = []
    real = chunks.ChunkReader._read_cut

    def counting(self: object, chunk: object, cut: blocks.Cut, address: int) -> None:
        read.append(cut.header.nbytes)
        real(self, chunk, cut, address)  # type: ignore[arg-type]

    monkeypatch.setattr(chunks.ChunkReader, "_read_cut", counting)
    with mrcz.open(path) as stack:
        for row in range(2048):
            assert np.array_equal(stack[0, row], frame[0, row])
        assert read == [1 << 20, 2048 * 1000 - (1 << 20)]
    read.clear()
    with mrcz.open(path, cache_bytes=0) as stack:
        for row in range(5):
            assert np.array_equal(stack[0, row], frame[0, row])
        assert len(read) == 5


@pytest.mark.parametrize("shape", [(2, 300, 1001), (2, 301, 1001)])
@pytest.mark.parametrize("typesize", [1, 2, 3, 8])
@pytest.mark.parametrize("filter", ["NOSHUFFLE", "SHUFFLE", "BITSHUFFLE"])
def test_rows_up_to_what_is_left_behind_the_planes(
    tmp_path: Path, shape: tuple[int, int, int], typesize: int, filter: str
) -> None:
    image = np.random.default_rng(1).poisson(5, shape).astype("<u2")
    data = b"".join(blosc.compress(frame.tobytes(), typesize, 1, getattr(blosc, filter), "zstd")
                    for frame in image)
    path = tmp_path / "a.mrcz"
    path.write_bytes(mrc(image[:0], mode=6006, dims=(*shape[:0:-1], 2)) + data)
    for cache_bytes in (0, 1 << 24):
        with mrcz.open(path, cache_bytes=cache_bytes) as stack:
            for first in (0, 130, shape[1] - 2, shape[1] - 1):
                assert np.array_equal(stack[1, first : first + 2], image[1, first : first + 2])
                assert np.array_equal(stack[1, first:], image[1, first:])


@pytest.mark.parametrize("first", [0, 70, 180])
def test_rows_in_two_large_blocks_are_worth_two_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Each row costs its whole block; rows of one block are nothing to share."""
    seen: list[int] = []
    real = decoding.run_ordered

    def noting(*args: Any, threads: int, **kwargs: Any) -> None:
        seen.append(threads)
        real(*args, threads=threads, **kwargs)

    monkeypatch.setattr(decoding, "run_ordered", noting)
    path = tmp_path / "a.mrcz"
    pixels = np.random.default_rng(1).poisson(1, (1, 500, 8192)).astype("i1")
    mrcz.writeMRC(pixels, path, compressor="zstd", blocksize=1 << 20)  # 128 rows
    with mrcz.open(path, n_threads=2) as stack:
        assert np.array_equal(stack[0, first : first + 64], pixels[0, first : first + 64])
    assert seen == [2 if first == 70 else 1]


@pytest.mark.parametrize("starts", [[28, 28, 100], [28, 60, 200], [28, 60, 300], [-1, 60, 100],
                                    [27, 60, 100], [28, -2**31, 100], [2**31 - 1] * 3])
def test_tables_of_blocks_that_lie(starts: list[int]) -> None:
    """Blosc reads wherever a table points, so that no cut of such a chunk may reach it."""
    header = codec.ChunkHeader(2, 1, 0x11, 2, nbytes=300, blocksize=128, cbytes=200)
    prefix = header.pack() + struct.pack("<3i", *starts)
    with pytest.raises(mrcz.MRCFormatError, match=r"a\.mrcz: frame 7 has a bad table"):
        blocks.parse_block_table(header, prefix, path="a.mrcz", offset=1024, frame=7)
