"""Files that a user names: by path, by pattern, by folder; and what is done to each."""

from __future__ import annotations

import argparse
import errno
import glob
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ..arguments import LARGEST_FLOAT
from ..errors import MRCError
from ..filenames import MRC_SUFFIXES, split_suffix
from ..parallel import DEAF_SECONDS, MAX_THREADS, threads_of
from ..sources import is_url
from .console import UsageError, complain, describe, progress_bar

__all__ = [
    "FILE_ERRORS",
    "InputFile",
    "Job",
    "add_file_arguments",
    "add_job_arguments",
    "find_files",
    "for_each_file",
    "naming",
    "output_paths",
    "pixel_size",
    "positive_int",
    "require_file",
    "size_of",
    "thread_count",
]

FILE_ERRORS = (MRCError, OSError, ValueError, TypeError, ImportError, MemoryError)
"""What makes a file fail, and lets the others go on."""


@dataclass(frozen=True)
class InputFile:
    """A file that was named.

    Attributes
    ----------
    path : str
        Where it is.
    relative : str
        Its name below the folder that was named, or its own name.
    """

    path: str
    relative: str


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files as an argument."""
    parser.add_argument("files", nargs="+", metavar="FILE",
                        help="files, patterns ('*.mrc') or folders, which are searched for "
                             + " ".join(MRC_SUFFIXES))


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many files and threads work at a time, and --json."""
    parser.add_argument("--jobs", type=positive_int, default=1, metavar="N",
                        help="files at a time (default 1, which uses all cores too)")
    parser.add_argument("--threads", type=thread_count, metavar="N",
                        help="threads in all; default: one a core")
    parser.add_argument("--json", action="store_true", help="print the results as a JSON array")


def positive_int(text: str) -> int:
    """Return a number of at least 1, as argparse likes it."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def thread_count(text: str) -> int:
    """Return a number of threads, as argparse likes it."""
    number = positive_int(text)
    if number > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{number} is more than {MAX_THREADS}")
    return number


def pixel_size(text: str) -> float:
    """Return a size in Angstrom, 0 for unknown, as argparse likes it."""
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size <= LARGEST_FLOAT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of Angstrom, or 0: unknown")
    return size


def find_files(
    names: Sequence[str], command: str, suffixes: tuple[str, ...] = MRC_SUFFIXES
) -> tuple[list[InputFile], int]:
    """Return the files that `names` mean, each once, and how many names meant none, or not all.

    Parameters
    ----------
    names : sequence of str
        Paths, patterns or folders.
    command : str
        For messages about those that don't exist, and folders that can't be read.
    suffixes : tuple of str
        What folders are searched for, also with .gz, .bz2 or .xz behind.
    """
    found: dict[str, InputFile] = {}
    missing = 0
    for name in names:
        unread: list[OSError] = []
        files = list(_find(name, suffixes, unread.append))
        for error in unread:
            complain(command, error)
        if not files and not unread:
            complain(command, f"{name}: nothing in this folder is {' '.join(suffixes)}"
                     if os.path.isdir(name) else _why_not_there(name))
        missing += bool(unread) or not files
        for file in files:
            found.setdefault(os.path.abspath(file.path), file)
    return list(found.values()), missing


def require_file(path: str, command: str) -> None:
    """Check that a name is not that of a folder, for commands that take one file.

    Raises
    ------
    UsageError
        If it is.
    """
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder, and mrcz {command} takes single files: name one in "
                         f"it")


def size_of(path: str) -> int:
    """Return the bytes of a file for a progress bar; 0 of one that is not there or remote."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _why_not_there(name: str) -> Exception:
    try:
        os.lstat(name)
    except (OSError, ValueError) as error:
        return error
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _find(
    name: str, suffixes: tuple[str, ...], on_error: Callable[[OSError], None]
) -> Iterator[InputFile]:
    if is_url(name):
        yield InputFile(name, os.path.basename(name))
    elif os.path.isdir(name):
        for folder, folders, files in os.walk(name, onerror=on_error):
            # No more than hidden files: file servers keep snapshots there.
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for file in sorted(files):
                if not file.startswith(".") and split_suffix(file)[1].lower() in suffixes:
                    path = os.path.join(folder, file)
                    if os.path.isfile(path) or not os.path.exists(path):  # no pipe: who writes?
                        yield InputFile(path, os.path.relpath(path, name))
    elif os.path.lexists(name):
        yield InputFile(name, os.path.basename(name))
    else:
        for path in sorted(glob.glob(name, recursive=True)):
            if not os.path.isdir(path):
                yield InputFile(path, os.path.basename(path))


