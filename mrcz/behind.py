"""Items made in one thread and consumed in another, behind it."""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .parallel import LATE_SECONDS

__all__ = ["run_behind"]

Item = TypeVar("Item")


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
    follower = _Follower(consume)
    try:
        follower.begin()
        for item in items:
            follower.take(item)
            del item
        follower.settle()
    finally:
        follower.end()


class _Follower:
    """A thread that consumes what it is given; without futures, which an interrupt leaves locked.

    It and its caller talk by queues written in C, whose steps nothing interrupts.
    """

    def __init__(self, consume: Callable[[Any], None]) -> None:
        self._consume = consume
        self._given: SimpleQueue[list[Any]] = SimpleQueue()
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self._waiting = 0  # answers that are to come
        self._done: threading.Lock | None = None

    def begin(self) -> None:
        """Start the thread, if there is one to be had: not at the exit, nor without memory."""
        done = threading.Lock()
        done.acquire()
        with suppress(RuntimeError, Empty):
            start_new_thread(self._run, (done,))
            self._done = done
            self._answers.get(timeout=LATE_SECONDS)
            return
        self._done = None

    def _run(self, done: threading.Lock) -> None:
        try:
            self._answers.put(None)  # for who wants to know that it runs
            while box := self._given.get():
                try:
                    self._consume(box.pop())
                except BaseException as error:
                    self._answers.put(error)
                else:
                    self._answers.put(None)
        finally:
            done.release()

    def take(self, item: Any) -> None:
        """Have an item consumed when the one before is."""
        self.settle()
        if self._done is None:
            self._consume(item)
            return
        self._waiting += 1
        self._given.put([item])

    def settle(self) -> None:
        """Wait until all is consumed, and raise what went wrong."""
        while self._waiting:
            error = self._answers.get()
            self._waiting -= 1
            if error is not None:
                raise error

    def end(self) -> None:
        """Let the thread end, and wait for it, interrupted or not."""
        interrupt: BaseException | None = None
        while True:
            try:
                self._given.put([])
                if self._done is not None:
                    with self._done:  # and let go, for who is interrupted here comes again
                        pass
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
