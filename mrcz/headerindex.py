"""The index in the record of a compressed file: where some of its chunks start."""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["INDEX_ENTRIES", "make_index", "read_index"]

INDEX_ENTRIES = 8


def index_step(nz: int) -> int:
    """Return how many frames apart the entries of the index are: a power of two.

    So entries stay right, or every second one does, when frames are appended.
    """
    step = 1
    while (nz - 1) // step > INDEX_ENTRIES:
        step *= 2
    return step


def index_check(nz: int, packed_bytes: int, entries: Sequence[int]) -> int:
    """Return the check word of an index: CRC-32 of NZ, packed bytes and the entries."""
    return crc32(struct.pack(f"<iq{INDEX_ENTRIES}I", nz, packed_bytes, *entries))


def make_index(nz: int, packed_bytes: int, starts: Mapping[int, int]) -> dict[str, Any]:
    """Return the fields of the index.

    Parameters
    ----------
    nz, packed_bytes : int
        As in the record.
    starts : mapping of int to int
        Frame to offset of its chunk, counted from the first chunk; at least of the
        multiples of ``index_step(nz)``.
    """
    step = index_step(nz)
    frames = range(step, nz, step)
    if packed_bytes >= 1 << 32 or not all(frame in starts for frame in frames):
        return {"index": [0] * INDEX_ENTRIES, "index_check": 0}
    entries = [starts[frame] for frame in frames]
    entries += [0] * (INDEX_ENTRIES - len(entries))
    return {"index": entries, "index_check": index_check(nz, packed_bytes, entries)}


def read_index(
    nz: int, packed_bytes: int, entries: Sequence[int], check: int
) -> dict[int, int]:
    """Return frame to offset of its chunk, counted from the first one; empty if it is void.

    Parameters
    ----------
    nz, packed_bytes, entries, check
        Fields of the record.
    """
    if not any(entries) or index_check(nz, packed_bytes, entries) != check:
        return {}
    step = index_step(nz)
    starts = {number * step: entry for number, entry in enumerate(entries, 1) if entry}
    edges = [0, *starts.values(), packed_bytes]
    return starts if edges == sorted(edges) and max(starts) < nz else {}
