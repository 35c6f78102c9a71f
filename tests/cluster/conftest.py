"""A cluster of two worker processes, which the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest
from distributed import Client, LocalCluster

from mrcz.encoding import EncodedFrames, FrameEncoder


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Two processes, started again however often the tests kill them.

    A worker that is away at the very instant at which this time after an
    earlier death is over (15 s, unless set) is given up for good: both of
    them once were, and what was asked for waited for ever.
    """
    with (dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
          LocalCluster(n_workers=2, threads_per_worker=1, processes=True,
                       dashboard_address="127.0.0.1:0") as cluster):
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[EncodedFrames]:
    """What arrives in this process, and that no pixels do."""
    parts: list[EncodedFrames] = []
    real = FrameEncoder.write_encoded

    def write_encoded(self: FrameEncoder, encoded: EncodedFrames) -> None:
        parts.append(encoded)
        real(self, encoded)

    def write(self: FrameEncoder, frames: object) -> None:
        raise AssertionError("pixels came to the writer")

    monkeypatch.setattr(FrameEncoder, "write_encoded", write_encoded)
    monkeypatch.setattr(FrameEncoder, "write", write)
    return parts
