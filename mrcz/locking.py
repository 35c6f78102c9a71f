"""One writer at a time: a lock on a file that is to be changed."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # not of POSIX
    fcntl = None

__all__ = ["locked"]

logger = logging.getLogger("mrcz")

_PAUSE = 0.002
_LONG = 10.0
"""Seconds."""


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a file against others who change it with this library, in any thread or process.

    The lock is advisory (``flock``), so readers and other programs are not kept out. Where
    the system has none, or its disk refuses, nothing is held.

    Parameters
    ----------
    path : str
        A file that exists.
    """
    if fcntl is None:
        yield
        return
    fd = _held(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # a forked process may have a copy of the descriptor
        os.close(fd)


def _held(path: str) -> int:
    """Return a locked descriptor of the file that has the name `path` at that moment."""
    while True:
        fd = os.open(path, os.O_RDONLY)
        try:
            _wait_for(fd, path)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # while we waited, another file was given the name


def _wait_for(fd: int, path: str) -> None:
    """Lock a descriptor, however long that takes; who waits long is told why."""
    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - began > _LONG and not told:
                logger.warning("%s is being written by another thread or process: waiting", path)
                told = True
            time.sleep(_PAUSE)
        except OSError:  # there are no locks on this disk
            return
        else:
            return
