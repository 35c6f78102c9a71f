"""Dask arrays whose chunks hold parts of many frames."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz import containers, spooling

VOLUME = np.random.default_rng(1).poisson(3, (23, 40, 50)).astype("int16")


@pytest.fixture(autouse=True)
def little_memory(monkeypatch, tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(containers, "SLAB_BYTES", 3 * VOLUME[0].nbytes)
    monkeypatch.setattr("mrcz.feeding.SLAB_BYTES", 3 * VOLUME[0].nbytes)
    monkeypatch.setattr(containers, "_JOINED_BYTES", 4 * VOLUME[0].nbytes)
    monkeypatch.setattr(spooling, "_TOGETHER_BYTES", 2 * VOLUME[0].nbytes)
    with dask.config.set({"temporary-directory": str(folder)}):
        yield folder
    assert not list(folder.iterdir())


@pytest.mark.parametrize("chunks", [
    (23, 10, 50), (23, 40, 10), (23, 7, 9), (10, 17, 21), (23, 1, 50),
    ((1, 20, 2), (39, 1), (25, 25)), (5, 40, 50), (2, 20, 50),
])
@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_frames_are_put_together(tmp_path, chunks, compressor, order):
    array = da.from_array(np.array(VOLUME, order=order), chunks=chunks)
    mrcz.writeMRC(array, tmp_path / "a.mrcz", compressor=compressor)
    found = mrcz.readMRC(tmp_path / "a.mrcz")[0]
    assert found.dtype == VOLUME.dtype
    assert np.array_equal(found, VOLUME)


def test_chunks_are_computed_once_and_cast_per_frame(tmp_path):
    computed = []

    def make(block, block_info=None):
        computed.append(tuple(block_info[0]["chunk-location"]))
        return block * 1.5

    array = da.from_array(VOLUME, chunks=(23, 20, 25)).map_blocks(make, dtype="f8",
                                                                  meta=np.zeros((0, 0, 0)))
    mrcz.writeMRC([array[:, :, :], array + 1], tmp_path / "a.mrcz", compressor="lz4")
    assert len(computed) == 8
    first, second = mrcz.readMRC(tmp_path / "a.mrcz")[0]
    assert np.array_equal(first, (VOLUME * 1.5).astype("f4"))
    assert np.array_equal(second, (VOLUME * 1.5 + 1).astype("f4"))


def test_pixels_that_are_not_what_the_array_says(tmp_path):
    array = da.from_array(VOLUME, chunks=(23, 20, 25)).map_blocks(
        lambda block: block + 0.25, dtype="int16", meta=VOLUME[:0])
    with pytest.raises(TypeError, match="int16"):
        mrcz.writeMRC(array, tmp_path / "a.mrcz", compressor="lz4")
    assert not (tmp_path / "a.mrcz").exists()


def test_an_error_leaves_nothing(tmp_path):
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][1] == 2:
            raise KeyError("third")
        return block

    array = da.from_array(VOLUME, chunks=(23, 10, 50)).map_blocks(fail, dtype="int16",
                                                                  meta=VOLUME[:0])
    with pytest.raises(KeyError, match="third"):
        mrcz.writeMRC(array, tmp_path / "a.mrcz", compressor="lz4")
    assert [item.name for item in tmp_path.iterdir()] == ["spool"]
