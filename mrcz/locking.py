"""One writer at a time: a lock on a file that is to be changed."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from .locks import ForkSafeLock

fcntl: Any
try:
    import fcntl
except ImportError:  # not of POSIX
    fcntl = None

__all__ = ["OpenFileLock", "locked"]

logger = logging.getLogger("mrcz")

_PAUSE = 0.002
_LONG = 10.0
"""Seconds."""

_naming = ForkSafeLock()
_of_threads: WeakValueDictionary[str, ForkSafeLock] = WeakValueDictionary()
"""By the files' names; gone when nobody holds or waits for them."""


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a file against others who change it with this library, in any thread or process.

    The lock is advisory (``flock``), so readers and other programs are not kept out. Where
    the system has none (Windows), or its disk refuses, only threads of this process wait.

    Parameters
    ----------
    path : str
        A file that exists.
    """
    own = _lock_of_threads(path)  # lives as long as this name
    if fcntl is None:
        with own():
            yield
        return
    with _held(path) as file, own():
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked process may have a copy of it


class OpenFileLock:
    """Holds an open file as `locked` does; one thread at a time may hold it.

    Parameters
    ----------
    fd : int
        Open for writing.
    path : str
        The name that it was given, which it may lose.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._own = _lock_of_threads(path)
        self._is_good: bool | None = None

    @contextmanager
    def held(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the file.

        Parameters
        ----------
        wait : bool
            Whether to wait for others.

        Raises
        ------
        BlockingIOError
            If others hold it, and they are not to be waited for.
        """
        if fcntl is None or self._is_good is False:
            with self._own():
                yield
            return
        try:
            _wait_for(self._fd, self._path, wait=wait)
            if self._is_good is None:
                self._is_good = _can_be_read(self._path)
                if not self._is_good:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            with self._own():
                yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)


def _lock_of_threads(path: str) -> ForkSafeLock:
    name = os.path.normcase(os.path.realpath(path))
    with _naming():
        lock = _of_threads.get(name)
        if lock is None:
            lock = _of_threads[name] = ForkSafeLock(threading.RLock)
        return lock


def _held(path: str) -> io.FileIO:
    """Return the file that has the name `path` at that moment, locked.

    It is closed, and so unlocked, whatever interrupts its user. It is opened for writing, as
    NFS wants files that are locked against all others.
    """
    while True:
        file = io.FileIO(path, "r+")
        try:
            _wait_for(file, path)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                if not _can_be_read(path):
                    fcntl.flock(file, fcntl.LOCK_UN)
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # while we waited, another file was given the name


def _can_be_read(path: str) -> bool:
    """Return whether the lock leaves ourselves in: that of SMB shuts out all but its descriptor."""
    try:
        with io.FileIO(path) as other:
            other.read(1)
    except PermissionError:
        return False
    except FileNotFoundError:
        return True
    return True


def _wait_for(file: io.FileIO | int, path: str, *, wait: bool = True) -> None:
    """Lock a file, however long that takes; who waits long is told why."""
    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if time.monotonic() - began > _LONG and not told:
                logger.warning("%s is being written by another thread or process: waiting", path)
                told = True
            time.sleep(_PAUSE)
        except OSError:  # there are no locks on this disk
            return
        else:
            return
