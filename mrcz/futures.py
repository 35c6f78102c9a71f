"""Work in the background: one executor that all the ``async…`` functions share."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .arguments import integer
from .sources import anchored, is_url

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
else:  # imported when first asked for, as by `typing.get_type_hints`: it takes a millisecond

    def __getattr__(name: str) -> Any:
        if name != "Future":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from concurrent.futures import Future

        return Future


__all__ = ["Future", "log_failure", "set_workers", "submit", "submit_on_file"]

logger = logging.getLogger("mrcz")

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None
_workers = 1


def _start_anew_after_fork() -> None:
    """Forget the lock, which another thread may have held, and the threads, which are gone."""
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)


def submit(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Run ``function(*args, **kwargs)`` behind what was submitted before.

    Jobs that are waiting are finished before the interpreter exits. Where no thread can be started,
    as when it is exiting, in `atexit` and in threads that outlive the main one, the job is done
    at once.

    Returns
    -------
    concurrent.futures.Future
        Of the function's result.
    """
    global _executor
    job = _Job(partial(function, *args, **kwargs))
    try:
        from concurrent.futures import ThreadPoolExecutor

        with _lock:
            if _executor is None:
                _executor = ThreadPoolExecutor(_workers, thread_name_prefix="mrcz-async")
            _executor.submit(job.run)
    except RuntimeError:
        _executor = None  # the next one may have more luck
        job.run()
    return job.future


class _Job:
    """A call, made by the thread that comes to it first, and the future of its result.

    An executor that could not start one more thread has the job all the same, for those it has.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        from concurrent.futures import Future

        self.future: Future[Any] = Future()
        self._call = call
        self._unclaimed = threading.Lock()

    def run(self) -> None:
        """Make the call, unless that was done or nobody wants it any more."""
        if not (self._unclaimed.acquire(blocking=False)
                and self.future.set_running_or_notify_cancel()):
            return
        try:
            result = self._call()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def submit_on_file(
    function: Callable[..., Any], position: int, name: str, args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Future[Any]:  # fmt: skip
    """Run a function on a file as `submit` does.

    A relative path means the folder of now, wherever the process may be when it is done.

    Parameters
    ----------
    function : callable
        What to call.
    position, name
        Which argument is the file, if it is given by position, and by name.
    args, kwargs
        What to call it with.
    """
    if len(args) > position:
        args = (*args[:position], _absolute(args[position]), *args[position + 1 :])
    elif name in kwargs:
        kwargs = {**kwargs, name: _absolute(kwargs[name])}
    return submit(function, *args, **kwargs)


def _absolute(file: Any) -> Any:
    if isinstance(file, (str, bytes, os.PathLike)) and not is_url(os.fsdecode(file)):
        return anchored(os.fspath(file))
    return file


def set_workers(count: int) -> None:
    """Set how many background jobs run at a time; those under way are finished first.

    Raises
    ------
    ValueError, TypeError
        Unless `count` is an integer of at least 1.
    """
    count = integer("N_workers", count, 1)
    global _executor, _workers
    with _lock:
        old, _executor = _executor, None
        _workers = count
    if old is not None:
        old.shutdown(wait=True)


def log_failure(what: str) -> Callable[[Future[Any]], None]:
    """Return a callback that logs a job's exception as an error that names `what`."""

    def callback(future: Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.error("%s failed: %s: %s", what, type(error).__name__, error)

    return callback
