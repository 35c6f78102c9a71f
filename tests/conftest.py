"""Fixtures and settings that the tests share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from mrcz import behind, parallel

from .helping import counting

collect_ignore = ["cluster", "docs", "judges", "relion", "remote", "tools"]
"""Folders of tests that need more packages: they run when they are named. Not left to pytest's
settings, which an editable installation is tested without."""

# CI machines are slow and share their cores: no deadline, and runs that repeat exactly.
settings.register_profile("mrcz", deadline=None, derandomize=True, max_examples=60,
                          suppress_health_check=[HealthCheck.too_slow,
                                                 HealthCheck.function_scoped_fixture])
settings.load_profile("mrcz")


def pytest_configure(config: pytest.Config) -> None:
    """Know the markers when run from an installed wheel, where there is no pyproject.toml."""
    config.addinivalue_line("markers", "judge: compares with another program")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.fixture(autouse=True, scope="session")
def _helpers_are_counted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (parallel, behind):
            patch.setattr(module, "start_new_thread", counting(module.start_new_thread))
        yield


@pytest.fixture
def notices(caplog: pytest.LogCaptureFixture) -> Callable[[], Iterator[list[str]]]:
    """Collect what a block says to its user, whether it logs or warns."""
    @contextmanager
    def collect() -> Iterator[list[str]]:
        said: list[str] = []
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
            warnings.simplefilter("always")
            yield said
        said += [str(w.message) for w in caught]
        said += [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return collect
