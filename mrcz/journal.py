"""Changes of existing files that are made as a whole or not at all.

New bytes that belong where others lie go behind the file's end first, into a journal; then
its footer; then to their places; then the file is cut to its length again. Whoever is killed
before the footer leaves the file as it was, and after it as it should be: a reader that finds
a footer takes the new bytes from the journal. Little-endian, from the end of the file that is
made (or of the old one, where that is longer)::

    0       8 bytes     magic "MRCZJRNL"
    8       B bytes     what belongs at offset A
    8+B     1024 bytes  the new record, which belongs at offset 0
    1032+B  u32         version of this layout: 1
    1036+B  u32         CRC-32 of the old record
    1040+B  u64         A
    1048+B  u64         B
    1056+B  u32         CRC-32 of the B bytes and the new record
    1060+B  u32         CRC-32 of the 28 bytes before this word
    1064+B  8 bytes     magic "MRCZREDO", the last of the file
"""

from __future__ import annotations

import logging
import struct
from binascii import crc32
from dataclasses import dataclass

from .errors import MRCTruncatedError
from .header import HEADER_BYTES, Record
from .locks import ForkSafeLock
from .scratch import Scratch
from .sources import SizedSource, Source
from .trailer import trailer_bytes

__all__ = ["MAGIC", "ChangedSource", "Journal", "as_changed", "contents", "find_journal",
           "has_footer", "is_journal"]  # fmt: skip

logger = logging.getLogger("mrcz")

MAGIC, END_MAGIC = b"MRCZJRNL", b"MRCZREDO"
VERSION = 1
_FACTS = struct.Struct("<IIQQI")
_CHECK = struct.Struct("<I")
FOOTER_BYTES = _FACTS.size + _CHECK.size + len(END_MAGIC)
_LEAST = len(MAGIC) + HEADER_BYTES + FOOTER_BYTES
_STEP_BYTES = 1 << 18


@dataclass(frozen=True)
class Journal:
    """Where a change lies that is to be made.

    Attributes
    ----------
    start : int
        Of the journal in the file, whose length this is when the change is done.
    offset, length : int
        Of the bytes that change, besides the record.
    old_record : int
        CRC-32 of the record as it was.
    checksum : int
        CRC-32 of what the journal holds.
    """

    start: int
    offset: int
    length: int
    old_record: int = 0
    checksum: int = 0

    @property
    def body(self) -> int:
        """Where the new bytes lie."""
        return self.start + len(MAGIC)

    @property
    def record(self) -> int:
        """Where the new record lies."""
        return self.body + self.length

    @property
    def footer(self) -> int:
        """Where the footer lies."""
        return self.record + HEADER_BYTES

    def pack(self) -> bytes:
        """Return the footer's bytes."""
        facts = _FACTS.pack(VERSION, self.old_record, self.offset, self.length, self.checksum)
        return facts + _CHECK.pack(crc32(facts)) + END_MAGIC


def find_journal(source: Source) -> Journal | None:
    """Return the journal at the end of a file, if there is one that belongs to it.

    One whose record neither is the old one nor the new one has been overtaken by another
    program, and counts for nothing. Whether its bytes are sound, `contents` tells.
    """
    size = source.size
    if size < HEADER_BYTES + _LEAST:
        return None
    footer = source.read(size - FOOTER_BYTES, FOOTER_BYTES)
    facts, check = footer[: _FACTS.size], footer[_FACTS.size :]
    if check != _CHECK.pack(crc32(facts)) + END_MAGIC:
        return None
    version, old_record, offset, length, checksum = _FACTS.unpack(facts)
    journal = Journal(size - _LEAST - length, offset, length, old_record, checksum)
    if version != VERSION or offset < HEADER_BYTES or offset + length > journal.start:
        return None
    record = source.read(0, HEADER_BYTES)
    if crc32(record) != old_record and record != source.read(journal.record, HEADER_BYTES):
        return None
    return journal if is_journal(source, journal.start) else None


def has_footer(source: Source, size: int) -> bool:
    """Return whether a journal ends at `size`, so that its change is made at this moment."""
    try:
        return source.read(size - len(END_MAGIC), len(END_MAGIC)) == END_MAGIC
    except MRCTruncatedError:  # it has been made
        return False


def is_journal(source: Source, start: int) -> bool:
    """Return whether a journal was begun at `start`."""
    return source.size >= start + len(MAGIC) and source.read(start, len(MAGIC)) == MAGIC


def contents(source: Source, journal: Journal) -> Scratch | None:
    """Return a copy of what a journal holds, the bytes and the record; None if it is damaged."""
    copy, found = Scratch(), 0
    try:
        for start in range(journal.body, journal.footer, _STEP_BYTES):
            data = source.read(start, min(_STEP_BYTES, journal.footer - start))
            found = crc32(data, found)
            copy.write(start - journal.body, data)
        if found == journal.checksum:
            return copy
    except BaseException:
        copy.close()
        raise
    copy.close()
    return None


def as_changed(source: Source, record: Record) -> Source:
    """Return a file as it will be when a change that was cut short has been completed.

    That is `source` itself, unless its writer was killed at the very instant.

    Parameters
    ----------
    source : Source
        The file.
    record : Record
        Its record as it is; tells where the file should end.
    """
    size = source.known_size
    if size is None or size <= _end(record):
        return source
    try:
        journal = find_journal(source)
        copy = None if journal is None else contents(source, journal)
    except MRCTruncatedError:  # its writer lives, and has completed it meanwhile
        return source
    if journal is None or copy is None:
        return source
    logger.warning("%s: a change of this file was cut short; it is read as if completed, which "
                   "the next write with idx= will do", source.name)
    return ChangedSource(source, journal, copy)


def _end(record: Record) -> int:
    """Return where a file ends, at the most, that has nothing behind its pixels or trailer."""
    if record.compressor is None:
        return record.data_offset + record.nz * record.frame_bytes
    return record.data_offset + int(record.fields["packed_bytes"]) + trailer_bytes(record.nz)


class ChangedSource(SizedSource):
    """A file and a change of it, read as if it had been made.

    Parameters
    ----------
    base : Source
        The file; is closed with this one.
    journal : Journal
        The change.
    copy : Scratch
        What the journal holds: its writer may yet live, and complete it.
    """

    def __init__(self, base: Source, journal: Journal, copy: Scratch) -> None:
        self.name = base.name
        self.identity = base.identity
        self._base = base
        self._copy = copy
        self._size = journal.start
        # Where bytes belong, how many, and where in the copy they are.
        self._moves = ((journal.offset, journal.length, 0),
                       (0, HEADER_BYTES, journal.length))
        self._lock = ForkSafeLock()

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        if offset + len(view) > self._size:
            raise self._truncated(offset, len(view), max(0, self._size - offset))
        self._base.read_into(offset, view)
        for place, length, position in self._moves:
            start, stop = max(offset, place), min(offset + len(view), place + length)
            if start < stop:
                with self._lock():
                    self._copy.read_into(position + start - place,
                                         view[start - offset : stop - offset])

    def close(self) -> None:  # noqa: D102
        self._copy.close()
        self._base.close()

    def __del__(self) -> None:  # what useMemmap=True returns is never closed by its user
        if hasattr(self, "_copy"):
            self.close()
