"""Damaged files by the thousand, and those that once went wrong (tests/data/regressions)."""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from pathlib import Path

import pytest

from .builders import DATA
from .processes import by_night, run_module

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

COUNT = by_night(200_000, 5_000)
SEED = by_night(int(time.strftime("%Y%m%d")), 20261121)
REGRESSIONS = sorted((DATA / "regressions").iterdir())


@pytest.mark.slow
def test_mutants_give_pixels_or_our_errors() -> None:
    """No crash, hang, foreign exception, or pixels that depend on how they are read."""
    done = run_module("fuzzing", "--count", COUNT, "--seed", SEED)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["findings"]
    assert report["mutants"] == COUNT


def test_the_fuzzer_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reader that fails is reported, with the mutant that made it fail."""
    from . import fuzzing

    def broken(path: str, rng: random.Random) -> None:
        raise KeyError(path)

    monkeypatch.setitem(fuzzing.TARGETS, "readMRC", (broken, 1))
    fuzzer = fuzzing.Fuzzer(1, "readMRC")
    finding = fuzzer.try_one(3, str(tmp_path))
    assert finding is not None
    assert finding["kind"].startswith("KeyError")
    assert (tmp_path / "mutant").read_bytes() == fuzzer.mutant(3)[2]


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_regressions(path: Path, tmp_path: Path) -> None:
    """Every target, whichever it was that went wrong, since a wrong turn may be shared."""
    from . import fuzzing

    copy = tmp_path / path.name
    is_dm = path.suffix in (".dm3", ".dm4")
    targets = [name for name in fuzzing.TARGETS if (name == "readDM4") == is_dm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for number in range(4):
            for name in targets:
                copy.write_bytes(path.read_bytes())
                try:
                    fuzzing.TARGETS[name][0](str(copy), random.Random(number))
                except fuzzing.ALLOWED as error:
                    assert str(error)
