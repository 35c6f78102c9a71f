"""The judges' environments, and a way to hand them jobs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def environment(variable: str) -> str:
    """The Python of a judge's environment."""
    python = os.environ.get(variable)
    if not python:
        pytest.fail(f"{variable} must name the Python of the judge's environment (see .ci/run)")
    return python


def run(python: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a judge away from the checkout, so that it sees its own packages alone."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([python, *arguments], capture_output=True, text=True, env=env,
                          cwd=tempfile.gettempdir(), check=False, timeout=600, **options)


class Judge:
    """Another program, asked through its driver: many jobs to one process."""

    def __init__(self, python: str, driver: str, folder: Path) -> None:
        self.python, self.driver, self.folder = python, driver, folder
        self._arrays = 0

    def array(self, image: Any) -> str:
        """Lay an array where the judge can load it."""
        self._arrays += 1
        path = self.folder / f"given{self._arrays}.npy"
        np.save(path, np.asarray(image))
        return str(path)

    def __call__(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run the jobs; an answer with an ``error`` fails, an ``array`` is loaded."""
        done = run(self.python, str(HERE / self.driver), str(self.folder),
                   input=json.dumps(jobs))
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout.splitlines()[-1])
        for job, answer in zip(jobs, answers, strict=True):
            assert "error" not in answer, f"{self.driver} on {job}: {answer['error']}"
            if "array" in answer:
                answer["array"] = np.load(answer["array"])
        return answers


@pytest.fixture(params=["MRCZ_JUDGE_0510", "MRCZ_JUDGE_060"])
def python_mrcz(request: pytest.FixtureRequest, tmp_path: Path) -> Judge:
    """The incumbent, in both of the versions that are in use."""
    return Judge(environment(request.param), "ask_python_mrcz.py", tmp_path)


@pytest.fixture
def mrcfile(tmp_path: Path) -> Judge:
    """CCP-EM's library, the reference implementation of MRC2014."""
    return Judge(environment("MRCZ_JUDGE_MRCFILE"), "ask_mrcfile.py", tmp_path)


@pytest.fixture
def hyperspy(tmp_path: Path) -> Judge:
    """HyperSpy and RosettaSciIO, with our package installed beside them."""
    return Judge(environment("MRCZ_JUDGE_HYPERSPY"), "ask_hyperspy.py", tmp_path)


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run any Python away from the checkout."""
    return run


def real_data() -> Path:
    """The folder of real files that may not be redistributed."""
    return Path(os.environ.get("MRCZ_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
