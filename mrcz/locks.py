"""Locks that a forked child finds free."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
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

    What it guards must make sense whenever a thread is stopped within. It is entered as
    ``with lock():``, which is the system's own lock: an interrupt (Ctrl-C) between the steps
    of one written in Python would leave it locked.

    Parameters
    ----------
    make : callable
        `threading.Lock` or `threading.RLock`.
    """

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        self._make = make
        self._forks = _forks
        self._lock = make()

    def __call__(self) -> Any:
        """Return the lock of this process."""
        if self._forks != _forks:
            with _renewing:
                if self._forks != _forks:
                    self._lock, self._forks = self._make(), _forks
        return self._lock
