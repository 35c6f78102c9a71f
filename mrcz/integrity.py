"""Checking files, and saving what can be saved of damaged ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from .buffers import address_of
from .codec import (
    CHUNK_HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_OVERHEAD,
    compress,
    decompress,
    parse_chunk_header,
    parse_options,
)
from .decoding import FrameDecoder
from .errors import MRCError, MRCFormatError
from .frames import FrameTable
from .header import HEADER_BYTES, Record, amend, make_index
from .journal import ChangedSource, is_journal
from .parallel import blosc_settings, run_ordered, threads_of
from .pixels import Pixels
from .progress import Advance, shown, title_of
from .reader import MRCReader
from .sinks import AtomicFile
from .sources import Source
from .trailer import (
    can_hash,
    hash_of,
    make_trailer,
    read_trailer,
    trailer_bytes,
    trailer_start,
)

__all__ = ["Finding", "RepairReport", "check_file", "repair", "verify"]

_SCAN_BYTES = 1 << 22
_LEAST_LEFT = 1000
"""A file of which less than one part in so many is left was never as large as it says."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a file.

    Attributes
    ----------
    problem : str
        In words.
    frame : int or None
        Which frame, where it is one.
    offset : int or None
        Byte offset in the file.
    """

    problem: str
    frame: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        where = "" if self.frame is None else f"frame {self.frame}: "
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{where}{self.problem}{at}"


@dataclass
class RepairReport:
    """What `repair` did.

    Attributes
    ----------
    recovered, lost : list of int
        Frames that are in the new file as they were, and those that are zeros.
    notes : list of str
        What could not be known for sure.
    """

    recovered: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(
    path: str | os.PathLike[str],
    deep: bool = True,
    *,
    n_threads: int | None = None,
    progress: bool = False,
) -> list[Finding]:
    """Check a file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    deep : bool
        Decompress every frame, too; False: header, index and sizes alone.
    n_threads : int, optional
        Threads that decompress.
    progress : bool
        Show a bar of what is checked, in a terminal or a notebook.

    Returns
    -------
    list of Finding
        Empty if nothing is wrong.

    Raises
    ------
    OSError
        If the file can't be read.
    """
    return check_file(path, deep, threads_of(n_threads),
                      lambda total: shown(progress and deep, total, title_of(path)))


def check_file(
    path: str | os.PathLike[str],
    deep: bool,
    threads: int,
    watched: Callable[[int], AbstractContextManager[Advance | None]],
) -> list[Finding]:
    """Check a file as `verify` does, while somebody watches.

    Parameters
    ----------
    path, deep, threads
        As of `verify`.
    watched : callable
        Takes the stored bytes of all frames, decompressed; returns a context manager of
        what is told those that are checked.
    """
    try:
        with MRCReader(path) as reader, watched(
            reader.record.nz * reader.record.frame_bytes
        ) as advance:
            return list(_findings(reader, deep, threads, advance))
    except MRCError as error:
        return [_finding_of(error)]


def _findings(
    reader: MRCReader, deep: bool, threads: int, advance: Advance | None
) -> Iterator[Finding]:
    record, source = reader.record, reader.source
    if record.fields["exttyp"].lower() == b"json" and reader.extended and not reader.metadata:
        yield Finding("the JSON metadata can't be read", offset=HEADER_BYTES)
    if isinstance(source, ChangedSource):
        yield Finding("a write was interrupted when it was safe, but not yet in place: mrcz reads "
                      "its frames, other programs old and new ones; the next write with idx= "
                      "completes it, and repair writes a copy that is complete", offset=source.size)
    yield from _trailer_findings(source, record)
    try:
        table = FrameTable(source, record)
        table.span(record.nz, 0)
    except MRCError as error:
        yield _finding_of(error)
        return
    packed = record.fields["packed_bytes"]
    if packed and record.compressor and table.end != record.data_offset + packed:
        yield Finding(f"packedBytes is {packed}, but the chunks take "
                      f"{table.end - record.data_offset} bytes", offset=144)
    yield from _remainder_findings(source, record, table.end)
    if deep:
        yield from _frame_findings(reader, table, threads, advance)


def _trailer_findings(source: Source, record: Record) -> Iterator[Finding]:
    start = trailer_start(source, record)
    if start is None or not can_hash():
        return
    try:
        trailer = read_trailer(source, record, start)
    except MRCError as error:
        yield _finding_of(error)
        return
    if hash_of(source.read(0, record.data_offset)) != trailer.head_checksum:
        yield Finding("the header or the metadata have changed since they were written", offset=0)


def _remainder_findings(source: Source, record: Record, end: int) -> Iterator[Finding]:
    """Find what a writer leaves that is killed: bytes that no header counts."""
    if trailer_start(source, record) == end:
        end += trailer_bytes(record.nz)
    surplus = source.size - end
    if surplus > 0 and (record.compressor is not None or is_journal(source, end)):
        yield Finding(f"{surplus} bytes behind the last frame belong to nothing, as a write "
                      f"leaves them that was interrupted", offset=end)


def _frame_findings(
    reader: MRCReader, table: FrameTable, threads: int, advance: Advance | None
) -> list[Finding]:
    """Decompress every frame alone, so that one that is damaged hides no other."""
    trailer = reader.trailer
    checksums = None if trailer is None else trailer.checksums
    decoder = FrameDecoder(reader.source, reader.record, table, checksums)
    found: list[Finding] = []

    def check(frame: int) -> Finding | None:
        try:
            decoder.read([frame], reader.allocate((1, *reader.shape[1:])), 1)
        except MRCError as error:
            return _finding_of(error, frame)
        return None

    def note(finding: Finding | None) -> None:
        if finding is not None:
            found.append(finding)
        if advance is not None:
            advance(reader.record.frame_bytes)

    run_ordered(range(reader.record.nz), check, note, threads=threads)
    return found


def _finding_of(error: MRCError, frame: int | None = None) -> Finding:
    if isinstance(error, MRCFormatError):
        return Finding(error.problem, frame, error.offset)
    return Finding(str(error), frame)


def repair(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> RepairReport:
    """Write what is intact in a damaged or cut file to a new one.

    Intact chunks are copied as they are; lost frames become zeros. Where the way from
    chunk to chunk is broken, the next plausible chunk header is searched.

    Parameters
    ----------
    path : str or os.PathLike
        The damaged file; it is only read.
    output : str or os.PathLike
        The new one.

    Returns
    -------
    RepairReport
        Which frames were recovered, and which are lost.

    Raises
    ------
    MRCFormatError
        If the header itself is beyond use, or no frame is intact.
    ValueError
        If `output` is the damaged file.
    """
    path, output = os.fspath(path), os.fspath(output)
    if os.path.exists(output) and os.path.samefile(path, output):
        raise ValueError("repair writes a new file: output must not be the damaged one")
    with MRCReader(path) as reader:
        salvage = _RawSalvage if reader.record.compressor is None else _ChunkSalvage
        return salvage(reader).write(output)


def _share_out(missing: int, gaps: list[float], complete: bool) -> list[int]:
    """Return how many of the `missing` frames lie in each hole, at least one in each.

    Parameters
    ----------
    missing : int
        At least ``len(gaps)``.
    gaps : list of float
        Sizes of the holes, in chunks.
    complete : bool
        Whether the file ends where it should, so that none is missing at its end.
    """
    lost: list[int] = []
    for number, gap in enumerate(gaps):
        still = len(gaps) - number - 1
        most = missing - sum(lost) - still
        last_of_all = complete and still == 0
        lost.append(most if last_of_all else max(1, min(round(gap), most)))
    return lost


def _require_enough(found: int, wanted: int, what: str, record: Record) -> None:
    """Check that what is left is in some proportion to what the header promises."""
    if found < 1:
        raise MRCFormatError("no frame is intact", path=record.path)
    if found * _LEAST_LEFT < wanted:
        raise MRCFormatError(f"the header promises more than {_LEAST_LEFT} times the {what} that "
                             f"there are", path=record.path, offset=0, expected=wanted,
                             found=found)


def _allocated(record: Record) -> Pixels:
    """Return room for a stored frame, whose size a damaged header may have wrong."""
    if record.frame_bytes > MAX_CHUNK_BYTES:
        raise MRCFormatError("a compressed frame can't be this large", path=record.path,
                             expected=f"at most {MAX_CHUNK_BYTES} bytes",
                             found=record.frame_bytes)
    try:
        return np.zeros(record.frame_bytes, np.uint8)
    except MemoryError as error:
        raise MRCError(f"{record.path}: not enough memory for a frame of {record.frame_bytes} "
                       f"bytes") from error


class _RawSalvage:
    """An uncompressed file: what is there, and zeros for the rest."""

    def __init__(self, reader: MRCReader) -> None:
        self._reader = reader

    def write(self, output: str) -> RepairReport:
        record, source = self._reader.record, self._reader.source
        full = record.data_offset + record.nz * record.frame_bytes
        end = min(source.size, full)
        _require_enough(end - record.data_offset, full - record.data_offset, "bytes", record)
        whole = (end - record.data_offset) // record.frame_bytes
        sink = AtomicFile(output)
        try:
            for start in range(0, end, _SCAN_BYTES):
                sink.write_at(start, source.read(start, min(_SCAN_BYTES, end - start)))
            sink.truncate(full)
            sink.commit()
        finally:
            sink.abort()
        report = RepairReport(list(range(whole)), list(range(whole, record.nz)))
        if report.lost and (end - record.data_offset) % record.frame_bytes:
            report.notes.append(f"frame {whole} is kept as far as it was there")
        return report


class _ChunkSalvage:
    """A compressed file: its intact chunks, found by the index or by their headers."""

    def __init__(self, reader: MRCReader) -> None:
        self._reader = reader
        self._record = reader.record
        self._source = reader.source

    @cached_property
    def _scratch(self) -> Pixels:
        return _allocated(self._record)

    def write(self, output: str) -> RepairReport:
        report = RepairReport()
        chunks = self._by_index() or self._by_search(report)
        record = self._record
        _require_enough(len(chunks), record.nz, "frames", record)
        report.recovered = sorted(chunks)
        report.lost = [frame for frame in range(record.nz) if frame not in chunks]
        head = self._source.read(0, record.data_offset)
        filler = self._zeros() if report.lost else b""
        sink = AtomicFile(output)
        try:
            position, lengths, checksums = record.data_offset, [], []
            for frame in range(record.nz):
                data = self._source.read(*chunks[frame]) if frame in chunks else filler
                sink.write_at(position, data)
                lengths.append(len(data))
                checksums.append(hash_of(data) if can_hash() else 0)
                position += len(data)
            packed = position - record.data_offset
            index = make_index(record.nz, packed, dict(enumerate(accumulate(lengths), 1)))
            fields = amend(head[:HEADER_BYTES], record.byteorder, packed_bytes=packed, **index)
            head = fields + head[HEADER_BYTES:]
            if can_hash():
                sink.write_at(position, make_trailer(record.data_offset, lengths, checksums,
                                                     head))
            sink.write_at(0, head)
            sink.commit()
        finally:
            sink.abort()
        return report

    def _by_index(self) -> dict[int, tuple[int, int]]:
        """Return offset and length of the intact chunks, by the trailer."""
        trailer = self._reader.trailer
        if trailer is None:
            return {}
        found = {}
        for frame, (offset, length, checksum) in enumerate(
            zip(trailer.offsets, trailer.lengths, trailer.checksums, strict=True)
        ):
            if not self._source.holds(offset + length):
                continue
            chunk = self._source.read(offset, length)
            # A header whose sizes are damaged fits no chunk, however sound that is.
            if hash_of(chunk) == checksum and self._header_length(chunk, offset) == length:
                found[frame] = (offset, length)
        return found

    def _header_length(self, data: bytes, position: int) -> int:
        """Return how long a chunk is by the header in `data`; 0 if it is not of this file."""
        try:
            return parse_chunk_header(
                data, 0, nbytes=self._record.frame_bytes, room=self._source.size - position,
                path=self._record.path, offset=position, frame=0,
            ).cbytes  # fmt: skip
        except MRCError:
            return 0

    def _by_search(self, report: RepairReport) -> dict[int, tuple[int, int]]:
        """Return offset and length of the intact chunks, by walking and searching."""
        record = self._record
        runs: list[list[tuple[int, int]]] = [[]]
        position, size = record.data_offset, self._source.size
        while position + CHUNK_HEADER_BYTES <= size:
            length = self._intact_length(position)
            if length:
                runs[-1].append((position, length))
                position += length
                continue
            position = self._next_candidate(position + 1)
            if runs[-1] or len(runs) == 1:
                runs.append([])
        return self._number(runs, report)

    def _number(
        self, runs: list[list[tuple[int, int]]], report: RepairReport
    ) -> dict[int, tuple[int, int]]:
        """Give runs of chunks between holes the numbers of their frames."""
        record = self._record
        first, *rest = runs
        rest = [run for run in rest if run]
        count = len(first) + sum(map(len, rest))
        missing = record.nz - count
        if not rest or missing < len(rest):  # cut at the end, or chunks of who knows what
            return dict(enumerate([chunk for run in (first, *rest) for chunk in run][: record.nz]))
        packed = record.fields["packed_bytes"]
        complete = sum(rest[-1][-1]) == record.data_offset + packed
        lost = _share_out(missing, self._gaps(first, rest), complete)
        if len(rest) > 1 or not complete:
            report.notes.append("there is no index: how many frames each hole swallowed is "
                                "estimated from its size")
        found = dict(enumerate(first))
        frame = len(first)
        for run, gap in zip(rest, lost, strict=True):
            frame += gap
            found.update(enumerate(run, frame))
            frame += len(run)
        return found

    def _gaps(
        self, first: list[tuple[int, int]], rest: list[list[tuple[int, int]]]
    ) -> list[float]:
        """Return how many chunks of average length each hole would hold."""
        average = np.mean([length for run in (first, *rest) for _, length in run])
        ends = [sum(run[-1]) for run in (first, *rest) if run]
        if not first:
            ends.insert(0, self._record.data_offset)
        return [(run[0][0] - end) / float(average) for run, end in zip(rest, ends, strict=False)]

    def _intact_length(self, position: int) -> int:
        """Return the length of the chunk at `position`; 0 if it is not intact."""
        record, size = self._record, self._source.size
        try:
            header = parse_chunk_header(
                self._source.read(position, CHUNK_HEADER_BYTES), 0, nbytes=record.frame_bytes,
                room=size - position, path=record.path, offset=position, frame=0,
            )  # fmt: skip
            chunk = memoryview(self._source.read(position, header.cbytes))
            with blosc_settings():
                decompress(chunk, header, address_of(self._scratch), path=record.path,
                           offset=position, frame=0)
        except MRCError:
            return 0
        return header.cbytes

    def _next_candidate(self, position: int) -> int:
        """Return where the next chunk may start: the frame's size stands in its header."""
        wanted = self._record.frame_bytes.to_bytes(4, "little")
        size = self._source.size
        while position < size:
            data = self._source.read(position, min(_SCAN_BYTES, size - position))
            at = data.find(wanted, 4)
            while at >= 0:
                if self._is_plausible(position + at - 4):
                    return position + at - 4
                at = data.find(wanted, at + 1)
            if len(data) < _SCAN_BYTES:
                return size
            position += len(data) - CHUNK_HEADER_BYTES
        return size

    def _is_plausible(self, position: int) -> bool:
        if position + CHUNK_HEADER_BYTES > self._source.size:
            return False
        header = self._source.read(position, CHUNK_HEADER_BYTES)
        cbytes = int.from_bytes(header[12:16], "little")
        return (
            header[0] in (2, 5)
            and header[3] == self._record.disk_dtype.itemsize
            and CHUNK_HEADER_BYTES <= cbytes <= self._record.frame_bytes + MAX_OVERHEAD
        )

    def _zeros(self) -> bytes:
        compressor = self._record.compressor
        assert compressor is not None
        options = parse_options(compressor)
        zeros = self._scratch
        zeros[:] = 0
        with blosc_settings(options.blocksize):
            return compress(address_of(zeros), zeros.nbytes, self._record.disk_dtype.itemsize,
                            options)
