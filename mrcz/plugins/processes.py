"""Calls spread over processes of this machine, of which each may die without the others."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from ..parallel import DEAF_SECONDS

__all__ = ["call_in_processes", "reason_for_none"]

_GRACE_SECONDS = 5.0
"""Time that a process which is told to stop has for removing what it had begun to write."""

_MOST = 60 if os.name == "nt" else 4096
"""Processes at a time; Windows waits for no more than 63 answers."""


def reason_for_none() -> str:
    """Return why this process can have none to work for it; empty if it can."""
    if current_process().daemon:
        return "it is a daemonic process itself"
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)  # what each of them imports
    if path is not None and getattr(main, "__spec__", None) is None and not os.path.exists(path):
        return f"its script is no file: {path}"
    return ""


def call_in_processes(work: Callable[[Any], Any], items: Sequence[Any], count: int) -> list[Any]:
    """Return ``work(item)`` of each item, computed by processes that take one after the other.

    Whoever is interrupted here leaves no process behind.

    Parameters
    ----------
    work : callable
        Can be pickled, as can its items. It should raise nothing.
    items : sequence
        What to call it with.
    count : int
        How many processes.

    Returns
    -------
    list
        The results in the order of the items; a `ChildProcessError` for an item whose process
        died of it, which others replace, and for one whose result can't be pickled.

    Raises
    ------
    ChildProcessError
        If processes can't begin to work.
    """
    count = min(count, _MOST)
    left = deque(enumerate(items))
    results: list[Any] = [None] * len(items)
    crew: dict[Connection, _Process] = {}
    try:
        while left or crew:
            while left and len(crew) < min(count, len(left) + len(crew)):
                process = _Process(work)
                crew[process.connection] = process
            for connection in wait(list(crew), DEAF_SECONDS):
                process = crew[connection]  # type: ignore[index]  # of the kind that it was given
                alive, number, result = process.answer()
                if number is not None:
                    results[number] = result
                if alive and left:
                    process.give(*left.popleft())
                else:
                    del crew[process.connection]
                    process.dismiss()
    finally:
        for process in crew.values():
            process.interrupt()
        for process in crew.values():
            process.end()
    return results


class _Process:
    """A process, and the item that it is busy with."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        # Not forked: the threads of this process, whatever they hold, would be missing there.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._number: int | None = None
        self._began = False
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with theirs:  # which only the process has after that: its death closes the pipe
            self._process.start()

    def give(self, number: int, item: Any) -> None:
        """Have it work on an item."""
        self._number = number
        with suppress(ConnectionError):  # it has just died, as its answer will tell
            self.connection.send(item)

    def answer(self) -> tuple[bool, int | None, Any]:
        """Return whether it lives, and the number and the result of its item, if it had one."""
        number, self._number = self._number, None
        try:
            data = self.connection.recv_bytes()
        except (EOFError, ConnectionError):
            error = self._death()
            if not self._began:
                raise error from None
            return False, number, error
        self._began = True
        try:
            return True, number, pickle.loads(data)
        except Exception as error:  # as of an exception that can't be made from its message
            return True, number, ChildProcessError(f"what became of it can't be told: {error!r}")

    def _death(self) -> ChildProcessError:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode
        if not self._began:
            return ChildProcessError(
                f"a process to work in ended before it began (exit code {code}): a script that "
                'starts processes needs if __name__ == "__main__": around what it does')
        return ChildProcessError(f"the process that worked on it died (exit code {code})")

    def dismiss(self) -> None:
        """Let it end, for there is no more to do."""
        self.connection.close()
        self._process.join()

    def interrupt(self) -> None:
        """Have it stop as by Ctrl-C, so that it leaves no half files."""
        if self._process.pid is None or not self._process.is_alive():
            return
        if os.name == "nt":
            self._process.terminate()
        else:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """Wait until it has ended; not for ever."""
        self.connection.close()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Answer items until there are no more, or an interrupt says so; what a process does."""
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as the caller does
            signal.signal(signal.SIGINT, _interrupt_once)
        connection.send(None)
        while True:
            result = work(connection.recv())
            try:
                data = pickle.dumps(result)
            except Exception as error:
                data = pickle.dumps(ChildProcessError(f"{result!r} can't be pickled: {error!r}"))
            connection.send_bytes(data)


def _interrupt_once(*_: object) -> None:
    """Take the terminal's Ctrl-C and that of `_Process.interrupt` for one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
