"""Checking files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise

from .buffers import PIECE_BYTES
from .checksums import can_hash, hash_of
from .decoding import FrameDecoder
from .errors import MissingCodecError, MRCError, MRCFormatError
from .frames import FrameTable
from .header import HEADER_BYTES, Record
from .intact import find_intact
from .journal import ChangedSource, is_journal
from .parallel import run_ordered, threads_of
from .progress import Advance, shown, title_of
from .reader import MRCReader
from .sources import Source
from .trailer import read_trailer, trailer_bytes, trailer_start

__all__ = ["Finding", "check_file", "verify"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a file.

    Attributes
    ----------
    problem : str
        In words.
    frame : int or None
        Which frame, where it is one; the first, where several that follow each other are lost.
    offset : int or None
        Byte offset in the file.
    count : int
        How many frames, from `frame` on.
    """

    problem: str
    frame: int | None = None
    offset: int | None = None
    count: int = 1

    def __str__(self) -> str:
        where = f"frame {self.frame}: "
        if self.frame is None or self.problem.startswith((where[:-2] + " ", "frames ")):
            where = ""
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{where}{self.problem}{at}"


def verify(
    path: str | os.PathLike[str],
    deep: bool = True,
    *,
    n_threads: int | None = None,
    progress: bool = False,
) -> list[Finding]:
    """Check a file.

    Every frame that is damaged or lost is named, those behind the first one too, and those
    behind which a file is cut: all others are whole.

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
    MissingCodecError
        If a package for the codec is not installed.
    MRCError
        If there is not enough memory for a frame.

    Examples
    --------
    >>> import mrcz, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "movie.mrcz")
    >>> mrcz.writeMRC(np.ones((3, 64, 64), "int16"), path, compressor="zstd", checksum=True)
    >>> mrcz.verify(path)
    []
    >>> with open(path, "r+b") as file:
    ...     _ = file.seek(1024 + 16), file.write(b"damage")  # in the first chunk
    >>> [finding.frame for finding in mrcz.verify(path)]
    [0]
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
    found: list[Finding] = []
    try:
        with MRCReader(path) as reader, watched(
            reader.record.nz * reader.record.frame_bytes
        ) as advance:
            found.extend(_findings(reader, deep, threads, advance))
    except MRCFormatError as error:  # others, as for want of memory, say nothing of the file
        found.append(_finding_of(error))
    return found


def _findings(
    reader: MRCReader, deep: bool, threads: int, advance: Advance | None
) -> Iterator[Finding]:
    record, source = reader.record, reader.source
    damage = source.settle()
    if damage is not None:
        yield _finding_of(damage)
    if record.fields["exttyp"].lower() == b"json" and reader.extended and not reader.metadata:
        yield Finding("the JSON metadata can't be read", offset=HEADER_BYTES)
    if record.lacks_extended:
        yield Finding("NSYMBT tells of an extended header that is not there: other programs look "
                      "for pixels behind it; repair writes a copy without", offset=92)
    if isinstance(source, ChangedSource):
        yield Finding("a write was interrupted when it was safe, but not yet in place: mrcz reads "
                      "its frames, other programs old and new ones; the next write with idx= "
                      "completes it, and repair writes a copy that is complete", offset=source.size)
    yield from _trailer_findings(source, record)
    try:
        table = reader.table
        table.span(record.nz, 0)
        if not deep:
            table.require_chunks()
    except MRCError as error:
        yield _finding_of(error)
        if deep or record.compressor is None:
            yield from _lost_findings(reader, {})
        return
    packed = record.fields["packed_bytes"]
    if packed and record.compressor and table.end != record.data_offset + packed:
        yield Finding(f"packedBytes is {packed}, but the chunks take "
                      f"{table.end - record.data_offset} bytes", offset=144)
    yield from _remainder_findings(source, record, table.end)
    if deep:
        found = _frame_findings(reader, table, threads, advance)
        if found and record.compressor is not None and reader.trailer is None:
            # Behind a header that is destroyed, each frame fails up to the next one in the index.
            yield from _lost_findings(reader, {finding.frame: finding for finding in found})
        else:
            yield from found


def _lost_findings(reader: MRCReader, known: Mapping[int | None, Finding]) -> Iterator[Finding]:
    """Name all frames that are not intact, those behind damage too.

    Parameters
    ----------
    reader : MRCReader
        The file.
    known : mapping of int to Finding
        What is wrong with some frames, if that is they.
    """
    try:
        intact = find_intact(reader)
    except MRCError:  # as of a codec that is missing: no more can be told
        yield from known.values()
        return
    nz = reader.record.nz
    for before, after in pairwise([-1, *sorted(intact.spans), nz]):
        first = before + 1
        while first < after and first in known:
            yield known[first]
            first += 1
        if first < after:
            several = f"frames {first} to {after - 1} are"
            yield Finding((several if after - first > 1 else f"frame {first} is") +
                          (" damaged" if after < nz else " lost: no whole one follows"),
                          first, count=after - first)
    yield from map(Finding, intact.notes)


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
    """Decompress every frame, alone where one is damaged, so that it hides no other.

    Raises
    ------
    MissingCodecError
        If all need a package that is not installed; where some do, they may be damaged.
    """
    trailer = reader.trailer
    checksums = None if trailer is None else trailer.checksums
    decoder = FrameDecoder(reader.source, reader.record, table, checksums)
    failed: list[tuple[int, MRCError]] = []

    nz, nbytes = reader.record.nz, reader.record.frame_bytes
    step = max(1, min(PIECE_BYTES // nbytes, nz // 256))  # so that a bar still moves

    def problem(frames: range) -> MRCError | None:
        out = reader.allocate((len(frames), *reader.shape[1:]))  # want of memory is no damage
        try:
            decoder.read(frames, out, 1)
        except MRCError as error:
            return error
        return None

    def check(first: int) -> tuple[int, list[tuple[int, MRCError]]]:
        frames = range(first, min(first + step, nz))
        if problem(frames) is None:
            return len(frames), []
        alone = ((frame, problem(range(frame, frame + 1))) for frame in frames)
        return len(frames), [(frame, error) for frame, error in alone if error]

    def note(checked: tuple[int, list[tuple[int, MRCError]]]) -> None:
        count, errors = checked
        failed.extend(errors)
        if advance is not None:
            advance(count * nbytes)

    run_ordered(range(0, nz, step), check, note, threads=threads)
    if len(failed) == nz and all(isinstance(error, MissingCodecError) for _, error in failed):
        raise failed[0][1]
    return [_finding_of(error, frame) for frame, error in failed]


def _finding_of(error: MRCError, frame: int | None = None) -> Finding:
    if isinstance(error, MRCFormatError):
        return Finding(error.problem, frame, error.offset)
    return Finding(str(error), frame)
