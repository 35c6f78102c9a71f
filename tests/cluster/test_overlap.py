"""Dask arrays without a cluster: the next part is computed while one is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz import containers
from mrcz.encoding import FrameEncoder
from mrcz.feeding import FrameFeed

FRAMES = np.random.default_rng(3).poisson(2, (8, 64, 80)).astype("int16")


def movie(before: Callable[[int], None]) -> da.Array:
    """A frame a chunk; `before` is called with its number as it is computed."""
    def make(block_info=None):
        number = block_info[None]["array-location"][0][0]
        before(number)
        return FRAMES[number : number + 1]

    return da.map_blocks(make, chunks=((1,) * len(FRAMES), (64,), (80,)), dtype="int16",
                         meta=FRAMES[:0])


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    monkeypatch.setattr("mrcz.feeding.SLAB_BYTES", 2 * FRAMES[0].nbytes)
    monkeypatch.setattr(containers, "SLAB_BYTES", 2 * FRAMES[0].nbytes)
    before = threading.enumerate()
    with dask.config.set(scheduler="threads", num_workers=2):
        yield
    assert not [thread for thread in threading.enumerate()
                if thread.name.startswith("mrcz") and thread not in before]


def watched(monkeypatch, kind, method):
    """Let a method that writes a slab wait until the next one is being computed.

    Returns
    -------
    callable, list of int
        What computing a slab has to call; how far ahead of the writing each was.
    """
    started = [threading.Event() for _ in FRAMES]
    written: list[int] = []
    ahead: list[int] = []

    def before(number):
        ahead.append(number - len(written))
        started[number].set()

    real = getattr(kind, method)

    def write(self, frames):
        assert len(frames) == 1
        following = len(written) + 1
        if following < len(FRAMES):
            assert started[following].wait(30)
            time.sleep(0.02)  # the one behind that is not to be started
        real(self, frames)
        written.append(following)

    monkeypatch.setattr(kind, method, write)
    return before, ahead


def test_the_next_slab_is_computed_while_one_is_written(tmp_path, monkeypatch):
    """Each slab waits to be written until its successor is being computed; none is further."""
    before, ahead = watched(monkeypatch, FrameFeed, "write_slab")
    mrcz.writeMRC(movie(before), tmp_path / "a.mrcz", compressor="zstd")
    assert max(ahead) == 1
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrcz")[0], FRAMES)


@pytest.mark.parametrize("idx", [0, 5, 12])
@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"},
                                     {"compressor": "lz4", "checksum": True}])
def test_the_next_slab_is_computed_while_one_is_written_with_idx(
    tmp_path, monkeypatch, idx, options
):
    path = tmp_path / "a.mrcz"
    old = np.random.default_rng(1).poisson(5, (12, 64, 80)).astype("int16")
    mrcz.writeMRC(old, path, **options)
    before, ahead = watched(monkeypatch, FrameEncoder, "write")
    mrcz.writeMRC(movie(before), path, idx=idx, **options)
    assert (max(ahead), len(ahead)) == (1, len(FRAMES))
    expected = np.concatenate([old[:idx], FRAMES, old[idx + 8 :]])
    assert np.array_equal(mrcz.readMRC(path)[0], expected)
    assert not mrcz.verify(path)


@pytest.mark.parametrize("idx", [0, 5, 12])
@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("where", ["compute", "write"])
def test_an_error_with_idx_leaves_the_file_as_it_was(tmp_path, monkeypatch, idx, compressor, where):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.ones((12, 64, 80), "int16"), path, compressor=compressor)
    content = path.read_bytes()

    def before(number):
        if where == "compute" and number == 5:
            raise KeyError("frame five")

    real, calls = FrameEncoder.write, []

    def write(self, frames):
        calls.append(0)
        if where == "write" and len(calls) == 3:
            raise KeyError("slab three")
        real(self, frames)

    monkeypatch.setattr(FrameEncoder, "write", write)
    with pytest.raises(KeyError):
        mrcz.writeMRC(movie(before), path, idx=idx, compressor=compressor)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_same_file_as_from_memory(tmp_path):
    mrcz.writeMRC(movie(lambda number: None), tmp_path / "a.mrcz", compressor="zstd")
    mrcz.writeMRC(FRAMES, tmp_path / "b.mrcz", compressor="zstd")
    assert (tmp_path / "a.mrcz").read_bytes() == (tmp_path / "b.mrcz").read_bytes()


def test_large_chunks_are_not_held_twice(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("two slabs at once")

    monkeypatch.setattr("mrcz.feeding.run_behind", refuse)
    array = da.from_array(FRAMES, chunks=(4, 64, 80))
    mrcz.writeMRC(array, tmp_path / "a.mrcz", compressor="zstd")
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrcz")[0], FRAMES)


def test_an_error_in_the_computation_leaves_nothing(tmp_path):
    def before(number):
        if number == 5:
            raise KeyError("frame five")

    with pytest.raises(KeyError, match="frame five"):
        mrcz.writeMRC(movie(before), tmp_path / "a.mrcz", compressor="zstd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_an_error_in_writing_leaves_nothing(tmp_path, monkeypatch, error):
    real, calls, computed = FrameFeed.write_slab, [], []

    def write_slab(self, frames):
        calls.append(len(frames))
        if len(calls) == 3:
            raise error
        real(self, frames)

    monkeypatch.setattr(FrameFeed, "write_slab", write_slab)
    with pytest.raises(type(error)):
        mrcz.writeMRC(movie(computed.append), tmp_path / "a.mrcz", compressor="zstd")
    assert len(calls) == 3
    assert max(computed) <= 4
    assert not list(tmp_path.iterdir())


def test_a_value_that_does_not_fit_is_told_with_its_frame(tmp_path):
    large = FRAMES.astype("i4") + np.arange(8)[:, None, None] * 10_000
    array = da.from_array(large, chunks=(1, 64, 80))
    with pytest.raises(ValueError, match="frame 4"):
        mrcz.writeMRC(array, tmp_path / "a.mrcz", dtype="int16", compressor="zstd")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("where", ["compute", "write"])
def test_control_c_stops_at_once(tmp_path, where):
    program = f"""
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import dask, dask.array as da, numpy as np
import mrcz
from mrcz.feeding import FrameFeed
real, count = FrameFeed.write_slab, []

