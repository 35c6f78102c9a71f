"""Ordered work on several threads, and the lease of blosc's process-wide settings."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .arguments import integer
from .codec import blosc_extension

__all__ = ["blosc_settings", "default_threads", "run_behind", "run_ordered",
           "set_default_threads", "threads_of"]  # fmt: skip

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 256
"""More than any blosc accepts is a mistake."""

_default_threads: int | None = None


def default_threads() -> int:
    """Return how many threads are used where `n_threads` is None."""
    if _default_threads is not None:
        return _default_threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def set_default_threads(count: int | None) -> None:
    """Set what `default_threads` returns; None: one a core that the process may use.

    Raises
    ------
    ValueError
        If `count` is not 1 to 256.
    """
    global _default_threads
    _default_threads = None if count is None else threads_of(count)


def threads_of(n_threads: int | None) -> int:
    """Return the number of threads that a user's `n_threads` means."""
    if n_threads is None:
        return default_threads()
    return integer("n_threads", n_threads, 1, MAX_THREADS, kind="an integer or None")


class _BloscSettings:
    """Who is using blosc, and with which block size.

    Any number may decompress, or compress with one and the same block size; another
    block size waits until those have finished, in the order of arrival.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._users = 0
        self._sized_users = 0
        self._blocksize = 0
        self._queue: deque[object] = deque()
        self._before: tuple[int, bool, int] = (1, False, 0)

    def acquire(self, blocksize: int | None) -> None:
        with self._condition:
            if blocksize is not None:
                self._wait_for(blocksize)
            if self._users == 0:
                self._before = (blosc_extension.set_nthreads(1),
                                bool(blosc_extension.set_releasegil(True)),
                                blosc_extension.get_blocksize())
            self._users += 1
            if blocksize is not None:
                self._sized_users += 1
                self._blocksize = blocksize
                blosc_extension.set_blocksize(blocksize)

    def _wait_for(self, blocksize: int) -> None:
        if not self._queue and self._sized_users == 0:
            return
        me = object()
        self._queue.append(me)
        try:
            while self._queue[0] is not me or (
                self._sized_users and self._blocksize != blocksize
            ):
                self._condition.wait()
        finally:  # also when interrupted: the next in line must not wait for us
            self._queue.remove(me)
            self._condition.notify_all()

    def release(self, blocksize: int | None) -> None:
        with self._condition:
            if blocksize is not None:
                self._sized_users -= 1
                if self._sized_users == 0:
                    blosc_extension.set_blocksize(self._before[2])
                    self._condition.notify_all()
            self._users -= 1
            if self._users == 0:
                self.restore()

    def restore(self) -> None:
        threads, releases_gil, blocksize = self._before
        blosc_extension.set_nthreads(threads)
        blosc_extension.set_releasegil(releases_gil)
        blosc_extension.set_blocksize(blocksize)

    @property
    def in_use(self) -> bool:
        return self._users > 0


_settings = _BloscSettings()


def _start_anew_after_fork() -> None:
    """Forget the leases of the parent's threads, which the child doesn't have."""
    global _settings, _workers
    _workers = _Workers()
    old, _settings = _settings, _BloscSettings()
    if old.in_use:
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
    settings = _settings
    settings.acquire(blocksize)
    try:
        yield
    finally:
        settings.release(blocksize)


class _Workers:
    """How many threads of all calls are at work.

    Calls from several threads would otherwise slow each other down, four threads on two
    cores and in their caches. The threads that called always work; those that help them
    wait, holding nothing, while as many work as there are cores, or as one call asked for.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._active = 0
        self._limits: list[int] = []

    def begin(self, limit: int) -> None:
        """Count a thread that calls, which may have `limit` at work."""
        with self._condition:
            self._active += 1
            self._limits.append(limit)

    def end(self, limit: int) -> None:
        """Let go of it, and wake those that wait, be it only to end."""
        with self._condition:
            self._active -= 1
            self._limits.remove(limit)
            self._condition.notify_all()

    def enter(self, pipeline: _Pipeline) -> bool:
        """Wait until one more may work; False when its pipeline is over."""
        with self._condition:
            while not pipeline.is_over:
                if self._active < max(self._limits, default=1):
                    self._active += 1
                    return True
                self._condition.wait()
            return False

    def leave(self) -> None:
        """Let another work."""
        with self._condition:
            self._active -= 1
            self._condition.notify_all()


_workers = _Workers()


