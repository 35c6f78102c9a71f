"""Files that are cut, or lie about their sizes, as dask arrays."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import mrcz

from ..builders import header

FRAMES = np.random.default_rng(3).poisson(2, (8, 64, 80)).astype("int16")


@pytest.mark.parametrize("mode", [0, 2, 16, 101, 6002])
@pytest.mark.parametrize("dims", [(2**31 - 1, 1, 1), (2**31 - 1, 8192, 8192), (2**31 - 1,) * 3,
                                  (10_000,) * 3])
def test_sizes_that_lie_are_refused_at_once(tmp_path: Path, mode: int,
                                            dims: tuple[int, int, int]) -> None:
    """A list of 2**31 chunks would be 16 GB."""
    path = tmp_path / "a.mrc"
    path.write_bytes(header(dims, mode) + bytes(2000))
    with mrcz.open(path) as stack:
        tracemalloc.start()
        try:
            for chunks in ("auto", stack.chunks):
                with pytest.raises(mrcz.MRCFormatError):
                    stack.to_dask(chunks)
            assert tracemalloc.get_traced_memory()[1] < 10e6
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_whole_frames_of_a_cut_file(tmp_path: Path, compressor: str | None) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(FRAMES, path, compressor=compressor)
    path.write_bytes(path.read_bytes()[:-100])
    with mrcz.open(path) as stack:
        lazy = stack.to_dask(stack.chunks)
        assert np.array_equal(lazy[:7].compute(), FRAMES[:7])
        with pytest.raises(mrcz.MRCTruncatedError, match="frame 7 of 8 is cut"):
            lazy.sum().compute()
