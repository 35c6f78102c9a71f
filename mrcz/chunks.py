"""The chunks of a file: found, checked, decompressed whole, by blocks or by bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .blocks import BlockTable, Cut, Planes, cut_chunk, parse_block_table, without_filter
from .buffers import Borrowed, address_of
from .cache import Cache
from .checksums import hash_of
from .codec import (
    BLOSC_PRESENT,
    CHUNK_HEADER_BYTES,
    ChunkHeader,
    decompress,
    parse_chunk_header,
)
from .errors import MRCFormatError
from .frames import FrameTable
from .header import Record
from .pixels import Pixels
from .sources import Source

__all__ = ["Chunk", "ChunkReader"]

_PLANAR_BYTES = 1 << 17
"""Of smaller blocks, undoing the filter of a part alone saves less than it costs."""
_PREFIX_BYTES = 1 << 9
"""What is read of a chunk first: its header, and nearly always its table of blocks."""


class Chunk(NamedTuple):
    """A frame as it is stored; `blocks` is None where it can't be taken apart."""

    frame: int
    offset: int
    header: ChunkHeader
    blocks: BlockTable | None

    @property
    def block_bytes(self) -> int:
        """Bytes of pixels that can be read by themselves."""
        return self.header.nbytes if self.blocks is None else self.header.blocksize


class _Block(NamedTuple):
    """A block in memory: as it should be, or as planes."""

    data: Pixels
    planes: Planes | None


