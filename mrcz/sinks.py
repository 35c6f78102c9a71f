"""Where bytes go, by offset: what every sink can do, and file objects."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from .sources import can_seek

__all__ = ["FileObjectSink", "Sink", "StreamFile", "naming"]


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
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
    """

    name: str

    def write_at(self, offset: int, data: Any) -> None:
        """Write all of `data`, a contiguous buffer, at `offset`."""
        raise NotImplementedError

    def truncate(self, size: int) -> None:
        """Cut or fill with zeros to `size` bytes."""
        raise NotImplementedError

    def room_ahead(self, stop: int) -> Callable[[int, int], None] | None:
        """Return what may make room for bytes up to `stop` before they are written.

        None where that would gain nothing. It takes a range of bytes, and is no more than a hint.
        """
        return None

    def publish(self) -> None:
        """Show what was written so far under the file's name, and stay open."""

    def commit(self) -> None:
        """Make what was written final."""

    def abort(self) -> None:
        """Undo, as far as this kind of sink can; safe to call after `commit`."""


class FileObjectSink(Sink):
    """A binary file object, from its present position on; it stays open.

    Parameters
    ----------
    fileobj : binary file
        If it can't go back to write the record, it gets everything at `commit`.
    """

    def __init__(self, fileobj: IO[bytes]) -> None:
        self.name = str(getattr(fileobj, "name", f"<{type(fileobj).__name__}>"))
        self._final = fileobj
        self._file: IO[bytes] = fileobj if _goes_back(fileobj) else io.BytesIO()
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


class StreamFile(FileObjectSink):
    """A device or a pipe by its name: opened, written in one go, never replaced."""

    def write_at(self, offset: int, data: Any) -> None:  # noqa: D102
        with naming(self.name):
            super().write_at(offset, data)

    def commit(self) -> None:
        """Write what is left, and close."""
        with naming(self.name):
            super().commit()
            self._final.close()

    def abort(self) -> None:
        """Close: what was written is gone its way."""
        self._final.close()


def _goes_back(file: IO[bytes]) -> bool:
    """Return whether what was written can be written over.

    Not in streams of gzip, which say that they can seek, nor in files opened to append.
    """
    import gzip

    return (can_seek(file) and not isinstance(file, gzip.GzipFile)
            and "a" not in str(getattr(file, "mode", "")))


def _write_all(file: IO[bytes], view: memoryview) -> None:
    """Write all of `view`: one call of an unbuffered file may take only a part."""
    done = 0
    while done < len(view):
        with view[done:] as rest:
            count = file.write(rest)
            done += len(rest) if count is None else count
