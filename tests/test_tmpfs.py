"""Uncompressed files in memory: pages made ahead, and what must not change by that."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import disk, tmpfs

from . import helping

MiB = 1 << 20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a thing of Linux")
FRAMES = np.arange(12 * MiB, dtype=np.uint32).view(np.float32).reshape(48, 512, 512)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Take every file for one in a tmpfs, and note what pages are made."""
    made: list[tuple[int, int]] = []

    def note(fd: int, start: int, stop: int) -> None:
        assert os.fstat(fd).st_size >= stop
        made.append((start, stop))
        tmpfs.make_pages(fd, start, stop)

    monkeypatch.setattr(disk, "is_in_memory", lambda fd: True)
    monkeypatch.setattr(disk, "make_pages", note)
    yield made
    helping.require_none()


@linux
def test_which_files_lie_in_memory(tmp_path: Path) -> None:
    with open("/dev/shm/mrcz-test-tmpfs", "w+b") as file:  # a tmpfs on every Linux
        os.unlink(file.name)
        assert tmpfs.is_in_memory(file.fileno())
    with open("/proc/self/stat", "rb") as file:
        assert not tmpfs.is_in_memory(file.fileno())
    assert not tmpfs.is_in_memory(-1)


def test_other_systems_know_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with open(os.devnull, "rb") as file:
        assert not tmpfs.is_in_memory(file.fileno())


@linux
def test_a_python_without_ctypes_knows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    with open("/dev/shm/mrcz-test-tmpfs", "w+b") as file:
        os.unlink(file.name)
        assert not tmpfs.is_in_memory(file.fileno())


@linux
def test_pages_are_made_and_nothing_is_written() -> None:
    with open("/dev/shm/mrcz-test-tmpfs", "w+b", buffering=0) as file:
        os.unlink(file.name)
        file.write(b"kept" * 2000)
        file.truncate(4 * MiB)
        before = os.fstat(file.fileno()).st_blocks
        tmpfs.make_pages(file.fileno(), 5000, 3 * MiB)
        made = 512 * (os.fstat(file.fileno()).st_blocks - before)
        if tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 14):
            assert 3 * MiB - 16384 <= made <= 3 * MiB
        file.seek(0)
        assert file.read() == (b"kept" * 2000).ljust(4 * MiB, b"\0")


@linux
@pytest.mark.parametrize("stop", [3 * MiB, 1 << 62])
def test_what_cannot_be_made_is_no_error(tmp_path: Path, stop: int) -> None:
    with open(tmp_path / "a", "w+b") as file:
        file.truncate(MiB)
        tmpfs.make_pages(file.fileno(), 0, stop)
        tmpfs.make_pages(-1, 0, MiB)
        assert os.fstat(file.fileno()).st_size == MiB


def test_pages_stay_ahead_of_who_writes() -> None:
    made: list[tuple[int, int]] = []
    pages = tmpfs.PagesAhead(lambda stop: lambda *place: made.append(place), 1000, 1000 + 100 * MiB)
    steps = pages.steps()
    next(steps)()
    next(steps)()
    pages.reached += 60 * MiB
    next(steps)()
    pages.reached = 1000 + 100 * MiB
    assert next(steps, None) is None
    assert made == [(1000 + 25 * MiB, 1000 + 29 * MiB), (1000 + 29 * MiB, 1000 + 33 * MiB),
                    (1000 + 85 * MiB, 1000 + 89 * MiB)]


@pytest.mark.parametrize("nbytes", [0, MiB, 31 * MiB])
def test_of_little_no_pages_are_made(nbytes: int) -> None:
    assert not [*tmpfs.PagesAhead(lambda stop: pytest.fail("asked"), 0, nbytes).steps()]


