"""Where each z-slice lies in a file."""

from __future__ import annotations

import struct
import threading
from array import array
from collections.abc import Sequence
from itertools import accumulate

from .codec import CHUNK_HEADER_BYTES, MAX_CHUNK_BYTES, MAX_OVERHEAD, parse_chunk_header
from .errors import MRCFormatError, MRCTruncatedError
from .header import Record
from .sources import Source

__all__ = ["FrameTable"]

_unpack_sizes = struct.Struct("<3i").unpack_from
"""Takes nbytes, blocksize and cbytes, the end of a chunk's header."""

_MAX_REQUESTS = 64
"""Most bytes of a window over chunk headers, in the source's `request_bytes`."""


class FrameTable:
    """Offsets of the stored frames, which lie one behind the other.

    Compressed frames are found by walking from chunk header to chunk header, only as
    far as somebody asks, and remembered.

    Parameters
    ----------
    source : Source
        The file.
    record : Record
        What its header says.
    lengths : sequence of int, optional
        Of the chunks, where an index has them.

    Raises
    ------
    MRCTruncatedError
        If the file is too short for its frames.
    MRCFormatError
        If its frames are too large to be chunks.
    """

    def __init__(
        self, source: Source, record: Record, lengths: Sequence[int] | None = None
    ) -> None:
        self._source = source
        self._record = record
        self._lock = threading.Lock()
        self._edges = array("q", [record.data_offset])
        self._window = b""
        self._window_start = 0
        if record.compressor is None:
            end = self._raw_edge(record.nz)
            if not source.holds(end):
                raise MRCTruncatedError("the file is too short for its pixels", path=record.path,
                                        offset=source.size, expected=f"{end} bytes",
                                        found=source.size)
            return
        if record.frame_bytes > MAX_CHUNK_BYTES:
            raise MRCFormatError("a compressed frame can't be this large", path=record.path,
                                 expected=f"at most {MAX_CHUNK_BYTES} bytes",
                                 found=record.frame_bytes)
        if not source.holds(record.data_offset + record.nz * CHUNK_HEADER_BYTES):
            raise MRCTruncatedError("the file is too short for its chunks", path=record.path,
                                    offset=source.size,
                                    expected=f"{record.nz} chunks of at least 16 bytes",
                                    found=f"{max(0, source.size - record.data_offset)} bytes")
        if lengths is not None:
            self._edges = array("q", accumulate(lengths, initial=record.data_offset))

    def __len__(self) -> int:
        return self._record.nz

    def span(self, first: int, count: int = 1) -> tuple[int, int]:
        """Return the byte offsets ``(start, stop)`` of `count` frames from `first` on.

        Raises
        ------
        MRCFormatError, MRCTruncatedError
            If a chunk on the way contradicts the header or the file's length.
        """
        last = first + count
        if self._record.compressor is None:
            return self._raw_edge(first), self._raw_edge(last)
        if last >= len(self._edges):
            with self._lock:
                self._walk(last)
        return self._edges[first], self._edges[last]

    @property
    def end(self) -> int:
        """Byte offset behind the last frame."""
        return self.span(len(self), 0)[1]

    def _raw_edge(self, frame: int) -> int:
        return self._record.data_offset + frame * self._record.frame_bytes

    def _walk(self, last: int) -> None:
        """Find where the frames up to `last` lie; a few microseconds each, so all is inline."""
        edges, record, size = self._edges, self._record, self._source.size
        nbytes = record.frame_bytes
        most = nbytes + MAX_OVERHEAD
        position, window, window_start = edges[-1], self._window, self._window_start
        read, request = self._source.read, self._source.request_bytes
        average = (size - record.data_offset) // record.nz
        for frame in range(len(edges) - 1, last):
            start = position - window_start
            if not 0 <= start <= len(window) - CHUNK_HEADER_BYTES:
                if position + CHUNK_HEADER_BYTES > size:
                    raise MRCTruncatedError(f"the file ends before frame {frame} of {record.nz}",
                                            path=record.path, offset=position)
                step = CHUNK_HEADER_BYTES
                if average < request:  # the next headers are near
                    step = max(request, min(average * (last - frame), request * _MAX_REQUESTS))
                window = read(position, min(step, size - position))
                window_start, start = position, 0
            found_bytes, _, cbytes = _unpack_sizes(window, start + 4)
            if found_bytes != nbytes or not CHUNK_HEADER_BYTES <= cbytes <= most:
                # Names what is wrong; or it is of blosc2 and a little larger.
                cbytes = parse_chunk_header(window, start, nbytes=nbytes, room=size - position,
                                            path=record.path, offset=position, frame=frame).cbytes
            position += cbytes
            if position > size:
                raise MRCTruncatedError(f"frame {frame} of {record.nz} is cut", path=record.path,
                                        offset=position - cbytes, expected=f"{cbytes} bytes",
                                        found=f"{size - position + cbytes} bytes")
            edges.append(position)
        self._window, self._window_start = window, window_start
