"""Lazy arrays that don't keep their word: what comes is not of the shape that was announced.

As of dask's map_blocks where it isn't told ``chunks=``.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz import containers

MOVIE = np.random.default_rng(3).poisson(2, (12, 64, 80)).astype("int16")

UNTRUE = {
    "binned": lambda block: block[:, ::2, ::2],
    "one row": lambda block: block[:, :1],
    "one column": lambda block: block[:, :, :1],
    "one pixel": lambda block: block[:, :1, :1],
    "taller": lambda block: np.concatenate([block, block], 1),
    "turned": lambda block: block.swapaxes(1, 2),
    "an axis less": lambda block: block[0],
    "fewer frames": lambda block: block[:1],
    "more frames": lambda block: np.concatenate([block, block]),
}


def untrue(change, chunks=(3, 64, 80)) -> da.Array:
    return da.from_array(MOVIE, chunks).map_blocks(change, dtype="int16", meta=MOVIE[:0])


class Lazy:
    """An array of no library in particular."""

    def __init__(self, change):
        self._change = change
        self.shape, self.dtype, self.ndim = MOVIE.shape, MOVIE.dtype, 3

    def __getitem__(self, key):
        return self._change(MOVIE[key])


@pytest.fixture(params=[{}, {"compressor": "zstd"}, {"compressor": "lz4", "dtype": "float32"}])
def options(request):
    return request.param


@pytest.mark.parametrize("change", UNTRUE.values(), ids=UNTRUE)
@pytest.mark.parametrize("make", [untrue, Lazy])
def test_the_file_that_is_there_stays(tmp_path, change, make, options):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path)
    with pytest.raises(ValueError, match="announced"):
        mrcz.writeMRC(make(change), path, **options)
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    assert [each.name for each in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.parametrize("change", UNTRUE.values(), ids=UNTRUE)
@pytest.mark.parametrize("idx", [0, 4, 12])
def test_the_frames_that_are_there_stay(tmp_path, change, idx, options):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, **options)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="announced"):
        mrcz.writeMRC(untrue(change), path, idx=idx)
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", UNTRUE.values(), ids=UNTRUE)
def test_parts_of_frames_on_their_way_through_a_temporary_file(tmp_path, change, monkeypatch):
    monkeypatch.setattr(containers, "_JOINED_BYTES", MOVIE[0].nbytes)
    with pytest.raises(ValueError, match="announced"):
        mrcz.writeMRC(untrue(change, (12, 32, 40)), tmp_path / "a.mrcz", compressor="zstd")
    assert not (tmp_path / "a.mrcz").exists()


@pytest.mark.parametrize("change", ["binned", "taller", "fewer frames", "more frames"])
def test_on_a_cluster(client, tmp_path, change, options):
    with pytest.raises(ValueError, match="announced"):
        mrcz.from_dask(untrue(UNTRUE[change]), tmp_path / "a.mrcz", client, **options)
    assert not list(tmp_path.iterdir())


def test_frames_that_are_refused_can_be_followed_by_others(tmp_path):
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, 64, 80), "int16", compressor="zstd") as writer:
        writer.append(MOVIE[:2])
        with pytest.raises(ValueError, match="frame 2 has the shape"):
            writer.append(untrue(UNTRUE["binned"]))
        writer.append(MOVIE[2:])
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)


@pytest.mark.parametrize("write", [
    mrcz.writeMRC,
    mrcz.from_dask,
    lambda array, path: mrcz.writeMRC([array[:, 0], array[:, 1]], path),
])
def test_a_shape_that_is_not_known(tmp_path, write):
    array = da.from_array(MOVIE, (3, 64, 80))
    array = array[array[:, 0, 0] > 1]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        write(array, tmp_path / "a.mrcz")
    write(array.compute_chunk_sizes(), tmp_path / "a.mrcz")
