"""Dask arrays written by a cluster of two processes: the same file, compressed by the workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz.encoding import FrameEncoder
from mrcz.plugins.cluster import client_in_use

MOVIE = np.random.default_rng(3).poisson(2, (24, 64, 80)).astype("int16")


def lazy(chunks=(3, 64, 80)):
    return da.from_array(MOVIE, chunks=chunks)


@pytest.mark.parametrize("chunks", [(3, 64, 80), (24, 64, 80), (5, 20, 33)])
@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"},
                                     {"compressor": "auto", "quickStats": False},
                                     {"compressor": "lz4", "dtype": "float32", "endian": "be"}])
def test_same_file_as_without_a_cluster(client, received, tmp_path, chunks, options,
                                        monkeypatch):
    mrcz.from_dask(lazy(chunks), tmp_path / "cluster.mrcz", client,
                   meta={"a": 1}, pixelsize=1.5, **options)
    assert sum(len(part.chunks) for part in received) == len(MOVIE)
    monkeypatch.undo()
    mrcz.writeMRC(MOVIE, tmp_path / "here.mrcz", meta={"a": 1}, pixelsize=1.5, **options)
    found, header = mrcz.readMRC(tmp_path / "cluster.mrcz")
    assert np.array_equal(found, MOVIE)
    if options.get("compressor") != "auto":  # which measures times, and may choose differently
        data = [(tmp_path / f"{name}.mrcz").read_bytes() for name in ("cluster", "here")]
        assert data[0] == data[1]
    assert header["meanImage"] == pytest.approx(
        MOVIE.mean() if options.get("quickStats") is False else MOVIE[0].mean(), rel=1e-6)


def test_write_mrc_uses_the_client_in_use(client, received, tmp_path):
    assert client_in_use() is client
    mrcz.writeMRC(lazy(), tmp_path / "a.mrcz", compressor="zstd")
    assert received
    with mrcz.create(tmp_path / "b.mrcz", MOVIE.shape, "int16", compressor="zstd") as writer:
        writer.append(lazy()[:10])
        writer.append(lazy()[10:])
    for name in "ab":
        assert np.array_equal(mrcz.readMRC(tmp_path / f"{name}.mrcz")[0], MOVIE)


def test_write_mrc_obeys_dasks_scheduler(client, tmp_path):
    with dask.config.set(scheduler="threads"):
        assert client_in_use() is None
        mrcz.writeMRC(lazy(), tmp_path / "a.mrcz", compressor="zstd")
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrcz")[0], MOVIE)


def test_four_dimensions_are_a_list(client, received, tmp_path):
    mrcz.from_dask(lazy().reshape(4, 6, 64, 80), tmp_path / "a.mrcz", client, compressor="zstd")
    found, _ = mrcz.readMRC(tmp_path / "a.mrcz")
    assert np.array_equal(np.stack(found), MOVIE.reshape(4, 6, 64, 80))


def test_only_compressed_bytes_travel(client, received, tmp_path):
    big = da.zeros((64, 1024, 1024), chunks=(8, 1024, 1024), dtype="u2")  # 128 MiB
    mrcz.from_dask(big, tmp_path / "a.mrcz", client, compressor="zstd")
    assert sum(len(chunk) for part in received for chunk in part.chunks) < big.nbytes / 100


def test_few_parts_are_under_way(client, tmp_path):
    """A slow writer holds the workers back."""
    log = tmp_path / "computed"
    log.mkdir()

    def computed(block, block_info=None):
        number = block_info[None]["chunk-location"][0]
        assert not (log / str(number)).exists(), "a chunk was computed twice"
        (log / str(number)).touch()
        return block

    movie = da.zeros((200, 512, 512), chunks=(50, 512, 512), dtype="u2")  # slabs of 25 MiB
    movie = da.concatenate([movie] * 10).map_blocks(computed, dtype="u2")
    ahead, written = [], 0
    real = FrameEncoder.write_encoded

    def write_encoded(self, encoded):
        nonlocal written
        written += len(encoded.chunks) // 50
        real(self, encoded)
        ahead.append(len(list(log.iterdir())) - written)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameEncoder, "write_encoded", write_encoded)
        mrcz.from_dask(movie, tmp_path / "a.mrcz", client, compressor="lz4")
    assert 0 < max(ahead) <= 2 * 2 * 2  # parts a thread, threads, chunks a part
    assert len(list(log.iterdir())) == 40


def test_a_worker_that_dies_is_replaced(client, received, tmp_path):
    grave = tmp_path / "grave"

    def mortal(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 4 and not grave.exists():
            grave.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    movie = lazy().map_blocks(mortal, dtype="int16").rechunk((3, -1, -1))
    path = tmp_path / "a.mrcz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrcz.plugins.cluster.SLAB_BYTES", 3 * 64 * 80 * 2)  # a chunk a part
        mrcz.from_dask(movie, path, client, compressor="zstd")
    assert grave.exists()
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)


def test_an_error_of_a_worker_arrives_and_leaves_no_file(client, tmp_path):
    path: Path = tmp_path / "a.mrcz"
    path.write_bytes(b"old")
    bad = da.from_array(MOVIE.astype("float64"), chunks=(3, 64, 80)) * 1e300
    with pytest.raises(ValueError, match="frame 0"):
        mrcz.from_dask(bad, path, client, compressor="zstd", dtype="float32")

    def fail(block):
        raise RuntimeError("no such frame")

    with pytest.raises(RuntimeError, match="no such frame"):
        mrcz.from_dask(lazy().map_blocks(fail, dtype="int16"), path, client, compressor="zstd")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_stack_of_a_file_on_the_workers(client, tmp_path):
    """A Stack goes to the workers as its path; saving onto itself reads the old file."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    with mrcz.open(path) as stack:
        doubled = stack.to_dask(chunks=(4, 64, 80)) * np.int16(2)
        mrcz.from_dask(doubled, path, client, compressor="lz4")
    assert np.array_equal(mrcz.readMRC(path)[0], 2 * MOVIE)
    with mrcz.open(path) as stack:  # not the array that dask remembers by that path
        assert np.array_equal(stack.to_dask().compute(), 2 * MOVIE)


def test_to_dask(client, tmp_path):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.zeros((200, 512, 1024), "u2"), path, compressor="zstd")
    with mrcz.open(path) as stack:
        array = stack.to_dask()
        assert array.chunks == ((64, 64, 64, 8), (512,), (1024,))
        assert array.name == stack.to_dask().name
        assert array[3:5, :2].compute().shape == (2, 2, 1024)
    mrcz.writeMRC(np.ones((200, 512, 1024), "u2"), path, compressor="zstd")
    with mrcz.open(path) as stack:
        assert array.name != stack.to_dask().name


def test_refuses_what_is_no_dask_array(tmp_path):
    with pytest.raises(TypeError, match="dask"):
        mrcz.from_dask(MOVIE, tmp_path / "a.mrcz")


def test_a_mask_that_is_lost_is_told(tmp_path, caplog):
    masked = da.from_array(np.ma.masked_greater(MOVIE, 5), chunks=(3, 64, 80))
    mrcz.writeMRC(masked, tmp_path / "a.mrcz")
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrcz")[0], MOVIE)
    assert "mask" in caplog.text
    caplog.clear()
    mrcz.writeMRC(lazy(), tmp_path / "a.mrcz")
    assert not caplog.text
