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
from itertools import pairwise
from operator import lt
from typing import NamedTuple

import numpy as np

from .codec import (
    CHUNK_HEADER_BYTES,
    FLAG_BITSHUFFLE,
    FLAG_NO_SPLIT,
    FLAG_SHUFFLE,
    VERSION_BLOSC1,
    WIDE_TYPESIZE,
    ChunkHeader,
)
from .errors import MRCFormatError
from .pixels import Pixels

__all__ = ["BlockTable", "Cut", "Part", "Planes", "cut_chunk", "parse_block_table",
           "without_filter"]  # fmt: skip

_FILTERS = FLAG_SHUFFLE | FLAG_BITSHUFFLE
_COUNTED_BITS = 4
"""Of a pixel of counted electrons; rarely are there 16 at one place."""


class BlockTable(NamedTuple):
    """Where the blocks of a chunk lie, counted from the chunk's first byte."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]

    @property
    def in_order(self) -> bool:
        """Whether they lie one behind the other."""
        return self.starts[1:] == self.stops[:-1]


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
    starts = struct.unpack_from(f"<{header.block_count}i", prefix, CHUNK_HEADER_BYTES)
    edges = [*sorted(starts), header.cbytes]
    if edges[0] < header.prefix_bytes or not all(map(lt, edges, edges[1:])):
        raise MRCFormatError(f"frame {frame} has a bad table of blocks", path=path, offset=offset)
    stops = edges[1:]
    if edges[:-1] != [*starts]:
        following = dict(pairwise(edges))
        stops = [following[start] for start in starts]
    return BlockTable(starts, tuple(stops))


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
    run = BlockTable(table.starts[first:last], table.stops[first:last])
    count = last - first
    nbytes = min(last * header.blocksize, header.nbytes) - first * header.blocksize
    blocksize, flags = header.blocksize, header.flags
    if nbytes < blocksize:
        # The short last block alone: a full block of its size, but never split in streams.
        blocksize, flags = nbytes, flags | FLAG_NO_SPLIT
    prefix_bytes = CHUNK_HEADER_BYTES + 4 * count
    positions, ranges = _gather(run, prefix_bytes)
    cbytes = prefix_bytes + sum(stop - start for start, stop in ranges)
    cut = header._replace(flags=flags, nbytes=nbytes, blocksize=blocksize, cbytes=cbytes)
    return Cut(cut.pack() + struct.pack(f"<{count}i", *positions), cut, ranges)


def _gather(run: BlockTable, position: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return where blocks come to lie from `position` on, and the ranges that they are read from.

    They are read in the order of the file; those that lie one behind the other as one range.
    """
    if run.in_order:  # as nearly always
        shift = position - run.starts[0]
        return [start + shift for start in run.starts], [(run.starts[0], run.stops[-1])]
    moved: dict[int, int] = {}
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted(zip(run.starts, run.stops, strict=True)):
        moved[start] = position
        position += stop - start
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, stop))
    return [moved[start] for start in run.starts], ranges


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

    def part(self, block: Pixels, start: int, stop: int) -> Part:
        """Return how to make the bytes ``[start, stop)`` of pixels, at most `nbytes`."""
        first, last = start // self.number, -(-stop // self.number)
        runs = WIDE_TYPESIZE if self.header.typesize == 1 else 1
        length = -(-(last - first) // runs)
        first = min(first, self.columns - runs * length)
        if first < 0:
            first, runs, length = start // self.number, 1, last - start // self.number
        planes = block[: self.nbytes].reshape(self.number, -1)[:, first : first + runs * length]
        if runs > 1 and not planes[_COUNTED_BITS:].max():
            planes = planes[:_COUNTED_BITS]
        typesize = self.header.typesize * runs * len(planes) // self.number
        # One block, in one stream as long as what it stands for: it is not compressed.
        header = self.header._replace(
            flags=self.header.flags | FLAG_NO_SPLIT, typesize=typesize, nbytes=planes.size,
            blocksize=planes.size, cbytes=_ONE_STREAM_BYTES + planes.size)
        return Part(planes, header, runs, start - first * self.number)


class Part(NamedTuple):
    """Some of a block's pixels, by way of a chunk of those columns of its planes.

    c-blosc unweaves the bits of items of 2 and 4 bytes by SSE2 and AVX2, and those of single
    bytes by a plain loop. So 4 runs of one-byte pixels are woven into one of such items: its
    lowest bits are a pixel of the first run. Of counted electrons, less than 16 a pixel, 4 bits
    are enough: half of the work.

    Attributes
    ----------
    planes : (number, columns) array of uint8
        What is there of them, without those that are empty.
    header : ChunkHeader
        Of the chunk.
    runs : int
        How many runs of pixels, each as long as the others.
    skipped : int
        Bytes of pixels in front of those that were asked for.
    """

    planes: Pixels
    header: ChunkHeader
    runs: int
    skipped: int

    def gather(self, chunk: Pixels) -> None:
        """Fill the chunk, of as many bytes as its header says, from the planes."""
        chunk[:_ONE_STREAM_BYTES] = np.frombuffer(
            self.header.pack() + _STREAM_TABLE.pack(CHUNK_HEADER_BYTES + 4, self.header.nbytes),
            np.uint8)
        number = len(self.planes)
        taken = self.planes.reshape(number, self.runs, -1)
        chunk[_ONE_STREAM_BYTES:].reshape(self.runs, number, -1)[...] = taken.swapaxes(0, 1)

    def scatter(self, data: Pixels, out: Pixels) -> None:
        """Fill `out`, the bytes that were asked for, from what the chunk decompressed to."""
        if self.runs == 1:
            out[...] = data[self.skipped : self.skipped + out.nbytes]
            return
        bits = len(self.planes)
        items = data.view(f"<u{self.header.typesize}")
        for run in range(self.runs):
            if run:
                items >>= bits
            start = run * len(items) - self.skipped  # where in `out` the run starts
            first, last = max(0, start), min(start + len(items), out.nbytes)
            if first < last:
                pixels = out[first:last]
                np.copyto(pixels, items[first - start : last - start], casting="unsafe")
                if bits < 8:
                    pixels &= (1 << bits) - 1


_STREAM_TABLE = struct.Struct("<2i")
"""Where the one block starts, and how long its one stream is."""
_ONE_STREAM_BYTES = CHUNK_HEADER_BYTES + _STREAM_TABLE.size

