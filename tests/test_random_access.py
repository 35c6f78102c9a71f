"""What one frame of many costs, and one more frame; what is said of streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import disk, sources, streams

FRAMES = np.random.default_rng(6).poisson(1, (256, 32, 32)).astype("int8")


def without_index(path: Path) -> None:
    """Make a file as other programs do."""
    data = bytearray(path.read_bytes())
    data[304:1024] = bytes(720)
    path.write_bytes(data)


@pytest.mark.parametrize("index", [True, False])
def test_a_frame_far_back_in_a_long_file(tmp_path, index):
    path = tmp_path / "long.mrcz"
    with mrcz.create(path, (1 << 16, 32, 32), "int8", compressor="zstd") as writer:
        for _ in range(256):
            writer.append(FRAMES)
    if not index:
        without_index(path)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        with mrcz.open(path) as stack:
            frame = stack[50_000]
        seconds.append(time.perf_counter() - started)
        assert np.array_equal(frame, FRAMES[50_000 % 256])
    assert min(seconds) < 0.150


def test_the_way_to_a_frame_is_remembered(tmp_path, monkeypatch):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.concatenate([FRAMES] * 16), path, compressor="zstd")
    without_index(path)
    reads: list[int] = []
    for name in ("read", "read_into"):
        real = getattr(sources.FileSource, name)

        def counting(self, offset, what, real=real):
            reads.append(offset)
            return real(self, offset, what)

        monkeypatch.setattr(sources.FileSource, name, counting)
    with mrcz.open(path, cache_bytes=0) as stack:
        stack[4000]
        reads.clear()
        for number in (3999, 17, 2500):
            stack[number]
    assert len(reads) <= 3


def test_appending_costs_the_same_however_long_the_file_is(tmp_path, monkeypatch):
    read: list[int] = []
    written: list[int] = []
    real_read, real_write = sources.FileSource.read, disk.InPlaceFile.write_at

    def counting_read(self, offset, size):
        read.append(size)
        return real_read(self, offset, size)

    def counting_write(self, offset, data):
        written.append(memoryview(data).nbytes)
        real_write(self, offset, data)

    costs = []
    for count in (256, 256 * 40):
        path = tmp_path / f"{count}.mrcz"
        with mrcz.create(path, (count, 32, 32), "int8", compressor="zstd") as writer:
            for _ in range(count // 256):
                writer.append(FRAMES)
        with monkeypatch.context() as patch:
            patch.setattr(sources.FileSource, "read", counting_read)
            patch.setattr(disk.InPlaceFile, "write_at", counting_write)
            for number in range(5):
                mrcz.writeMRC(FRAMES[:4], path, idx=count + 4 * number)
        assert np.array_equal(mrcz.readMRC(path, idx=(count, count + 4))[0], FRAMES[:4])
        costs.append((len(read), sum(read), len(written), sum(written)))
        read.clear()
        written.clear()
    short, long = costs
    assert all(b <= 1.2 * a + 64 for a, b in zip(short, long, strict=True)), costs


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open])
def test_streams_are_decompressed_once_and_that_is_said(tmp_path, monkeypatch, notices, opener):
    path = tmp_path / "a.mrc.packed"
    mrcz.writeMRC(FRAMES, tmp_path / "a.mrc")
    with opener(path, "wb") as file:
        file.write((tmp_path / "a.mrc").read_bytes())
    taken: list[int] = []
    real = streams.StreamSource._fetch

    def counting(self, end):
        before = self._available
        real(self, end)
        taken.append(self._available - before)

    monkeypatch.setattr(streams.StreamSource, "_fetch", counting)
    with notices() as said, mrcz.open(path, cache_bytes=0) as stack:
        assert np.array_equal(stack[200], FRAMES[200])
        for number in (3, 199, 255, 0):
            assert np.array_equal(stack[number], FRAMES[number])
        assert sum(taken) == 1024 + FRAMES.nbytes
    assert any(str(path) in text and "once" in text for text in said)
    with notices() as said:
        mrcz.readMRC(path)
    assert not said


def test_the_way_to_a_frame_is_remembered_from_one_opening_to_the_next(tmp_path, monkeypatch):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.concatenate([FRAMES] * 16), path, compressor="zstd")
    read: list[int] = []
    real = sources.FileSource.read

    def counting(self, offset, size):
        read.append(size)
        return real(self, offset, size)

    monkeypatch.setattr(sources.FileSource, "read", counting)

    def cost():
        read.clear()
        assert np.array_equal(mrcz.readMRC(path, idx=4000)[0], FRAMES[4000 % 256])
        return sum(read)

    young = [cost(), cost()]
    assert young[0] == young[1] > 8192  # it might change again without a sign
    os.utime(path, (1e9, 1e9))
    old = [cost(), cost()]
    assert old[0] == young[0]
    assert old[1] < 4096
    other = np.concatenate([FRAMES[::-1]] * 16)
    mrcz.writeMRC(other, path, compressor="zstd")
    os.utime(path, (1e9, 1e9))
    for number in (4000, 4001, 17):
        assert np.array_equal(mrcz.readMRC(path, idx=number)[0], other[number])
    mrcz.writeMRC(FRAMES[:3], path, idx=len(other))
    os.utime(path, (1e9, 1e9))
    for number in (4000, len(other) + 2):
        expected = np.concatenate([other, FRAMES[:3]])[number]
        assert np.array_equal(mrcz.readMRC(path, idx=number)[0], expected)
