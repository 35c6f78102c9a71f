"""Checksums of chunks.

Several threads work on one chunk, and none of them shall wait for another one's bytes: so a
chunk's checksum is made of those of its segments, which any thread can make of the bytes that
it has at hand.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .errors import MissingCodecError

__all__ = ["SEGMENT_BYTES", "ChunkHasher", "can_hash", "checksum_of", "combine", "hash_of",
           "hash_segments", "require_hash"]  # fmt: skip

SEGMENT_BYTES = 1 << 17


@lru_cache(maxsize=1)
def _xxhash() -> Any:
    try:
        return importlib.import_module("xxhash")
    except ImportError:
        return None


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


def hash_segments(data: Any) -> list[int]:
    """Return XXH3-64 of each segment of a buffer that starts with one."""
    digest, size = _xxhash().xxh3_64_intdigest, len(data)
    return [digest(data[start : start + SEGMENT_BYTES]) for start in range(0, size, SEGMENT_BYTES)]


def combine(segments: Sequence[int]) -> int:
    """Return the checksum of a chunk from those of its segments."""
    if len(segments) == 1:
        return segments[0]
    return hash_of(struct.pack(f"<{len(segments)}Q", *segments))


def checksum_of(chunk: Any) -> int:
    """Return the checksum of a chunk."""
    if len(chunk) <= SEGMENT_BYTES:
        return hash_of(chunk)
    return combine(hash_segments(memoryview(chunk)))


class ChunkHasher:
    """Makes the checksum of a chunk whose header comes last.

    Parameters
    ----------
    prefix_bytes : int
        Length of its header and table of blocks.
    """

    def __init__(self, prefix_bytes: int) -> None:
        self._head = bytearray()  # what shares a segment with the prefix
        self._head_end = -(-prefix_bytes // SEGMENT_BYTES) * SEGMENT_BYTES
        self._position = prefix_bytes
        self._segment = _xxhash().xxh3_64()
        self._digests: list[int] = []

    def update(self, payload: memoryview) -> None:
        """Take the bytes that follow."""
        while payload:
            count = SEGMENT_BYTES - self._position % SEGMENT_BYTES
            part, payload = payload[:count], payload[count:]
            if self._position < self._head_end:
                self._head += part
                self._position += len(part)
                continue
            self._segment.update(part)
            self._position += len(part)
            if self._position % SEGMENT_BYTES == 0:
                self._end_segment()

    def _end_segment(self) -> None:
        self._digests.append(self._segment.intdigest())
        self._segment.reset()

    def digest(self, prefix: bytes) -> int:
        """Return the checksum of `prefix` and all that followed."""
        if self._position > self._head_end and self._position % SEGMENT_BYTES:
            self._end_segment()
        return combine(hash_segments(prefix + self._head) + self._digests)
