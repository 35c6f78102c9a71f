"""Exit codes of commands that answer a question: 0 yes, 1 no, 2 trouble; as diff and cmp do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

from .processes import environment

IMAGE = np.random.default_rng(5).poisson(2, (6, 20, 31)).astype("int16")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a and same hold the same, other differs, cut is damaged, junk is no image."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mrcz", "same.mrcz", "cut.mrcz"):
        mrcz.writeMRC(IMAGE, name, compressor="zstd", checksum=True)
    mrcz.writeMRC(IMAGE + 1, "other.mrc")
    os.truncate("cut.mrcz", os.path.getsize("cut.mrcz") // 2)
    Path("junk.mrc").write_bytes(b"no image" * 1000)
    Path("folder").mkdir()
    return tmp_path


TROUBLE = ["missing.mrc", "folder", "a.mrcz/below"]


@pytest.mark.parametrize("arguments,code", [
    (["a.mrcz", "same.mrcz"], 0),
    (["a.mrcz", "other.mrc"], 1),
    (["--json", "a.mrcz", "other.mrc"], 1),
    (["-q", "a.mrcz", "other.mrc"], 1),
    (["--tolerance", "1", "a.mrcz", "other.mrc"], 0),
    *((["a.mrcz", name], 2) for name in (*TROUBLE, "cut.mrcz", "junk.mrc")),
    *(([name, "a.mrcz"], 2) for name in (*TROUBLE, "cut.mrcz", "junk.mrc")),
    (["cut.mrcz", "other.mrc"], 2),
    (["a.mrcz"], 2),
    (["a.mrcz", "same.mrcz", "--tolerance", "x"], 2),
])
def test_diff(arguments, code, capsys):
    assert main(["diff", *arguments]) == code
    assert bool(capsys.readouterr().err) == (code == 2)


@pytest.mark.parametrize("arguments,code", [
    (["a.mrcz", "other.mrc"], 0),
    (["cut.mrcz"], 1),
    (["--shallow", "--json", "a.mrcz", "cut.mrcz", "same.mrcz"], 1),
    (["junk.mrc"], 1),
    (["missing.mrc"], 2),
    (["a.mrcz", "missing.mrc"], 2),
    (["cut.mrcz", "missing.mrc"], 2),
    (["a.mrcz/below"], 2),
    (["folder"], 2),
    ([], 2),
    (["a.mrcz", "--jobs", "0"], 2),
])
def test_verify(arguments, code, capsys):
    assert main(["verify", *arguments]) == code
    assert bool(capsys.readouterr().err) == (code == 2)


@pytest.mark.parametrize("arguments,code", [
    (["a.mrcz", "new.mrcz"], 0),
    (["cut.mrcz", "new.mrcz"], 1),
    (["--json", "cut.mrcz", "new.mrcz"], 1),
    (["junk.mrc", "new.mrcz"], 2),
    *(([name, "new.mrcz"], 2) for name in TROUBLE),
    (["a.mrcz", "same.mrcz"], 2),
    (["a.mrcz", "a.mrcz"], 2),
    (["a.mrcz"], 2),
])
def test_repair(arguments, code, capsys):
    assert main(["repair", *arguments]) == code
    assert bool(capsys.readouterr().err) == (code == 2)
    assert Path("new.mrcz").exists() == (code < 2)


@pytest.mark.parametrize("command", ["info", "stats", "compress", "decompress", "view", "bench"])
def test_of_all_others_1_is_trouble(command, capsys):
    assert main([command, "missing.mrc"]) == 1
    assert capsys.readouterr().err == f"mrcz {command}: missing.mrc: No such file or directory\n"


@pytest.mark.parametrize("command", ["diff", "verify", "repair"])
@pytest.mark.parametrize("error", [KeyError("a mistake of ours"), mrcz.MRCError("damage")])
def test_a_traceback_is_no_answer(command, error, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("mrcz.commands.diff.compare_headers", fail)
    monkeypatch.setattr("mrcz.commands.verify.find_files", fail)
    monkeypatch.setattr("mrcz.commands.repair.salvage_file", fail)
    assert main([command, "--debug", "a.mrcz", "new.mrcz" if command == "repair" else "same.mrcz"
                 ]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and str(error) in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sh")
def test_as_a_shell_sees_it():
    script = 'mrcz() { "$0" -m mrcz "$@"; }; mrcz diff -q a.mrcz other.mrc && echo same || ' \
             'case $? in 1) echo differ;; *) echo trouble;; esac'
    for second, told in (("other.mrc", "differ\n"), ("a.mrcz", "same\n"), ("no.mrc", "trouble\n")):
        done = subprocess.run(["sh", "-c", script.replace("other.mrc", second), sys.executable],
                              capture_output=True, text=True, check=False, env=environment())
        assert done.stdout == told, done.stderr
