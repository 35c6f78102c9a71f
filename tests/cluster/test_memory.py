"""Arrays larger than what may be held: peak memory, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcz

FRAME = (2048, 2048)  # 8 MiB of uint16

PEAK = """
import resource, sys
import numpy as np
import mrcz

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB, on Linux
"""

WRITE_DASK = PEAK + """
import dask, dask.array as da
from mrcz.plugins.cluster import client_in_use
dask.config.set(scheduler="threads", num_workers=2)
base = np.random.default_rng(0).poisson(1, (2048, 2048)).astype("u2")
computed = []

def make(block_info=None):
    (first, last), *_ = block_info[None]["array-location"]
    computed.append(first)
    return base + np.arange(first, last, dtype="u2")[:, None, None]

heights = eval(sys.argv[2])
movie = da.map_blocks(make, chunks=(heights, (2048,), (2048,)), dtype="u2", meta=base[None, :0])
if sys.argv[3] == "rows":
    movie = movie.rechunk((heights, 512, 2048))
before = peak()
mrcz.writeMRC(movie, sys.argv[1], compressor="lz4", n_threads=2)
assert sorted(computed) == [sum(heights[:n]) for n in range(len(heights))], "not once each"
print(peak() - before)
"""

COPY = PEAK + """
before = peak()
with mrcz.open(sys.argv[1]) as stack:
    mrcz.writeMRC(stack, sys.argv[2], compressor=eval(sys.argv[3]), n_threads=2)
print(peak() - before)
"""


def grown(script: str, *arguments: object) -> float:
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize("heights,rows", [((1,) * 64, "whole"), ((8,) * 8, "whole"),
                                          ((16,) * 4, "whole"), ((16,) * 4, "rows")])
def test_half_a_gigabyte_of_dask(tmp_path: Path, heights: tuple[int, ...], rows: str) -> None:
    path = tmp_path / "a.mrcz"
    # What 16 frames, dask's own 128 MiB a chunk, take with rows to be joined is the most.
    assert grown(WRITE_DASK, path, heights, rows) < 300
    with mrcz.open(path) as stack:
        assert stack.shape == (64, *FRAME)
        assert np.array_equal(stack[63] - stack[5], np.full(FRAME, 58, "u2"))


WRITE_COLUMNS = PEAK + """
import dask, dask.array as da
dask.config.set(scheduler="threads", num_workers=2)
base = np.random.default_rng(0).poisson(1, (2048, 2048)).astype("u2")
computed = []

def make(block_info=None):
    (z0, z1), (y0, y1), (x0, x1) = block_info[None]["array-location"]
    computed.append((z0, y0, x0))
    return base[y0:y1, x0:x1] + np.arange(z0, z1, dtype="u2")[:, None, None]

movie = da.map_blocks(make, chunks=((64,), (512,) * 4, (1024,) * 2), dtype="u2",
                      meta=base[None, :0])
before = peak()
mrcz.writeMRC(movie, sys.argv[1], compressor="lz4", n_threads=2)
assert len(computed) == len(set(computed)) == 8, "not once each"
print(peak() - before)
"""


def test_half_a_gigabyte_of_columns(tmp_path: Path) -> None:
    """As dask divides arrays by itself: each chunk holds a part of every frame."""
    path = tmp_path / "a.mrcz"
    assert grown(WRITE_COLUMNS, path) < 300
    with mrcz.open(path) as stack:
        assert stack.shape == (64, *FRAME)
        assert np.array_equal(stack[63] - stack[5], np.full(FRAME, 58, "u2"))


@pytest.mark.parametrize("compressor", [None, "lz4"])
def test_half_a_gigabyte_from_file_to_file(tmp_path: Path, compressor: str | None) -> None:
    path = tmp_path / "a.mrcz"
    frames = np.random.default_rng(0).poisson(1, (8, *FRAME)).astype("u2")
    with mrcz.create(path, (64, *FRAME), "u2", compressor="lz4") as writer:
        for _ in range(8):
            writer.append(frames)
    assert grown(COPY, path, tmp_path / "b.mrcz", repr(compressor)) < 200
    image, header = mrcz.readMRC(tmp_path / "b.mrcz", idx=(8, 16))
    assert np.array_equal(image, frames)
    assert header["compressor"] == compressor
