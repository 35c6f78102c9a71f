"""Where each z-slice lies in a file."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from .codec import CHUNK_HEADER_BYTES, MAX_CHUNK_BYTES, MAX_OVERHEAD, parse_chunk_header
from .errors import MRCFormatError, MRCTruncatedError
from .header import Record
from .sources import Source

__all__ = ["FrameTable", "locate_frames"]

_SIZES = struct.Struct("<3i")  # nbytes, blocksize, cbytes: the end of a chunk's header
_WINDOW_BYTES = 1 << 18
_SMALL_CHUNK_BYTES = 1 << 12
"""Below this average it is cheaper to read on than to seek from header to header."""


class FrameTable:
    """Offset and length of the stored frames, checked against the file.

    Parameters
    ----------
    offsets, lengths : (nz,) array of int64
        Bytes.
    """

    def __init__(self, offsets: Any, lengths: Any) -> None:
        self.offsets = np.asarray(offsets, np.int64)
        self.lengths = np.asarray(lengths, np.int64)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def end(self) -> int:
        """Byte offset behind the last frame."""
        return int(self.offsets[-1] + self.lengths[-1]) if len(self) else 0

    @property
    def nbytes(self) -> int:
        """Bytes of all frames as stored."""
        return int(self.lengths.sum())


def locate_frames(source: Source, record: Record, count: int | None = None) -> FrameTable:
    """Return where the first `count` frames (default: all) of a file lie.

    Raises
    ------
    MRCTruncatedError
        If the file is too short for its frames.
    MRCFormatError
        If a chunk contradicts the header.
    """
    count = record.nz if count is None else count
    if record.compressor is None:
        end = record.data_offset + count * record.frame_bytes
        if not source.holds(end):
            raise MRCTruncatedError("the file is too short for its pixels", path=record.path,
                                    offset=source.size, expected=f"{end} bytes",
                                    found=source.size)
        offsets = record.data_offset + record.frame_bytes * np.arange(count, dtype=np.int64)
        return FrameTable(offsets, np.full(count, record.frame_bytes, np.int64))
    if record.frame_bytes > MAX_CHUNK_BYTES:
        raise MRCFormatError("a compressed frame can't be this large", path=record.path,
                             expected=f"at most {MAX_CHUNK_BYTES} bytes",
                             found=record.frame_bytes)
    if not source.holds(record.data_offset + count * CHUNK_HEADER_BYTES):
        raise MRCTruncatedError("the file is too short for its chunks", path=record.path,
                                offset=source.size,
                                expected=f"{count} chunks of at least 16 bytes",
                                found=f"{max(0, source.size - record.data_offset)} bytes")
    offsets_found = list(_walk_chunks(source, record, count))
    edges = np.array(offsets_found, np.int64)
    return FrameTable(edges[:-1], np.diff(edges))


def _walk_chunks(source: Source, record: Record, count: int) -> Iterable[int]:
    """Yield where each chunk starts, and where the last one ends."""
    path, nbytes = record.path, record.frame_bytes
    position, size = record.data_offset, source.size
    average = (size - position) // count
    step = _WINDOW_BYTES if average < _SMALL_CHUNK_BYTES else CHUNK_HEADER_BYTES
    window, window_start, window_stop = b"", 0, 0
    most = nbytes + MAX_OVERHEAD
    for frame in range(count):
        if position + CHUNK_HEADER_BYTES > window_stop:
            if position + CHUNK_HEADER_BYTES > size:
                raise MRCTruncatedError(f"the file ends before frame {frame} of {count}",
                                        path=path, offset=position)
            window_start = position
            window = source.read(position, min(step, size - position))
            window_stop = window_start + len(window)
        found_bytes, _, cbytes = _SIZES.unpack_from(window, position - window_start + 4)
        if found_bytes != nbytes or not CHUNK_HEADER_BYTES <= cbytes <= most:
            # Names what is wrong; or it is of blosc2 and a little larger.
            cbytes = parse_chunk_header(window, position - window_start, nbytes=nbytes,
                                        room=size - position, path=path, offset=position,
                                        frame=frame).cbytes
        yield position
        position += cbytes
        if position > size:
            raise MRCTruncatedError(f"frame {frame} of {count} is cut", path=path,
                                    offset=position - cbytes, expected=f"{cbytes} bytes",
                                    found=f"{size - position + cbytes} bytes")
    yield position
