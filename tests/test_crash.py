"""A writer that is killed leaves the old file or the new one, never garbage."""

from __future__ import annotations

import json
import os
import time

import pytest

from .processes import by_night, run_module

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

KILLS = by_night(200, 15)
SEED = by_night(int(time.time()), 20261121)


@pytest.mark.parametrize("what", ["write", "append", "overwrite"])
def test_killed_at_random_moments(what: str) -> None:
    done = run_module("crashing", what, "--kills", KILLS, "--seed", SEED)
    assert done.returncode == 0, f"seed {SEED}: {done.stderr}"
    report = json.loads(done.stdout)
    assert report["kills"] == KILLS
    print(report)
