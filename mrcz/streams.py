"""Bytes that come one after the other, as of compressed streams and pipes, read by offset."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from .errors import MissingCodecError, MRCFormatError, MRCTruncatedError
from .filenames import STREAM_MODULES
from .locks import ForkSafeLock
from .scratch import Scratch
from .sources import Source

__all__ = ["StreamSource", "stream_opener"]

_STEP_BYTES = 1 << 20
_LEAST_BYTES = 1 << 16


class StreamSource(Source):
    """A stream that can only be read forwards, kept as far as it was needed.

    Parameters
    ----------
    stream : binary file
        Is closed with the source.
    name : str
        For messages.
    open_again : callable, optional
        Returns the stream from its start, for a forked process: a file's position would be
        shared with the parent. None where the stream comes but once.
    ahead : int
        Bytes that are read behind those that are wanted: a decompressor compares its checksum
        when it comes to the end. None of a pipe, whose next byte may be long in coming.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        open_again: Callable[[], IO[bytes]] | None = None,
        *,
        ahead: int = 1,
    ) -> None:
        self.name = name
        self._stream = stream
        self._ahead = ahead
        self._open_again = open_again
        self._pid = os.getpid()
        self._scratch = Scratch()
        self._available = 0
        self._at_end = False
        self._is_closed = False
        self._is_astray = False  # an interrupt came before what was read was kept
        self._lock = ForkSafeLock()

    @property
    def size(self) -> int:  # noqa: D102
        with self._lock():
            while not self._at_end:
                self._fetch(self._available + 16 * _STEP_BYTES)
            return self._available

    def settle(self) -> MRCFormatError | None:  # noqa: D102
        try:
            self.size  # noqa: B018  (reads to the end)
        except MRCFormatError as error:
            self._at_end = True
            return error
        return None

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
            self._scratch.read_into(offset, view)

    def _fetch(self, end: int) -> None:
        """Read on up to `end`, or to the stream's."""
        if self._is_closed:
            raise ValueError(f"{self.name} is closed")
        while self._available < end + self._ahead and not self._at_end:
            if self._is_astray or self._pid != os.getpid():
                self._start_again()
            count = min(_STEP_BYTES, max(end - self._available, _LEAST_BYTES))
            self._is_astray = True
            try:
                data = self._read_some(count)
            except Exception:  # damage, which will be found there again
                self._is_astray = False
                raise
            self._scratch.write(self._available, data)
            self._available += len(data)
            self._at_end = not data
            self._is_astray = False

    def _start_again(self) -> None:
        """Open the stream once more, and go to where what is kept ends."""
        if self._open_again is None:
            raise OSError(errno.ESPIPE, "a stream can't be read on behind a fork or an interrupt; "
                                        "open the file in each process, and again", self.name)
        self._is_astray = True
        self._stream, self._pid = self._open_again(), os.getpid()
        position = 0
        while position < self._available:
            data = self._read_some(min(_STEP_BYTES, self._available - position))
            if not data:
                raise self._truncated(position, self._available - position, 0)
            position += len(data)

    def _read_some(self, count: int) -> bytes:
        """Read about as much; at once, since what came before damage would be lost with it."""
        try:
            return getattr(self._stream, "read1", self._stream.read)(count)
        except EOFError as error:
            raise MRCTruncatedError(f"the compressed stream is cut: {error}", path=self.name,
                                    offset=self._available) from error
        except Exception as error:
            if not _is_damage(error):
                raise
            raise MRCFormatError(f"the compressed stream is damaged: {error}", path=self.name,
                                 offset=self._available) from error

    def close(self) -> None:  # noqa: D102
        self._is_closed = True
        self._stream.close()
        self._scratch.close()

    def __del__(self) -> None:  # what useMemmap=True returns is never closed by its user
        if hasattr(self, "_scratch"):
            self.close()


def stream_opener(suffix: str, what: str) -> Any:
    """Return what opens streams of a kind, one of `STREAM_MODULES`; `what` is one, or needs it.

    Raises
    ------
    MissingCodecError
        If this Python was built without its module.
    """
    module = STREAM_MODULES[suffix]
    try:
        return importlib.import_module(module).open
    except ImportError as error:
        raise MissingCodecError(f"{what}: this Python was built without the module "
                                f"{module!r}") from error


def _is_damage(error: Exception) -> bool:
    """Return whether an error of a decompressor is about the stream, not about the disk."""
    import zlib

    if isinstance(error, OSError):
        return error.errno is None
    kinds: tuple[type[Exception], ...] = (ValueError, zlib.error)
    with suppress(ImportError):
        import lzma

        kinds += (lzma.LZMAError,)
    return isinstance(error, kinds)
