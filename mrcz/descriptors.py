"""Bytes out to a file by its descriptor, at any offset and from any thread."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from .sinks import Sink, naming

__all__ = ["DescriptorSink"]

_HAS_PWRITE = hasattr(os, "pwrite")
_COPY_BYTES = 4 << 20


class DescriptorSink(Sink):
    """A file by its descriptor: every byte goes to its place at once.

    Parameters
    ----------
    name : str
        For messages.
    fd : int
        Open for reading and writing.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self._lock = threading.Lock()

    def write_at(self, offset: int, data: Any) -> None:  # noqa: D102
        view = memoryview(data).cast("B")
        with naming(self.name):
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
        with naming(self.name):
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
        with naming(self.name):
            os.ftruncate(self.fd, size)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        with naming(self.name):
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
        DescriptorSink.write_at(self, offset, data)  # as the kernel would: held by nobody
        return len(data)

    def close(self) -> None:
        """Close the file as it is; safe to call twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