def output_paths(
    files: Iterable[InputFile], folder: str | None, rename: Callable[[str], str], command: str
) -> tuple[list[tuple[str, str]], int]:
    """Return the path of each file and that of its output, and how many have none.

    Parameters
    ----------
    files : iterable of InputFile
        What goes in.
    folder : str or None
        Where to; None: beside the input.
    rename : callable
        Name of an input to name of its output.
    command : str
        For messages about files whose path another one has taken.
    """
    pairs: dict[str, tuple[str, str]] = {}
    clashes = 0
    for file in files:
        path = rename(file.path if folder is None else os.path.join(folder, file.relative))
        first, _ = pairs.setdefault(os.path.abspath(path), (file.path, path))
        if first != file.path:
            clashes += 1
            complain(command, f"{file.path}: left out, it would go to {path} as {first} does")
    return list(pairs.values()), clashes


class Job:
    """What the work on one file needs: a bar to move, and a way to be stopped.

    Attributes
    ----------
    threads : int
        How many it may use.
    size : int
        Bytes that the bar counts for this file.
    """

    def __init__(self, watch: Watch, threads: int, size: int) -> None:
        self.threads = threads
        self.size = size
        self._watch = watch
        self._left = float(size)

    def advance(self, nbytes: float) -> None:
        """Tell that `nbytes` of the file's bytes are done; stops if the user interrupted."""
        if self._watch.stop.is_set():
            raise KeyboardInterrupt
        nbytes = min(nbytes, self._left)
        self._left -= nbytes
        with self._watch.lock:
            self._watch.bar.update(nbytes)

    def finish(self) -> None:
        """Tell that nothing is left to do, of a file that is skipped or broken too."""
        with self._watch.lock:
            self._watch.bar.update(self._left)
        self._left = 0.0


@dataclass(frozen=True)
class Watch:
    """What the jobs of a command share.

    Attributes
    ----------
    bar : tqdm
        What is seen of them.
    stop : threading.Event
        Set by an interrupt.
    lock : threading.Lock
        Held while the bar moves.
    """

    bar: Any
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


def for_each_file(
    work: Callable[[Any, Job], Any],
    items: Sequence[Any],
    *,
    args: argparse.Namespace,
    sizes: Sequence[int],
    report: Callable[[Any], None],
) -> int:
    """Do `work` on every item, whatever happens to the others, and `report` its result.

    Parameters
    ----------
    work : callable
        Takes an item and a `Job`.
    items : sequence
        One a file.
    args : Namespace
        ``command``, ``quiet``, ``debug``, ``jobs`` and ``threads`` are used.
    sizes : sequence of int
        Bytes of each item, for the bar.
    report : callable
        Takes a result; runs in the calling thread.

    Returns
    -------
    int
        How many failed.
    """
    threads = max(1, threads_of(args.threads) // args.jobs)
    failed = 0
    with progress_bar(sum(sizes), quiet=args.quiet, title=args.command) as bar:
        watch = Watch(bar)
        jobs = [Job(watch, threads, size) for size in sizes]
        for item, outcome in _outcomes(work, items, jobs, args.jobs, watch.stop):
            try:
                result = outcome()
            except FILE_ERRORS as error:
                if args.debug:
                    raise
                bar.clear()
                complain(args.command, naming(error, item))
                failed += 1
            else:
                bar.clear()
                report(result)
    return failed


def naming(error: BaseException, item: Any) -> str:
    """Return an error in one line that says which file it is about."""
    path = item[0] if isinstance(item, tuple) else item
    path = path.path if isinstance(path, InputFile) else str(path)
    text = describe(error)
    return text if os.path.basename(path) in text else f"{path}: {text}"


def _outcomes(
    work: Callable[[Any, Job], Any],
    items: Sequence[Any],
    jobs: Sequence[Job],
    at_once: int,
    stop: threading.Event,
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield each item, with a callable that returns its result or raises its error."""

    def finished(item: Any, job: Job) -> Any:
        try:
            return work(item, job)
        finally:
            job.finish()

    if at_once == 1 or len(items) < 2:
        for item, job in zip(items, jobs, strict=True):
            yield item, partial(finished, item, job)
        return
    done: SimpleQueue[tuple[Any, Callable[[], Any]]] = SimpleQueue()

    def run(item: Any, job: Job) -> None:
        if stop.is_set():
            return
        try:
            result = finished(item, job)
        except BaseException as error:
            done.put((item, partial(_raise, error)))
        else:
            done.put((item, lambda: result))

    # Their futures are left alone: an interrupt of who looks at one may leave it locked.
    with ThreadPoolExecutor(at_once, "mrcz-file") as pool:
        try:
            for item, job in zip(items, jobs, strict=True):
                pool.submit(run, item, job)
            for _ in items:
                yield _wait_for_next(done)
        finally:  # an interrupt stops the others at their next step
            stop.set()


def _wait_for_next(queue: SimpleQueue[Any]) -> Any:
    """Return what comes next.

    A signal that came between Python's last look and the wait would be heard after it only,
    when a file is done: so this looks again and again.
    """
    while True:
        with suppress(Empty):
            return queue.get(timeout=DEAF_SECONDS)


def _raise(error: BaseException) -> None:
    raise error
