"""Ordered work on several threads."""

from __future__ import annotations

import os
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from .arguments import integer

__all__ = ["DEAF_SECONDS", "LATE_SECONDS", "MAX_THREADS", "default_threads", "run_ordered",
           "set_default_threads", "threads_of"]  # fmt: skip

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 4096
"""More than any machine has cores is a mistake."""

LATE_SECONDS = 1.0
"""Time after which a thread that has not begun never will: there was no memory for it."""

DEAF_SECONDS = 0.5
"""Longest wait of who may be interrupted: a signal just before a wait does not end it."""

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
    ValueError, TypeError
        If `count` is not None or an integer of 1 to 4096.
    """
    global _default_threads
    _default_threads = None if count is None else threads_of(count)


def threads_of(n_threads: int | None) -> int:
    """Return the number of threads that a user's `n_threads` means."""
    if n_threads is None:
        return default_threads()
    return integer("n_threads", n_threads, 1, MAX_THREADS, kind="an integer or None")


class _Workers:
    """How many threads of all calls are at work.

    Calls from several threads would otherwise slow each other down, four threads on two
    cores and in their caches. The threads that called always work; those that help them
    wait, holding nothing, while as many work as there are cores, or as one call asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # see _BloscSettings
        self._condition = threading.Condition(self._lock)
        self._helping: list[_Pipeline] = []  # one for each that works, which one it helps
        # Weak, for a caller that was interrupted on its way out.
        self._limits: WeakKeyDictionary[_Pipeline, int] = WeakKeyDictionary()

    @property
    def active(self) -> int:
        """How many are at work."""
        return len(self._limits) + len(self._helping)

    def begin(self, caller: _Pipeline, limit: int) -> None:
        """Count a thread that calls, which may have `limit` at work."""
        with self._lock:
            self._limits[caller] = limit

    def end(self, caller: _Pipeline) -> None:
        """Let go of it, wake those that wait, be it only to end, and wait for who works for it.

        To join a thread would not do: before Python 3.13 an interrupted `join` has it for dead.
        """
        with self._lock:
            self._limits.pop(caller, None)
            self._condition.notify_all()
            while caller in self._helping:
                self._condition.wait()

    def enter(self, pipeline: _Pipeline) -> bool:
        """Wait until one more may work; False when its pipeline is over."""
        with self._lock:
            while not pipeline.is_over:
                if self.active < max(self._limits.values(), default=1):
                    self._helping.append(pipeline)
                    return True
                self._condition.wait()
            return False

    def leave(self, pipeline: _Pipeline) -> None:
        """Let another work."""
        with self._lock:
            self._helping.remove(pipeline)
            self._condition.notify_all()


_workers = _Workers()


def _start_anew_after_fork() -> None:
    """Forget the parent's threads, which the child doesn't have."""
    global _workers
    _workers = _Workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)


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
        self._lock = threading.Lock()  # see _BloscSettings
        self._condition = threading.Condition(self._lock)
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
            self.fail(error)

    def help(self, workers: _Workers, done: threading.Lock) -> None:
        """Take part whenever not too many threads are at work, then release `done`."""
        try:
            while workers.enter(self):
                try:
                    self._step()
                finally:
                    workers.leave(self)
        except BaseException as error:
            self.fail(error)
        finally:
            done.release()

    def _step(self) -> bool:
        """Do one item; False if there is none."""
        taken = self._take()
        if taken is None:
            return False
        number, item = taken
        self._finish(number, self._work(item))
        return True

    def fail(self, error: BaseException) -> None:
        """Let nothing more be begun."""
        with self._lock:
            if self.error is None:
                self.error = error
            self._condition.notify_all()

    def _take(self) -> tuple[int, Any] | None:
        with self._lock:
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
            with self._lock:
                self._consumed += 1
                self._condition.notify_all()
            return
        with self._lock:
            self._results[number] = result
            if self._consuming:
                return  # whoever consumes now comes by this result too
            self._consuming = True
        while True:
            with self._lock:
                if self._consumed not in self._results or self.error is not None:
                    self._consuming = False
                    return
                ready = self._results.pop(self._consumed)
            self._consume(ready)
            del ready
            with self._lock:
                self._consumed += 1
                self._condition.notify_all()


def run_ordered(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    consume: Callable[[Result], None] | None = None,
    *,
    threads: int,
    lead: Callable[[], None] | None = None,
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
    lead : callable, optional
        What the calling thread does before it takes part: an interrupt reaches it there.

    Raises
    ------
    BaseException
        The first error of an item, after all threads have stopped.
    """
    if threads == 1:
        if lead is not None:
            lead()
        for item in items:
            result = work(item)
            if consume is not None:
                consume(result)
            del result
        return
    pipeline = _Pipeline(items, work, consume, window=2 * threads)
    workers, helpers, over = _workers, list[threading.Lock](), False
    try:
        workers.begin(pipeline, max(threads, default_threads()))
        for _ in range(threads - 1):
            try:
                helpers.append(_start(pipeline, workers))
            except RuntimeError:  # no more threads, or the interpreter is on its way out
                break
        if lead is not None:
            lead()
        pipeline.run()
    except BaseException as error:  # an interrupt: nobody may go on behind the caller's back
        pipeline.fail(error)
    while not over:  # again after an interrupt: the end must be told, and waited for
        try:
            workers.end(pipeline)
            while helpers:
                helpers[-1].acquire(timeout=LATE_SECONDS)
                helpers.pop()
            over = True
        except BaseException as error:
            pipeline.fail(error)
    if pipeline.error is not None:
        raise pipeline.error


def _start(pipeline: _Pipeline, workers: _Workers) -> threading.Lock:
    """Start a thread that helps, and return what it releases when it has done so.

    A `Thread` would not return before it runs, 0.2 ms later instead of 0.06: much of the time
    that an image of a megabyte takes. One that an interrupt leaves unknown to its caller finds
    nothing to do.
    """
    done = threading.Lock()
    done.acquire()
    start_new_thread(pipeline.help, (workers, done))
    return done
