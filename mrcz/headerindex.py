"""The index in the record of a compressed file: where some of its chunks start."""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

__all__ = ["INDEX_HEAD_BYTES", "INDEX_TAIL_BYTES", "make_index", "read_index"]

INDEX_HEAD_BYTES, INDEX_TAIL_BYTES = 16, 32
"""Bytes of the record that the index has, in two places."""
_INDEX_BYTES = INDEX_HEAD_BYTES + INDEX_TAIL_BYTES
_WIDTHS = (6, 12, 24, 48)
"""Bits of an entry: many short ones if they suffice, else few long ones."""


def _frames(nz: int, width: int) -> range:
    """Return the frames that have entries, a power of two apart.

    So entries stay right, or every second one does, when frames are appended.
    """
    count, step = 8 * _INDEX_BYTES // width, 1
    while (nz - 1) // step > count:
        step *= 2
    return range(step, nz, step)


def _line(frame: int, nz: int, packed_bytes: int) -> int:
    """Return where a chunk would start if all were of a length."""
    return frame * packed_bytes // nz


def _check_word(nz: int, packed_bytes: int, width: int, data: bytes) -> int:
    return crc32(struct.pack("<iqB", nz, packed_bytes, width) + data)


def _pack(numbers: Sequence[int], width: int) -> bytes | None:
    """Return signed numbers of `width` bits, the first one lowest; None if one needs more."""
    half, packed = 1 << (width - 1), 0
    for place, number in enumerate(numbers):
        if not -half <= number < half:
            return None
        packed |= (number & (2 * half - 1)) << (place * width)
    return packed.to_bytes(_INDEX_BYTES, "little")


def _unpack(data: bytes, width: int) -> Iterator[int]:
    """Yield what `_pack` took, and zeros behind it."""
    half, packed = 1 << (width - 1), int.from_bytes(data, "little")
    for place in range(0, 8 * _INDEX_BYTES, width):
        yield ((packed >> place & (2 * half - 1)) ^ half) - half


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
    for width in _WIDTHS:
        frames = _frames(nz, width)
        if all(frame in starts for frame in frames):
            deviations = [starts[frame] - _line(frame, nz, packed_bytes) for frame in frames]
            packed = _pack([each - before for before, each in pairwise([0, *deviations])], width)
            if packed is not None:
                check, data = _check_word(nz, packed_bytes, width, packed), packed
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
    for width in _WIDTHS if check else ():
        if _check_word(nz, packed_bytes, width, data) == check:
            deviations = accumulate(_unpack(data, width))
            starts = {frame: _line(frame, nz, packed_bytes) + deviation
                      for frame, deviation in zip(_frames(nz, width), deviations, strict=False)}
            edges = [0, *starts.values(), packed_bytes]
            return starts if edges == sorted(edges) else {}
    return {}
