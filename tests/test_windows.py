"""Where an open file neither gives its name away nor takes another one, as on Windows."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import locking

MOVIE = np.random.default_rng(0).poisson(3, (6, 20, 30)).astype("int16")
KINDS: list[dict[str, Any]] = [{}, {"compressor": "zstd"}, {"compressor": "lz4", "checksum": True}]


def is_open(path: Any) -> bool:
    """Whether this process has a descriptor of a file."""
    if not os.path.exists(path):
        return False
    status = os.stat(path)
    for fd in range(256):
        try:
            if os.path.samestat(os.fstat(fd), status):
                return True
        except OSError:
            continue
    return False


@contextmanager
def windows() -> Iterator[None]:
    """What Windows does about names of open files."""
    replace, unlink = os.replace, os.unlink

    def require_closed(*paths: Any) -> None:
        for path in paths:
            if is_open(path):
                raise PermissionError(errno.EACCES, "used by another process", path)

    def closed_replace(source: Any, target: Any) -> None:
        require_closed(source, target)
        replace(source, target)

    def closed_unlink(path: Any) -> None:
        require_closed(path)
        unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "name", "nt")
        patch.setattr(locking, "fcntl", None)
        patch.setattr(os, "replace", closed_replace)
        patch.setattr(os, "unlink", closed_unlink)
        yield


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("idx", [None, 0, 2, 5, 6])
def test_frames_are_written_over_others(tmp_path: Path, options: dict[str, Any], idx: int | None
                                        ) -> None:  # fmt: skip
    path = tmp_path / "a.mrcz"
    with windows():
        mrcz.writeMRC(MOVIE, path, **options)
        mrcz.writeMRC(MOVIE[:2] + 9, path, idx=idx, **options if idx is None else {})
    first = idx or 0
    wanted = MOVIE[:0] if idx is None else MOVIE
    wanted = np.concatenate([wanted[:first], MOVIE[:2] + 9, wanted[first + 2 :]])
    assert np.array_equal(mrcz.readMRC(path)[0], wanted)
    assert mrcz.verify(path) == []
    assert os.listdir(tmp_path) == ["a.mrcz"]


@pytest.mark.parametrize("options", KINDS)
def test_a_flush_gives_the_file_its_name(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.mrcz"
    with windows(), mrcz.create(path, (None, 20, 30), "int16", **options) as writer:
        for number in range(4):
            writer.append(MOVIE[number])
            writer.flush()
            image, _ = mrcz.readMRC(path, slices=0)
            assert np.array_equal(image.reshape(-1, 20, 30), MOVIE[: number + 1])
        writer.append(MOVIE[4])
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:5])
    assert mrcz.verify(path) == []
    assert os.listdir(tmp_path) == ["a.mrcz"]


def test_who_reads_the_old_file_holds_a_flush_up_and_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE[:1], path)
    with windows(), mrcz.create(path, (None, 20, 30), "int16", compressor="zstd") as writer:
        writer.append(MOVIE[:2])
        with mrcz.open(path) as stack:
            with pytest.raises(PermissionError) as caught:
                writer.flush()
            assert np.array_equal(stack[0], MOVIE[0])
        assert caught.value.filename == str(path)
        writer.append(MOVIE[2:4])
        writer.flush()
        writer.append(MOVIE[4:])
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    assert os.listdir(tmp_path) == ["a.mrcz"]
