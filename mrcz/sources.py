"""Bytes of files, file objects and compressed streams, all read by offset.

Every read is positional and safe from several threads at once, and says so when the
file is shorter than it was thought: plain reads rather than a memory map, since a
mapped file that shrinks kills the process with SIGBUS.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Hashable
from types import TracebackType
from typing import IO, Any

from .errors import MRCFormatError, MRCTruncatedError
from .locks import ForkSafeLock

__all__ = ["FileObjectSource", "FileSource", "Source", "StreamSource", "anchored", "can_seek",
           "is_url"]  # fmt: skip

_HAS_PREAD = hasattr(os, "preadv")
_SPOOL_BYTES = 64 << 20
_CERTAIN_NS = 2 * 10**9
"""Times of changes are coarse: a younger file may change again without a sign."""
_STREAM_STEP = 1 << 20


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
    request_bytes: int = 1 << 12
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

    def close(self) -> None:
        """Give back what is held; safe to call twice."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, like `read_into`."""
        data = bytearray(size)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _truncated(self, offset: int, wanted: int, found: int) -> MRCTruncatedError:
        return MRCTruncatedError("the file ends too early", path=self.name, offset=offset,
                                 expected=f"{wanted} bytes", found=f"{found} bytes")


class FileSource(Source):
    """A file on disk.

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
            raise IsADirectoryError(21, "Is a directory", path)
        self.is_regular = stat.S_ISREG(status.st_mode)
        self._size = status.st_size
        self.identity = (status.st_size, status.st_mtime_ns)
        if time.time_ns() - status.st_mtime_ns > _CERTAIN_NS:
            self.version = (status.st_dev, status.st_ino, *self.identity)
        self._lock = ForkSafeLock()

    @property
    def size(self) -> int:  # noqa: D102
        return self._size

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


class FileObjectSource(Source):
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
        self._lock = ForkSafeLock()

    @property
    def size(self) -> int:  # noqa: D102
        return self._size

    def holds(self, end: int) -> bool:  # noqa: D102
        return end <= self._size

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        done, wanted = 0, len(view)
        with self._lock():
            self._file.seek(self.start + offset)
            while done < wanted:
                data = self._file.read(min(wanted - done, _SPOOL_BYTES))
                if not data:
                    raise self._truncated(offset, wanted, done)
                view[done : done + len(data)] = data
                done += len(data)


    def rewind(self) -> None:
        """Position the file object where this source starts."""
        self._file.seek(self.start)


class StreamSource(Source):
    """A stream that can only be read forwards, kept as far as it was needed.

    Parameters
    ----------
    stream : binary file
        Is closed with the source.
    name : str
        For messages.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self._stream = stream
        import tempfile

        self._spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (closed by close)
            max_size=_SPOOL_BYTES)
        self._available = 0
        self._at_end = False
        self._lock = ForkSafeLock()

    @property
    def size(self) -> int:  # noqa: D102
        with self._lock():
            while not self._at_end:
                self._fetch(self._available + 16 * _STREAM_STEP)
            return self._available

    @property
    def known_size(self) -> int | None:  # noqa: D102
        return self._available if self._at_end else None

    def holds(self, end: int) -> bool:  # noqa: D102
        with self._lock():
            self._fetch(end)
            return end <= self._available

    def read_into(self, offset: int, view: memoryview) -> None:  # noqa: D102
        wanted = len(view)
        with self._lock():
            self._fetch(offset + wanted)
            found = min(wanted, self._available - offset)
            if found < wanted:
                raise self._truncated(offset, wanted, max(0, found))
            self._spool.seek(offset)
            view[:] = self._spool.read(wanted)

    def _fetch(self, end: int) -> None:
        self._spool.seek(self._available)
        while self._available < end and not self._at_end:
            try:
                data = self._stream.read(min(_STREAM_STEP, max(end - self._available, 1 << 16)))
            except EOFError as error:
                raise MRCTruncatedError(f"the compressed stream is cut: {error}", path=self.name,
                                        offset=self._available) from error
            except Exception as error:
                if not _is_damage(error):
                    raise
                raise MRCFormatError(f"the compressed stream is damaged: {error}", path=self.name,
                                     offset=self._available) from error
            self._at_end = not data
            self._spool.write(data)
            self._available += len(data)

    def close(self) -> None:  # noqa: D102
        self._stream.close()
        self._spool.close()

    def __del__(self) -> None:  # what useMemmap=True returns is never closed by its user
        if hasattr(self, "_spool"):
            self.close()


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


def _is_damage(error: Exception) -> bool:
    """Return whether an error of a decompressor is about the stream, not about the disk."""
    import lzma
    import zlib

    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, (zlib.error, lzma.LZMAError, ValueError))
