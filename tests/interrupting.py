"""Ctrl-C by real signals: ``python -m tests.interrupting SECONDS SEED FOLDER``.

Run in a process of its own, since what goes wrong may hang. Prints how many actions of each
kind were interrupted.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mrcz
from mrcz import codec, lease, parallel

OLD = np.random.default_rng(0).integers(0, 9, (6, 600, 700)).astype("int16")
NEW = OLD + 1
HANG_SECONDS = 120
"""Shared machines stop for up to a minute."""


def interrupted(seconds: float, action: Callable[[], Any]) -> str:
    """Do something, and send this process the signal of Ctrl-C after a while.

    Returns
    -------
    str
        The line of the code that was interrupted; empty if the action came to its end.
    """
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    line = "?"
    try:
        try:
            timer.start()
            action()
            line = ""
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt as error:
            line = line and str(traceback.extract_tb(error.__traceback__)[-1].line)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    timer.cancel()
    timer.join()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return line


def blosc_state() -> tuple[int, bool, int]:
    extension = codec.blosc_extension
    threads, releases = extension.set_nthreads(1), extension.set_releasegil(False)
    extension.set_nthreads(threads)
    extension.set_releasegil(releases)
    return threads, bool(releases), extension.get_blocksize()


def unknown_threads() -> int:
    """Return how many threads are not of `threading`: helpers, and other libraries'."""
    return len(os.listdir("/proc/self/task")) - len(threading.enumerate())


def check_nothing_is_left(
    folder: Path, state: tuple[int, bool, int], others: int, line: str
) -> None:
    """No file, no thread, no lock, no setting."""
    assert [item.name for item in folder.iterdir()] == ["a.mrcz"], list(folder.iterdir())
    gc.collect()
    assert parallel._workers.active == 0, vars(parallel._workers)
    deadline = time.monotonic() + 60
    while unknown_threads() > others:
        # Interrupted while it was started, a helper finds nothing to do.
        assert time.monotonic() < deadline, "threads are left"
        time.sleep(0.001)
    assert not lease._settings._leases
    assert blosc_state() == state
    with open(folder / "a.mrcz", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for link in Path("/proc/self/fd").glob("*"):
        if _is_in(link, folder):
            assert "os.open(" in line, "a file was left open"  # it returned a number to nobody
            os.close(int(link.name))


def _is_in(link: Path, folder: Path) -> bool:
    with suppress(OSError):
        return os.readlink(link).startswith(str(folder))
    return False


def stack_read(path: Path) -> None:
    with mrcz.open(path, n_threads=2, cache_bytes=0) as stack:
        np.asarray(stack)
        stack[2, 30:400]


def run(seconds: float, seed: int, folder: Path) -> Counter[str]:
    """Interrupt writes and reads until the time is over, and check what is left of each."""
    dice, counts, path = random.Random(seed), Counter[str](), folder / "a.mrcz"
    state, others, deadline = blosc_state(), unknown_threads(), time.monotonic() + seconds
    longest = {}
    while time.monotonic() < deadline:
        compressor = dice.choice((None, "lz4", "zstd"))
        options: dict[str, Any] = {"compressor": compressor, "n_threads": dice.choice((1, 2, 3))}
        checked = {} if compressor is None else {"checksum": dice.random() < 0.5}
        block = {} if compressor is None else {"blocksize": 1 << 16}
        idx = dice.choice((None, 2, 6))
        frames = NEW if idx is None else NEW[:2]
        if idx is not None and dice.random() < 0.3:
            frames = iter(frames)
        after = {None: NEW, 2: np.concatenate([OLD[:2], NEW[:2], OLD[4:]]),
                 6: np.concatenate([OLD, NEW[:2]])}[idx]
        what, action, images = dice.choice((
            ("write", partial(mrcz.writeMRC, frames, path, idx=idx, **options, **checked),
             (OLD, after)),
            ("readMRC", partial(mrcz.readMRC, path, n_threads=options["n_threads"]), (OLD,)),
            ("Stack", partial(stack_read, path), (OLD,)),
        ))  # fmt: skip
        mrcz.writeMRC(OLD, path, **options, **block, **checked)
        name = f"{what} {idx if what == 'write' else ''} {compressor}"
        began = time.monotonic()
        line = interrupted(dice.uniform(0, longest.get(name, 0.02)), action)
        counts[name] += bool(line)
        longest[name] = max(0.9 * longest.get(name, 0), min(time.monotonic() - began, 0.2))
        check_nothing_is_left(folder, state, others, line)
        found, _ = mrcz.readMRC(path)
        assert any(found.shape == image.shape and np.array_equal(found, image)
                   for image in images), name
        assert [finding for finding in mrcz.verify(path)
                if "was interrupted" not in str(finding)] == [], name
    return counts


if __name__ == "__main__":
    faulthandler.dump_traceback_later(float(sys.argv[1]) + HANG_SECONDS, exit=True)
    logging.disable(logging.CRITICAL)
    print(json.dumps(run(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
