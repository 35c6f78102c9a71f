"""Locks that a forked child finds free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["ForkSafeLock"]

_forks = 0
_renewing = threading.Lock()


def _start_anew_after_fork() -> None:
    """Tell all locks apart from those of the parent; the child has one thread by now."""
    global _forks, _renewing
    _forks += 1
    _renewing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)


class ForkSafeLock:
    """A lock whose holder may be a thread that a fork has left behind in the parent.

    What it guards must make sense whenever a thread is stopped within.

    Parameters
    ----------
    make : callable
        `threading.Lock` or `threading.RLock`.
    """

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        self._make = make
        self._forks = _forks
        self._lock = make()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Acquire the lock; return whether that was done."""
        if self._forks != _forks:
            with _renewing:
                if self._forks != _forks:
                    self._lock, self._forks = self._make(), _forks
        return bool(self._lock.acquire(blocking))

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
