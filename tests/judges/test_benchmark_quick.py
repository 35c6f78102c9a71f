"""The benchmark runs, checks what it times, and tells what it did not reach."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, environment

pytestmark = [pytest.mark.judge, pytest.mark.slow]

UTILS = REPOSITORY / "utils"
TIMEOUT = 600
"""Seconds until a run is taken for hung; a quiet machine needs less than 120."""

Completed = subprocess.CompletedProcess[str]


def benchmark(*arguments: Any) -> Completed:
    """Run the benchmark in its environment."""
    python = environment("MRCZ_JUDGE_BENCHMARK")
    return subprocess.run([python, str(UTILS / "benchmark.py"), *map(str, arguments)],
                          capture_output=True, text=True, check=False, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Completed, Path]:
    """What a quick run said, and the folder with its results."""
    folder = tmp_path_factory.mktemp("benchmark")
    done = benchmark("--quick", "--json", folder / "results.json", "--rst", folder / "tables.rst")
    assert done.returncode == 0, done.stderr[-5000:]
    return done, folder


def test_measures_every_cell(quick: tuple[Completed, Path]) -> None:
    results = json.loads((quick[1] / "results.json").read_text())
    assert {"mrcz", "python-mrcz", "numpy"} <= set(results["contenders"])
    assert set(results["data"]) == {"k3", "u2", "f4", "4d-stem", "single", "small"}
    for cell in results["cells"]:
        assert cell["error"] is None, cell
        assert cell["read"] and (cell["write"] or cell["source"]), cell
    ours = {(cell["data"], cell["codec"]) for cell in results["cells"]
            if cell["contender"] == "mrcz" and not cell["source"] and cell["ratio"] >= 0.99}
    assert {(data, codec) for data in ("k3", "u2", "f4", "4d-stem")
            for codec in ("zstd", "lz4", "auto", "raw")} <= ours
    assert set(results["extras"]) >= {"imports", "concurrent", "many_frames", "memory"}
    assert results["extras"]["errors"] == {}


def test_tells_who_is_absent(quick: tuple[Completed, Path]) -> None:
    results = json.loads((quick[1] / "results.json").read_text())
    for name in results["absent"]:
        assert name in quick[0].stdout
    assert len(results["absent"]) + len(results["contenders"]) == 8


def test_writes_the_tables_of_the_manual(quick: tuple[Completed, Path]) -> None:
    tables = (quick[1] / "tables.rst").read_text()
    assert "entropy limit" in tables and "* - python-mrcz" in tables and "FAIL" in tables


def test_check_fails_on_a_missed_bar(quick: tuple[Completed, Path], tmp_path: Path) -> None:
    results = json.loads((quick[1] / "results.json").read_text())
    for cell in results["cells"]:
        if (cell["data"], cell["contender"], cell["codec"]) == ("k3", "mrcz", "zstd"):
            cell["ratio"] = 1.5
    doctored = tmp_path / "results.json"
    doctored.write_text(json.dumps(results))
    done = benchmark("--from", doctored, "--check")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("ratio k3 zstd  "))
    assert ">= 4.5" in line and "1.5" in line and line.endswith("FAIL")


def test_an_absent_rival_is_a_missed_bar(quick: tuple[Completed, Path], tmp_path: Path) -> None:
    results = json.loads((quick[1] / "results.json").read_text())
    results["cells"] = [cell for cell in results["cells"] if cell["contender"] != "python-mrcz"]
    doctored = tmp_path / "results.json"
    doctored.write_text(json.dumps(results))
    done = benchmark("--from", doctored, "--check")
    assert done.returncode == 1
    assert "read k3 zstd, python-mrcz time / ours" in done.stdout
    assert "not measured" in done.stdout


FAKE = """
import numpy as np

def writeMRC(pixels, path, **options):
    np.save(open(path, "wb"), pixels)

def readMRC(path, **options):
    pixels = np.load(path)
    pixels[-1, -1, -1] += {added}
    return pixels, {{}}
"""


@pytest.mark.parametrize("added,right", [(0, True), (1, False)])
def test_wrong_pixels_are_no_time(
    added: int, right: bool, tmp_path: Path, ask_worker: Callable[..., Any]
) -> None:
    (tmp_path / "mrcz.py").write_text(FAKE.format(added=added))
    written, read = ask_worker({"do": "write"}, {"do": "read"})
    assert written[0]["seconds"] > 0
    if right:
        assert read[0]["seconds"] > 0
    else:
        assert "Mismatch: frame 3 is not what was written" in read


@pytest.fixture
def ask_worker(tmp_path: Path) -> Callable[..., list[Any]]:
    """Ask a worker that finds its package in `tmp_path`."""
    python = environment("MRCZ_JUDGE_BENCHMARK")
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(UTILS), str(tmp_path)])}
    data = tmp_path / "data.npy"
    wanted = {"shape": [4, 8, 8], "dtype": "u2", "mean": 3.0, "threads": 1}
    subprocess.run([python, "-m", "benchlib.data", str(data), json.dumps(wanted)], check=True,
                   env=variables, cwd=tmp_path, capture_output=True)

    def ask(*requests: dict[str, Any]) -> list[Any]:
        lines = [json.dumps({"turns": [{}], "path": str(tmp_path / "file"), **request})
                 for request in requests]
        done = subprocess.run([python, "-m", "benchlib.worker", "mrcz", "zstd", "1", str(data)],
                              input="\n".join(lines) + "\n", capture_output=True, text=True,
                              env=variables, cwd=tmp_path, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask
