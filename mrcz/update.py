"""Writing frames into files that exist: in place, at the end, or in their midst.

A process that is killed, or an error, leaves a file that reads as before, or as after.
"""

from __future__ import annotations

import errno
import logging
import operator
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

from .amending import header_changes
from .arguments import frame_number
from .checksums import checksum_of
from .codec import CodecOptions, parse_options
from .containers import Container
from .disk import AtomicFile, InPlaceFile, held_for_change
from .encoding import FrameEncoder
from .errors import FrameIndexError, MRCError, MRCFormatError
from .feeding import FrameFeed
from .header import HEADER_BYTES, VOLUME, Record, amend
from .headerindex import with_index
from .journal import is_journal
from .options import WriteOptions
from .pixels import writable_mode
from .reader import MRCReader
from .sinks import Sink
from .sources import FileSource, Source, is_url
from .statistics import Statistics
from .storing import FrameFormat
from .trailer import Trailer, make_trailer, trailer_bytes
from .writer import StackWriter

__all__ = ["write_frames"]

logger = logging.getLogger("mrcz")


def write_frames(
    container: Container,
    file: Any,
    idx: int | None,
    shape: tuple[int, ...] | None,
    dtype: Any,
    options: WriteOptions,
) -> None:
    """Write frames at `idx` of a file, which is made first if it has to be.

    Parameters
    ----------
    container : Container
        The frames.
    file : str or os.PathLike
        Where to.
    idx : int or None
        Number of the first frame; NZ appends; negative counts from the end.
    shape : (nz, ny, nx) or None
        Final size of a file that is made. One that exists is made anew if its size is another
        and `idx` is 0: later frames would take those before them away.
    dtype, options
        As in `writeMRC`, for a file that is made; an existing one keeps what it is.

    Raises
    ------
    FrameIndexError
        If `idx` is beyond the end of the file.
    ValueError, TypeError
        If frames or arguments don't fit the file.
    """
    if not isinstance(file, (str, bytes, os.PathLike)):
        raise TypeError("idx and shape need the path of a file, not a file object")
    path = os.fsdecode(file)
    if is_url(path):
        raise ValueError(f"{path}: idx and shape are for files on disk; write it as a whole")
    number = None if idx is None else frame_number(idx, "an integer, the first frame")
    wanted = None if shape is None else _final_shape(shape, container)
    if number is None or not _exists(path):
        _make(container, path, number or 0, wanted, dtype, options)
        return
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise OSError(errno.ESPIPE, "idx needs a regular file", path)
    with held_for_change(path), MRCReader(path) as reader:
        found = (reader.record.nz, reader.record.ny, reader.record.nx)
        if number or wanted in (None, found):
            _Update(reader, container, options).write(number)
            return
    _make(container, path, number, wanted, dtype, options)


def _exists(path: str) -> bool:
    """Return whether there is a file; `os.path` takes an error for a no.

    Then a disk that fails to answer would have one frame take the place of all.
    """
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _final_shape(shape: tuple[int, ...], container: Container) -> tuple[int, int, int]:
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError as error:
        raise TypeError(f"shape must be (nz, ny, nx), not {shape!r}") from error
    if len(sizes) != 3 or min(sizes) < 1 or sizes[1:] != container.shape[1:]:
        raise ValueError(f"shape must be (nz, ny, nx) with frames of {container.shape[1:]}, "
                         f"not {shape!r}")
    return (sizes[0], sizes[1], sizes[2])


def _make(
    container: Container,
    path: str,
    idx: int,
    shape: tuple[int, int, int] | None,
    dtype: Any,
    options: WriteOptions,
) -> None:
    """Make a new file of `shape` with frames from `idx` on, and nothing before or behind."""
    if shape is not None and options.codec is not None:
        raise ValueError("shape= is for uncompressed files: a compressed one has no room for "
                         "frames that are not there yet; append them, or use mrcz.create")
    mode, _ = writable_mode(container.dtype if dtype is None else dtype)
    total = container.shape[0] if shape is None else shape[0]
    if idx < 0 and shape is not None:
        idx += total

    def require_room(count: int) -> None:
        if idx and shape is None:
            raise FrameIndexError(f"{path} does not exist: idx={idx} needs shape=(nz, ny, nx) with "
                                  f"room for {count} frames from there on")
        if not 0 <= idx <= total - count:
            raise FrameIndexError(f"{path}: shape={shape} has no room for {count} frames from "
                                  f"frame {idx} on")

    require_room(container.shape[0])
    sink = AtomicFile(path, fsync=options.fsync)
    writer = StackWriter(sink, mode, container.shape[1:], options, slices=container.slices,
                         ispg=container.ispg if shape is None else VOLUME, first=idx,
                         total=total)
    with writer:
        writer.append_container(container)
        if shape is not None:
            require_room(writer.shape[0])  # of an iterable it is known only now
            sink.truncate(HEADER_BYTES + len(options.metadata)
                          + total * mode.row_bytes(shape[2]) * shape[1])


@dataclass(frozen=True)
class _Update:
    """New frames for an existing file."""

    reader: MRCReader
    container: Container
    options: WriteOptions

    @property
    def record(self) -> Record:
        return self.reader.record

    def write(self, idx: int) -> None:
        record = self.record
        first = idx + record.nz if idx < 0 else idx
        if not 0 <= first <= record.nz:
            raise FrameIndexError(f"{record.path} has {record.nz} frames: idx={idx} is neither "
                                  f"among them nor right behind them")
        if self.container.shape[1:] != (record.ny, record.nx):
            raise ValueError(f"{record.path} has frames of {(record.ny, record.nx)} (ny, nx), "
                             f"not {self.container.shape[1:]}")
        if not record.mode.writable or not isinstance(self.reader.source, FileSource):
            raise MRCError(f"{record.path} can't be changed in place: it is of a kind that is "
                           f"only read")
        if record.lacks_extended:
            raise MRCFormatError("the extended header that NSYMBT tells of is not there: repair "
                                 "writes a copy that can be changed", path=record.path, offset=92,
                                 expected=0)
        given, there = (text.rstrip(b" ") for text in (self.options.metadata, self.reader.extended))
        if given and given != there:
            logger.warning("%s keeps the metadata that it has: meta= of a write with idx= is "
                           "not stored", record.path)
        if record.compressor is None:
            self._write_raw(first)
        elif first == record.nz:
            self._append_chunks()
        else:
            self._replace_chunks(first)

    def _encode(self, sink: Sink, offset: int, codec: CodecOptions | None) -> FrameEncoder:
        """Write the frames from `offset` on, as those that are there."""
        record, asked = self.record, self.options
        frame_format = FrameFormat(record.mode, record.ny, record.nx, record.byteorder, codec)
        options = replace(
            asked,
            auto=() if "compressor" in asked.auto else asked.auto,  # that was chosen once for all
            checksum=codec is not None and (
                asked.checksum or self.reader.trailer is not None),
        )
        return FrameFeed(sink, offset, frame_format, options).write(self.container)

    def _codec(self) -> CodecOptions:
        """Return how to compress: as the file is, at the level that was asked for."""
        compressor, asked = self.record.compressor, self.options.codec
        assert compressor is not None
        if asked is None:
            return parse_options(compressor)
        if "compressor" not in self.options.auto and asked.compressor != compressor:
            raise ValueError(f"{self.record.path} is compressed with {compressor!r}; frames "
                             f"with {asked.compressor!r} can't be added")
        return replace(asked, compressor=compressor)

    def _write_raw(self, first: int) -> None:
        record, source = self.record, self.reader.source
        if self.options.codec is not None and "compressor" not in self.options.auto:
            raise ValueError(f"{record.path} is not compressed; frames with a compressor can't "
                             f"be added")
        # What lies behind the cut of a file that is cut, would count as its pixels.
        end = self.reader.table.end
        offset = record.data_offset + first * record.frame_bytes
        kept = _without_left_journal(source, end, record.frame_bytes)
        with self._in_place(kept=kept) as sink:
            sink.truncate(kept)
            nbytes = self.container.shape[0] * record.frame_bytes
            replaces = first < record.nz and nbytes > 0
            place = sink.begin_journal(offset, nbytes) if replaces else offset
            encoder = self._encode(sink, place, None)
            nz = max(record.nz, first + len(encoder.lengths))
            self._finish(sink, nz, first, encoder.statistics)

    @contextmanager
    def _in_place(self, *, kept: int) -> Iterator[InPlaceFile]:
        """Open the file for a change, made at the end unless something fails.

        Parameters
        ----------
        kept : int
            How many bytes of the file count; behind them there is only what was left by a
            writer that was killed.
        """
        sink = InPlaceFile(self.record.path, kept, fsync=self.options.fsync)
        try:
            yield sink
            sink.commit()
        finally:
            sink.abort()

    def _append_chunks(self) -> None:
        record, reader = self.record, self.reader
        start = record.data_offset + record.fields["packed_bytes"]
        if reader.trailer is None and start != reader.source.size:
            start = reader.table.end  # damaged, or not filled, or an append was cut short
        kept = start if reader.trailer is None else start + trailer_bytes(record.nz)
        trailer = self._trailer()
        with self._in_place(kept=kept) as sink:
            encoder = self._encode(sink, start, self._codec())
            checksums = None
            if trailer is not None:
                checksums = _spliced(trailer, record.nz, record.nz, encoder)
            starts = record.index.by_frame()
            starts |= enumerate(accumulate(encoder.lengths, initial=start - record.data_offset),
                                record.nz)
            nz, packed = record.nz + len(encoder.lengths), encoder.end - record.data_offset
            self._finish(sink, nz, record.nz, encoder.statistics, checksums, packed_bytes=packed,
                         labels=with_index(record.fields["labels"], nz, packed, starts))

    def _trailer(self) -> Trailer | None:
        """Return the index and checksums, made now where they are asked for and missing."""
        reader = self.reader
        if reader.trailer is not None or not self.options.checksum:
            return reader.trailer
        spans = [reader.table.span(frame) for frame in range(len(reader.table))]
        return Trailer(
            [start for start, _ in spans],
            [stop - start for start, stop in spans],
            [checksum_of(reader.source.read(start, stop - start)) for start, stop in spans],
            0,  # the header changes anyway
        )

    def _replace_chunks(self, first: int) -> None:
        record, table, source = self.record, self.reader.table, self.reader.source
        assert isinstance(source, FileSource)
        start, _ = table.span(first, 0)
        sink = AtomicFile(record.path, fsync=self.options.fsync)
        try:
            sink.copy_from(source.descriptor, 0, start, 0)
            encoder = self._encode(sink, start, self._codec())
            last = min(first + len(encoder.lengths), record.nz)
            stop, _ = table.span(last, 0)
            sink.copy_from(source.descriptor, stop, table.end, encoder.end)
            end = encoder.end + table.end - stop
            checksums, trailer = None, self._trailer()
            if trailer is not None:
                checksums = _spliced(trailer, first, last, encoder)
            edges = [table.span(frame, 0)[0] - record.data_offset for frame in range(record.nz)]
            fresh = accumulate(encoder.lengths, initial=edges[first])
            shift = encoder.end - stop
            starts = {**dict(enumerate(edges[:first])), **dict(enumerate(fresh, first)),
                      **dict(enumerate((edge + shift for edge in edges[last:]), last))}
            nz, packed = max(record.nz, first + len(encoder.lengths)), end - record.data_offset
            self._finish(sink, nz, first, encoder.statistics, checksums, packed_bytes=packed,
                         labels=with_index(record.fields["labels"], nz, packed, starts))
            self.reader.close()  # Windows gives no file the name of an open one
            sink.commit()
        finally:
            sink.abort()

    def _finish(
        self,
        sink: Any,
        nz: int,
        first: int,
        statistics: Statistics,
        checksums: tuple[Sequence[int], Sequence[int]] | None = None,
        **changes: Any,
    ) -> None:
        """Write the trailer, if there was one, and the header."""
        record = self.record
        changes |= header_changes(self.reader, statistics, first=first, nz=nz,
                                  is_all=self.container.shape[0] == nz,
                                  exact=self.options.exact)
        old = self.reader.source.read(0, HEADER_BYTES)
        head = amend(old, record.byteorder, **changes)
        if "packed_bytes" in changes:
            end = record.data_offset + changes["packed_bytes"]
            trailer = b""
            if checksums is not None:
                trailer = make_trailer(record.data_offset, *checksums, head + self.reader.extended)
            sink.write_at(end, trailer)
            sink.truncate(end + len(trailer))
        sink.write_at(0, head)