def write_slab(self, frames):
    count.append(0)
    if len(count) == 2:
        print("now", flush=True)
        if {where!r} == "write":
            time.sleep(2)
    real(self, frames)

def make(block_info=None):
    if {where!r} == "compute":
        time.sleep(0.3)
    return np.zeros((1, 2048, 2048), "f8")

FrameFeed.write_slab = write_slab
movie = da.map_blocks(make, chunks=((1,) * 400, (2048,), (2048,)), dtype="f8",
                      meta=np.zeros((0, 1, 1)))
dask.config.set(scheduler="threads", num_workers=2)
try:
    mrcz.writeMRC(movie, {str(tmp_path / 'a.mrcz')!r}, compressor="zstd")
except KeyboardInterrupt:
    print([t.name for t in threading.enumerate() if t.name.startswith("mrcz")])
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "[]\n"
    assert process.returncode == 0
    assert time.monotonic() - started < 15
    assert not list(Path(tmp_path).iterdir())


def test_written_in_the_background_as_the_script_ends(tmp_path):
    program = f"""
import dask.array as da, numpy as np, mrcz
array = da.ones((60, 512, 1024), chunks=(1, 512, 1024), dtype="f4") * 3
mrcz.asyncWriteMRC(array, {str(tmp_path / 'a.mrcz')!r}, compressor="zstd")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    with mrcz.open(tmp_path / "a.mrcz") as stack:
        assert stack.shape == (60, 512, 1024)
        assert (stack[59] == 3).all()
