"""Stored frames to arrays, on several threads and straight into the output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from .buffers import LEAST_BYTES, PIECE_BYTES, Borrowed, address_of, piece_bytes
from .cache import Cache
from .checksums import checksum_of, combine, segments_of
from .chunks import Chunk, ChunkReader
from .errors import MRCChecksumError, MRCFormatError
from .frames import FrameTable
from .header import Record
from .lease import blosc_settings
from .parallel import run_ordered
from .pixels import Pixels, disk_to_memory
from .sources import Source

__all__ = ["FrameDecoder"]

_PARALLEL_BYTES = 1 << 19
"""Blocks of this many bytes together are a task."""

_SMALL_BYTES = 1 << 17
_SMALL_RAW_BYTES = 1 << 13
"""Of frames no larger than these, as compressed or not, all is read as fast as a part is."""

Task = Callable[[], None]


class FrameDecoder:
    """Reads frames, or rows of them, of one file.

    Parameters
    ----------
    source, record, table
        As of `ChunkReader`.
    checksums : sequence of int, optional
        Of the chunks; those of whole frames are compared.
    verify_parts : bool
        Whether they are compared for parts of frames too, which means reading the whole.
    cache : Cache, optional
        Keeps the blocks that were read for rows of a single frame.
    """

    def __init__(
        self,
        source: Source,
        record: Record,
        table: FrameTable,
        checksums: Sequence[int] | None = None,
        *,
        verify_parts: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self._source = source
        self._record = record
        self._table = table
        self._checksums = checksums
        self._verify_parts = verify_parts
        self._cache = cache
        self._chunks = ChunkReader(source, record, table)
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
        threads = max(1, min(threads, self._threads_worth(frames, first_row, out.shape[1])))
        tasks = self._tasks(frames, first_row, out, threads)
        if self._record.compressor is None:
            run_ordered(tasks, _call, threads=threads)
            return
        with blosc_settings():
            run_ordered(tasks, _call, threads=threads)

    # Planning: which task fills which part of the output.

    def _threads_worth(self, frames: Sequence[int], first_row: int, rows: int) -> int:
        """Return how many threads the work is worth, at about a millisecond each."""
        row_bytes = self._record.row_bytes
        nbytes = rows * row_bytes
        if rows == self._record.ny:
            return round(len(frames) * nbytes / (2 * LEAST_BYTES))
        if self._record.compressor is not None:  # some rows cost all of their blocks
            chunk = self._chunks.find(frames[0])
            size = 1 if chunk.header.is_memcpy else chunk.block_bytes
            start, stop = first_row * row_bytes, first_row * row_bytes + nbytes
            nbytes = (-(-stop // size) - start // size) * size
        return round(len(frames) * nbytes / LEAST_BYTES)

    def _tasks(
        self, frames: Sequence[int], first_row: int, out: Pixels, threads: int
    ) -> Iterator[Task]:
        cache = self._cache if len(frames) == 1 else None
        piece = piece_bytes(out.nbytes, threads, PIECE_BYTES)
        rows, is_plain = out.shape[1], self._is_native and out[0].flags.c_contiguous
        if not (is_plain and rows == self._record.ny) and self._are_small(frames, rows):
            for start, stop in self._runs(frames, piece):
                yield partial(self._read_run, frames[start], first_row, out[start:stop])
        elif not is_plain:
            yield from self._row_tasks(frames, first_row, out, cache)
        elif rows < self._record.ny:
            for frame, target in zip(frames, out, strict=True):
                yield from self._span_tasks(frame, first_row, target, cache)
        elif self._record.compressor is None:
            yield from self._raw_tasks(frames, out)
        elif self._record.frame_bytes >= 2 * piece:
            for frame, target in zip(frames, out, strict=True):
                yield from self._piece_tasks(frame, address_of(target), piece)
        else:
            base, stride = address_of(out), out.strides[0]
            for start, stop in self._runs(frames, piece):
                yield partial(self._decode_run, frames[start], stop - start,
                              base + start * stride, stride)

    def _are_small(self, frames: Sequence[int], rows: int) -> bool:
        """Return whether rows of many frames cost less with all that lies between them."""
        record = self._record
        if len(frames) == 1 or record.frame_bytes > _SMALL_BYTES:
            return False
        if record.compressor is None:
            return rows == record.ny or record.frame_bytes <= _SMALL_RAW_BYTES
        return self._chunks.find(frames[0]).block_bytes >= record.frame_bytes

    def _runs(self, frames: Sequence[int], piece: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of `frames` that lie one behind the other, about a piece each."""
        most = max(1, piece // self._record.frame_bytes)
        start = 0
        for stop in range(1, len(frames) + 1):
            if (
                stop == len(frames)
                or stop - start == most
                or frames[stop] != frames[stop - 1] + 1
            ):
                yield start, stop
                start = stop

    def _row_tasks(
        self, frames: Sequence[int], first_row: int, out: Pixels, cache: Cache | None
    ) -> Iterator[Task]:
        rows = max(1, PIECE_BYTES // self._record.row_bytes)
        for frame, target in zip(frames, out, strict=True):
            if self._checksums is not None and len(target) == self._record.ny > rows:
                yield partial(self._verify_chunk, frame)
            for start in range(0, len(target), rows):
                yield partial(self._read_rows, frame, first_row + start,
                              target[start : start + rows], cache)

    def _span_tasks(
        self, frame: int, first_row: int, out: Pixels, cache: Cache | None
    ) -> Iterator[Task]:
        """Yield tasks for some rows of a frame, straight into the output."""
        flat = out.reshape(-1).view(np.uint8)
        start = first_row * self._record.row_bytes
        if self._record.compressor is None:
            yield partial(self._source.read_into, self._table.span(frame)[0] + start, flat.data)
            return
        if self._checksums is not None and self._verify_parts:
            yield partial(self._verify_chunk, frame)
        chunk = self._chunks.find(frame)
        size = chunk.block_bytes
        size *= max(1, _PARALLEL_BYTES // size)
        edges = [*range((start // size + 1) * size, start + flat.nbytes, size)]
        for begin, end in zip([start, *edges], [*edges, start + flat.nbytes], strict=True):
            part = flat[begin - start : end - start]
            yield partial(self._chunks.read_bytes, chunk, begin, part, cache)

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

    def _piece_tasks(self, frame: int, address: int, piece: int) -> Iterator[Task]:
        chunk = self._chunks.find(frame)
        header = chunk.header
        if chunk.blocks is None:
            yield partial(self._decode_run, frame, 1, address, 0)
            return
        if self._checksums is not None:
            if chunk.blocks.in_order:
                segments = segments_of(header)
                gathered = _Segments(len(segments))
                for first, last in segments:
                    yield partial(self._read_segment, gathered, chunk, first, last,
                                  address + first * header.blocksize)
                return
            yield partial(self._verify_chunk, frame)
        step = max(1, piece // header.blocksize)
        for first in range(0, header.block_count, step):
            last = min(first + step, header.block_count)
            yield partial(self._chunks.read_blocks, chunk, first, last,
                          address + first * header.blocksize)

    # Work: what a task does.

    def _decode_run(
        self, first: int, count: int, address: int, stride: int, *, verify: bool = True
    ) -> None:
        """Decompress whole frames that lie one behind the other."""
        start, stop = self._table.span(first, count)
        with Borrowed(stop - start) as buffer:
            view = buffer.data
            self._source.read_into(start, view)
            for frame, (offset, end) in enumerate(self._table.spans(first, count), first):
                if end > stop:  # the parts of an index that lies don't add up
                    raise MRCFormatError(f"frame {frame} does not lie where the header's index "
                                         "has it", path=self._record.path, offset=offset,
                                         expected=f"its end at byte {stop} or before", found=end)
                data = view[offset - start : end - start]
                if verify:
                    self._verify(frame, data)
                header = self._chunks.check(frame, data, offset, end)
                self._chunks.decompress(frame, data, header, offset, address)
                address += stride

    def _read_run(self, first: int, first_row: int, out: Pixels) -> None:
        """Fill `out`, rows of frames that lie one behind the other, from all of these."""
        record, (count, rows) = self._record, out.shape[:2]
        with Borrowed(count * record.frame_bytes) as raw:
            if record.compressor is None:
                self._source.read_into(self._table.span(first, count)[0], raw.data)
            else:
                is_all = rows == record.ny
                self._decode_run(first, count, address_of(raw), record.frame_bytes,
                                 verify=is_all or self._verify_parts)
            stored = raw.reshape(count, record.ny, -1)[:, first_row : first_row + rows]
            self._convert(stored, out)

    def _read_segment(
        self, gathered: _Segments, chunk: Chunk, first: int, last: int, address: int
    ) -> None:
        """Decompress a segment of a frame; who reads the last one compares the checksum."""
        digest = self._chunks.read_hashed(chunk, first, last, address)
        if (digests := gathered.add(first, digest)) is not None:
            self._compare_checksum(chunk.frame, combine(digests))

    def _read_rows(self, frame: int, first: int, out: Pixels, cache: Cache | None) -> None:
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
        with Borrowed(stop - start) as raw:
            self._chunks.read_bytes(self._chunks.find(frame), start, raw, cache)
            self._convert(raw.reshape(len(out), -1), out)

    def _read_stored(self, offset: int, nbytes: int, out: Pixels) -> None:
        with Borrowed(nbytes) as raw:
            self._source.read_into(offset, raw.data)
            self._convert(raw.reshape(len(out), -1), out)

    def _convert(self, raw: Pixels, out: Pixels) -> None:
        disk_to_memory(raw, self._record.mode, self._record.byteorder, out)

    # Verification.

    def _verify(self, frame: int, chunk: memoryview) -> None:
        if self._checksums is not None:
            self._compare_checksum(frame, checksum_of(chunk))

    def _verify_chunk(self, frame: int) -> None:
        """Read a chunk for its checksum alone."""
        start, stop = self._table.span(frame)
        with Borrowed(stop - start) as buffer:
            self._source.read_into(start, buffer.data)
            self._verify(frame, buffer.data)

    def _compare_checksum(self, frame: int, found: int) -> None:
        assert self._checksums is not None
        if found != self._checksums[frame]:
            raise MRCChecksumError(f"frame {frame} is not what was written",
                                   path=self._record.path, offset=self._table.span(frame)[0],
                                   expected=f"checksum {self._checksums[frame]:016x}",
                                   found=f"{found:016x}")


class _Segments:
    """Gathers the hashes of a frame's segments, which come in any order."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._digests: dict[int, int] = {}

    def add(self, first: int, digest: int) -> list[int] | None:
        """Take that of the segment that starts with a block; return all once they are there."""
        with self._lock:
            self._digests[first] = digest
            is_last = len(self._digests) == self._count
        return [each for _, each in sorted(self._digests.items())] if is_last else None


def _call(task: Task) -> None:
    task()
