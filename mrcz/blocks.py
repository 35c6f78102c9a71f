"""Blocks of a chunk: where they lie, runs of them as chunks, parts of one without the rest.

Blocks don't know of each other, so a run of them behind a new header and table is a chunk
again: that is how rows of a frame are read without the rest, and how several threads work
on one frame.

The filters turn a block into planes one behind the other: byte n of every element
(shuffle), or bit n of every element (bitshuffle, eight elements a byte). So the bytes at one
place of every plane are those of a few elements, and a part of a block needs a part of each
plane. Decompressing without undoing the filter, and undoing it for that part alone, takes a
third to two thirds of the time, for the filters cost as much as the codecs. blosc does
both: the first of a chunk whose header names no filter, the second of one that is stored.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from .codec import (
    CHUNK_HEADER_BYTES,
    FLAG_BITSHUFFLE,
    FLAG_NO_SPLIT,
    FLAG_SHUFFLE,
    VERSION_BLOSC1,
    ChunkHeader,
)
from .errors import MRCFormatError
from .pixels import Pixels

__all__ = ["BlockTable", "Cut", "Planes", "cut_chunk", "parse_block_table",
           "without_filter"]  # fmt: skip

_FILTERS = FLAG_SHUFFLE | FLAG_BITSHUFFLE

_Offsets = np.ndarray[Any, np.dtype[np.int64]]


class BlockTable(NamedTuple):
    """Where the blocks of a chunk lie, counted from the chunk's first byte."""

    starts: _Offsets
    stops: _Offsets


def parse_block_table(
    header: ChunkHeader, prefix: bytes, *, path: str, offset: int, frame: int
) -> BlockTable:
    """Return where the blocks of a chunk start and stop.

    Blocks may be stored in any order, since c-blosc's threads append them as they
    finish; a block stops where the next one in the file starts.

    Parameters
    ----------
    header : ChunkHeader
        Of a chunk that is not stored as it is.
    prefix : bytes
        The chunk's first ``header.prefix_bytes``.
    path, offset, frame
        For messages.

    Raises
    ------
    MRCFormatError
        If a block lies outside of the chunk.
    """
    starts = np.frombuffer(prefix, "<i4", header.block_count, CHUNK_HEADER_BYTES).astype(np.int64)
    order = np.argsort(starts, kind="stable")
    stops = np.empty_like(starts)
    stops[order[:-1]] = starts[order[1:]]
    stops[order[-1]] = header.cbytes
    if starts[order[0]] < header.prefix_bytes or (stops <= starts).any():
        raise MRCFormatError(f"frame {frame} has a bad table of blocks", path=path, offset=offset)
    return BlockTable(starts, stops)


class Cut(NamedTuple):
    """A run of blocks as a chunk of its own: `prefix`, then the bytes of `ranges`."""

    prefix: bytes
    header: ChunkHeader
    ranges: list[tuple[int, int]]


def cut_chunk(header: ChunkHeader, table: BlockTable, first: int, last: int) -> Cut:
    """Return a chunk of the blocks ``first`` to ``last - 1`` of another.

    Parameters
    ----------
    header, table
        Of the whole chunk.
    first, last : int
        Range of blocks.
    """
    starts, stops = table.starts[first:last], table.stops[first:last]
    count = last - first
    nbytes = min(last * header.blocksize, header.nbytes) - first * header.blocksize
    blocksize, flags = header.blocksize, header.flags
    if nbytes < blocksize:
        # The short last block alone: a full block of its size, but never split in streams.
        blocksize, flags = nbytes, flags | FLAG_NO_SPLIT
    if (starts[1:] == stops[:-1]).all():  # one behind the other, as nearly always
        positions, ranges = starts - starts[0], [(int(starts[0]), int(stops[-1]))]
    else:
        positions, ranges = _gathered(starts, stops)
    prefix_bytes = CHUNK_HEADER_BYTES + 4 * count
    cbytes = prefix_bytes + sum(stop - start for start, stop in ranges)
    cut = header._replace(flags=flags, nbytes=nbytes, blocksize=blocksize, cbytes=cbytes)
    return Cut(cut.pack() + (positions + prefix_bytes).astype("<i4").tobytes(), cut, ranges)


