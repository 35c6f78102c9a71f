"""Ctrl-C at any line: the file is the old one or the new one, and the next call works."""

from __future__ import annotations

import gc
import json
import linecache
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import disk, lease, parallel

from . import helping
from .processes import by_night, run_module

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # closed by Python, then

MODULES = str(Path(mrcz.__file__).parent)
OLD = np.random.default_rng(0).integers(0, 9, (6, 600, 700)).astype("int16")
NEW = OLD + 1
ENTRIES = ("with ", "try:", "while not over:")
"""Lines on which Python itself stops for nobody, but for a tracer: it looks for signals at calls.

What encloses a ``try:`` does not yet, or no more, catch what is raised on its very line.
"""


class Interrupt:
    """A tracer that raises KeyboardInterrupt at the n-th line of this library."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.place: tuple[str, int] | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(MODULES) else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        where = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and frame.f_code.co_name != "__del__" and (
            not linecache.getline(*where).lstrip().startswith(ENTRIES)
        ):
            self.left -= 1
            if self.left == 0:
                self.place = where
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.line


def interrupt_everywhere(step: int, prepare: Callable[[], None], action: Callable[[], None],
                         check: Callable[[], None]) -> int:  # fmt: skip
    """Do something again and again, interrupted ever later, until it comes to its end."""
    before = sys.gettrace()
    for number in range(1, 100_000, step):
        prepare()
        tracer = Interrupt(number)
        try:
            sys.settrace(tracer)
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if tracer.place is None:
            return number
        try:
            check()
            helping.require_none()
            gc.collect()
            assert parallel._workers.active == 0
        except Exception as error:
            raise AssertionError(f"after an interrupt at {tracer.place}: {error!r}") from error
    raise AssertionError("no end")


def options_of(compressor: str | None) -> dict[str, Any]:
    return {"compressor": compressor, "n_threads": 2}


@pytest.mark.slow
@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("idx", [None, 2, 6])
def test_a_write_that_is_interrupted(tmp_path: Path, idx: int | None, compressor: str | None
                                     ) -> None:  # fmt: skip
    path = tmp_path / "a.mrcz"
    frames = NEW if idx is None else NEW[:2]
    wanted = {None: NEW, 2: np.concatenate([OLD[:2], NEW[:2], OLD[4:]]),
              6: np.concatenate([OLD, NEW[:2]])}[idx]

    def prepare() -> None:
        # Another block size than the action's: a lease that was left would make it wait.
        mrcz.writeMRC(OLD, path, **options_of(compressor), **blocks)

    def action() -> None:
        mrcz.writeMRC(frames, path, idx=idx, **options_of(compressor))

    def check() -> None:
        found, _ = mrcz.readMRC(path)
        assert any(found.shape == image.shape and np.array_equal(found, image)
                   for image in (OLD, wanted))
        assert [item.name for item in path.parent.iterdir()] == ["a.mrcz"]

    blocks = {} if compressor is None else {"blocksize": 1 << 16}
    assert interrupt_everywhere(by_night(1, 31), prepare, action, check) > 200


def test_an_interrupt_when_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(OLD, path)
    truncate = disk.InPlaceFile.truncate

    def interrupted(file: disk.InPlaceFile, size: int) -> None:
        longer = os.path.getsize(path) > size
        truncate(file, size)
        if longer:
            raise KeyboardInterrupt

    monkeypatch.setattr(disk.InPlaceFile, "truncate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mrcz.writeMRC(NEW[:2], path, idx=2)
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([OLD[:2], NEW[:2], OLD[4:]]))


@pytest.mark.slow
def test_a_read_that_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(OLD, path, compressor="lz4", checksum=True)
    with mrcz.open(path, n_threads=2, cache_bytes=0) as stack:
        def check() -> None:
            assert np.array_equal(stack[1:3, 5:60, ::7], OLD[1:3, 5:60, ::7])

        assert interrupt_everywhere(by_night(1, 7), lambda: None,
                                    lambda: np.asarray(stack).sum(), check) > 50


def test_helpers_stop_when_their_caller_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before it has begun to work itself: they would go on behind its back."""
    start, done = parallel.start_new_thread, []

    def interrupted(*args: Any) -> int:
        start(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "start_new_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parallel.run_ordered(iter(int, 1), done.append, threads=3)
    count = len(done)
    helping.require_none()
    assert len(done) == count


def test_helpers_have_stopped_when_their_caller_is_interrupted_in_its_wait() -> None:
    """Before Python 3.13 an interrupted `join` has a thread for dead that is at work."""
    began, ended = threading.Event(), threading.Event()

    def work(item: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert began.wait(60)
            return
        began.set()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        ended.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel.run_ordered(range(2), work, threads=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.is_set()
    assert parallel._workers.active == 0


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs to see open files")
def test_signals_at_random_moments(tmp_path: Path) -> None:
    seed = by_night(int(time.time()), 20261121)
    done = run_module("interrupting", by_night(600, 8), seed, tmp_path)
    assert done.returncode == 0, (seed, done.stderr)
    assert sum(json.loads(done.stdout).values()) > 10


def test_what_a_thread_has_left_behind_holds_up_nobody() -> None:
    settings = lease._BloscSettings()
    settings.acquire("left", 1 << 16)
    settings._queue.append((threading.get_ident(), "left too"))
    settings.acquire("next", 1 << 17)
    settings.release("next")
    assert not settings._leases