def _spliced(
    trailer: Trailer, first: int, last: int, encoder: FrameEncoder
) -> tuple[Sequence[int], Sequence[int]]:
    """Return lengths and checksums with those of new frames in place of some."""
    lengths, checksums = array("q", trailer.lengths), array("Q", trailer.checksums)
    lengths[first:last] = array("q", encoder.lengths)
    checksums[first:last] = array("Q", encoder.checksums)
    return lengths, checksums


_MOST_ADDED = 4096
"""Frames behind the pixels that are searched for what a killed writer has begun."""
_STEP_BYTES = 1 << 20


def _without_left_journal(source: Source, end: int, frame_bytes: int) -> int:
    """Return how many bytes of a file count that is uncompressed.

    A journal may have been begun behind the pixels, or behind frames to be added. Where these
    were not written, nothing lies between. Else they, or what others have put there, stay.
    """
    places = islice(range(end, source.size, frame_bytes), _MOST_ADDED)
    journal = next((place for place in places if is_journal(source, place)), source.size)
    if journal < source.size and _is_hole(source, end, journal):
        return end
    return journal


def _is_hole(source: Source, start: int, stop: int) -> bool:
    steps = range(start, stop, _STEP_BYTES)
    parts = (source.read(place, min(_STEP_BYTES, stop - place)) for place in steps)
    return all(part.count(0) == len(part) for part in parts)