def _gathered(starts: _Offsets, stops: _Offsets) -> tuple[_Offsets, list[tuple[int, int]]]:
    """Return where blocks come to lie when they are read in the order of the file, and from where.

    Blocks that lie one behind the other are read as one range.
    """
    order = np.argsort(starts, kind="stable")
    sizes = (stops - starts)[order]
    positions = np.empty_like(starts)
    positions[order] = np.cumsum(sizes) - sizes
    breaks = np.flatnonzero(starts[order[1:]] != stops[order[:-1]]) + 1
    run_starts = starts[order][np.concatenate(([0], breaks))]
    run_stops = stops[order][np.concatenate((breaks - 1, [len(order) - 1]))]
    return positions, list(zip(run_starts.tolist(), run_stops.tolist(), strict=True))


def without_filter(cut: Cut) -> Cut:
    """Return a cut that decompresses to what its filter left, `Planes`."""
    header = cut.header._replace(flags=cut.header.flags & ~_FILTERS)
    return Cut(header.pack() + cut.prefix[CHUNK_HEADER_BYTES:], header, cut.ranges)


class Planes(NamedTuple):
    """How a block lies in memory when its filter has not been undone.

    Attributes
    ----------
    header : ChunkHeader
        Of the chunk that is the block.
    number : int
        How many planes; a byte of each makes as many bytes of pixels.
    columns : int
        Bytes a plane.
    """

    header: ChunkHeader
    number: int
    columns: int

    @classmethod
    def of(cls, header: ChunkHeader) -> Planes | None:
        """Return those of the block that is a chunk; None if no filter was used on it."""
        filters, typesize = header.flags & _FILTERS, header.typesize
        number, elements = 0, header.nbytes // typesize
        if filters == FLAG_SHUFFLE and typesize > 1:
            number = typesize
        elif filters == FLAG_BITSHUFFLE and elements % 8 == 0:  # all others stay as they are
            number = 8 * typesize
        if not number or not elements or header.version != VERSION_BLOSC1:
            return None
        return cls(header, number, header.nbytes // number)

    @property
    def nbytes(self) -> int:
        """Bytes of all planes; behind them lies what is left, as it should be."""
        return self.number * self.columns

    def part(self, block: Pixels, start: int, stop: int) -> tuple[Pixels, ChunkHeader, int]:
        """Return a chunk that has the bytes ``[start, stop)`` of pixels.

        Parameters
        ----------
        block : array of uint8
            The planes.
        start, stop : int
            Which bytes, at most `nbytes`.

        Returns
        -------
        chunk : array of uint8
            All of it.
        header : ChunkHeader
            Its first bytes.
        skipped : int
            Bytes in front of those that were asked for.
        """
        first, last = start // self.number, -(-stop // self.number)
        nbytes = (last - first) * self.number
        # One block, in one stream as long as what it stands for: it is not compressed.
        header = self.header._replace(
            flags=self.header.flags | FLAG_NO_SPLIT, nbytes=nbytes, blocksize=nbytes,
            cbytes=_ONE_STREAM_BYTES + nbytes)
        chunk = np.empty(header.cbytes, np.uint8)
        chunk[:_ONE_STREAM_BYTES] = np.frombuffer(
            header.pack() + _STREAM_TABLE.pack(CHUNK_HEADER_BYTES + 4, nbytes), np.uint8)
        planes = block[: self.nbytes].reshape(self.number, self.columns)
        chunk[_ONE_STREAM_BYTES:].reshape(self.number, -1)[...] = planes[:, first:last]
        return chunk, header, start - first * self.number


_STREAM_TABLE = struct.Struct("<2i")
"""Where the one block starts, and how long its one stream is."""
_ONE_STREAM_BYTES = CHUNK_HEADER_BYTES + _STREAM_TABLE.size

