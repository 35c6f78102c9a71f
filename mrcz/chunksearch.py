"""Looking for intact chunks in a damaged file, in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blocks import parse_block_table
from .buffers import address_of
from .codec import (
    BLOSC_PRESENT,
    CHUNK_HEADER_BYTES,
    FLAG_MEMCPY,
    MAX_OVERHEAD,
    WIDE_TYPESIZE,
    decompress,
    parse_chunk_header,
)
from .errors import MissingCodecError, MRCError
from .header import Record
from .lease import blosc_settings
from .pixels import Pixels
from .progress import Advance, unseen
from .sources import Source

__all__ = ["ChunkSearch", "length_of"]

_SCAN_BYTES = 1 << 22
_TRIAL_BYTES = 1 << 14
"""What it costs to look at a header, as if so many bytes were decompressed."""

_FREE_BYTES = 1 << 30
_MOST_FILES = 4
_MOST_PIXELS = 2
"""What may be spent in vain: a few seconds, and so many times the file's bytes and its pixels'."""

_MOST_RATIO = 16
"""By which the pixels that a header promises are believed to have been compressed."""


def length_of(data: bytes, record: Record, position: int, size: int) -> int:
    """Return how long a chunk is by the header in `data`; 0 if it is none of a file's.

    Parameters
    ----------
    data : bytes
        The chunk, or at least its 16 first bytes.
    record : Record
        Of the file.
    position, size : int
        Where the chunk starts, and where the file ends.
    """
    try:
        return parse_chunk_header(data, 0, nbytes=record.frame_bytes, room=size - position,
                                  path=record.path, offset=position, frame=0).cbytes
    except MRCError:
        return 0


class ChunkSearch:
    """The intact chunks of a file: from one to the next, and where that fails by searching.

    Every place is looked at once. What looks like a chunk and is none costs reading it, and
    perhaps decompressing most of it; since a hostile file may look like a chunk at every byte,
    what is spent in vain is bounded by a multiple of the file and its pixels.

    Parameters
    ----------
    source : Source
        The file.
    record : Record
        Its record.
    scratch : (frame_bytes,) uint8 array
        To decompress into.
    advance : callable
        Told the bytes of the file that were looked at.

    Attributes
    ----------
    gave_up_at : int or None
        Where the bound was reached, if it was.
    missing : MissingCodecError or None
        What something that looked like a chunk would have needed.
    """

    def __init__(
        self, source: Source, record: Record, scratch: Pixels, advance: Advance = unseen
    ) -> None:
        self._advance = advance
        self._source = source
        self._record = record
        self._scratch = scratch
        self._size = source.size
        pixels = min(record.nz * record.frame_bytes, _MOST_RATIO * self._size)
        self._left = _FREE_BYTES + _MOST_FILES * self._size + _MOST_PIXELS * pixels
        self.gave_up_at: int | None = None
        self.missing: MissingCodecError | None = None

    def runs(self) -> list[list[tuple[int, int]]]:
        """Return offset and length of the chunks; those behind a hole start another list."""
        runs: list[list[tuple[int, int]]] = [[]]
        position = self._record.data_offset
        candidates = self._candidates(position)
        while position + CHUNK_HEADER_BYTES <= self._size:
            length = self._intact_length(position)
            if length:
                runs[-1].append((position, length))
                position += length
                self._advance(length)
                continue
            if self._left < 0:
                self.gave_up_at = position
                break
            before = position
            position = next((place for place in candidates if place > before), self._size)
            self._advance(position - before)
            if runs[-1] or len(runs) == 1:
                runs.append([])
        return runs

    def _intact_length(self, position: int) -> int:
        """Return the length of the chunk at `position`; 0 if it is not intact."""
        record, source = self._record, self._source
        where: dict[str, Any] = {"path": record.path, "offset": position, "frame": 0}
        self._left -= _TRIAL_BYTES
        try:
            header = parse_chunk_header(
                source.read(position, CHUNK_HEADER_BYTES), 0, nbytes=record.frame_bytes,
                room=self._size - position, **where)
            if header.is_blosc1 and not header.is_memcpy and BLOSC_PRESENT:
                self._left -= header.prefix_bytes
                parse_block_table(header, source.read(position, header.prefix_bytes),
                                  **where)
            spent = header.cbytes + header.nbytes
            self._left -= spent
            chunk = memoryview(source.read(position, header.cbytes))
            with blosc_settings():
                decompress(chunk, header, address_of(self._scratch),
                           **where)
        except MissingCodecError as error:
            self.missing = error
            return 0
        except MRCError:
            return 0
        self._left += spent + _TRIAL_BYTES
        return header.cbytes

    def _candidates(self, position: int) -> Iterator[int]:
        """Yield where chunks of this file's frames might start, from `position` on, in order."""
        while position < self._size:
            count = min(_SCAN_BYTES + CHUNK_HEADER_BYTES - 1, self._size - position)
            for place in self._plausible(self._source.read(position, count)):
                yield position + place
            position += _SCAN_BYTES

    def _plausible(self, data: bytes) -> list[int]:
        """Return where in `data` headers start that a chunk of this file may have."""
        count = len(data) - CHUNK_HEADER_BYTES + 1
        if count < 1:
            return []
        raw = np.frombuffer(data, np.uint8)
        nbytes, wanted = self._words(raw[4:], count), self._record.frame_bytes
        at = np.flatnonzero(nbytes == wanted)
        typesizes = (self._record.disk_dtype.itemsize, WIDE_TYPESIZE)
        at = at[np.isin(raw[at], (2, 5)) & np.isin(raw[at + 3], typesizes)]
        blocksize, cbytes = (
            raw[at[:, None] + (start + np.arange(4))].view("<i4")[:, 0].astype(np.int64)
            for start in (8, 12)
        )
        least = np.where(raw[at + 2] & FLAG_MEMCPY, CHUNK_HEADER_BYTES,
                         CHUNK_HEADER_BYTES + 4 * -(-wanted // np.maximum(blocksize, 1)))
        fits = (cbytes >= CHUNK_HEADER_BYTES) & (cbytes <= wanted + MAX_OVERHEAD)
        fits &= (raw[at] != 2) | ((blocksize >= 1) & (blocksize <= wanted) & (cbytes >= least))
        return [int(place) for place in at[fits]]

    @staticmethod
    def _words(raw: Pixels, count: int) -> Pixels:
        """Return the 32-bit number that starts at each of the first `count` bytes."""
        words = np.empty(count, np.uint32)
        for shift in range(4):
            part = words[shift::4]
            part[...] = raw[shift : shift + 4 * len(part)].view("<u4")[: len(part)]
        return words
