"""Many files at once: by processes of this machine, and on a cluster."""

from __future__ import annotations

import os

import numpy as np
import pytest

import mrcz

MOVIE = np.random.default_rng(1).poisson(1, (5, 64, 80)).astype("int16")


@pytest.fixture
def movies(tmp_path):
    """Six good ones, a damaged one, one that isn't there, one that is compressed."""
    paths = [tmp_path / "raw" / f"{number}.mrc" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        mrcz.writeMRC(MOVIE + np.int16(number), path)
    damaged, missing = tmp_path / "raw" / "damaged.mrc", tmp_path / "raw" / "missing.mrc"
    damaged.write_bytes(paths[0].read_bytes()[:5000])
    mrcz.writeMRC(MOVIE, tmp_path / "raw" / "packed.mrcz", compressor="lz4")
    return [*paths, damaged, missing, tmp_path / "raw" / "packed.mrcz"]


def check(movies, results, folder):
    assert [result.path for result in results] == [str(path) for path in movies]
    for number, result in enumerate(results[:6]):
        assert result.error is None
        assert result.output == str(folder / f"{number}.mrcz")
        assert 0 < result.after < result.before == os.path.getsize(movies[number])
        assert np.array_equal(mrcz.readMRC(result.output)[0], MOVIE + np.int16(number))
    assert isinstance(results[6].error, mrcz.MRCTruncatedError)
    assert isinstance(results[7].error, FileNotFoundError)
    assert "compressed already" in results[8].skipped
    assert {path.name for path in folder.iterdir() if path.suffix != ".mrc"} <= {
        *(f"{number}.mrcz" for number in range(6)), "packed.mrcz"}


@pytest.mark.parametrize("processes", [1, 2])
def test_by_processes(movies, tmp_path, processes):
    results = mrcz.compress_many(movies, tmp_path / "out", processes=processes, compressor="zstd")
    check(movies, results, tmp_path / "out")


def test_on_a_cluster(client, movies):
    results = mrcz.compress_many(map(str, movies), client=client)
    check(movies, results, movies[0].parent)


def test_again_skips_what_is_done(client, movies):
    first = mrcz.compress_many(movies[:3], client=client)
    written = [os.stat(result.output).st_mtime_ns for result in first]
    again = mrcz.compress_many(movies[:4], client=client)
    assert [bool(result.skipped) for result in again] == [True] * 3 + [False]
    assert written == [os.stat(result.output).st_mtime_ns for result in again[:3]]


def test_what_is_there_is_not_replaced(movies):
    other = movies[0].with_suffix(".mrcz")
    other.write_bytes(b"something else")
    result, = mrcz.compress_many(movies[0], processes=1)
    assert isinstance(result.error, FileExistsError)
    assert other.read_bytes() == b"something else"
    result, = mrcz.compress_many(movies[0], processes=1, overwrite=True)
    assert result.error is None


def test_delete_original(movies):
    results = mrcz.compress_many(movies, processes=1, delete_original=True)
    assert [path.exists() for path in movies] == [False] * 6 + [True, False, True]
    assert np.array_equal(mrcz.readMRC(results[3].output)[0], MOVIE + np.int16(3))


def _die(pair, **options):
    os._exit(9)


def test_a_process_that_dies_is_told(movies, monkeypatch):
    monkeypatch.setattr("mrcz.plugins.batch.compress_one", _die)
    results = mrcz.compress_many(movies[:2], processes=2)
    assert all(result.error is not None for result in results)


def test_wrong_arguments(movies, tmp_path):
    with pytest.raises(ValueError, match="verify"):
        mrcz.compress_many(movies, delete_original=True, verify=False)
    with pytest.raises(ValueError, match="compressor"):
        mrcz.compress_many(movies, compressor="best")
    with pytest.raises(ValueError, match="both become"):
        mrcz.compress_many([movies[0], tmp_path / "0.mrc"], tmp_path / "out")
    assert mrcz.compress_many([]) == []
