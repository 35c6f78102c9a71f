"""Bytes of files and file objects, read by offset.

Every read is positional and safe from several threads at once, and says so when the
file is shorter than it was thought: plain reads rather than a memory map, since a
mapped file that shrinks kills the process with SIGBUS.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Hashable
from typing import IO, Any

from .errors import MRCFormatError, MRCTruncatedError
from .locks import ForkSafeLock

__all__ = ["FileObjectSource", "FileSource", "SizedSource", "Source", "anchored", "can_seek",
           "is_url"]  # fmt: skip

_HAS_PREAD = hasattr(os, "preadv")
_MOST_AT_ONCE = 64 << 20
_CERTAIN_NS = 2 * 10**9
"""Times of changes are coarse: a younger file may change again without a sign."""


class Source:
    """Bytes that can be read at any offset.

    Attributes
    ----------
    name : str
        For messages.
    identity : object
        What changes when the bytes do, where that can be known.
    version : hashable
        What no other bytes on this machine have; None where that isn't certain.
    request_bytes : int
        Bytes that take as long to read as a read of its own takes to begin.
    window_bytes : int
        Most bytes that are read at a time only to find what lies far apart in them.
    """

    name: str
    identity: object = None
    version: Hashable = None
    request_bytes: int = 1 << 13
    window_bytes: int = 1 << 16

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes from `offset` on.

        Raises
        ------
        MRCTruncatedError
            If the source ends before `view` is full.
        """
        raise NotImplementedError

    def holds(self, end: int) -> bool:
        """Return whether there are at least `end` bytes."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Bytes in all."""
        raise NotImplementedError

    @property
    def known_size(self) -> int | None:
        """Bytes in all; None where that means to read to the end first."""
        return self.size

    def settle(self) -> MRCFormatError | None:
        """Take the bytes that there are for all, and return what keeps others from being read."""
        return None

    def close(self) -> None:
        """Give back what is held; safe to call twice."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, like `read_into`."""
        data = bytearray(size)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _truncated(self, offset: int, wanted: int, found: int) -> MRCTruncatedError:
        return MRCTruncatedError("the file ends too early", path=self.name, offset=offset,
                                 expected=f"{wanted} bytes", found=f"{found} bytes")


class SizedSource(Source):
    """Bytes whose number never changes: `_size`."""

    _size: int

    @property
    def size(self) -> int:  # noqa: D102
        return self._size

    def holds(self, end: int) -> bool:  # noqa: D102
        return end <= self._size


class FileSource(SizedSource):
    """A file on disk, which may grow meanwhile.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            self.close()
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._size = status.st_size
        self.identity = (status.st_size, status.st_mtime_ns)
        if time.time_ns() - status.st_mtime_ns > _CERTAIN_NS:
            self.version = (status.st_dev, status.st_ino, *self.identity)
        self._lock = ForkSafeLock()

    def state(self) -> tuple[int, int]:
        """Return size in bytes and time of change in ns, as `identity` has those at the opening."""
        status = os.fstat(self.descriptor)
        self._size = status.st_size
        return (status.st_size, status.st_mtime_ns)

    def holds(self, end: int) -> bool:  # noqa: D102
        if end > self._size:  # it may have grown since: somebody may be appending
            self._size = os.fstat(self.descriptor).st_size
        return end <= self._size

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        done, wanted = 0, len(view)
        while done < wanted:
            count = self._read_some(offset + done, view[done:] if done else view)
            if count == 0:
                raise self._truncated(offset, wanted, done)
            done += count

    def read(self, offset: int, size: int) -> bytes:  # noqa: D102
        if _HAS_PREAD:
            data = os.pread(self.descriptor, size, offset)
            if len(data) == size:
                return data
        return super().read(offset, size)

    def _read_some(self, offset: int, view: memoryview) -> int:
        if _HAS_PREAD:
            return os.preadv(self.descriptor, [view], offset)
        with self._lock():
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            data = os.read(self._fd, min(len(view), 1 << 30))
        view[: len(data)] = data
        return len(data)

    @property
    def descriptor(self) -> int:
        """The file descriptor.

        Raises
        ------
        ValueError
            If it is closed, as Python's files say it.
        """
        if self._fd < 0:
            raise ValueError(f"{self.name} is closed")
        return self._fd

    def detach(self) -> int:
        """Hand the file descriptor over to the caller."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:  # noqa: D102
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


class FileObjectSource(SizedSource):
    """A seekable binary file object, from its present position on.

    Parameters
    ----------
    fileobj : binary file
        Stays open.
    """

    def __init__(self, fileobj: IO[bytes]) -> None:
        self.name = str(getattr(fileobj, "name", f"<{type(fileobj).__name__}>"))
        self._file = fileobj
        self.start = fileobj.tell()
        self._size = max(0, fileobj.seek(0, os.SEEK_END) - self.start)
        fileobj.seek(self.start)
        self._pid = os.getpid()
        self._lock = ForkSafeLock()

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        done, wanted = 0, len(view)
        if _HAS_PREAD and _is_plain(self._file):
            while done < wanted:
                count = os.preadv(self._file.fileno(), [view[done:]], self.start + offset + done)
                if not count:
                    raise self._truncated(offset, wanted, done)
                done += count
            return
        with self._lock():
            if self._pid != os.getpid() and _has_descriptor(self._file):
                raise OSError(errno.ESPIPE, "a file object has one position for all processes; "
                                            "open the file in each", self.name)
            self._file.seek(self.start + offset)
            while done < wanted:
                data = self._file.read(min(wanted - done, _MOST_AT_ONCE))
                if not data:
                    raise self._truncated(offset, wanted, done)
                view[done : done + len(data)] = data
                done += len(data)


def _is_plain(file: IO[bytes]) -> bool:
    """Return whether a file object adds nothing to its descriptor but bytes that it read ahead."""
    raw = file.raw if type(file) is io.BufferedReader else file
    return type(raw) is io.FileIO


def _has_descriptor(file: IO[bytes]) -> bool:
    try:
        file.fileno()
    except (OSError, AttributeError):  # io.UnsupportedOperation, as of memory
        return False
    return True


def can_seek(file: IO[bytes]) -> bool:
    """Return whether a file object says that it can seek; a few can, and don't tell.

    As Python 3.10's SpooledTemporaryFile.
    """
    return bool(file.seekable()) if hasattr(file, "seekable") else hasattr(file, "seek")


def is_url(path: object) -> bool:
    """Return whether a path is the URL of a file that fsspec opens."""
    return isinstance(path, str) and "://" in path


def anchored(path: Any) -> Any:
    """Return a path that means the same file when the process has gone to another folder.

    It is not normalized: what ``..`` behind a link means, only the system knows.
    """
    if not path or os.path.isabs(path):
        return path
    return os.path.join(os.fsencode(os.getcwd()) if isinstance(path, bytes) else os.getcwd(), path)
