"""A stream goes on after an append that failed; what comes as an iterable is not gathered."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import encoding

GOOD = np.random.default_rng(0).poisson(3, (14, 30, 400)).astype("f4")
BAD = np.full((30, 400), 1e9, "f4")


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd", "checksum": True},
                                     {"compressor": "lz4", "quickStats": False}])
@pytest.mark.parametrize("piece", [1 << 12, 4 << 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_append_that_fails_adds_nothing(
    tmp_path: Path, options: dict[str, Any], piece: int, threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(encoding, "PIECE_BYTES", piece)
    encoding._block_bytes.cache_clear()
    path = tmp_path / "a.mrcz"
    blocks = {"blocksize": 1 << 12} if options else {}
    with mrcz.create(path, (None, 30, 400), "int16", n_threads=threads, **options,
                     **blocks) as writer:  # fmt: skip
        for first in (0, 4):
            for _ in range(2):
                with pytest.raises(ValueError, match="frame"):
                    writer.append([*GOOD[8:14], BAD, GOOD[7]])
                assert writer.shape[0] == first
            writer.append(GOOD[first : first + 4])
        with pytest.raises(ValueError, match="frame"):
            writer.append([*GOOD[8:14], BAD, GOOD[7]])
    encoding._block_bytes.cache_clear()
    image, header = mrcz.readMRC(path)
    assert np.array_equal(image, GOOD[:8])
    measured = GOOD[:1] if options.get("quickStats", True) else GOOD[:8]
    assert header["maxImage"] == measured.max()
    assert header["meanImage"] == pytest.approx(measured.mean())
    assert mrcz.verify(path) == []
    frame = 30 * 400 * 2
    assert options or path.stat().st_size == 1024 + 8 * frame


def test_the_frames_before_a_failure_are_kept_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 12)
    path = tmp_path / "a.mrc"
    with pytest.raises(ValueError, match="frame"), mrcz.create(
        path, (9, 30, 400), "int16", keep_partial=True
    ) as writer:
        writer.append(GOOD[:3])
        writer.append([*GOOD[3:6], BAD])
    assert np.array_equal(mrcz.readMRC(path)[0], GOOD[:3])
    assert mrcz.verify(path) == []


def test_frames_of_an_iterable_are_not_gathered(tmp_path: Path) -> None:
    """300 MiB that come one by one take no more than a slab and what is under way."""
    def frames() -> Iterator[np.ndarray]:
        for number in range(300):
            yield np.full((512, 1024), number, "i2")

    tracemalloc.start()
    try:
        mrcz.writeMRC(frames(), tmp_path / "a.mrcz", compressor="lz4", n_threads=2)
        assert tracemalloc.get_traced_memory()[1] < 120 << 20
    finally:
        tracemalloc.stop()
    image = mrcz.readMRC(tmp_path / "a.mrcz", slices=0)[0]
    assert np.array_equal(image[:, 3, 4], np.arange(300))


def test_relative_paths_mean_the_folder_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the process has gone to another one before the file is whole."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    with mrcz.create("a.mrcz", (None, 30, 400), "f4", compressor="zstd") as writer:
        writer.append(GOOD)
        monkeypatch.chdir(there)
        writer.append(GOOD)
    monkeypatch.chdir(here)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[np.ndarray]:
        begun.set()
        go_on.wait(60)
        yield GOOD[0]

    mrcz.asyncWriteMRC(slow(), "b.mrc")
    jobs = [mrcz.asyncWriteMRC(GOOD, Path("c.mrc")), mrcz.asyncWriteMRC(GOOD, MRCfilename="d.mrc"),
            mrcz.asyncReadMRC("a.mrcz"), mrcz.asyncReadMRC(MRCfilename="a.mrcz"),
            mrcz.asyncReadDM4("none.dm4")]
    assert begun.wait(60)
    monkeypatch.chdir(there)
    go_on.set()
    for job in jobs[:4]:
        job.result(timeout=60)
    assert str(here) in str(jobs[4].exception(timeout=60))
    assert sorted(path.name for path in here.iterdir()) == ["a.mrcz", "b.mrc", "c.mrc", "d.mrc"]
    assert list(there.iterdir()) == []


def test_a_writer_that_is_forgotten_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = mrcz.create(tmp_path / "a.mrcz", (None, 30, 400), "f4", compressor="zstd")
    writer.append(GOOD)
    del writer
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert "a.mrcz was never closed" in caplog.text
