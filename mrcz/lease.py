"""The lease of blosc's settings, which its whole process shares."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .codec import blosc_extension

__all__ = ["blosc_settings"]


class _BloscSettings:
    """Who is using blosc, and with which block size.

    Any number may decompress, or compress with one and the same block size; another
    block size waits until those have finished, in the order of arrival. Every step may be
    done again, by those who were interrupted in it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # entered itself: a Condition's own steps can be interrupted
        self._condition = threading.Condition(self._lock)
        self._leases: dict[object, tuple[int, int | None]] = {}  # thread and block size
        self._queue: list[tuple[int, object]] = []
        self._before: tuple[int, bool, int] | None = None

    def acquire(self, lease: object, blocksize: int | None) -> None:
        thread = threading.get_ident()
        with self._lock:
            if blocksize is not None:
                self._drop_left_by(thread)
                self._wait_for(thread, blocksize)
            if self._before is None:
                self._before = (blosc_extension.set_nthreads(1),
                                bool(blosc_extension.set_releasegil(True)),
                                blosc_extension.get_blocksize())
            self._leases[lease] = thread, blocksize
            if blocksize is not None:
                blosc_extension.set_blocksize(blocksize)

    def _drop_left_by(self, thread: int) -> None:
        """Forget what this thread was interrupted in: nobody compresses within compressing."""
        self._queue = [place for place in self._queue if place[0] != thread]
        for lease, (holder, blocksize) in list(self._leases.items()):
            if holder == thread and blocksize is not None:
                del self._leases[lease]

    def _sizes(self) -> set[int]:
        """Return the block size that is in use, if one is."""
        return {size for _, size in self._leases.values() if size is not None}

    def _wait_for(self, thread: int, blocksize: int) -> None:
        if not self._queue and not self._sizes():
            return
        me = thread, object()
        try:
            self._queue.append(me)
            while self._queue[0] is not me or self._sizes() - {blocksize}:
                self._condition.wait()
        finally:  # also when interrupted: the next in line must not wait for us
            self._queue = [place for place in self._queue if place is not me]
            self._condition.notify_all()

    def release(self, lease: object) -> None:
        with self._lock:
            self._leases.pop(lease, None)
            if not self._leases:
                self.restore()
            elif self._before is not None and not self._sizes():
                blosc_extension.set_blocksize(self._before[2])
            if self._queue and not self._sizes():
                self._condition.notify_all()

    def restore(self) -> None:
        """Set blosc back, if it was set."""
        if self._before is None:
            return
        threads, releases_gil, blocksize = self._before
        blosc_extension.set_nthreads(threads)
        blosc_extension.set_releasegil(releases_gil)
        blosc_extension.set_blocksize(blocksize)
        self._before = None


_settings = _BloscSettings()


def _start_anew_after_fork() -> None:
    """Forget the leases of the parent's threads, which the child doesn't have."""
    global _settings
    old, _settings = _settings, _BloscSettings()
    old.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)


@contextmanager
def blosc_settings(blocksize: int | None = None) -> Iterator[None]:
    """Hold blosc set to one thread a call, the GIL released, and `blocksize`.

    Parameters
    ----------
    blocksize : int, optional
        In bytes, for those who compress; None for those who decompress.
    """
    if blosc_extension is None:
        yield
        return
    settings, lease = _settings, object()
    try:
        settings.acquire(lease, blocksize)
        yield
    finally:
        try:
            settings.release(lease)
        except BaseException:  # an interrupt
            settings.release(lease)
            raise
