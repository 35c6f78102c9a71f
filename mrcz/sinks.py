"""Where bytes go: new files, files changed in place, file objects; all by offset."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from typing import IO, Any

from .replacing import replace_file
from .sources import is_url

__all__ = ["AtomicFile", "FileObjectSink", "InPlaceFile", "Sink", "open_sink"]

_HAS_PWRITE = hasattr(os, "pwrite")
_COPY_BYTES = 4 << 20
_O_BINARY = getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Add the path to errors that don't name it, as those on a descriptor."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename == path:
            raise
        raise OSError(error.errno, error.strerror, path) from error


class Sink:
    """Bytes written at any offset, from any thread.

    Attributes
    ----------
    name : str
        For messages.
    can_read : bool
        Whether `read_at` gives back what was written.
    """

    name: str
    can_read = False

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return bytes that were written."""
        raise NotImplementedError

    def write_at(self, offset: int, data: Any) -> None:
        """Write all of `data`, a contiguous buffer, at `offset`."""
        raise NotImplementedError

    def truncate(self, size: int) -> None:
        """Cut or fill with zeros to `size` bytes."""
        raise NotImplementedError

    def publish(self) -> None:
        """Show what was written so far under the file's name, and stay open."""

    def commit(self) -> None:
        """Make what was written final."""

    def abort(self) -> None:
        """Undo, as far as this kind of sink can; safe to call after `commit`."""


class _DescriptorSink(Sink):
    can_read = True

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self._lock = threading.Lock()

    def write_at(self, offset: int, data: Any) -> None:
        view = memoryview(data).cast("B")
        with _naming(self.name):
            while view:
                count = self._write_some(offset, view)
                offset += count
                view = view[count:]

    def _write_some(self, offset: int, view: memoryview) -> int:
        if _HAS_PWRITE:
            return os.pwrite(self.fd, view, offset)
        with self._lock:
            os.lseek(self.fd, offset, os.SEEK_SET)
            return os.write(self.fd, view)

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Return bytes that were written.

        Raises
        ------
        OSError
            If they are there no more.
        """
        with _naming(self.name):
            if _HAS_PWRITE:
                data = os.pread(self.fd, nbytes, offset)
            else:
                with self._lock:
                    os.lseek(self.fd, offset, os.SEEK_SET)
                    data = os.read(self.fd, nbytes)
        if len(data) != nbytes:
            raise OSError(f"{self.name}: the file shrank while it was written")
        return data

    def truncate(self, size: int) -> None:
        """Cut or fill with zeros to `size` bytes."""
        with _naming(self.name):
            os.ftruncate(self.fd, size)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        with _naming(self.name):
            os.fsync(self.fd)

    def copy_from(self, source_fd: int, start: int, stop: int, offset: int) -> None:
        """Copy bytes ``[start, stop)`` of another file to `offset`, in the kernel if it can."""
        while start < stop:
            count = self._copy_some(source_fd, start, min(stop - start, 1 << 30), offset)
            start += count
            offset += count

    def _copy_some(self, source_fd: int, start: int, count: int, offset: int) -> int:
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):
                if copied := os.copy_file_range(source_fd, self.fd, count, start, offset):
                    return copied
        os.lseek(source_fd, start, os.SEEK_SET)
        data = os.read(source_fd, min(count, _COPY_BYTES))
        if not data:
            raise OSError(f"{self.name}: the file shrank while it was copied")
        self.write_at(offset, data)
        return len(data)

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class AtomicFile(_DescriptorSink):
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
        target = os.path.realpath(path) if os.path.islink(path) else path
        folder = os.path.dirname(target)
        self._target = target
        self._fsync = fsync
        # Short, whatever the length of the final name.
        self._temporary = os.path.join(folder, f".{os.urandom(6).hex()}.mrcz-tmp")
        self._published_bytes = 0
        old = _writable_status(target)
        with _naming(path):
            fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o666)
        super().__init__(path, fd)
        if old is not None:
            _keep_access(fd, old)

    def publish(self) -> None:
        """Give the file its name, replacing what was there."""
        if self._fsync:
            self.sync()
        if self._temporary:
            self._rename()
            if self._fsync:
                fsync_folder(os.path.dirname(self._target) or ".")
        self._published_bytes = os.fstat(self.fd).st_size

    def commit(self) -> None:
        """Publish and close."""
        if os.name == "nt" and self._temporary:  # an open file can't be renamed there
            if self._fsync:
                self.sync()
            self._close()
            self._rename()
            return
        self.publish()
        self._close()

    def _rename(self) -> None:
        with _naming(self.name):
            replace_file(self._temporary, self._target)
        self._temporary = ""

    def abort(self) -> None:
        """Remove what was not published; the old file, or what was published, stays."""
        if self.fd >= 0 and not self._temporary:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self._published_bytes)
        self._close()
        temporary, self._temporary = self._temporary, ""
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


class InPlaceFile(_DescriptorSink):
    """An existing file that is changed in place.

    Parameters
    ----------
    path : str
        The file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, os.open(path, os.O_RDWR | _O_BINARY))

    def commit(self) -> None:
        """Close the file."""
        self._close()

    def abort(self) -> None:
        """Close the file as it is."""
        self._close()


