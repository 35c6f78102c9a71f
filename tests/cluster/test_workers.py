"""Reading and writing inside workers of joblib and dask, after this process has used threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from joblib import Parallel, delayed

import mrcz

MOVIE = np.random.default_rng(1).poisson(2, (6, 80, 100)).astype("int16")


def copy(path: str, number: int) -> int:
    """Read, write and read again with threads of its own."""
    output = f"{path}.{number}"
    mrcz.writeMRC(mrcz.readMRC(path, n_threads=2)[0] + np.int16(number), output,
                  compressor="zstd", checksum=True, n_threads=2)
    with mrcz.open(output, n_threads=2) as stack:
        total = int(np.asarray(stack, dtype="int64").sum())
    assert mrcz.verify(output) == []
    os.unlink(output)
    return total


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="lz4", n_threads=3)
    assert np.array_equal(mrcz.readMRC(path, n_threads=3)[0], MOVIE)
    return str(path)


EXPECTED = [int(MOVIE.sum()) + number * MOVIE.size for number in range(12)]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(path: str, backend: str) -> None:
    work: Any = Parallel(n_jobs=2, backend=backend)
    assert work(delayed(copy)(path, number) for number in range(12)) == EXPECTED


def test_dask_workers(path: str, client: Client) -> None:
    jobs = [client.submit(copy, path, number, pure=False) for number in range(12)]
    assert client.gather(jobs) == EXPECTED