class _Pipeline:
    """Items worked on by any thread, their results consumed in order by one at a time."""

    def __init__(
        self,
        items: Iterable[Any],
        work: Callable[[Any], Any],
        consume: Callable[[Any], None] | None,
        window: int,
    ) -> None:
        self._items = iter(items)
        self._work = work
        self._consume = consume
        self._window = window
        self._condition = threading.Condition()
        self._taken = 0
        self._consumed = 0
        self._results: dict[int, Any] = {}
        self._consuming = False
        self._exhausted = False
        self.error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be begun."""
        return self._exhausted or self.error is not None

    def run(self) -> None:
        """Take part until no item is left or one has failed."""
        try:
            while self._step():
                pass
        except BaseException as error:
            self._fail(error)

    def help(self, workers: _Workers) -> None:
        """Take part whenever not too many threads are at work."""
        try:
            while workers.enter(self):
                try:
                    self._step()
                finally:
                    workers.leave()
        except BaseException as error:
            self._fail(error)

    def _step(self) -> bool:
        """Do one item; False if there is none."""
        taken = self._take()
        if taken is None:
            return False
        number, item = taken
        self._finish(number, self._work(item))
        return True

    def join(self, helper: threading.Thread) -> None:
        """Wait for a thread that takes part; an interrupt stops the work first."""
        while helper.is_alive():
            try:
                helper.join()
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._condition:
            if self.error is None:
                self.error = error
            self._condition.notify_all()

    def _take(self) -> tuple[int, Any] | None:
        with self._condition:
            while self._taken - self._consumed >= self._window and self.error is None:
                self._condition.wait()
            if self.error is not None or self._exhausted:
                return None
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
                return None
            self._taken += 1
            return self._taken - 1, item

    def _finish(self, number: int, result: Any) -> None:
        if self._consume is None:
            with self._condition:
                self._consumed += 1
                self._condition.notify_all()
            return
        with self._condition:
            self._results[number] = result
            if self._consuming:
                return  # whoever consumes now comes by this result too
            self._consuming = True
        while True:
            with self._condition:
                if self._consumed not in self._results or self.error is not None:
                    self._consuming = False
                    return
                ready = self._results.pop(self._consumed)
            self._consume(ready)
            del ready
            with self._condition:
                self._consumed += 1
                self._condition.notify_all()


def run_ordered(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    consume: Callable[[Result], None] | None = None,
    *,
    threads: int,
) -> None:
    """Do `work` on every item, and `consume` the results in the order of the items.

    The calling thread takes part, so one thread means none is started, and a process
    that can start no more threads (as at its exit) still gets the work done. At most
    two items a thread are held between start and consumption.

    Parameters
    ----------
    items : iterable
        Taken one by one, under a lock.
    work : callable
        Runs in any thread; should release the GIL.
    consume : callable, optional
        Runs in one thread at a time, in order.
    threads : int
        Threads in all.

    Raises
    ------
    BaseException
        The first error of an item, after all threads have stopped.
    """
    if threads == 1:
        for item in items:
            result = work(item)
            if consume is not None:
                consume(result)
            del result
        return
    pipeline = _Pipeline(items, work, consume, window=2 * threads)
    workers, limit = _workers, max(threads, default_threads())
    helpers: list[threading.Thread] = []
    workers.begin(limit)
    try:
        for _ in range(threads - 1):
            helper = threading.Thread(target=pipeline.help, args=(workers,), name="mrcz-worker",
                                      daemon=True)
            try:
                helper.start()
            except RuntimeError:  # no more threads, or the interpreter is on its way out
                break
            helpers.append(helper)
        pipeline.run()
    finally:
        workers.end(limit)
    for helper in helpers:
        pipeline.join(helper)
    if pipeline.error is not None:
        raise pipeline.error


def run_behind(items: Iterable[Item], consume: Callable[[Item], None]) -> None:
    """Consume items in a thread of its own, in order, each while the next one is made.

    Items are made by the calling thread, as without this: an interrupt reaches what makes
    them. Where no thread can be started, at the interpreter's exit, they are made and
    consumed in turns. When this returns or raises, the thread has ended.

    Parameters
    ----------
    items : iterable
        At most one is made ahead.
    consume : callable
        Should release the GIL.

    Raises
    ------
    BaseException
        The first error of either.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="mrcz-behind") as pool:
        before: Future[None] | None = None
        for item in items:
            if before is not None:
                before.result()
            try:
                before = pool.submit(consume, item)
            except RuntimeError:  # as run_ordered: no more threads
                before = None
                consume(item)
            del item
        if before is not None:
            before.result()
