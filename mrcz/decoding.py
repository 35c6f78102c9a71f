"""Stored frames to arrays, on several threads and straight into the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .buffers import PIECE_BYTES, BufferPool, address_of
from .codec import (
    BLOSC_PRESENT,
    CHUNK_HEADER_BYTES,
    BlockTable,
    ChunkHeader,
    Cut,
    cut_chunk,
    decompress,
    parse_block_table,
    parse_chunk_header,
)
from .errors import MRCChecksumError, MRCFormatError
from .frames import FrameTable
from .header import Record
from .parallel import blosc_settings, run_ordered
from .pixels import Pixels, disk_to_memory
from .sources import Source
from .trailer import hash_of, hasher

__all__ = ["FrameDecoder"]

_PARALLEL_BLOCK_BYTES = 1 << 19
"""Blocks from this size on are worth a thread each, where there are only two."""


class _Part(NamedTuple):
    """Stored bytes of a piece of a frame, for its checksum; `buffer` goes back to the pool."""

    frame: int
    data: memoryview
    buffer: Pixels
    is_last: bool


Task = Callable[[], _Part | None]


class FrameDecoder:
    """Reads frames, or rows of them, of one file.

    Parameters
    ----------
    source : Source
        The file.
    record : Record
        What its header says.
    table : FrameTable
        Where its frames lie.
    checksums : sequence of int, optional
        Of the chunks; those of whole frames are compared.
    verify_parts : bool
        Whether they are compared for parts of frames too, which means reading the whole.
    """

    def __init__(
        self,
        source: Source,
        record: Record,
        table: FrameTable,
        checksums: Sequence[int] | None = None,
        *,
        verify_parts: bool = False,
    ) -> None:
        self._source = source
        self._record = record
        self._table = table
        self._checksums = checksums
        self._verify_parts = verify_parts
        self._pool = BufferPool()
        self._is_native = record.disk_dtype.isnative and not record.mode.converted

    def read(
        self, frames: Sequence[int], out: Pixels, threads: int, *, first_row: int = 0
    ) -> None:
        """Fill `out` with `frames`, or with some of their rows.

        Of a compressed frame only the blocks are decompressed that hold the rows.

        Parameters
        ----------
        frames : sequence of int
            z of each, 0 to nz - 1.
        out : (len(frames), rows, nx) or (…, 3) array
            Of the mode's dtype in memory; any strides.
        threads : int
            How many take part.
        first_row : int
            Where the rows start.

        Raises
        ------
        MRCFormatError
            If a frame is damaged.
        """
        if not out.size:
            return
        pieces = len(frames) * out.shape[1] * self._record.row_bytes / PIECE_BYTES
        tasks: Iterable[Task] = self._tasks(frames, first_row, out)
        if len(frames) == 1 and pieces < 1:
            tasks = list(tasks)
            pieces = len(tasks)
        threads = max(1, min(threads, round(pieces)))
        if self._record.compressor is None:
            run_ordered(tasks, _call, threads=threads)
            return
        with blosc_settings():
            if self._checksums is None:
                run_ordered(tasks, _call, threads=threads)
            else:
                run_ordered(tasks, _call, _Verifier(self).consume, threads=threads)

    # Planning: which task fills which part of the output.

    def _tasks(self, frames: Sequence[int], first_row: int, out: Pixels) -> Iterator[Task]:
        if not (self._is_native and out[0].flags.c_contiguous):
            yield from self._row_tasks(frames, first_row, out)
        elif out.shape[1] < self._record.ny:
            for frame, target in zip(frames, out, strict=True):
                yield from self._span_tasks(frame, first_row, target)
        elif self._record.compressor is None:
            yield from self._raw_tasks(frames, out)
        elif self._record.frame_bytes >= 2 * PIECE_BYTES:
            for frame, target in zip(frames, out, strict=True):
                yield from self._piece_tasks(frame, address_of(target))
        else:
            base, stride = address_of(out), out.strides[0]
            for start, stop in self._runs(frames):
                yield partial(self._decode_run, frames[start], stop - start,
                              base + start * stride, stride)

    def _runs(self, frames: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield ranges of `frames` that lie one behind the other, about a piece each."""
        most = max(1, PIECE_BYTES // self._record.frame_bytes)
        start = 0
        for stop in range(1, len(frames) + 1):
            if (
                stop == len(frames)
                or stop - start == most
                or frames[stop] != frames[stop - 1] + 1
            ):
                yield start, stop
                start = stop

    def _row_tasks(self, frames: Sequence[int], first_row: int, out: Pixels) -> Iterator[Task]:
        rows = max(1, PIECE_BYTES // self._record.row_bytes)
        for frame, target in zip(frames, out, strict=True):
            if self._checksums is not None and len(target) == self._record.ny > rows:
                yield partial(self._verify_chunk, frame)
            for start in range(0, len(target), rows):
                yield partial(self._read_rows, frame, first_row + start,
                              target[start : start + rows])

    def _span_tasks(self, frame: int, first_row: int, out: Pixels) -> Iterator[Task]:
        """Yield tasks for some rows of a frame: whole blocks in place, parts by copying."""
        if self._record.compressor is None:
            yield partial(self._read_rows, frame, first_row, out)
            return
        header, table = self._chunk(frame)
        if table is None or header.blocksize < _PARALLEL_BLOCK_BYTES:
            yield from self._row_tasks([frame], first_row, out[None])
            return
        if self._checksums is not None and self._verify_parts:
            yield partial(self._verify_chunk, frame)
        flat = out.reshape(-1).view(np.uint8)
        begin = first_row * self._record.row_bytes
        start, end, size = begin, begin + flat.nbytes, header.blocksize
        while start < end:
            block = start // size
            stop = min((block + 1) * size, end)
            yield partial(self._decode_part, frame, header, table, block, start - block * size,
                          flat[start - begin : stop - begin])
            start = stop

    def _raw_tasks(self, frames: Sequence[int], out: Pixels) -> Iterator[Task]:
        if out.flags.c_contiguous and frames[-1] - frames[0] == len(frames) - 1:
            spans = [(frames[0], out)]
        else:
            spans = list(zip(frames, out, strict=True))
        for frame, target in spans:
            view = target.reshape(-1).view(np.uint8).data
            offset, _ = self._table.span(frame)
            for start in range(0, len(view), PIECE_BYTES):
                yield partial(self._source.read_into, offset + start,
                              view[start : start + PIECE_BYTES])

    def _piece_tasks(self, frame: int, address: int) -> Iterator[Task]:
        header, table = self._chunk(frame)
        if table is None:
            yield partial(self._decode_run, frame, 1, address, 0)
            return
        step = max(1, PIECE_BYTES // header.blocksize)
        decode: Callable[..., _Part | None] = self._decode_blocks
        if self._checksums is not None:
            if (np.diff(table.starts) > 0).all():
                decode = self._decode_and_keep
            else:
                yield partial(self._verify_chunk, frame)
        for first in range(0, header.block_count, step):
            last = min(first + step, header.block_count)
            yield partial(decode, frame, header, table, first, last,
                          address + first * header.blocksize)

    # Work: what a task does.

    def _decode_run(self, first: int, count: int, address: int, stride: int) -> None:
        """Decompress whole frames that lie one behind the other."""
        path = self._record.path
        start, stop = self._table.span(first, count)
        with self._pool.borrow(stop - start) as buffer:
            view = buffer.data
            self._source.read_into(start, view)
            for frame in range(first, first + count):
                offset, end = self._table.span(frame)
                chunk = view[offset - start : end - start]
                self._compare(frame, chunk)
                header = self._header(frame, chunk, offset, end)
                decompress(chunk, header, address, path=path, offset=offset, frame=frame)
                address += stride

    def _decode_blocks(
        self, frame: int, header: ChunkHeader, table: BlockTable, first: int, last: int,
        address: int,
    ) -> None:  # fmt: skip
        """Decompress the blocks ``first`` to ``last - 1`` of a frame."""
        cut = cut_chunk(header, table, first, last)
        with self._pool.borrow(cut.header.cbytes) as buffer:
            self._decode_cut(frame, cut, buffer.data, address)

    def _decode_part(
        self, frame: int, header: ChunkHeader, table: BlockTable, block: int, skipped: int,
        out: Pixels,
    ) -> None:  # fmt: skip
        """Fill `out` with bytes of one block, from its byte `skipped` on."""
        nbytes = min(header.blocksize, header.nbytes - block * header.blocksize)
        if out.nbytes == nbytes:
            self._decode_blocks(frame, header, table, block, block + 1, address_of(out))
            return
        with self._pool.borrow(nbytes) as whole:
            self._decode_blocks(frame, header, table, block, block + 1, address_of(whole))
            out[...] = whole[skipped : skipped + out.nbytes]

    def _decode_and_keep(
        self, frame: int, header: ChunkHeader, table: BlockTable, first: int, last: int,
        address: int,
    ) -> _Part:  # fmt: skip
        """Decompress blocks, and return their stored bytes for the checksum of the frame."""
        cut = cut_chunk(header, table, first, last)
        buffer = self._pool.take(cut.header.cbytes)
        view = buffer.data[: cut.header.cbytes]
        self._decode_cut(frame, cut, view, address)
        return _Part(frame, view[len(cut.prefix) :], buffer, last == header.block_count)

    def _decode_cut(self, frame: int, cut: Cut, view: memoryview, address: int) -> None:
        offset, _ = self._table.span(frame)
        position = len(cut.prefix)
        view[:position] = cut.prefix
        for start, stop in cut.ranges:
            self._source.read_into(offset + start, view[position : position + stop - start])
            position += stop - start
        decompress(view, cut.header, address, path=self._record.path, offset=offset, frame=frame)

    def _read_rows(self, frame: int, first: int, out: Pixels) -> None:
        """Fill `out`, (rows, nx), from row `first` on, converting as needed."""
        row_bytes = self._record.row_bytes
        start, stop = first * row_bytes, (first + len(out)) * row_bytes
        offset, _ = self._table.span(frame)
        if self._record.compressor is None:
            self._read_stored(offset + start, stop - start, out)
            return
        if self._checksums is not None and (
            self._verify_parts or (first == 0 and len(out) == self._record.ny)
        ):
            self._verify_chunk(frame)
        header, table = self._chunk(frame)
        if header.is_memcpy:
            self._read_stored(offset + CHUNK_HEADER_BYTES + start, stop - start, out)
            return
        first_block, last_block = 0, header.block_count
        if table is not None:
            first_block, last_block = start // header.blocksize, -(-stop // header.blocksize)
        skipped = first_block * header.blocksize
        with self._pool.borrow(min(last_block * header.blocksize, header.nbytes) - skipped) as raw:
            if table is None:
                self._decode_run(frame, 1, address_of(raw), 0)
            else:
                self._decode_blocks(frame, header, table, first_block, last_block,
                                    address_of(raw))
            self._convert(raw[start - skipped : stop - skipped], out)

    def _read_stored(self, offset: int, nbytes: int, out: Pixels) -> None:
        with self._pool.borrow(nbytes) as raw:
            self._source.read_into(offset, raw.data)
            self._convert(raw, out)

    def _convert(self, raw: Pixels, out: Pixels) -> None:
        disk_to_memory(raw.reshape(len(out), -1), self._record.mode, self._record.byteorder, out)

    def _chunk(self, frame: int) -> tuple[ChunkHeader, BlockTable | None]:
        """Return a frame's chunk header and, if it can be cut, its table of blocks."""
        offset, end = self._table.span(frame)
        header = self._header(frame, self._source.read(offset, CHUNK_HEADER_BYTES), offset, end)
        if header.is_memcpy or not header.is_blosc1 or not BLOSC_PRESENT:
            return header, None
        prefix = self._source.read(offset, header.prefix_bytes)
        return header, parse_block_table(header, prefix, path=self._record.path, offset=offset,
                                         frame=frame)

    def _header(self, frame: int, data: Any, offset: int, end: int) -> ChunkHeader:
        """Return the chunk header in `data`, which must fill the frame's place."""
        header = parse_chunk_header(data, 0, nbytes=self._record.frame_bytes, room=end - offset,
                                    path=self._record.path, offset=offset, frame=frame)
        if header.cbytes != end - offset:
            raise MRCFormatError(f"frame {frame} does not end where the next one starts",
                                 path=self._record.path, offset=offset,
                                 expected=f"{end - offset} bytes", found=header.cbytes)
        return header

    # Verification.

    def prefix_hasher(self, frame: int) -> Any:
        """Return a hasher of a chunk's header and table of blocks."""
        header, _ = self._chunk(frame)
        offset, _ = self._table.span(frame)
        return hasher(self._source.read(offset, header.prefix_bytes))

    def compare_digest(self, frame: int, digest: int) -> None:
        """Compare a chunk's checksum with the one in the trailer.

        Raises
        ------
        MRCChecksumError
            If they differ.
        """
        assert self._checksums is not None
        if digest != self._checksums[frame]:
            raise MRCChecksumError(f"frame {frame} is not what was written",
                                   path=self._record.path, offset=self._table.span(frame)[0],
                                   expected=f"checksum {self._checksums[frame]:016x}",
                                   found=f"{digest:016x}")

    def release(self, part: _Part) -> None:
        """Give a part's buffer back."""
        self._pool.give(part.buffer)

    def _compare(self, frame: int, chunk: memoryview) -> None:
        if self._checksums is not None:
            self.compare_digest(frame, hash_of(chunk))

    def _verify_chunk(self, frame: int) -> None:
        """Read a chunk for its checksum alone."""
        start, stop = self._table.span(frame)
        with self._pool.borrow(stop - start) as buffer:
            self._source.read_into(start, buffer.data)
            self._compare(frame, buffer.data)


class _Verifier:
    """Makes the checksums of frames from their parts, which come in order."""

    def __init__(self, decoder: FrameDecoder) -> None:
        self._decoder = decoder
        self._digest: Any = None

    def consume(self, part: _Part | None) -> None:
        """Take the next part; None for work that has verified itself."""
        if part is None:
            return
        if self._digest is None:
            self._digest = self._decoder.prefix_hasher(part.frame)
        self._digest.update(part.data)
        self._decoder.release(part)
        if part.is_last:
            digest, self._digest = self._digest.intdigest(), None
            self._decoder.compare_digest(part.frame, digest)


def _call(task: Task) -> _Part | None:
    return task()
