"""Tests that run longer at night, and modules of this package run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TypeVar

NIGHTLY = os.environ.get("MRCZ_NIGHTLY") == "1"

T = TypeVar("T")


def by_night(night: T, day: T) -> T:
    """The first with MRCZ_NIGHTLY=1, else the second."""
    return night if NIGHTLY else day


def environment() -> dict[str, str]:
    """So that a new interpreter finds what this one has found."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run_module(name: str, *arguments: object, timeout: float = 3600
               ) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a module that lies beside this one as a script."""
    module = f"{__package__}.{name}"
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)], env=environment(),
                          capture_output=True, text=True, check=False, timeout=timeout)


def run_script(script: str, *arguments: object, timeout: float = 300, python: str = sys.executable
               ) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a piece of Python."""
    return subprocess.run([python, "-c", script, *map(str, arguments)], env=environment(),
                          capture_output=True, text=True, check=False, timeout=timeout)


def memory_folder() -> str:
    """A new folder in memory where there is one: these tests write a lot."""
    return tempfile.mkdtemp(prefix="mrcz-test",
                            dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
