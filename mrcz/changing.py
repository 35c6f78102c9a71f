"""What all files on disk that are written share: bytes that count change all at once."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from binascii import crc32
from dataclasses import replace
from typing import IO, Any

from .descriptors import DescriptorSink
from .header import HEADER_BYTES
from .journal import MAGIC as JOURNAL_MAGIC
from .journal import Journal
from .sinks import naming

__all__ = ["O_BINARY", "ChangingFile"]

logger = logging.getLogger("mrcz")

O_BINARY = getattr(os, "O_BINARY", 0)
"""For `os.open`; Windows translates the ends of lines otherwise."""

_STEP_BYTES = 1 << 18
_SPOOL_BYTES = 64 << 20


class ChangingFile(DescriptorSink):
    """A file with bytes that count, which change all at once when they are published.

    What goes behind them is written at once; what goes over them is held until then.

    Parameters
    ----------
    name : str
        For messages.
    fsync : bool
        Whether publishing waits for the disk, between its steps too.
    """

    def __init__(self, name: str, *, fsync: bool) -> None:
        super().__init__(name, -1)
        self._pid = os.getpid()
        self._kept = 0
        self._fsync = fsync
        self._size: int | None = None  # to go back to; None: there is no way back
        self._record = b""
        self._journal: Journal | None = None
        self._held: list[tuple[int, int]] = []
        self._spool: IO[bytes] | None = None

    def _open(self, path: str, flags: int = 0) -> int:
        """Open the file, and return its size."""
        self.fd = os.open(path, os.O_RDWR | O_BINARY | flags, 0o666)
        self._size = os.fstat(self.fd).st_size
        return self._size

    def begin_journal(self, offset: int, length: int) -> int:
        """Return where to write bytes that are to go to `offset`, if their number is known.

        This spares holding them. Nothing but the record may be written besides.
        """
        with naming(self.name):
            _allocate(self.fd, offset, length)
        start = max(os.fstat(self.fd).st_size, offset + length)
        self._journal = Journal(start, offset, length)
        super().write_at(start, JOURNAL_MAGIC)
        return self._journal.body

    def write_at(self, offset: int, data: Any) -> None:
        """Write all of `data` at `offset`, or hold it until it is published."""
        view = memoryview(data).cast("B")
        within = max(0, min(len(view), self._kept - offset))
        if within:
            self._hold(offset, view[:within])
        super().write_at(offset + within, view[within:])

    def _hold(self, offset: int, view: memoryview) -> None:
        if offset == 0 and len(view) == HEADER_BYTES:
            self._record = bytes(view)
            return
        with self._lock, naming(self.name):
            if self._spool is None:
                self._spool = _spool_beside(self.name)
            self._spool.seek(0, os.SEEK_END)
            self._spool.write(view)
            self._held.append((offset, len(view)))

    def _forget(self) -> None:
        self._record, self._held, self._journal = b"", [], None
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()

    def _change(self) -> None:
        """Bring what is held to its places, all of it or nothing."""
        self._sync_if_asked()
        if self._held:
            self._write_held()
        if self._journal is not None:
            journal = self._close_journal(self._journal)
            try:
                self.complete(journal)
            except BaseException:  # such as an interrupt: there is only the way forward
                if os.fstat(self.fd).st_size > journal.start:  # else that was the last step
                    self.complete(journal)
                raise
        elif self._record:
            self._size = None  # what it counts must never be cut
            try:
                super().write_at(0, self._record)
            except BaseException:  # as above: who knows whether it has been written
                super().write_at(0, self._record)
                raise
        self._forget()
        self._size = self._kept = os.fstat(self.fd).st_size
        self._sync_if_asked()

    def _write_held(self) -> None:
        """Write what is held into a journal."""
        assert self._spool is not None
        offset = min(start for start, _ in self._held)
        length = max(start + count for start, count in self._held) - offset
        body = self.begin_journal(offset, length)
        if _has_gaps(self._held):
            self.copy_from(self.fd, offset, offset + length, body)
        self._spool.seek(0)
        for start, count in self._held:
            for done in range(0, count, _STEP_BYTES):
                data = self._spool.read(min(_STEP_BYTES, count - done))
                super().write_at(body + start + done - offset, data)

    def _close_journal(self, journal: Journal) -> Journal:
        """Write the record and the footer; from here on the change counts."""
        old = self.read_at(0, HEADER_BYTES)
        super().write_at(journal.record, self._record or old)
        checksum = 0
        for start in range(journal.body, journal.footer, _STEP_BYTES):
            data = self.read_at(start, min(_STEP_BYTES, journal.footer - start))
            checksum = crc32(data, checksum)
        journal = replace(journal, old_record=crc32(old), checksum=checksum)
        self._sync_if_asked()
        super().write_at(journal.footer, journal.pack())
        self._size = None
        self._sync_if_asked()
        return journal

    def complete(self, journal: Journal) -> None:
        """Do what a journal says, and remove it; again, if need be."""
        self.copy_from(self.fd, journal.body, journal.record, journal.offset)
        super().write_at(0, self.read_at(journal.record, HEADER_BYTES))
        self._sync_if_asked()
        self.truncate(journal.start)

    def _sync_if_asked(self) -> None:
        if self._fsync:
            self.sync()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            logger.warning("%s was never closed: what was not published is removed", self.name)
            self.abort()

    def abort(self) -> None:
        """Forget what was not published, and close; in a fork, leave the parent's file alone."""
        self._forget()
        if self.fd >= 0 and self._size is not None and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self._size)
        self.close()


def _spool_beside(path: str) -> IO[bytes]:
    """Return a file in memory or, if it gets large, without a name in the folder of another."""
    import tempfile  # takes a twentieth of `import mrcz`

    folder = os.path.dirname(os.path.abspath(path))
    return tempfile.SpooledTemporaryFile(
        _SPOOL_BYTES, dir=folder if os.access(folder, os.W_OK) else None)


def _has_gaps(parts: list[tuple[int, int]]) -> bool:
    """Return whether some bytes lie between parts."""
    reached = min(parts)[0]
    for start, count in sorted(parts):
        if start > reached:
            return True
        reached = max(reached, start + count)
    return False


def _allocate(fd: int, offset: int, length: int) -> None:
    """Make sure that holes which are to be filled have room on the disk."""
    status = os.fstat(fd)
    if hasattr(os, "posix_fallocate") and 512 * status.st_blocks < status.st_size:
        try:
            os.posix_fallocate(fd, offset, length)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