class ChunkReader:
    """Reads the chunks of one file.

    Parameters
    ----------
    source, record
        As of `FrameTable`.
    table : FrameTable
        Where the file's frames lie.
    """

    def __init__(
        self, source: Source, record: Record, table: FrameTable
    ) -> None:
        self._source = source
        self._record = record
        self._table = table
        self._last: Chunk | None = None  # rows of a frame are seldom asked for only once

    def find(self, frame: int) -> Chunk:
        """Return a frame's chunk, its header and its table of blocks checked."""
        last = self._last
        if last is None or last.frame != frame:
            self._last = last = self._find(frame)
        return last

    def _find(self, frame: int) -> Chunk:
        offset, end = self._table.span(frame)
        size = max(CHUNK_HEADER_BYTES, min(end - offset, _PREFIX_BYTES))
        prefix = self._source.read(offset, size)
        header = self.check(frame, prefix, offset, end)
        if header.is_memcpy or not header.is_blosc1 or not BLOSC_PRESENT:
            return Chunk(frame, offset, header, None)
        if len(prefix) < header.prefix_bytes:
            prefix = self._source.read(offset, header.prefix_bytes)
        blocks = parse_block_table(header, prefix, path=self._record.path, offset=offset,
                                   frame=frame)
        return Chunk(frame, offset, header, blocks)

    def check(self, frame: int, data: Any, offset: int, end: int) -> ChunkHeader:
        """Return the chunk header in `data`, which must fill the frame's place."""
        header = parse_chunk_header(data, 0, nbytes=self._record.frame_bytes, room=end - offset,
                                    path=self._record.path, offset=offset, frame=frame)
        if header.cbytes != end - offset:
            raise MRCFormatError(f"frame {frame} does not end where the next one starts",
                                 path=self._record.path, offset=offset,
                                 expected=f"{end - offset} bytes", found=header.cbytes)
        return header

    def decompress(
        self, frame: int, data: memoryview, header: ChunkHeader, offset: int, address: int
    ) -> None:
        """Decompress `data`, all of a chunk or a cut of it, to `address`."""
        decompress(data, header, address, path=self._record.path, offset=offset, frame=frame)

    def read_blocks(self, chunk: Chunk, first: int, last: int, address: int) -> None:
        """Decompress the blocks ``first`` to ``last - 1`` to `address`."""
        self._read_cut(chunk, _cut(chunk, first, last), address)

    def read_hashed(self, chunk: Chunk, first: int, last: int, address: int) -> int:
        """Decompress a segment, whose blocks lie in order, and return its hash."""
        cut = _cut(chunk, first, last)
        (begin, stop), = cut.ranges
        start = 0 if first == 0 else begin  # header and table belong to the first one
        room = len(cut.prefix)
        with Borrowed(room + stop - start) as buffer:
            stored = buffer.data[room:]
            self._source.read_into(chunk.offset + start, stored)
            digest = hash_of(stored)
            # The table has been hashed: that of these blocks alone goes in its place.
            data = buffer.data[begin - start :]
            data[:room] = cut.prefix
            self.decompress(chunk.frame, data, cut.header, chunk.offset, address)
        return digest

    def read_bytes(self, chunk: Chunk, start: int, out: Pixels, cache: Cache | None) -> None:
        """Fill `out`, contiguous bytes, with those of a frame from `start` on.

        Whole blocks go straight there; others are kept in `cache`, for rows nearby.
        """
        if chunk.header.is_memcpy:
            self._source.read_into(chunk.offset + CHUNK_HEADER_BYTES + start, out.data)
            return
        size, nbytes = chunk.block_bytes, chunk.header.nbytes
        position, stop = start, start + out.nbytes
        while position < stop:
            number = position // size
            begin, end = number * size, min((number + 1) * size, nbytes)
            if position == begin and end <= stop:
                last = -(-nbytes // size) if stop == nbytes else stop // size
                self.read_blocks(chunk, number, last, address_of(out) + position - start)
                position = min(last * size, nbytes)
            else:
                end = min(end, stop)
                part = out[position - start : end - start]
                block = None if cache is None else cache.get((chunk.frame, number))
                if block is None:
                    block = self._block(chunk, number, part.nbytes)
                    if cache is not None:
                        cache.put((chunk.frame, number), block, block.data.nbytes)
                self._copy(chunk, block, position - begin, part)
                position = end

    def _read_cut(self, chunk: Chunk, cut: Cut, address: int) -> None:
        with Borrowed(cut.header.cbytes) as buffer:
            view, position = buffer.data, len(cut.prefix)
            view[:position] = cut.prefix
            for start, stop in cut.ranges:
                end = position + stop - start
                self._source.read_into(chunk.offset + start, view[position:end])
                position = end
            self.decompress(chunk.frame, view, cut.header, chunk.offset, address)

    def _block(self, chunk: Chunk, number: int, wanted: int) -> _Block:
        """Return a block of which `wanted` bytes are needed."""
        cut = _cut(chunk, number, number + 1)
        nbytes, planes = cut.header.nbytes, None
        if nbytes >= _PLANAR_BYTES and 2 * wanted <= nbytes:
            planes = Planes.of(cut.header)
        data = np.empty(nbytes, np.uint8)
        self._read_cut(chunk, without_filter(cut) if planes else cut, address_of(data))
        return _Block(data, planes)

    def _copy(self, chunk: Chunk, block: _Block, start: int, out: Pixels) -> None:
        """Fill `out` from a block, from its byte `start` on."""
        stop = start + out.nbytes
        if block.planes is None:
            out[...] = block.data[start:stop]
            return
        covered = block.planes.nbytes  # what lies behind the planes is as it should be
        if stop > covered:
            out[max(0, covered - start) :] = block.data[max(start, covered) : stop]
            if start >= covered:
                return
            out, stop = out[: covered - start], covered
        part = block.planes.part(block.data, start, stop)
        with Borrowed(part.header.cbytes) as data:
            part.gather(data)
            if part.runs == 1 and part.header.nbytes == out.nbytes:
                self.decompress(chunk.frame, data.data, part.header, chunk.offset, address_of(out))
                return
            with Borrowed(part.header.nbytes) as pixels:
                self.decompress(chunk.frame, data.data, part.header, chunk.offset,
                                address_of(pixels))
                part.scatter(pixels, out)


def _cut(chunk: Chunk, first: int, last: int) -> Cut:
    if chunk.blocks is None:  # behind the very header that was checked
        stored = (CHUNK_HEADER_BYTES, chunk.header.cbytes)
        return Cut(chunk.header.pack(), chunk.header, [stored])
    return cut_chunk(chunk.header, chunk.blocks, first, last)
