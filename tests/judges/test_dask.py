"""Dask arrays are written as they are, without our importing dask."""

from __future__ import annotations

import subprocess
import sys

import dask.array
import numpy as np
import pytest

import mrcz

from ..builders import ramp
from ..checks import assert_identical, round_trip

pytestmark = pytest.mark.judge


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("chunks", [(1, 33, 40), (2, 10, 40), (4, 33, 7), (3, 33, 40)])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_dask_array(dtype, chunks, compressor):
    image = ramp((4, 33, 40), dtype)
    lazy = dask.array.from_array(image, chunks=chunks)
    assert_identical(round_trip(lazy, compressor=compressor)[0], image)
    assert_identical(round_trip(list(lazy), compressor=compressor)[0], list(image))


def test_4d_dask_array():
    image = ramp((3, 4, 33, 40), "u2")
    lazy = dask.array.from_array(image, chunks=(1, 4, 33, 40))
    assert_identical(round_trip(lazy, compressor="zstd")[0], list(image))


def test_saved_onto_the_file_it_is_read_from(tmp_path):
    path = tmp_path / "a.mrc"
    image = ramp((4, 33, 40), "f4")
    mrcz.writeMRC(image, path)
    mapped, _ = mrcz.readMRC(path, useMemmap=True)
    mrcz.writeMRC(dask.array.from_array(mapped, chunks=(1, 33, 40)) + np.float32(1), path)
    assert_identical(mrcz.readMRC(path)[0], image + np.float32(1))


def test_dask_is_imported_by_its_users_alone():
    subprocess.run([sys.executable, "-c",
                    "import io, sys, numpy, mrcz\n"
                    "mrcz.writeMRC(numpy.ones((2, 3, 4), 'f4'), io.BytesIO(), compressor='lz4')\n"
                    "assert 'dask' not in sys.modules"], check=True)


AT_EXIT = """
import sys, dask.array, mrcz
movie = dask.array.ones((6, 64, 80), dtype="u2", chunks=eval(sys.argv[2]))
mrcz.asyncWriteMRC(movie, sys.argv[1], compressor="zstd")
"""


@pytest.mark.parametrize("chunks", [(2, 64, 80), (2, 30, 80)])
def test_background_jobs_are_finished_at_exit(tmp_path, chunks):
    """When the interpreter lets nobody start threads any more, not dask either."""
    path = tmp_path / "a.mrcz"
    done = subprocess.run([sys.executable, "-c", AT_EXIT, str(path), str(chunks)], check=True,
                          capture_output=True, text=True)
    assert not done.stderr
    assert_identical(mrcz.readMRC(path)[0], np.ones((6, 64, 80), "u2"))
