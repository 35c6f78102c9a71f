"""Saving what can be saved of damaged files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import accumulate

from .buffers import address_of
from .checksums import can_hash, checksum_of
from .codec import compress, parse_options
from .disk import AtomicFile
from .errors import MRCFormatError
from .header import HEADER_BYTES, Record, amend
from .headerindex import with_index
from .intact import find_intact, frame_buffer
from .lease import blosc_settings
from .progress import Advance, shown, title_of, unseen
from .reader import MRCReader
from .replacing import is_same_file
from .trailer import make_trailer

__all__ = ["RepairReport", "repair", "salvage_file"]

_COPY_BYTES = 1 << 22
_LEAST_LEFT = 1000
"""A file of which less than one part in so many is left was never as large as it says."""


@dataclass
class RepairReport:
    """What `mrcz.repair` did.

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


def repair(
    path: str | os.PathLike[str], output: str | os.PathLike[str], *, progress: bool = False
) -> RepairReport:
    """Write what is intact in a damaged or cut file to a new one.

    Intact chunks are copied as they are; lost frames become zeros. Where the way from
    chunk to chunk is broken, the next plausible chunk header is searched.

    Parameters
    ----------
    path : str or os.PathLike
        The damaged file; it is only read.
    output : str or os.PathLike
        The new one.
    progress : bool
        Show a bar of what is looked at and written, in a terminal or a notebook.

    Returns
    -------
    RepairReport
        Which frames were recovered, and which are lost.

    Raises
    ------
    MRCFormatError
        If the header itself is beyond use, or no frame is intact.
    MissingCodecError
        If its frames can't be told from damage without a package.
    ValueError
        If `output` is the damaged file.

    Examples
    --------
    >>> import mrcz, os, tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> path, saved = os.path.join(folder, "cut.mrcz"), os.path.join(folder, "saved.mrcz")
    >>> mrcz.writeMRC(np.ones((3, 64, 64), "int16"), path, compressor="zstd")
    >>> os.truncate(path, os.path.getsize(path) - 10)
    >>> report = mrcz.repair(path, saved)
    >>> report.recovered, report.lost
    ([0, 1], [2])
    >>> mrcz.readMRC(saved)[0].shape
    (3, 64, 64)
    """
    return salvage_file(path, output, lambda total: shown(progress, total, title_of(path)))


def salvage_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    watched: Callable[[int], AbstractContextManager[Advance | None]],
) -> RepairReport:
    """Save what is intact as `repair` does, while somebody watches.

    Parameters
    ----------
    path, output
        As of `repair`.
    watched : callable
        Takes the bytes that will be looked at and written, about; returns a context
        manager of what is told those that are done.
    """
    path, output = os.fsdecode(path), os.fsdecode(output)
    with MRCReader(path) as reader:
        if is_same_file(reader.source.name, output):  # without file://, if path is such a URL
            raise ValueError("repair writes a new file: output must not be the damaged one")
        is_raw = reader.record.compressor is None
        salvage, passes = (_RawSalvage, 1) if is_raw else (_ChunkSalvage, 2)
        damage = reader.source.settle()
        with watched(passes * reader.source.size) as advance:
            report = salvage(reader, advance or unseen).write(output)
        if damage is not None:
            report.notes.append(damage.problem)
        return report


def _require_enough(found: int, wanted: int, what: str, record: Record) -> None:
    """Check that what is left is in some proportion to what the header promises."""
    if found < 1:
        raise MRCFormatError("no frame is intact", path=record.path)
    if found * _LEAST_LEFT < wanted:
        raise MRCFormatError(f"the header promises more than {_LEAST_LEFT} times the {what} that "
                             f"there are", path=record.path, offset=0, expected=wanted,
                             found=found)


class _RawSalvage:
    """An uncompressed file: what is there, and zeros for the rest."""

    def __init__(self, reader: MRCReader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance

    def write(self, output: str) -> RepairReport:
        record, source = self._reader.record, self._reader.source
        full = record.data_offset + record.nz * record.frame_bytes
        end = min(source.size, full)
        _require_enough(end - record.data_offset, full - record.data_offset, "bytes", record)
        whole = (end - record.data_offset) // record.frame_bytes
        sink = AtomicFile(output)
        try:
            for start in range(0, end, _COPY_BYTES):
                sink.write_at(start, source.read(start, min(_COPY_BYTES, end - start)))
                self._advance(min(_COPY_BYTES, end - start))
            if record.lacks_extended:
                sink.write_at(0, amend(source.read(0, HEADER_BYTES), record.byteorder, nsymbt=0))
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

    def __init__(self, reader: MRCReader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._record = reader.record
        self._source = reader.source

    def write(self, output: str) -> RepairReport:
        record, intact = self._record, find_intact(self._reader, self._advance)
        chunks = intact.spans
        _require_enough(len(chunks), record.nz, "frames", record)
        lost = [frame for frame in range(record.nz) if frame not in chunks]
        report = RepairReport(sorted(chunks), lost, intact.notes)
        head = self._source.read(0, record.data_offset)
        filler = self._zeros() if report.lost else b""
        sink = AtomicFile(output)
        try:
            position, lengths, checksums = record.data_offset, [], []
            for frame in range(record.nz):
                data = self._source.read(*chunks[frame]) if frame in chunks else filler
                sink.write_at(position, data)
                lengths.append(len(data))
                checksums.append(checksum_of(data) if can_hash() else 0)
                position += len(data)
                self._advance(len(data))
            packed = position - record.data_offset
            labels = with_index(record.fields["labels"], record.nz, packed,
                                dict(enumerate(accumulate(lengths), 1)))
            fields = amend(head[:HEADER_BYTES], record.byteorder, packed_bytes=packed,
                           labels=labels)
            head = fields + head[HEADER_BYTES:]
            if can_hash():
                sink.write_at(position, make_trailer(record.data_offset, lengths, checksums,
                                                     head))
            sink.write_at(0, head)
            sink.commit()
        finally:
            sink.abort()
        return report

    def _zeros(self) -> bytes:
        compressor = self._record.compressor
        assert compressor is not None
        options = parse_options(compressor)
        zeros = frame_buffer(self._record)
        itemsize = self._record.disk_dtype.itemsize
        with blosc_settings(options.block_bytes(itemsize)):
            return compress(address_of(zeros), zeros.nbytes, itemsize, options)