@pytest.mark.parametrize("frames", [FRAMES, FRAMES.reshape(1, 3072, 4096)], ids=["many", "one"])
def test_a_file_in_memory(in_memory: list[tuple[int, int]], tmp_path: Path, frames: np.ndarray,
                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path, write_at = tmp_path / "a.mrc", disk.AtomicFile.write_at
    mrcz.writeMRC(FRAMES[:1], path)

    def patient(file: disk.AtomicFile, offset: int, data: memoryview) -> None:
        deadline = time.monotonic() + 60
        while not in_memory and time.monotonic() < deadline:
            time.sleep(0.001)
        write_at(file, offset, data)

    monkeypatch.setattr(disk.AtomicFile, "write_at", patient)
    mrcz.writeMRC(frames, path, n_threads=2)
    assert in_memory
    assert all(1024 < start < stop <= 1024 + frames.nbytes for start, stop in in_memory)
    found, header = mrcz.readMRC(path)
    assert np.array_equal(found.view(np.uint32), np.squeeze(frames).view(np.uint32))
    assert path.stat().st_size == 1024 + frames.nbytes
    assert header["maxImage"] == frames[0].max()


def test_what_cannot_grow_in_advance_is_written_all_the_same(
    in_memory: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truncate = disk.AtomicFile.truncate

    def refuse(file: disk.AtomicFile, size: int) -> None:
        if size == 1024 + FRAMES.nbytes:
            raise OSError(27, "File too large")
        truncate(file, size)

    monkeypatch.setattr(disk.AtomicFile, "truncate", refuse)
    mrcz.writeMRC(FRAMES, tmp_path / "a.mrc", n_threads=2)
    assert not in_memory
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrc")[0].view("u4"), FRAMES.view("u4"))


def test_one_thread_makes_none(in_memory: list[tuple[int, int]], tmp_path: Path) -> None:
    mrcz.writeMRC(FRAMES, tmp_path / "a.mrc", n_threads=1)
    assert not in_memory


def test_a_file_that_has_its_name_does_not_grow_before_it_is_written(
    in_memory: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(FRAMES[:2], path)
    mrcz.writeMRC(FRAMES, path, idx=2, n_threads=2)
    with mrcz.create(tmp_path / "b.mrc", (None, 512, 512), "float32", n_threads=2) as writer:
        writer.append(FRAMES[:1])
        writer.flush()
        writer.append(FRAMES)
    assert not in_memory
    assert len(mrcz.readMRC(path)[0]) == 50


def test_a_failed_write_leaves_no_room_behind(in_memory: list[tuple[int, int]], tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path, write_at, limit = tmp_path / "a.mrc", disk.AtomicFile.write_at, 20 * MiB

    def full(file: disk.AtomicFile, offset: int, data: memoryview) -> None:
        if offset > limit:
            raise OSError(28, "No space left on device")
        write_at(file, offset, data)

    monkeypatch.setattr(disk.AtomicFile, "write_at", full)
    with pytest.raises(OSError, match="No space"):
        mrcz.writeMRC(FRAMES, path, n_threads=2)
    assert not [*tmp_path.iterdir()]
    with mrcz.create(path, (None, 512, 512), "float32", n_threads=2) as writer:
        with pytest.raises(OSError, match="No space"):
            writer.append(FRAMES)
        writer.append(FRAMES[:3])
    assert path.stat().st_size == 1024 + FRAMES[:3].nbytes
    assert np.array_equal(mrcz.readMRC(path)[0], FRAMES[:3])


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_does_not_wait_for_all_that_is_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Whoever was to wait for a terabyte would pull the plug."""
    write_at, written = disk.AtomicFile.write_at, list[int]()

    def slow(file: disk.AtomicFile, offset: int, data: memoryview) -> None:
        if offset > 1024:
            if not written:
                signal.raise_signal(signal.SIGINT)
            written.append(offset)
        write_at(file, offset, data)

    monkeypatch.setattr(disk.AtomicFile, "write_at", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            mrcz.writeMRC(FRAMES, tmp_path / "a.mrc", n_threads=threads)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(written) <= 1
    assert not [*tmp_path.iterdir()]


def test_the_calling_thread_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt goes to the main thread, and ends what it does at once."""
    write_at, writers = disk.AtomicFile.write_at, set[int]()

    def noted(file: disk.AtomicFile, offset: int, data: memoryview) -> None:
        writers.add(threading.get_ident())
        write_at(file, offset, data)

    monkeypatch.setattr(disk.AtomicFile, "write_at", noted)
    for _ in range(20):
        mrcz.writeMRC(FRAMES[:4], tmp_path / "a.mrc", n_threads=4)
    assert writers == {threading.get_ident()}


def test_the_one_that_leads_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from mrcz.parallel import run_ordered

    def fail() -> None:
        raise ValueError("led astray")

    def endless() -> Iterator[Callable[[], None]]:
        while True:
            yield lambda: None

    for threads in (1, 3):
        with pytest.raises(ValueError, match="astray"):
            run_ordered(endless(), lambda task: task(), threads=threads, lead=fail)
        helping.require_none()
