"""The index in the record of a compressed file: where some of its chunks start."""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping
from typing import Any

__all__ = ["INDEX_HEAD_BYTES", "INDEX_TAIL_BYTES", "make_index", "read_index"]

INDEX_HEAD_BYTES, INDEX_TAIL_BYTES = 16, 32
"""Bytes of the record that the index has, in two places."""
_INDEX_BYTES = INDEX_HEAD_BYTES + INDEX_TAIL_BYTES
_COUNTS = (16, 8)
"""How many entries share the bytes: many short ones if they suffice, else few long ones."""


def _frames(nz: int, count: int) -> range:
    """Return the frames of at most `count` entries, a power of two apart.

    So entries stay right, or every second one does, when frames are appended.
    """
    step = 1
    while (nz - 1) // step > count:
        step *= 2
    return range(step, nz, step)


def _line(frame: int, nz: int, packed_bytes: int) -> int:
    """Return where a chunk would start if all were of a length; entries count from there."""
    return frame * packed_bytes // nz


def _check_word(nz: int, packed_bytes: int, count: int, data: bytes) -> int:
    return crc32(struct.pack("<iqB", nz, packed_bytes, count) + data)


def _pack(deviations: list[int], count: int) -> bytes | None:
    """Return the index's bytes; None if a deviation needs more than its share."""
    width = _INDEX_BYTES // count
    try:
        entries = [each.to_bytes(width, "little", signed=True) for each in deviations]
    except OverflowError:
        return None
    return b"".join(entries).ljust(_INDEX_BYTES, b"\0")


def make_index(nz: int, packed_bytes: int, starts: Mapping[int, int]) -> dict[str, Any]:
    """Return the fields of the index.

    Parameters
    ----------
    nz, packed_bytes : int
        As in the record.
    starts : mapping of int to int
        Frame to offset of its chunk, counted from the first chunk, of those that are known.
    """
    check, data = 0, bytes(_INDEX_BYTES)
    for count in _COUNTS:
        frames = _frames(nz, count)
        if all(frame in starts for frame in frames):
            packed = _pack([starts[frame] - _line(frame, nz, packed_bytes) for frame in frames],
                           count)
            if packed is not None:
                check, data = _check_word(nz, packed_bytes, count, packed), packed
                break
    return {"index_check": check, "index_head": data[:INDEX_HEAD_BYTES],
            "index_tail": data[INDEX_HEAD_BYTES:]}


def read_index(nz: int, packed_bytes: int, data: bytes, check: int) -> dict[int, int]:
    """Return frame to offset of its chunk, counted from the first one; empty if it is void.

    Parameters
    ----------
    nz, packed_bytes, check : int
        Fields of the record.
    data : bytes
        Both parts of the index.
    """
    for count in _COUNTS if check else ():
        if _check_word(nz, packed_bytes, count, data) == check:
            width = _INDEX_BYTES // count
            starts = {
                frame: _line(frame, nz, packed_bytes)
                + int.from_bytes(data[place : place + width], "little", signed=True)
                for frame, place in zip(_frames(nz, count), range(0, _INDEX_BYTES, width),
                                        strict=False)
            }
            edges = [0, *starts.values(), packed_bytes]
            return starts if edges == sorted(edges) else {}
    return {}
