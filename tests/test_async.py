"""Reading and writing in the background: results, order, and failures that nobody asks about."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

import mrcz
import mrcz.futures

from .builders import ramp
from .checks import assert_identical
from .processes import run_script

IMAGE = ramp((3, 65, 43), "f4")


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_write_then_read(compressor, tmp_path):
    writing = mrcz.asyncWriteMRC(IMAGE, tmp_path / "a.mrc", compressor=compressor, meta={"a": 1})
    reading = mrcz.asyncReadMRC(tmp_path / "a.mrc")
    assert isinstance(writing, Future)
    assert isinstance(reading, Future)
    image, header = reading.result(timeout=60)
    assert writing.result(timeout=60) is None
    assert_identical(image, IMAGE)
    assert header["a"] == 1


def test_one_worker_keeps_the_order(tmp_path):
    futures = [mrcz.asyncWriteMRC(IMAGE + n, tmp_path / "a.mrc", compressor="lz4")
               for n in range(10)]
    assert_identical(mrcz.asyncReadMRC(tmp_path / "a.mrc").result(timeout=60)[0], IMAGE + 9)
    assert all(future.done() for future in futures)


def test_errors_come_with_the_result(tmp_path):
    with pytest.raises(FileNotFoundError):
        mrcz.asyncReadMRC(tmp_path / "missing.mrc").result(timeout=60)
    with pytest.raises(ValueError, match="Unknown compressor"):
        mrcz.asyncWriteMRC(IMAGE, tmp_path / "a.mrc", compressor="foo").result(timeout=60)


def test_a_failed_write_that_nobody_asks_about_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.ERROR):
        mrcz.asyncWriteMRC(IMAGE, tmp_path / "nowhere" / "lost.mrc")
        mrcz.asyncWriteMRC(IMAGE, tmp_path / "fine.mrc").result(timeout=60)
        gc.collect()
    assert any("lost.mrc" in record.getMessage() and record.levelno == logging.ERROR
               for record in caplog.records)
    assert not any("fine.mrc" in record.getMessage() for record in caplog.records)


def test_more_workers_and_back(tmp_path):
    mrcz._setAsyncWorkers(3)
    try:
        for future in [mrcz.asyncWriteMRC(IMAGE, tmp_path / f"{n}.mrc") for n in range(6)]:
            future.result(timeout=60)
    finally:
        mrcz._setAsyncWorkers(1)
    assert len(list(tmp_path.glob("*.mrc"))) == 6


@pytest.mark.parametrize("bad", [0, -1, "two"])
def test_workers_must_be_some(bad):
    with pytest.raises((ValueError, TypeError)):
        mrcz._setAsyncWorkers(bad)


def test_the_interpreter_waits_for_pending_writes(tmp_path):
    script = ("import sys, numpy as np, mrcz\n"
              "image = np.arange(4e6, dtype='f4').reshape(16, 500, 500)\n"
              "for n in range(4):\n"
              "    mrcz.asyncWriteMRC(image, f'{sys.argv[1]}/{n}.mrcz', compressor='zstd', "
              "clevel=5)\n")
    env = os.environ | {"PYTHONPATH": str(Path(mrcz.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=env, timeout=120,
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for n in range(4):
        image, _ = mrcz.readMRC(tmp_path / f"{n}.mrcz")
        assert image.shape == (16, 500, 500)
        assert image[-1, -1, -1] == 4e6 - 1


def test_a_failure_at_exit_is_still_logged(tmp_path):
    script = ("import sys, numpy as np, mrcz\n"
              "mrcz.asyncWriteMRC(np.zeros((4, 4), 'f4'), sys.argv[1] + '/nowhere/lost.mrc')\n")
    env = os.environ | {"PYTHONPATH": str(Path(mrcz.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=env, timeout=120,
                          capture_output=True, text=True, check=False)
    assert "lost.mrc" in done.stderr


LATE = """
import atexit, sys, threading
import numpy as np, mrcz
folder, when, used = sys.argv[1:]
image = np.arange(24, dtype="i2").reshape(2, 3, 4)
if used == "used":
    mrcz.asyncWriteMRC(image, folder + "/before.mrcz", compressor="zstd")

def save():
    if when == "thread":
        threading.main_thread().join()
    mrcz.asyncWriteMRC(image, folder + "/late.mrcz", compressor="zstd").result()
    assert mrcz.asyncReadMRC(folder + "/late.mrcz").result()[0].shape == (2, 3, 4)
    mrcz.asyncWriteMRC(image, folder + "/nowhere/lost.mrc")

if when == "atexit":
    atexit.register(save)
else:
    threading.Thread(target=save).start()
"""


@pytest.mark.parametrize("used", ["used", "unused"])
@pytest.mark.parametrize("when", ["atexit", "thread"])
def test_what_comes_when_the_interpreter_exits_is_written(when, used, tmp_path):
    """As from the thread of a camera that outlives the main one: it was a RuntimeError."""
    done = run_script(LATE, tmp_path, when, used, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("lost.mrc failed") == 1
    assert mrcz.readMRC(tmp_path / "late.mrcz")[0].shape == (2, 3, 4)


def test_a_job_is_done_once_where_a_second_thread_is_not_to_be_had(monkeypatch):
    """The executor keeps it for the thread that it has."""
    go, done = threading.Event(), []
    mrcz._setAsyncWorkers(2)
    try:
        busy = mrcz.futures.submit(go.wait, 30)
        kept = mrcz.futures._executor
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse)
            mrcz.futures.submit(done.append, 1).result(30)
        go.set()
        assert busy.result(30) is True
        kept.shutdown(wait=True)
    finally:
        mrcz._setAsyncWorkers(1)
    assert done == [1]


def _refuse(self):
    raise RuntimeError("can't start new thread")


def test_a_job_that_waits_can_be_cancelled():
    go = threading.Event()
    busy, waiting = (mrcz.futures.submit(go.wait, 30) for _ in range(2))
    assert waiting.cancel()
    go.set()
    assert busy.result(30) is True
    with pytest.raises(CancelledError):
        waiting.result(30)
