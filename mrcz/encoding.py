"""Arrays to stored frames, on several threads and straight to the file."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .buffers import LEAST_BYTES, PIECE_BYTES, address_of, piece_bytes
from .codec import (
    MAX_CHUNK_BYTES,
    MAX_OVERHEAD,
    CodecOptions,
    compress,
    read_chunk_header,
)
from .lease import blosc_settings
from .parallel import run_ordered
from .pixels import Pixels
from .placing import ChunkPlacer
from .progress import Advance
from .sinks import FileObjectSink, Sink
from .statistics import Statistics, measure
from .storing import FrameFormat, Stored, StoredFrames
from .tmpfs import PagesAhead

__all__ = ["EncodedFrames", "FrameEncoder", "encode_frames"]

_WRITE_BYTES = 2 * PIECE_BYTES
"""Of uncompressed pixels at once."""


class _Span(NamedTuple):
    """Work for one task: bytes ``[start, stop)`` of one frame, or some whole frames."""

    first: int
    last: int
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return (self.last - self.first) * (self.stop - self.start)


class _Piece(NamedTuple):
    span: _Span
    chunks: list[bytes]
    statistics: Statistics


class FrameEncoder(ChunkPlacer):
    """Writes frames one behind the other.

    Parameters
    ----------
    sink : Sink
        The file.
    offset : int
        Where in it the first frame goes.
    frame_format : FrameFormat
        How they are stored.
    threads : int
        How many take part.
    exact : bool
        Whether the statistics are of all frames and with RMS, or of the first.
    checksum : bool
        Whether to gather the chunks' checksums.
    number : int
        Of its first frame, where it encodes but a part of a file.
    advance : callable, optional
        Told how many bytes of pixels are written, piece by piece.

    Attributes
    ----------
    statistics : Statistics
        So far.
    """

    def __init__(
        self,
        sink: Sink,
        offset: int,
        frame_format: FrameFormat,
        *,
        threads: int,
        exact: bool,
        checksum: bool = False,
        number: int = 0,
        advance: Advance | None = None,
    ) -> None:
        if frame_format.options and frame_format.frame_bytes > MAX_CHUNK_BYTES - MAX_OVERHEAD:
            raise ValueError(
                f"a frame of {frame_format.frame_bytes} bytes can't be compressed: blosc's chunks "
                f"hold less than 2**31; write it uncompressed (compressor=None)"
            )
        super().__init__(sink, offset, frame_format.frame_bytes, checksum=checksum)
        self.statistics = Statistics(squares=0.0 if exact else None)
        self._format = frame_format
        self._threads = threads
        self._exact = exact
        self._advance = advance
        self._writing = threading.Lock()  # a file's own lock spins while it waits
        self._first = number
        self._stored = StoredFrames((), frame_format)  # what is written now

    def write(self, frames: Sequence[Pixels]) -> None:
        """Append frames.

        Parameters
        ----------
        frames : (n, ny, nx) array or sequence of (ny, nx) arrays
            Of any dtype that casts to the format's without loss; any strides.

        Raises
        ------
        ValueError, TypeError
            If a frame has another shape, or a pixel can't be stored.
        OSError
            If the file can't be written.
        """
        self._stored = StoredFrames(frames, self._format, self._first + len(self.lengths))
        self._stored.require_shape()
        before = (self.end, self.statistics)
        count = len(self.lengths)
        try:
            self._write_all()
        except BaseException:  # as if none had come: who catches it may go on
            self.extent = max(self.extent, self.end,
                              before[0] + len(frames) * self._format.frame_bytes)
            self.end, self.statistics = before
            del self.lengths[count:], self.checksums[count:]
            raise
        finally:
            self._stored = StoredFrames((), self._format)

    def _write_all(self) -> None:
        nbytes = len(self._stored) * self._format.frame_bytes
        threads = max(1, min(self._threads, nbytes // LEAST_BYTES))
        with ExitStack() as stack:
            options = self._format.options
            if options is None and self._stored.is_plain and not self._exact:
                self._write_through(min(threads, 2))
            elif options is None:
                step = _WRITE_BYTES if self._stored.is_plain else PIECE_BYTES
                run_ordered(self._spans(step), self._store, self._count, threads=threads)
            else:
                itemsize = self._format.disk_dtype.itemsize
                block = _block_bytes(options, itemsize)
                step = max(1, piece_bytes(nbytes, threads, PIECE_BYTES) // block) * block
                stack.enter_context(blosc_settings(options.block_bytes(itemsize)))
                run_ordered(self._spans(step), self._compress, self._append, threads=threads)

    def _spans(self, step: int) -> Iterator[_Span]:
        nbytes, count = self._format.frame_bytes, len(self._stored)
        cuts = self._format.options is None or self._format.options.backend == "blosc1"
        if nbytes < 2 * step or not cuts:
            frames = max(1, step // nbytes)
            for first in range(0, count, frames):
                yield _Span(first, min(first + frames, count), 0, nbytes)
            return
        edges = [*range(0, nbytes - step + 1, step)]
        for frame in range(count):
            for start, stop in zip(edges, [*edges[1:], nbytes], strict=True):
                yield _Span(frame, frame + 1, start, stop)

    def _write_through(self, threads: int) -> None:
        """Write frames that lie in memory as they are stored, all by the calling thread.

        Taking turns would cost more than it gains, and an interrupt reaches this one. Another
        measures the first frame, if that is to be done, and then makes room in front of this.
        """
        pixels = np.asarray(self._stored.frames).reshape(-1).view(np.uint8)
        stop = self.end + pixels.nbytes
        pages = PagesAhead(self._sink.room_ahead, self.end, stop)

        def beside() -> Iterator[Callable[[], None]]:
            if self._stored.number == 0:
                yield self._measure_first
            yield from pages.steps()

        def write() -> None:
            try:
                for start in range(0, pixels.nbytes, _WRITE_BYTES):
                    part = pixels[start : start + _WRITE_BYTES]
                    self._sink.write_at(self.end + start, part)
                    pages.reached += part.nbytes
                    self._tell(part.nbytes)
            finally:
                pages.reached = stop

        run_ordered(beside(), _call, threads=threads, lead=write)
        self.lengths += [self._format.frame_bytes] * len(self._stored)
        self.end = stop

    # Work, in any thread.

    def _measure_first(self) -> None:
        self.statistics = measure(self._stored.frames[0], with_rms=False)

    def _store(self, span: _Span) -> _Piece:
        nbytes, statistics = self._format.frame_bytes, self._nothing
        with ExitStack() as stack:
            if (block := self._block(stack, span)) is not None:
                statistics += self._measured(span.first, block.values)
                self._write_plain(span.first * nbytes, block.data)
                return _Piece(span, [], statistics)
        for frame in range(span.first, span.last):
            with ExitStack() as stack:
                data, values = self._stored.part(stack, frame, span.start, span.stop)
                statistics += self._measured(frame, values)
                self._write_plain(frame * nbytes + span.start, data)
        return _Piece(span, [], statistics)

    def _write_plain(self, offset: int, data: Pixels) -> None:
        with self._writing:
            self._sink.write_at(self.end + offset, data.reshape(-1).view(np.uint8))

    def _compress(self, span: _Span) -> _Piece:
        options = self._format.options
        assert options is not None
        typesize, nbytes = self._format.disk_dtype.itemsize, self._format.frame_bytes
        with ExitStack() as stack:
            if (block := self._block(stack, span)) is not None:
                start = address_of(block.data)
                chunks = [compress(start + number * nbytes, nbytes, typesize, options)
                          for number in range(span.last - span.first)]
                return _Piece(span, chunks, self._measured(span.first, block.values))
        chunks, statistics = [], self._nothing
        for frame in range(span.first, span.last):
            with ExitStack() as stack:
                data, values = self._stored.part(stack, frame, span.start, span.stop)
                statistics += self._measured(frame, values)
                chunks.append(compress(address_of(data), data.nbytes, typesize, options))
        return _Piece(span, chunks, statistics)

    def _block(self, stack: ExitStack, span: _Span) -> Stored | None:
        if span.stop - span.start != self._format.frame_bytes:
            return None
        return self._stored.block(stack, span.first, span.last)

    @property
    def _nothing(self) -> Statistics:
        return Statistics(squares=0.0 if self._exact else None)

    def _measured(self, frame: int, values: Pixels) -> Statistics:
        """Return what counts of the statistics of a frame, of part of it, or of several."""
        if self._exact:
            return measure(values, with_rms=True)
        if self._stored.number + frame == 0:
            return measure(values[0] if values.ndim == 3 else values, with_rms=False)
        return self._nothing

    # Consumption, in the order of the file.

    def _tell(self, nbytes: int) -> None:
        if self._advance is not None:
            self._advance(nbytes)

    def _count(self, piece: _Piece) -> None:
        self.statistics += piece.statistics
        self._tell(piece.span.nbytes)
        if piece.span.stop == self._format.frame_bytes:
            count = piece.span.last - piece.span.first
            self.lengths += [self._format.frame_bytes] * count
            if piece.span.last == len(self._stored):
                self.end += self._format.frame_bytes * len(self._stored)

    def _append(self, piece: _Piece) -> None:
        self.statistics += piece.statistics
        self._tell(piece.span.nbytes)
        if piece.span.stop - piece.span.start == self._format.frame_bytes:
            self.write_chunks(piece.chunks)
            return
        self.write_piece(piece.span.start, piece.chunks[0])
        if piece.span.stop == self._format.frame_bytes and not self.join_pieces():
            # Some pieces compress, some don't: blosc has to see the frame as a whole.
            frame = piece.span.first
            whole = _Span(frame, frame + 1, 0, self._format.frame_bytes)
            self.write_chunks(self._compress(whole).chunks)

    def write_encoded(self, encoded: EncodedFrames) -> None:
        """Append frames that `encode_frames` has encoded."""
        self.statistics += encoded.statistics
        self.write_chunks(encoded.chunks)
        self._tell(len(encoded.chunks) * self._format.frame_bytes)


def _call(task: Callable[[], None]) -> None:
    task()


@dataclass(frozen=True)
class EncodedFrames:
    """Frames as they are stored, on their way from another process to the writer.

    Attributes
    ----------
    chunks : list of bytes
        One a frame.
    statistics : Statistics
        Of the pixels, as far as they were asked for.
    """

    chunks: list[bytes]
    statistics: Statistics


def encode_frames(
    frames: Sequence[Pixels],
    frame_format: FrameFormat,
    *,
    number: int,
    threads: int,
    exact: bool,
) -> EncodedFrames:
    """Encode frames in memory, for `FrameEncoder.write_encoded` to append.

    Parameters
    ----------
    frames : sequence of (ny, nx) arrays
        As in `FrameEncoder.write`.
    frame_format : FrameFormat
        How they are stored.
    number : int
        Of the first one in the file.
    threads : int
        How many take part.
    exact : bool
        Whether the statistics are of all frames and with RMS, or of the file's first.
    """
    buffer = io.BytesIO()
    encoder = FrameEncoder(FileObjectSink(buffer), 0, frame_format, threads=threads,
                           exact=exact, number=number)
    encoder.write(frames)
    data = buffer.getbuffer()
    ends = np.cumsum(encoder.lengths).tolist()
    chunks = [bytes(data[end - length : end])
              for end, length in zip(ends, encoder.lengths, strict=True)]
    return EncodedFrames(chunks, encoder.statistics)


@lru_cache(maxsize=64)
def _block_bytes(options: CodecOptions, typesize: int) -> int:
    """Return the block size that the codec will use, of which the pieces of a frame are made."""
    if options.backend != "blosc1":
        return 1
    wanted = options.block_bytes(typesize)
    probe = np.zeros(max(PIECE_BYTES, 2 * wanted), np.uint8)
    with blosc_settings(wanted):
        chunk = compress(address_of(probe), probe.nbytes, typesize, options)
    return read_chunk_header(chunk).blocksize
