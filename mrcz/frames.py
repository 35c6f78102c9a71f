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

_SIZES = struct.Struct("<3i")  # nbytes, blocksize, cbytes: the end of a chunk's header
_WINDOW_BYTES = 1 << 18
_SMALL_CHUNK_BYTES = 1 << 12
"""Below this average it is cheaper to read on than to seek from header to header."""


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
        """Find where the frames up to `last` lie."""
        edges, record, size = self._edges, self._record, self._source.size
        nbytes = record.frame_bytes
        most = nbytes + MAX_OVERHEAD
        position = edges[-1]
        for frame in range(len(edges) - 1, last):
            data, start = self._header_at(position, frame, size)
            found_bytes, _, cbytes = _SIZES.unpack_from(data, start + 4)
            if found_bytes != nbytes or not CHUNK_HEADER_BYTES <= cbytes <= most:
                # Names what is wrong; or it is of blosc2 and a little larger.
                cbytes = parse_chunk_header(data, start, nbytes=nbytes, room=size - position,
                                            path=record.path, offset=position, frame=frame).cbytes
            if position + cbytes > size:
                raise MRCTruncatedError(f"frame {frame} of {record.nz} is cut", path=record.path,
                                        offset=position, expected=f"{cbytes} bytes",
                                        found=f"{size - position} bytes")
            position += cbytes
            edges.append(position)

    def _header_at(self, position: int, frame: int, size: int) -> tuple[bytes, int]:
        """Return bytes that hold the 16 at `position`, and where in them they start."""
        start = position - self._window_start
        if 0 <= start <= len(self._window) - CHUNK_HEADER_BYTES:
            return self._window, start
        if position + CHUNK_HEADER_BYTES > size:
            raise MRCTruncatedError(f"the file ends before frame {frame} of {self._record.nz}",
                                    path=self._record.path, offset=position)
        average = (size - self._record.data_offset) // self._record.nz
        step = _WINDOW_BYTES if average < _SMALL_CHUNK_BYTES else CHUNK_HEADER_BYTES
        self._window = self._source.read(position, min(step, size - position))
        self._window_start = position
        return self._window, 0
