"""Memory of freed images is used again, and never while anybody can see it."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcz
from mrcz import recycling
from mrcz.buffers import address_of

SHAPE = (4, 1024, 2048)  # 16 MiB of int16

needs_lending = pytest.mark.skipif(
    not hasattr(mmap, "MADV_FREE"), reason="this system keeps no memory, as documented"
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    recycling.set_kept_memory(0)
    recycling.set_kept_memory(1 << 30)
    yield
    recycling.set_kept_memory(0)
    recycling.set_kept_memory(1 << 30)


@pytest.fixture
def movie(tmp_path: Path) -> tuple[Path, np.ndarray]:
    pixels = np.random.default_rng(5).poisson(9, SHAPE).astype("i2")
    mrcz.writeMRC(pixels, tmp_path / "a.mrcz", compressor="lz4")
    return tmp_path / "a.mrcz", pixels


@needs_lending
def test_freed_memory_is_used_again(movie: tuple[Path, np.ndarray]) -> None:
    path, pixels = movie
    first = mrcz.readMRC(path)[0]
    address = address_of(first)
    del first
    second = mrcz.readMRC(path)[0]
    assert address_of(second) == address
    np.testing.assert_array_equal(second, pixels)


def test_a_view_keeps_its_memory(movie: tuple[Path, np.ndarray]) -> None:
    path, pixels = movie
    views = []
    for number in range(6):
        image = mrcz.readMRC(path)[0]
        views.append([image[number % 4, ::2], image.T[5], image.view("u1").reshape(-1)[7:],
                      memoryview(image[1])][number % 4])
        del image
        gc.collect()
        again = mrcz.readMRC(path)[0]
        again[...] = -1
    for number, view in enumerate(views):
        whole = [pixels[number % 4, ::2], pixels.T[5], pixels.view("u1").reshape(-1)[7:],
                 pixels[1]][number % 4]
        np.testing.assert_array_equal(np.asarray(view), whole)


def test_arrays_are_ordinary(movie: tuple[Path, np.ndarray]) -> None:
    image, _ = mrcz.readMRC(movie[0])
    assert type(image) is np.ndarray
    assert image.flags.writeable and image.flags.c_contiguous and image.flags.aligned
    image += 1
    np.testing.assert_array_equal(image, movie[1] + 1)


def taken(nbytes: int) -> np.ndarray:
    return recycling.empty((nbytes,), np.dtype("u1"))


def kept() -> int:
    return sum(map(len, recycling._kept))


@needs_lending
def test_smaller_memory_is_let_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "_peak", 0)
    for nbytes in (16 << 20, 24 << 20, 32 << 20):
        array = taken(nbytes)
        assert kept() == 0
        del array
        assert kept() == nbytes


@needs_lending
def test_a_frame_does_not_cost_the_movie_s_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "_peak", 0)
    movie = taken(160 << 20)
    address = address_of(movie)
    del movie
    frame = taken(16 << 20)
    del frame
    movie = taken(160 << 20)
    assert address_of(movie) == address


@needs_lending
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(8, 40)), max_size=30))
def test_the_peak_grows_by_a_quarter_at_most(steps: list[tuple[bool, int]]) -> None:
    recycling.set_kept_memory(0)
    recycling.set_kept_memory(1 << 30)
    others = sum(recycling._in_use.values())
    recycling._peak = others
    arrays: list[np.ndarray] = []
    peak = 0
    for takes, size in steps:
        if takes:
            arrays.append(taken(size << 20))
        elif arrays:
            del arrays[size % len(arrays)]
        in_use = sum(array.nbytes for array in arrays)
        assert sum(recycling._in_use.values()) == in_use + others
        peak = max(peak, in_use)
        assert in_use + kept() <= (peak + others) * 5 // 4


def test_no_more_is_kept_than_was_in_use_or_than_allowed() -> None:
    many = [recycling.empty((16 << 20,), np.dtype("u1")) for _ in range(5)]
    recycling.set_kept_memory(40 << 20)
    many.clear()
    assert sum(map(len, recycling._kept)) <= 40 << 20
    recycling.set_kept_memory(0)
    assert recycling._kept == []
    array = recycling.empty((16 << 20,), np.dtype("u1"))
    del array
    assert recycling._kept == []


def test_small_arrays_are_numpy_s_own() -> None:
    assert recycling.empty((3, 5), np.dtype("f4")).base is None


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="nbytes must be at least 0, not -1"):
        mrcz.set_kept_memory(-1)


def test_no_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(nbytes: int) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(recycling, "_take", refuse)
    assert recycling.empty((16 << 20,), np.dtype("u1")).base is None


@needs_lending
def test_memory_that_can_t_be_lent_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_FREE", 12345)  # what an old kernel says to a new number
    array = recycling.empty((16 << 20,), np.dtype("u1"))
    array[...] = 1
    del array
    assert recycling._kept == []


def test_threads_never_share_memory() -> None:
    errors: list[str] = []

    def work(mark: int) -> None:
        for _ in range(40):
            array = recycling.empty((8 << 20,), np.dtype("u1"))
            array[:: 1 << 12] = mark
            if not (array[:: 1 << 12] == mark).all():
                errors.append(f"thread {mark}")

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_s_writing_is_its_own(movie: tuple[Path, np.ndarray]) -> None:
    script = (
        "import os, sys, numpy as np, mrcz\n"
        "image = mrcz.readMRC(sys.argv[1])[0]; kept = mrcz.readMRC(sys.argv[1])[0]; del kept\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    other = mrcz.readMRC(sys.argv[1])[0]; other[...] = 7; image[...] = 7; os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "again = mrcz.readMRC(sys.argv[1])[0]\n"
        "assert np.array_equal(image, again) and not (image == 7).all()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(movie[0])],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_exit_is_silent(movie: tuple[Path, np.ndarray]) -> None:
    script = ("import sys, mrcz\nimage = mrcz.readMRC(sys.argv[1])[0]\n"
              "class Cycle: pass\ncycle = Cycle(); cycle.me = cycle; cycle.image = image\n"
              "sys.modules['keeps'] = image\n")
    done = subprocess.run([sys.executable, "-c", script, str(movie[0])],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="others don't limit a process's memory so")
def test_what_is_kept_makes_way_where_memory_is_limited() -> None:
    script = (
        "import resource, sys, numpy as np, mrcz\n"
        "from mrcz import recycling\n"
        "taken = lambda size: recycling.empty((size << 20,), np.dtype('u1'))\n"
        "large = taken(600); del large\n"
        "status = open('/proc/self/statm').read().split()\n"
        "now = int(status[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (64 << 20),) * 2)\n"
        "image = taken(100)\n"
        "assert type(image.base.base).__name__ == '_Memory', image.base\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
