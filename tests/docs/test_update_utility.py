"""The utility that saves old files anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "0.4.1_i2_zstd.mrcz"


def update(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "utils" / "update_mrcz_0.5.0.py"), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip


def test_a_folder_of_files(tmp_path: Path) -> None:
    """A snapshot that a file server keeps is none of ours, nor are pipes and folders."""
    names = ["a.mrcz", "sub/b.mrcz", ".snapshot/c.mrcz", "sub/.d.mrcz"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(GOLDEN, tmp_path / name)
    (tmp_path / "folder.mrc").mkdir()
    os.mkfifo(tmp_path / "pipe.mrc")
    done = update("--dry-run", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.rglob("*.before*"))
    done = update(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("saved anew") == 2
    assert sorted(path.name for path in tmp_path.rglob("*.before*")) == [
        "a.mrcz.before-0.5.0", "b.mrcz.before-0.5.0"]
    assert update(tmp_path).stdout.count("not written by MRCZ below 0.5.0") == 2


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """The first that is no UTF-8 ended the work on all others."""
    for name in (os.fsdecode(b"a\xff.mrcz"), "b.mrcz"):
        shutil.copy(GOLDEN, tmp_path / name)
    done = update(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("saved anew") == 2


@pytest.mark.parametrize("arguments", [["--slices", "-1"], ["--slices", "3"]])
def test_what_fails_is_left_as_it_was(tmp_path: Path, arguments: list[str]) -> None:
    shutil.copy(GOLDEN, tmp_path / "a.mrcz")
    done = update(*arguments, tmp_path / "a.mrcz", tmp_path / "nothere.mrc")
    assert done.returncode == 1
    assert done.stderr.count("FAILED, left as it was") == done.stderr.count("\n") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrcz"]
