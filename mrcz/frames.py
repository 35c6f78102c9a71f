"""Where each z-slice lies in a file."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Hashable, Sequence
from copy import copy

import numpy as np

from .cache import Cache
from .codec import CHUNK_HEADER_BYTES, MAX_CHUNK_BYTES, MAX_OVERHEAD, parse_chunk_header
from .errors import MRCError, MRCFormatError, MRCTruncatedError
from .header import Record
from .headerindex import HeaderIndex
from .locks import ForkSafeLock
from .sources import Source
from .trailer import has_trailer

__all__ = ["FrameTable"]

_unpack_sizes = struct.Struct("<3i").unpack_from
"""Takes nbytes, blocksize and cbytes, the end of a chunk's header."""

_walked = Cache(16 << 20)
"""What was found in files before, for the next time they are opened: edges, index, how far.

Tables of the same file share it. They write the same, and each step is complete in itself."""
_FEW_FRAMES = 64
"""Up to here, walking is nothing."""
_RECORD_KEYS = ("nz", "packed_bytes", "dmin", "dmax", "dmean", "rms")


class FrameTable:
    """Offsets of the stored frames, which lie one behind the other.

    Compressed frames are found by walking from chunk header to chunk header, from the
    nearest one in the header's index, only as far as somebody asks, and remembered.

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
        If the file is so short that its header can't be right; what is cut merely, is told
        by who wants a frame that is.
    MRCFormatError
        If its frames are too large to be chunks.
    """

    def __init__(
        self, source: Source, record: Record, lengths: Sequence[int] | None = None
    ) -> None:
        self._source = source
        self._record = record
        self._lock = ForkSafeLock()
        self._window = (0, b"")  # where it starts, and what was read there
        self._walked_to: dict[int, int]  # number of an entry of the index to frame
        if record.compressor is None:
            # A frame at least, and of each other what a chunk has: sizes that lie are refused
            # before anybody makes something for each frame.
            least = max(record.frame_bytes, record.nz * min(record.frame_bytes, CHUNK_HEADER_BYTES))
            if not source.holds(self._raw_edge(0) + least):
                raise self._too_short()
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
            edges = np.zeros(len(lengths) + 1, np.int64)
            np.cumsum(np.array(lengths, np.int64), out=edges[1:])
            self._edges = array("q", (edges + record.data_offset).tobytes())
            return
        name = self._name_of_walk()
        known = None if name is None else _walked.get(name)
        if known is not None:
            self._edges, self._index, self._walked_to = known
            return
        try:
            self._edges = array("q", bytes(8 * (record.nz + 1)))  # 0: not known yet
        except MemoryError as error:
            raise MRCError(f"{record.path}: not enough memory to count {record.nz} frames"
                           ) from error
        self._edges[0] = record.data_offset
        self._index = self._usable_index()
        if self._index:
            self._edges[record.nz] = record.data_offset + record.fields["packed_bytes"]
        self._walked_to = {}
        if name is not None:
            known = self._edges, self._index, self._walked_to
            _walked.put(name, known, 8 * len(self._edges))

    def _name_of_walk(self) -> Hashable:
        """Return what a walk through these chunks is remembered by; None where it is not."""
        source, record = self._source, self._record
        if source.version is None or record.nz <= _FEW_FRAMES:
            return None
        return (source.version, record.data_offset, record.frame_bytes,
                *(record.fields[key] for key in _RECORD_KEYS), *record.fields["labels"])

    def _too_short(self) -> MRCTruncatedError:
        """Return the error of a raw file that is cut, for who wants all of it."""
        size, end = self._source.size, self._raw_edge(self._record.nz)
        return MRCTruncatedError(
            "the file is too short for its pixels" + self._saved(self._whole_frames()),
            path=self._record.path, offset=size, expected=f"{end} bytes", found=size)

    def _cut_frame(self, first: int) -> MRCTruncatedError:
        """Return the error of a raw file that is cut, for who wants frames from `first` on."""
        record, whole = self._record, self._whole_frames()
        frame = max(first, whole)
        start = self._raw_edge(frame)
        found = max(0, self._source.size - start)
        problem = f"frame {frame} of {record.nz} is cut" if found else \
            f"the file ends before frame {frame} of {record.nz}"
        return MRCTruncatedError(problem + self._saved(whole), path=record.path, offset=start,
                                 expected=f"{record.frame_bytes} bytes", found=f"{found} bytes")

    def _whole_frames(self) -> int:
        """Return how many frames of a raw file are there."""
        return max(0, self._source.size - self._raw_edge(0)) // self._record.frame_bytes

    def _saved(self, count: int) -> str:
        """Say how many frames of a file that is cut can be saved."""
        return f"; {count} of {self._record.nz} frames are whole, and repair saves them" \
            if count else ""

    def _usable_index(self) -> HeaderIndex:
        """Return the header's index; none of a file that doesn't end where it should.

        A stream has to be unpacked up to a frame anyway: the index would not spare that.
        """
        record, source = self._record, self._source
        index, size = record.index, source.known_size
        if not index or size is None:
            return HeaderIndex()
        end = record.data_offset + int(record.fields["packed_bytes"])
        return index if size == end or has_trailer(source, end, record.nz) else HeaderIndex()

    def __len__(self) -> int:
        return self._record.nz

    def span(self, first: int, count: int = 1) -> tuple[int, int]:
        """Return the byte offsets ``(start, stop)`` of `count` frames from `first` on.

        Raises
        ------
        MRCTruncatedError
            If the file ends before them.
        MRCFormatError
            If a chunk on the way contradicts the header.
        """
        last = first + count
        if self._record.compressor is None:
            start, stop = self._raw_edge(first), self._raw_edge(last)
            if not self._source.holds(stop):
                is_all = last == self._record.nz and first in (0, last)
                raise self._too_short() if is_all else self._cut_frame(first)
            return start, stop
        if not (self._edges[first] and self._edges[last]):
            with self._lock():
                for frame in (first, last):
                    if not self._edges[frame]:
                        self._find(frame)
        start, stop = self._edges[first], self._edges[last]
        if stop - start < count * CHUNK_HEADER_BYTES:
            raise MRCFormatError(f"frame {last - 1} does not lie where the header's index has it",
                                 path=self._record.path, offset=start,
                                 expected=f"at least {count * CHUNK_HEADER_BYTES} bytes",
                                 found=stop - start)
        return start, stop

    def spans(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return `span` of each of `count` frames from `first` on.

        Where they aren't known, they are found in one walk from each entry of the index, not in
        one for each frame.
        """
        last = first + count
        if self._record.compressor is not None and not all(self._edges[first : last + 1]):
            step = self._index.step
            for frame in (*range(first - first % step + step - 1, last, step), last):
                self.span(frame, 0)
        return [self.span(frame) for frame in range(first, last)]

    def require(self, frames: Sequence[int]) -> None:
        """Check that the file is long enough for `frames`, in any order.

        Raises
        ------
        MRCFormatError, MRCTruncatedError
            As `span`.
        """
        if len(frames):
            # The ends of a range are known: a header that lies may have made it long.
            ends = (frames[0], frames[-1]) if isinstance(frames, range) else frames
            first = min(ends)
            self.span(first, max(ends) + 1 - first)

    def require_chunks(self) -> None:
        """Check that chunk lies behind chunk through the whole file, whatever an index says.

        Raises
        ------
        MRCFormatError, MRCTruncatedError
            As `span`.
        """
        if self._record.compressor is None:
            return
        walker = copy(self)  # what damage says is not to be believed by those who read
        walker._edges = self._edges[:]
        walker._walk(0, len(self))
        end, found = self.end, walker._edges[-1]
        if found != end:
            raise MRCFormatError("the chunks don't end where an index has their end",
                                 path=self._record.path, offset=found, expected=f"byte {end}",
                                 found=f"byte {found}")

    def holds(self, frames: range) -> bool:
        """Return whether a raw file is long enough for consecutive frames."""
        return self._source.holds(self._raw_edge(frames.stop))

    @property
    def end(self) -> int:
        """Byte offset behind the last frame."""
        return self.span(len(self), 0)[1]

    def _raw_edge(self, frame: int) -> int:
        return self._record.data_offset + frame * self._record.frame_bytes

    def _find(self, frame: int) -> None:
        """Find where a frame starts, and those between it and the one before in the index."""
        index, record = self._index, self._record
        number = min(frame // index.step, len(index))
        first = number * index.step
        if not self._edges[first]:
            start = index.start(number)
            if not 0 < start <= record.fields["packed_bytes"]:
                raise MRCFormatError(f"the header's index has frame {first} outside of the file",
                                     path=record.path, expected="a byte of the chunks",
                                     found=start)
            self._edges[first] = record.data_offset + start
        reached = self._walked_to.get(number, first)
        if reached < frame:
            self._walk(reached, frame)
            self._walked_to[number] = frame

    def _walk(self, first: int, last: int) -> None:
        """Walk from frame to frame; less than a microsecond each, so all is inline."""
        edges, record, source = self._edges, self._record, self._source
        nbytes, holds, read = record.frame_bytes, source.holds, source.read
        most = nbytes + MAX_OVERHEAD
        size = source.known_size or 0  # of a stream nothing is known to be there
        average = (size - record.data_offset) // record.nz
        is_near = 0 <= average < source.request_bytes  # is the next header
        position, (window_start, window) = edges[first], self._window
        room = len(window) - CHUNK_HEADER_BYTES
        for frame in range(first, last):
            start = position - window_start
            if not 0 <= start <= room:
                end = position + CHUNK_HEADER_BYTES
                if end > size and not holds(end):
                    raise MRCTruncatedError(
                        f"the file ends before frame {frame} of {record.nz}{self._saved(frame)}",
                        path=record.path, offset=position, expected="a chunk",
                        found=f"{max(0, source.size - position)} bytes")
                if is_near:
                    ahead = min(average * (last - frame), source.window_bytes)
                    end = min(position + max(ahead, source.request_bytes), size)
                try:
                    window = read(position, end - position)
                except MRCTruncatedError:  # a change was completed since, and its journal cut off
                    window = read(position, CHUNK_HEADER_BYTES)
                window_start, start, room = position, 0, len(window) - CHUNK_HEADER_BYTES
            found_bytes, _, cbytes = _unpack_sizes(window, start + 4)
            if found_bytes != nbytes or not CHUNK_HEADER_BYTES <= cbytes <= most:
                # Names what is wrong; or it is of blosc2 and a little larger.
                cbytes = parse_chunk_header(
                    window, start, nbytes=nbytes, room=size - position if size else MAX_CHUNK_BYTES,
                    path=record.path, offset=position, frame=frame).cbytes
            position += cbytes
            if position > size and not holds(position):
                raise MRCTruncatedError(
                    f"frame {frame} of {record.nz} is cut{self._saved(frame)}", path=record.path,
                    offset=position - cbytes, expected=f"{cbytes} bytes",
                    found=f"{source.size - position + cbytes} bytes")
            edges[frame + 1] = position
        self._window = (window_start, window)
