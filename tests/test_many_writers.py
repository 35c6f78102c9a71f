"""Several threads or processes that add frames to one file, or to one stream: none is lost."""

from __future__ import annotations

import errno
import gc
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import cli, locking

SHAPE = (2, 30, 40)
WRITERS, TIMES = 4, 10
OPTIONS: list[dict[str, Any]] = [{}, {"compressor": "zstd", "checksum": True},
                                 {"compressor": "lz4"}]  # fmt: skip


def frames(number: int) -> np.ndarray:
    return np.full(SHAPE, number, "int16")


def append_all(path: Path, writer: int) -> None:
    """Behind the last frame of a moment ago, which by now may be another's place."""
    for time in range(TIMES):
        count = int(mrcz.readMRCHeader(path)[0]["dimensions"][0])
        mrcz.writeMRC(frames(writer * TIMES + time + 1), path, idx=count)


def overwrite_all(path: Path, writer: int) -> None:
    for time in range(TIMES):
        mrcz.writeMRC(frames(100 * writer + time), path, idx=2 * writer)


def in_threads(job: Any, path: Path) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda writer: job(path, writer), range(WRITERS)))


def in_processes(job: Any, path: Path) -> None:
    children = []
    for writer in range(WRITERS):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                job(path, writer)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * WRITERS


RUNNERS = [in_threads, in_processes] if hasattr(os, "fork") else [in_threads]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_frames_overwritten_by_many(tmp_path: Path, options: dict[str, Any], run: Any) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.zeros((2 * WRITERS, *SHAPE[1:]), "int16"), path, **options)
    run(overwrite_all, path)
    image = mrcz.readMRC(path)[0]
    assert image[:, 0, 0].tolist() == [100 * writer + TIMES - 1 for writer in range(WRITERS)
                                       for _ in range(2)]
    assert (image == image[:, :1, :1]).all()
    assert mrcz.verify(path) == []
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("options", OPTIONS)
def test_frames_appended_by_many(tmp_path: Path, options: dict[str, Any], run: Any) -> None:
    """Who names a place that another has taken meanwhile replaces its frames; all are whole."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(frames(0), path, **options)
    run(append_all, path)
    image = mrcz.readMRC(path)[0]
    assert len(image) >= 2 + 2 * TIMES
    assert len(image) % 2 == 0
    assert (image[::2] == image[1::2]).all()
    assert (image == image[:, :1, :1]).all()
    assert mrcz.verify(path) == []


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_threads_take_turns_without_locks_of_the_disk(
    tmp_path: Path, options: dict[str, Any], has_locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, or on Lustre without the option ``flock``."""
    path, others = tmp_path / "a.mrcz", tmp_path / "folder" / ".." / "a.mrcz"
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(locking, "fcntl", RefusingDisk() if has_locks else None)
    mrcz.writeMRC(np.zeros((2 * WRITERS, *SHAPE[1:]), "int16"), path, **options)
    in_threads(lambda path, writer: overwrite_all(others if writer % 2 else path, writer), path)
    image = mrcz.readMRC(path)[0]
    assert image[:, 0, 0].tolist() == [100 * writer + TIMES - 1 for writer in range(WRITERS)
                                       for _ in range(2)]
    assert (image == image[:, :1, :1]).all()
    assert mrcz.verify(path) == []
    gc.collect()
    assert os.path.realpath(path) not in locking._of_threads