class FileObjectSink(Sink):
    """A binary file object, from its present position on; it stays open.

    Parameters
    ----------
    fileobj : binary file
        If it can't seek, it gets everything at `commit`.
    """

    def __init__(self, fileobj: IO[bytes]) -> None:
        self.name = str(getattr(fileobj, "name", f"<{type(fileobj).__name__}>"))
        self._final = fileobj
        self._file: IO[bytes] = fileobj if fileobj.seekable() else io.BytesIO()
        self._start = self._file.tell()
        self._end = self._start
        self._lock = threading.Lock()

    def write_at(self, offset: int, data: Any) -> None:  # noqa: D102
        view = memoryview(data).cast("B")
        with self._lock:
            self._file.seek(self._start + offset)
            _write_all(self._file, view)
            self._end = max(self._end, self._start + offset + len(view))

    def truncate(self, size: int) -> None:  # noqa: D102
        with self._lock:
            self._file.truncate(self._start + size)
            self._end = self._start + size

    def commit(self) -> None:
        """Leave the file object behind the last byte."""
        if self._file is not self._final:
            with self._file.getbuffer() as view:  # type: ignore[attr-defined]
                _write_all(self._final, view)
        else:
            self._file.seek(self._end)


class _StreamFile(FileObjectSink):
    """A device or a pipe by its name: opened, written in one go, never replaced."""

    def write_at(self, offset: int, data: Any) -> None:
        with _naming(self.name):
            super().write_at(offset, data)

    def commit(self) -> None:
        with _naming(self.name):
            super().commit()
            self._final.close()

    def abort(self) -> None:
        self._final.close()


def _write_all(file: IO[bytes], view: memoryview) -> None:
    """Write all of `view`: one call of an unbuffered file may take only a part."""
    done = 0
    while done < len(view):
        with view[done:] as rest:
            count = file.write(rest)
            done += len(rest) if count is None else count


def open_sink(file: str | os.PathLike[str] | IO[bytes], *, fsync: bool = False) -> Sink:
    """Return the sink for a new file at a path or a URL, or for a binary file object.

    Raises
    ------
    OSError
        If the place can't be written to.
    TypeError
        If `file` is neither a path nor a binary file.
    """
    if not isinstance(file, (str, bytes, os.PathLike)):
        if not hasattr(file, "write"):
            raise TypeError(f"a path or a binary file object is needed, not {type(file).__name__}")
        if isinstance(file, io.TextIOBase):
            raise TypeError("a file object must be opened in binary mode ('wb'), not text mode")
        return FileObjectSink(file)
    path = os.fsdecode(file)
    if is_url(path):
        return _sink_for_url(path, fsync)
    with contextlib.suppress(OSError):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return _StreamFile(open(path, "wb", buffering=0))
    return AtomicFile(path, fsync=fsync)


def _sink_for_url(url: str, fsync: bool) -> Sink:
    from .plugins.remote import RemoteFile, local_path

    path = local_path(url)
    return RemoteFile(url) if path is None else AtomicFile(path, fsync=fsync)


def _writable_status(path: str) -> os.stat_result | None:
    """Return the status of a file to be replaced, which must be one we could overwrite."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, "Is a directory", path)
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", path)
    return status


def _keep_access(fd: int, old: os.stat_result) -> None:
    if not hasattr(os, "fchmod"):
        return
    with contextlib.suppress(OSError):
        new = os.fstat(fd)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(fd, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(old.st_mode))


def fsync_folder(folder: str) -> None:
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
