"""Folders on the command line: searched where a command takes several files, else refused."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

IMAGE = np.random.default_rng(5).poisson(2, (3, 20, 31)).astype("int16")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    (raw / "day1" / "empty").mkdir(parents=True)
    (raw / "day2").mkdir()
    mrcz.writeMRC(IMAGE, raw / "a.mrc")
    mrcz.writeMRC(IMAGE, raw / "day1" / "a.mrcz", compressor="zstd")
    np.save(raw / "day1" / "b.npy", IMAGE)
    np.save(raw / "day2" / "c.npy", IMAGE)
    (raw / "day2" / "c.npy").rename(raw / "day2" / "c.NPY")
    (raw / "notes.txt").write_text("no image")
    (raw / ".hidden.mrc").write_text("no image")
    (raw / ".snapshot").mkdir()
    (raw / ".snapshot" / "a.mrc").write_text("what a file server keeps of it")
    return raw


def tree(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*")
                  if path.is_file())


WRITTEN = ["a.mrcz", "day1/a.mrcz", "day1/b.mrcz", "day2/c.mrcz"]


@pytest.mark.parametrize("target", ["out", "out/", "deep/out", "exists/"])
def test_convert_takes_all_images_of_a_folder(raw: Path, target: str) -> None:
    """Into the same folders below the one that is named, which is made."""
    Path("exists").mkdir()
    assert main(["convert", "-q", "raw", target]) == 0
    assert tree(target) == WRITTEN
    for name in WRITTEN:
        assert np.array_equal(mrcz.readMRC(Path(target) / name)[0], IMAGE)
    assert (raw / "notes.txt").exists()


def test_convert_into_a_folder_within(raw: Path) -> None:
    """What was written is not converted again."""
    assert main(["convert", "-q", "raw", "raw/out"]) == 0
    before = tree("raw")
    assert [name[4:] for name in before if name.startswith("out/")] == WRITTEN
    assert main(["convert", "-q", "--force", "raw/", "raw/out/"]) == 0
    assert tree("raw") == before
    assert main(["convert", "-q", "--force", ".", "raw/out"]) == 0
    assert "raw/out/raw/a.mrcz" in tree(".")
    assert "raw/out/raw/out/a.mrcz" not in tree(".")


def test_convert_takes_folders_files_and_patterns(raw: Path, capsys) -> None:
    assert main(["convert", "-q", "raw/day1", "raw/day2/*", "nothing*", "out"]) == 1
    assert capsys.readouterr().err == "mrcz convert: nothing*: No such file or directory\n"
    assert tree("out") == ["a.mrcz", "b.mrcz", "c.mrcz"]


@pytest.mark.parametrize("arguments,told", [
    (["raw", "out.mrc"], "out.mrc is not a folder: what is in a folder goes to one"),
    (["raw/day2", "raw/a.mrc"], "raw/a.mrc is not a folder: what is in a folder goes to one"),
    (["raw", "raw"], "can't be converted into itself"),
    (["raw/day1", "raw/a.mrc", "out"], "raw/day1/a.mrcz and raw/a.mrc would both go to out/a.mrcz"),
    (["raw/*.mrc", "raw/day1/*", "out.mrc"], "out.mrc is not a folder, and there are"),
    (["raw/day1/*", "out.mrc"], "out.mrc is not a folder, and there are 2 files to convert"),
])
def test_convert_says_what_is_wrong(raw: Path, capsys, arguments, told) -> None:
    before = tree(".")
    assert main(["convert", *arguments]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1
    assert tree(".") == before


@pytest.mark.parametrize("command", [["compress"], ["decompress"], ["verify"], ["info"], ["stats"],
                                     ["convert", "--update"], ["convert"]])
def test_a_folder_without_images(raw: Path, capsys, command) -> None:
    target = ["out"] * (command == ["convert"])
    assert main([*command, "raw/day1/empty", *target]) in (1, 2)
    err = capsys.readouterr().err
    assert err.startswith(f"mrcz {command[0]}: raw/day1/empty: nothing in this folder is .mrc ")
    assert err.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("arguments", [
    ["view", "raw"], ["diff", "raw", "raw/a.mrc"], ["diff", "raw/a.mrc", "raw"],
    ["repair", "raw", "out.mrc"], ["bench", "raw"],
])
def test_commands_of_one_file_refuse_folders(raw: Path, capsys, arguments) -> None:
    before = tree(".")
    assert main(arguments) == 2
    assert capsys.readouterr().err == (f"mrcz {arguments[0]}: raw is a folder, and mrcz "
                                       f"{arguments[0]} takes single files: name one in it\n")
    assert tree(".") == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_a_folder_is_waited_for_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mrcz.writeMRC(np.zeros((2, 3), "int8"), tmp_path / "a.mrc")
    os.mkfifo(tmp_path / "b.mrc")
    for command in ("info", "stats", "verify", "compress"):
        assert main([command, str(tmp_path)]) == 0
        assert "b.mrc" not in capsys.readouterr().out


@pytest.mark.parametrize("command,code", [("info", 1), ("stats", 1), ("verify", 2),
                                          ("compress", 1)])
def test_a_folder_that_can_not_be_read_is_told(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    command: str, code: int,
) -> None:
    """It was taken for empty, and `mrcz verify archive/` said that all was well."""
    real = os.scandir

    def scandir(path: str | int) -> object:  # or a descriptor
        if os.path.basename(str(path)) == "day1":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (raw / ".hidden.mrc").unlink()
    assert main([command, "raw"]) == code
    printed = capsys.readouterr()
    assert f"{Path('raw', 'day1')}: {os.strerror(errno.EACCES)}" in printed.err
    assert "a.mrc" in printed.out  # the others are done all the same
    assert main(["info", str(raw / "day1")]) == 1
    assert "nothing in this folder" not in capsys.readouterr().err


def test_why_a_name_means_no_file(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "x" * 5000, str(raw / "nothere.mrc"), "nul\0.mrc"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert os.strerror(errno.ENAMETOOLONG) in lines[0] or sys.platform == "win32"
    assert lines[1].endswith(f"nothere.mrc: {os.strerror(errno.ENOENT)}")
    assert "null" in lines[2]