@pytest.mark.parametrize("options", OPTIONS)
def test_a_stream_of_many_threads(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, *SHAPE[1:]), "int16", **options) as stream:
        def job(_: Path, writer: int) -> None:
            for time in range(TIMES):
                stream.append(frames(writer * TIMES + time))
                if time % 4 == 3:
                    stream.flush()

        in_threads(job, path)
    image = mrcz.readMRC(path)[0]
    assert sorted(image[:, 0, 0].tolist()) == sorted(2 * [*range(WRITERS * TIMES)])
    assert (image[::2] == image[1::2]).all()
    assert (image == image[:, :1, :1]).all()
    assert mrcz.verify(path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_file_that_another_holds_is_waited_for(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "a.mrc"
    mrcz.writeMRC(frames(0), path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timer = threading.Timer(0.3, fcntl.flock, (held, fcntl.LOCK_UN))
        timer.start()
        mrcz.writeMRC(frames(1), path, idx=2)
        assert not timer.is_alive()
        timer.join()
    assert len(mrcz.readMRC(path)[0]) == 4


def test_a_file_that_was_longer_when_it_was_opened(tmp_path: Path) -> None:
    """By the journal of a change, which has been completed meanwhile."""
    path = tmp_path / "a.mrcz"
    image = np.random.default_rng(0).integers(0, 9, (20, 8, 9)).astype("int16")
    mrcz.writeMRC(image, path, compressor="zstd")
    size = path.stat().st_size
    with open(path, "ab") as file:
        file.write(bytes(1500))
    with mrcz.open(path) as stack:
        os.truncate(path, size)
        assert np.array_equal(np.asarray(stack), image)


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd", "checksum": True}])
def test_a_stream_whose_frames_others_change(tmp_path: Path, options: dict[str, Any]) -> None:
    """While it goes on behind a flush; changes are copied to their places from behind the end."""
    path, over, done = tmp_path / "a.mrcz", threading.Event(), []
    image = np.random.default_rng(0).poisson(3, (60, 100, 100)).astype("int16")

    def change() -> None:
        while not over.is_set():
            if options:  # in place too, as that of the statistics and the trailer
                assert cli.main(["stats", "-q", "--fix-header", str(path)]) == 0
            else:
                mrcz.writeMRC(image[0] + len(done), path, idx=0)
            done.append(None)

    with ThreadPoolExecutor(1) as pool:
        with mrcz.create(path, (None, 100, 100), "int16", **options) as stream:
            stream.append(image[0])
            stream.flush()
            changing = pool.submit(change)
            try:
                for number in range(1, 60):
                    stream.append(image[number])
                    sleep(0.0005)
                    if number % 5 == 0:
                        stream.flush()
            finally:
                over.set()
        changing.result()
    found = mrcz.readMRC(path)[0]
    assert done
    assert np.array_equal(found[1:], image[1:])
    assert not (found[0] - image[0]).std()
    assert mrcz.verify(path) == []


class Disk:
    """What `fcntl` is on a disk with locks of its own kind."""

    LOCK_EX, LOCK_NB, LOCK_UN = 2, 4, 8

    def __init__(self) -> None:
        self.held = False

    def flock(self, file: io.FileIO, what: int) -> None:
        if what & self.LOCK_EX and not file.writable():
            raise OSError(errno.EBADF, "NFS locks only files that are open for writing")
        self.held = bool(what & self.LOCK_EX)


class RefusingDisk(Disk):
    """One that knows no locks."""

    def flock(self, file: io.FileIO, what: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")


def test_a_file_on_nfs_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, disk = tmp_path / "a.mrc", Disk()
    mrcz.writeMRC(frames(1), path)
    monkeypatch.setattr(locking, "fcntl", disk)
    with locking.locked(str(path)):
        assert disk.held
    assert not disk.held


def test_a_lock_that_shuts_ourselves_out_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on SMB, where only the descriptor that has the lock may read and write."""
    path, disk, real = tmp_path / "a.mrc", Disk(), io.FileIO
    mrcz.writeMRC(frames(1), path)

    def opened(name: str, mode: str = "r") -> io.FileIO:
        if disk.held:
            raise PermissionError(errno.EACCES, "locked", name)
        return real(name, mode)

    monkeypatch.setattr(locking, "fcntl", disk)
    monkeypatch.setattr(locking.io, "FileIO", opened)
    with locking.locked(str(path)):
        assert not disk.held
        mrcz.writeMRC(frames(2), path, idx=2)
    assert len(mrcz.readMRC(path)[0]) == 4
