"""Checksums of chunks.

Several threads work on one chunk, and none of them shall wait for another one's bytes: so the
checksum of a large chunk is made of the hashes of its segments, runs of blocks that whoever
reads them hashes while they are in the cache.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from .codec import CHUNK_HEADER_BYTES, ChunkHeader, read_chunk_header
from .errors import MissingCodecError

__all__ = ["ChunkHasher", "can_hash", "checksum_of", "combine", "hash_of", "require_hash",
           "segments_of"]  # fmt: skip

SEGMENT_BYTES = 4 << 20
"""Pixels of a segment; as much as a task decompresses, or two would share a segment."""


@lru_cache(maxsize=1)
def _xxhash() -> Any:
    try:
        import xxhash  # by a statement, which programs that bundle packages find
    except ImportError:
        return None
    return xxhash


def can_hash() -> bool:
    """Return whether the package for checksums is installed."""
    return _xxhash() is not None


def require_hash() -> None:
    """Check that checksums can be made.

    Raises
    ------
    MissingCodecError
        Without the package xxhash.
    """
    if not can_hash():
        raise MissingCodecError("checksum=True needs the package 'xxhash': pip install xxhash")


def hash_of(data: Any) -> int:
    """Return XXH3-64 of a buffer."""
    return int(_xxhash().xxh3_64_intdigest(data))


def segments_of(header: ChunkHeader) -> list[tuple[int, int]]:
    """Return the ranges of blocks that are hashed together, if blocks lie in order."""
    count = header.block_count
    if header.nbytes <= SEGMENT_BYTES:
        return [(0, count)]
    step = max(1, SEGMENT_BYTES // header.blocksize)
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def combine(segments: Sequence[int]) -> int:
    """Return the checksum of a chunk from the hashes of its segments."""
    if len(segments) == 1:
        return segments[0]
    return hash_of(struct.pack(f"<{len(segments)}Q", *segments))


def checksum_of(chunk: Any) -> int:
    """Return the checksum of a chunk, sound or not."""
    header = read_chunk_header(chunk)
    if header.nbytes <= SEGMENT_BYTES or not header.is_blosc1 or header.blocksize < 1:
        return hash_of(chunk)
    starts = _block_starts(header, chunk)
    if starts is None:
        return hash_of(chunk)
    edges = [0, *(int(starts[first]) for first, _ in segments_of(header)[1:]), len(chunk)]
    view = memoryview(chunk)
    return combine([hash_of(view[start:stop]) for start, stop in pairwise(edges)])


def _block_starts(header: ChunkHeader, chunk: Any) -> Sequence[int] | None:
    """Return where the blocks of a chunk start; None if they don't lie in order in it."""
    if header.is_memcpy:
        stop = CHUNK_HEADER_BYTES + header.nbytes
        starts: Sequence[int] = range(CHUNK_HEADER_BYTES, stop, header.blocksize)
        return starts if len(chunk) == stop else None
    if len(chunk) < header.prefix_bytes:
        return None
    table = np.frombuffer(chunk, "<i4", header.block_count, CHUNK_HEADER_BYTES)
    edges = [header.prefix_bytes, len(chunk) - 1]
    in_order = (np.diff(table) > 0).all() and edges[0] <= table[0] and table[-1] <= edges[1]
    return table.tolist() if in_order else None


class ChunkHasher:
    """Makes the checksum of a chunk from its blocks, in order; header and table come last.

    Parameters
    ----------
    header : ChunkHeader
        Of the chunk.
    """

    def __init__(self, header: ChunkHeader) -> None:
        self._cuts = {first for first, _ in segments_of(header)[1:]}
        self._count = 0
        self._head: list[memoryview] = []  # of the first segment, which the header belongs to
        self._hasher: Any = None  # of the one under way, if it isn't the first
        self._digests: list[int] = []

    def update(self, payload: memoryview, starts: Sequence[int]) -> None:
        """Take the next blocks, which start at `starts` in `payload`."""
        position = 0
        for number, start in enumerate(starts, self._count):
            if number in self._cuts:
                self._add(payload[position:start])
                self._end_segment()
                position = start
        self._add(payload[position:])
        self._count += len(starts)

    def _add(self, part: memoryview) -> None:
        if self._hasher is None:
            self._head.append(part)
        else:
            self._hasher.update(part)

    def _end_segment(self) -> None:
        if self._hasher is not None:
            self._digests.append(self._hasher.intdigest())
        self._hasher = _xxhash().xxh3_64()

    def digest(self, prefix: bytes) -> int:
        """Return the checksum of `prefix` and all the blocks."""
        first = _xxhash().xxh3_64(prefix)
        for part in self._head:
            first.update(part)
        if self._hasher is not None:
            self._end_segment()
        return combine([first.intdigest(), *self._digests])
