"""Frames of uncompressed files that are overwritten while they are read: old or new, not half."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import overwrites
from mrcz.disk import InPlaceFile
from mrcz.journal import Journal
from mrcz.sources import FileSource

NEW = np.full((64, 80), 7, "int16")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(np.zeros((4, 64, 80), "int16"), path)
    return path


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Callable[[], None]]], list[int]]:
    """Have things done halfway through the next reads of pixels, one each."""
    def prepare(jobs: list[Callable[[], None]]) -> list[int]:
        real, done = FileSource.read_into, []

        def read_into(self: FileSource, offset: int, view: memoryview) -> None:
            if threading.current_thread() is not me or offset < 1024 or len(view) < 2000:
                return real(self, offset, view)
            half = len(view) // 2
            real(self, offset, view[:half])
            done.append(len(done))
            if jobs:
                jobs.pop(0)()
            return real(self, offset + half, view[half:])

        me = threading.current_thread()
        monkeypatch.setattr(FileSource, "read_into", read_into)
        return done

    return prepare


def overwrite(path: Path, value: int, idx: int = 0) -> Callable[[], None]:
    def write() -> None:
        time.sleep(0.02)  # kernels before 6.13 tell changes apart by their ticks
        thread = threading.Thread(target=mrcz.writeMRC, args=(NEW * 0 + value, path),
                                  kwargs={"idx": idx})
        thread.start()
        thread.join()

    return write


@pytest.mark.parametrize("read", [
    lambda path: mrcz.readMRC(path, idx=0)[0],
    lambda path: mrcz.readMRC(path)[0][0],
    lambda path: mrcz.open(path)[0],
    lambda path: mrcz.open(path)[0, 4:60],
    lambda path: np.asarray(mrcz.open(path)),
    lambda path: mrcz.readMRC(path, out=np.empty((4, 64, 80), "int16"))[0],
], ids=["idx", "all", "frame", "rows", "array", "out"])
def test_an_overwrite_in_the_midst_of_a_read(path, between, read):
    done = between([overwrite(path, 7)])
    found = read(path)
    assert len(done) == 2
    assert (found.reshape(-1, 80)[: 64 if found.ndim == 3 else None] == 7).all()


def test_two_overwrites(path, between):
    done = between([overwrite(path, 7), overwrite(path, 8)])
    assert (mrcz.readMRC(path, idx=0)[0] == 8).all()
    assert len(done) == 3


def test_overwrites_without_end_end(path, between):
    done = between([overwrite(path, value) for value in range(100)])
    assert mrcz.readMRC(path, idx=0)[0].shape == (64, 80)
    assert len(done) == 1 + overwrites._MOST_TIMES


def grow(path: Path) -> Callable[[], None]:
    """As a writer does that is yet to come to the end of its change."""
    def write() -> None:
        with path.open("ab") as file:
            file.write(b"MRCZJRNL and so on")

    return write


def test_a_change_that_is_written_slowly_costs_one_more_read(path, between):
    done = between([grow(path) for _ in range(100)])
    assert not mrcz.readMRC(path)[0].any()
    assert len(done) == 2


def test_an_overwrite_and_the_begin_of_the_next_one(path, between):
    """The file has grown then, but not only that has happened."""
    def both() -> None:
        overwrite(path, 8)()
        grow(path)()

    between([overwrite(path, 7), both])
    assert (mrcz.readMRC(path, idx=0)[0] == 8).all()


def test_nothing_is_read_twice_otherwise(path, between):
    done = between([])
    with mrcz.open(path, cache_bytes=0) as stack:
        for frame in range(4):
            stack[frame]
        assert len(done) == 4
        overwrite(path, 7)()
        assert (stack[0] == 7).all()
        stack[1], stack[2]
        assert len(done) == 4 + 4  # once more, after the change was noticed


def copied_by_halves(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Have something done when half of a change is in its place."""
    real = InPlaceFile.complete

    def complete(self: InPlaceFile, journal: Journal) -> None:
        self.copy_from(self.fd, journal.body, journal.body + journal.length // 2, journal.offset)
        then()
        real(self, journal)

    monkeypatch.setattr(InPlaceFile, "complete", complete)


def test_a_change_that_is_being_copied_is_waited_for(path, monkeypatch):
    found = []
    with mrcz.open(path, cache_bytes=0) as stack:
        def read() -> None:
            found.append(stack[0])

        reader = threading.Thread(target=read)

        def then() -> None:
            reader.start()
            time.sleep(0.2)
            assert not found

        copied_by_halves(monkeypatch, then)
        mrcz.writeMRC(NEW, path, idx=0)
        reader.join()
        assert (found[0] == 7).all()
        assert (stack[0] == 7).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_change_that_nobody_completes(path, monkeypatch, caplog):
    """Its writer was killed while the file was open here: it is read as if completed."""
    monkeypatch.setattr(overwrites, "_PATIENCE", 0.05)
    with mrcz.open(path, cache_bytes=0) as stack:
        assert (stack[0] == 0).all()
        child = os.fork()
        if child == 0:
            copied_by_halves(monkeypatch, lambda: os._exit(0))
            mrcz.writeMRC(NEW, path, idx=0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        raw = np.frombuffer(path.read_bytes()[1024 : 1024 + NEW.nbytes], "i2")
        assert set(raw) == {0, 7}
        for _ in range(3):
            assert (stack[0] == 7).all()
            assert (stack[1] == 0).all()
        message, = (record.getMessage() for record in caplog.records)
        assert "is read as if completed" in message
    mrcz.writeMRC(NEW, path, idx=1)
    assert (mrcz.readMRC(path, idx=(0, 2))[0] == 7).all()


def test_appended_frames_disturb_nobody(path, between):
    def append() -> None:
        mrcz.writeMRC(NEW, path, idx=4)

    done = between([append])
    with mrcz.open(path) as stack:
        assert (stack[0] == 0).all()
        assert len(done) <= 2
        assert (stack[3] == 0).all()


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("other", [
    np.ones((8, 32, 80), "int16"), np.ones((4, 64, 40), "float32"), np.ones((4, 40, 128), "int16"),
    np.ones((4, 64, 80), "uint16"), np.ones((4, 63, 80), "int16"),
], ids=lambda array: f"{array.shape} {array.dtype}")
def test_another_file_in_the_same_place(path, other, compressor):
    """As by programs that open a file that is there and write into it, python-mrcz among them."""
    frames = np.random.default_rng(1).integers(0, 9, (4, 64, 80), "int16")
    mrcz.writeMRC(frames, path, compressor=compressor)
    with mrcz.open(path) as stack:
        assert np.array_equal(stack[0], frames[0])
        mrcz.writeMRC(other, path.with_name("b.mrc"), meta={"a": 1}, compressor=compressor)
        path.write_bytes(path.with_name("b.mrc").read_bytes())
        for key in [1, (2, slice(3, 9)), slice(1, 3), (slice(None), 0, 0)]:
            with pytest.raises(mrcz.MRCError, match=r"has changed since|ends|too short"):
                stack[key]


def test_damage_is_called_damage(path):
    frames = np.random.default_rng(1).integers(0, 9, (4, 64, 80), "int16")
    mrcz.writeMRC(frames, path, compressor="zstd")
    data = bytearray(path.read_bytes())
    data[1024] = 99
    path.write_bytes(data)
    with mrcz.open(path) as stack, pytest.raises(mrcz.MRCFormatError, match="frame 0"):
        stack[0]
