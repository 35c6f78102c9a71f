"""Files on disk that are written: new ones, and ones that change; all of it or nothing."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from binascii import crc32
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import IO, Any

from .descriptors import DescriptorSink
from .header import HEADER_BYTES
from .journal import MAGIC as JOURNAL_MAGIC
from .journal import Journal, contents, find_journal
from .locking import OpenFileLock, locked
from .replacing import fsync_folder, keep_access, replace_file, writable_status
from .sinks import naming
from .sources import FileSource, anchored
from .tmpfs import is_in_memory, make_pages

__all__ = ["AtomicFile", "InPlaceFile", "held_for_change"]

logger = logging.getLogger("mrcz")

_STEP_BYTES = 1 << 18
_SPOOL_BYTES = 64 << 20
_O_BINARY = getattr(os, "O_BINARY", 0)
_NZ = slice(8, 12)
"""Of the record."""


class _ChangingFile(DescriptorSink):
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
        self.fd = os.open(path, os.O_RDWR | _O_BINARY | flags, 0o666)
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


class AtomicFile(_ChangingFile):
    """A new file that takes its name only when it is whole.

    Parameters
    ----------
    path : str
        Final name; symbolic links are followed.
    fsync : bool
        Whether `commit` waits until the bytes are on the disk.

    Raises
    ------
    OSError
        If the place can't be written to.
    """

    def __init__(self, path: str, *, fsync: bool = False) -> None:
        target = os.path.realpath(path) if os.path.islink(path) else anchored(path)
        folder = os.path.dirname(target)
        self._target = target
        self._counts: set[bytes] = set()  # NZ of the records that were written
        self._turn = threading.RLock()
        self._is_alone = False
        self._lock_of_file: OpenFileLock | None = None
        # Short, whatever the length of the final name.
        self._temporary = os.path.join(folder, f".{os.urandom(6).hex()}.mrcz-tmp")
        old = writable_status(target)
        super().__init__(path, fsync=fsync)
        try:
            with naming(path):
                self._open(self._temporary, os.O_CREAT | os.O_EXCL)
            if old is not None:
                keep_access(self.fd, target, old)
        except BaseException:
            self.abort()
            raise

    def room_ahead(self, stop: int) -> Callable[[int, int], None] | None:
        """Let the file be `stop` bytes long at once, so that it has pages to be made."""
        if not self._temporary or not is_in_memory(self.fd):  # readers may go by the size of others
            return None
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_size < stop:
                self.truncate(stop)
            return partial(make_pages, self.fd)
        return None

    def write_at(self, offset: int, data: Any) -> None:
        """Write all of `data` at `offset`, or hold it until it is published.

        Raises
        ------
        OSError
            If it can't be written, or others have put frames there.
        """
        with self._alone():
            if offset == 0:
                self._counts.add(bytes(memoryview(data).cast("B")[_NZ]))
            super().write_at(offset, data)

    def truncate(self, size: int) -> None:
        """Cut or fill with zeros to `size` bytes.

        Raises
        ------
        OSError
            As `write_at`.
        """
        with self._alone():
            super().truncate(size)

    @contextlib.contextmanager
    def _alone(self, *, wait: bool = True) -> Iterator[None]:
        """Hold a file that has its name against those who change it, as long as nobody added to it.

        Between two of our steps others may change frames, in their place.
        """
        if self._temporary:
            yield
            return
        with self._turn:
            if self._is_alone:
                yield
                return
            if self._lock_of_file is None:
                self._lock_of_file = OpenFileLock(self.fd, self._target)
            with self._lock_of_file.held(wait=wait):
                try:
                    self._is_alone = True
                    self._require_own_frames()
                    yield
                finally:
                    self._is_alone = False

    def _require_own_frames(self) -> None:
        if self.read_at(_NZ.start, _NZ.stop - _NZ.start) not in self._counts:
            raise OSError(errno.EBUSY, "got frames of another writer after it was flushed, which "
                                       "what comes behind that would damage", self.name)

    def publish(self) -> None:
        """Give the file its name, replacing what was there; or change what has it."""
        if not self._temporary:
            self._require_name()
            with self._alone():
                self._change()
            return
        self._sync_if_asked()
        size = os.fstat(self.fd).st_size
        self._size = None  # it must never be cut once it may have its name
        if os.name == "nt":
            self._rename_closed()
        else:
            self._rename()
        self._size = self._kept = size
        if self._fsync:
            with naming(self.name):
                fsync_folder(os.path.dirname(self._target) or ".")

    def _require_name(self) -> None:
        """Check that what was published is still to be found, were it under another name."""
        with naming(self.name):
            status = os.fstat(self.fd)
            if status.st_nlink:  # not all file systems count right
                return
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(status, os.stat(self._target)):
                    return
        raise FileNotFoundError(errno.ENOENT, "was removed or replaced after it was flushed, and "
                                              "what comes behind that would be lost", self.name)

    def commit(self) -> None:
        """Publish and close."""
        if os.name == "nt" and self._temporary:  # an open file can't be renamed there
            self._sync_if_asked()
            self.close()
            self._rename()
            return
        self.publish()
        self.close()

    def _rename(self) -> None:
        with naming(self.name):
            replace_file(self._temporary, self._target)
        self._temporary = ""

    def _rename_closed(self) -> None:
        """Rename the file where an open one can't be, and open it again, renamed or not."""
        self.close()
        try:
            self._rename()
        finally:
            self.fd = os.open(self._temporary or self._target, os.O_RDWR | _O_BINARY)

    def abort(self) -> None:
        """Remove what was not published; the old file, or what was published, stays."""
        if self.fd >= 0 and not self._temporary and self._pid == os.getpid():
            self._cut()
        super().abort()
        temporary, self._temporary = self._temporary, ""
        if temporary and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _cut(self) -> None:
        """Remove what was not published from a file that has its name.

        Not while others are at it, or when they added to it: it may be theirs that comes last.
        """
        size, self._size = self._size, None
        with contextlib.suppress(OSError), self._alone(wait=False):
            if size is not None:
                os.ftruncate(self.fd, size)


class InPlaceFile(_ChangingFile):
    """An existing file that changes as a whole, or not at all.

    Parameters
    ----------
    path : str
        The file.
    kept : int, optional
        How many of its bytes count; None: all.
    fsync : bool
        Whether `commit` waits until the bytes are on the disk.
    """

    def __init__(self, path: str, kept: int | None = None, *, fsync: bool = False) -> None:
        super().__init__(path, fsync=fsync)
        size = self._open(path)
        self._kept = size if kept is None else kept

    def commit(self) -> None:
        """Make the change, and close."""
        self._change()
        self.close()


@contextlib.contextmanager
def held_for_change(path: str) -> Iterator[None]:
    """Hold an existing file against other writers, after a change that was cut short is completed.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    OSError
        If the file can't be written.
    """
    with locked(path):
        _complete_change(path)
        yield


def _complete_change(path: str) -> None:
    with FileSource(path) as source:
        journal = find_journal(source)
        copy = None if journal is None else contents(source, journal)
    if journal is None or copy is None:
        return
    copy.close()
    file = InPlaceFile(path, fsync=True)
    try:
        file.complete(journal)
    finally:
        file.close()


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
