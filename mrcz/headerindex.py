"""The index in the record of a compressed file: where some of its chunks start.

It lies in the text labels that are not in use.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

__all__ = ["LABEL_BYTES", "MOST_LABELS", "HeaderIndex", "find_index", "labels_in_use",
           "with_index"]  # fmt: skip

MOST_LABELS, LABEL_BYTES = 10, 80
_MAGIC = b"\0idx"  # no text begins so
_HEAD = struct.Struct("<4sII")
"""Magic, CRC-32, bytes an entry."""
_CHECKED = struct.Struct("<iqI")
"""NZ, packed bytes, bytes an entry: what the CRC-32 is of, and the bytes of the entries."""
_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
"""Bytes an entry to what `struct` calls it. Fewer bytes, more entries."""


@dataclass(frozen=True)
class HeaderIndex:
    """Where every `step`-th chunk starts, counted from the first one; nothing where it is void.

    Attributes
    ----------
    step : int
        Frames an entry.
    usual : int
        Bytes of so many chunks if all had one length.
    itemsize : int
        Bytes an entry.
    entries : bytes
        By how much each `step` chunks are longer than `usual`.
    """

    step: int = 1
    usual: int = 0
    itemsize: int = 1
    entries: bytes = b""

    def __len__(self) -> int:
        return len(self.entries) // self.itemsize

    def start(self, number: int) -> int:
        """Return where the chunk of frame ``number * step`` starts."""
        return number * self.usual + sum(self._longer(number))

    def by_frame(self) -> dict[int, int]:
        """Return frame to start, of all that are known."""
        starts = accumulate(self.usual + longer for longer in self._longer(len(self)))
        return {number * self.step: start for number, start in enumerate(starts, 1)}

    def _longer(self, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}{_CODES[self.itemsize]}", self.entries)


def labels_in_use(labels: Sequence[bytes]) -> list[bytes]:
    """Return the labels before the index and the empty ones behind them."""
    texts = list(labels)
    for number, label in enumerate(labels):
        if label.startswith(_MAGIC):
            del texts[number:]
            break
    while texts and not texts[-1].strip(b"\0 "):
        texts.pop()
    return texts


def _frames(nz: int, most: int) -> range:
    """Return the frames of at most `most` entries, a power of two apart.

    So entries stay right, or every second one does, when frames are appended.
    """
    step = 1
    while (nz - 1) // step > most:
        step *= 2
    return range(step, nz, step)


def with_index(
    labels: Sequence[bytes], nz: int, packed_bytes: int, starts: Mapping[int, int]
) -> list[bytes]:
    """Return the ten labels: those in use, and the index in place of the others.

    Parameters
    ----------
    labels : sequence of bytes
        Those of now, in use or not.
    nz, packed_bytes : int
        As in the record.
    starts : mapping of int to int
        Frame to offset of its chunk, counted from the first chunk, of those that are known.
    """
    texts = labels_in_use(labels)
    room = (MOST_LABELS - len(texts)) * LABEL_BYTES
    index = _pack(room - _HEAD.size, nz, packed_bytes, starts).ljust(room, b"\0")
    return texts + [index[start : start + LABEL_BYTES] for start in range(0, room, LABEL_BYTES)]


def _pack(room: int, nz: int, packed_bytes: int, starts: Mapping[int, int]) -> bytes:
    """Return the index with entries as short as they may be; nothing where none fits."""
    for itemsize, code in _CODES.items() if nz > 1 and starts and room > 0 else ():
        frames = _frames(nz, room // itemsize)
        if any(frame not in starts for frame in frames):
            continue
        edges = [0, *(starts[frame] for frame in frames)]
        usual = frames.step * (packed_bytes // nz)
        entries = [stop - start - usual for start, stop in pairwise(edges)]
        half = 1 << (8 * itemsize - 1)
        if -half <= min(entries) and max(entries) < half:
            data = struct.pack(f"<{len(frames)}{code}", *entries)
            check = crc32(_CHECKED.pack(nz, packed_bytes, itemsize) + data)
            return _HEAD.pack(_MAGIC, check, itemsize) + data
    return b""


def find_index(labels: Sequence[bytes], nz: int, packed_bytes: int) -> HeaderIndex:
    """Return the index that lies behind the labels in use, or a void one.

    Parameters
    ----------
    labels : sequence of bytes
        All ten.
    nz, packed_bytes : int
        As in the record.
    """
    void = HeaderIndex()
    places = [number for number, label in enumerate(labels) if label.startswith(_MAGIC)]
    if not places:
        return void
    data = b"".join([label.ljust(LABEL_BYTES, b"\0") for label in labels[places[0]:]])
    _, check, itemsize = _HEAD.unpack_from(data)
    if itemsize not in _CODES:
        return void
    frames = _frames(nz, (len(data) - _HEAD.size) // itemsize)
    entries = data[_HEAD.size : _HEAD.size + len(frames) * itemsize]
    if crc32(_CHECKED.pack(nz, packed_bytes, itemsize) + entries) != check:
        return void
    return HeaderIndex(frames.step, frames.step * (packed_bytes // nz), itemsize, entries)
