"""Files on disk that are written: new ones, and ones that change; all of it or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .changing import O_BINARY, ChangingFile
from .journal import contents, find_journal
from .locking import OpenFileLock, locked
from .replacing import fsync_folder, keep_access, replace_file, writable_status
from .sinks import naming
from .sources import FileSource, anchored
from .tmpfs import is_in_memory, make_pages

__all__ = ["AtomicFile", "InPlaceFile", "held_for_change"]

_NZ = slice(8, 12)
"""Of the record."""


class AtomicFile(ChangingFile):
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
            self.fd = os.open(self._temporary or self._target, os.O_RDWR | O_BINARY)

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


class InPlaceFile(ChangingFile):
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
