"""The chunks of a file: found, checked, decompressed whole, by blocks or by bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from .blocks import BlockTable, Cut, PlanarBlock, cut_chunk, parse_block_table
from .buffers import BufferPool, address_of
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


class Chunk(NamedTuple):
    """A frame as it is stored; `blocks` is None where it can't be taken apart."""

    frame: int
    offset: int
    header: ChunkHeader
    blocks: BlockTable | None


class ChunkReader:
    """Reads the chunks of one file.

    Parameters
    ----------
    source : Source
        The file.
    record : Record
        What its header says.
    table : FrameTable
        Where its frames lie.
    pool : BufferPool
        Memory to work in.
    """

    def __init__(
        self, source: Source, record: Record, table: FrameTable, pool: BufferPool
    ) -> None:
        self._source = source
        self._record = record
        self._table = table
        self._pool = pool

    def find(self, frame: int) -> Chunk:
        """Return a frame's chunk, its header and its table of blocks checked."""
        offset, end = self._table.span(frame)
        header = self.check(frame, self._source.read(offset, CHUNK_HEADER_BYTES), offset, end)
        if header.is_memcpy or not header.is_blosc1 or not BLOSC_PRESENT:
            return Chunk(frame, offset, header, None)
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
        assert chunk.blocks is not None
        self._read_cut(chunk, cut_chunk(chunk.header, chunk.blocks, first, last), address)

    def read_bytes(self, chunk: Chunk, start: int, out: Pixels) -> None:
        """Fill `out`, contiguous bytes, with those of a frame from `start` on.

        Whole blocks go straight there.
        """
        size, nbytes = chunk.header.blocksize, chunk.header.nbytes
        position, stop = start, start + out.nbytes
        while position < stop:
            block = position // size
            begin, end = block * size, min((block + 1) * size, nbytes)
            if position == begin and end <= stop:
                last = chunk.header.block_count if stop == nbytes else stop // size
                self.read_blocks(chunk, block, last, address_of(out) + position - start)
                position = min(last * size, nbytes)
            else:
                end = min(end, stop)
                self._read_part(chunk, block, position - begin, out[position - start : end - start])
                position = end

    def load(self, chunk: Chunk, cut: Cut, view: memoryview) -> None:
        """Fill `view` with a cut of a chunk, to be decompressed."""
        position = len(cut.prefix)
        view[:position] = cut.prefix
        for start, stop in cut.ranges:
            self._source.read_into(chunk.offset + start, view[position : position + stop - start])
            position += stop - start

    def _read_cut(self, chunk: Chunk, cut: Cut, address: int) -> None:
        with self._pool.borrow(cut.header.cbytes) as buffer:
            self.load(chunk, cut, buffer.data)
            self.decompress(chunk.frame, buffer.data, cut.header, chunk.offset, address)

    def _read_part(self, chunk: Chunk, block: int, start: int, out: Pixels) -> None:
        """Fill `out` with bytes of one block, from its byte `start` on."""
        assert chunk.blocks is not None
        cut = cut_chunk(chunk.header, chunk.blocks, block, block + 1)
        nbytes, stop = cut.header.nbytes, start + out.nbytes
        with self._pool.borrow(nbytes) as whole:
            if nbytes >= _PLANAR_BYTES and 2 * out.nbytes <= nbytes:
                planar = PlanarBlock(cut)
                if planar.planes and planar.covers(start, stop):
                    self._read_planar(chunk, planar, whole, start, out)
                    return
            self._read_cut(chunk, cut, address_of(whole))
            out[...] = whole[start:stop]

    def _read_planar(
        self, chunk: Chunk, block: PlanarBlock, stored: Pixels, start: int, out: Pixels
    ) -> None:
        """Fill `out` from a block whose filter is undone where it must be; `stored` is scratch."""
        self._read_cut(chunk, block.cut, address_of(stored))
        piece, header, skipped = block.part(stored, start, start + out.nbytes)
        # The scratch has served: its start takes what the piece decompresses to.
        self.decompress(chunk.frame, piece.data, header, chunk.offset, address_of(stored))
        out[...] = stored[skipped : skipped + out.nbytes]
