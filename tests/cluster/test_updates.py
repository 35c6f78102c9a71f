"""Dask arrays written into files that exist: compressed by the workers, as into new ones."""

from __future__ import annotations

import os
import signal

import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz.encoding import FrameEncoder

OLD = np.random.default_rng(1).poisson(5, (12, 64, 80)).astype("int16")
NEW = np.random.default_rng(3).poisson(2, (8, 64, 80)).astype("int16")

OPTIONS = [{}, {"compressor": "zstd"}, {"compressor": "lz4", "checksum": True, "shuffle": "auto"}]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("mrcz.plugins.cluster.SLAB_BYTES", 2 * NEW[0].nbytes)


@pytest.fixture
def path(tmp_path, request):
    """A file of the old frames, written with the options of the test."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(OLD, path, **request.getfixturevalue("options"))
    return path


@pytest.mark.parametrize("idx", [0, 3, 9, 12, -1])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("chunks", [(1, 64, 80), (8, 64, 80), (3, 20, 33)])
def test_same_file_as_without_a_cluster(client, path, received, monkeypatch, idx, options, chunks):
    here = path.with_name("here.mrcz")
    here.write_bytes(path.read_bytes())
    mrcz.writeMRC(da.from_array(NEW, chunks), path, idx=idx, **options)
    assert sum(len(part.chunks) for part in received) == len(NEW)
    assert all(len(part.chunks) <= chunks[0] + 1 for part in received)
    monkeypatch.undo()
    mrcz.writeMRC(NEW, here, idx=idx, **options)
    assert path.read_bytes() == here.read_bytes()
    first = idx % 13 if idx >= 0 else idx + 12
    expected = np.concatenate([OLD[:first], NEW, OLD[first + 8 :]])
    assert np.array_equal(mrcz.readMRC(path)[0], expected)
    assert not mrcz.verify(path)


@pytest.mark.parametrize("idx", [0, 12])
@pytest.mark.parametrize("options", [{"compressor": "zstd"}])
def test_only_compressed_bytes_travel(client, path, received, options, idx):
    blank = da.zeros((64, 64, 80), chunks=(8, 64, 80), dtype="int16")
    mrcz.writeMRC(blank, path, idx=idx, **options)
    assert sum(len(chunk) for part in received for chunk in part.chunks) < blank.nbytes / 40


@pytest.mark.parametrize("options", [{"compressor": "zstd"}])
def test_few_parts_are_under_way(client, path, tmp_path, monkeypatch, options):
    """A slow writer holds the workers back."""
    log = tmp_path / "computed"
    log.mkdir()

    def computed(block, block_info=None):
        number = block_info[None]["chunk-location"][0]
        assert not (log / str(number)).exists(), "a chunk was computed twice"
        (log / str(number)).touch()
        return block

    movie = da.zeros((40, 64, 80), chunks=(2, 64, 80), dtype="int16")
    ahead, written = [], 0
    real = FrameEncoder.write_encoded

    def write_encoded(self, encoded):
        nonlocal written
        written += 1
        real(self, encoded)
        ahead.append(len(list(log.iterdir())) - written)

    monkeypatch.setattr(FrameEncoder, "write_encoded", write_encoded)
    mrcz.writeMRC(movie.map_blocks(computed, dtype="int16"), path, idx=12, **options)
    assert 0 < max(ahead) <= 2 * 2  # parts a thread, threads
    assert len(list(log.iterdir())) == 20


@pytest.mark.parametrize("idx", [0, 12])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_worker_that_dies_is_replaced(client, path, received, tmp_path, idx, options):
    grave = tmp_path / "grave"

    def mortal(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 2 and not grave.exists():
            grave.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    movie = da.from_array(NEW, (2, 64, 80)).map_blocks(mortal, dtype="int16")
    mrcz.writeMRC(movie, path, idx=idx, **options)
    assert grave.exists()
    found = mrcz.readMRC(path)[0]
    assert np.array_equal(found, np.concatenate([OLD[:idx], NEW, OLD[idx + 8 :]]))
    assert not mrcz.verify(path)


@pytest.mark.parametrize("idx", [0, 12])
@pytest.mark.parametrize("options", OPTIONS)
def test_an_error_of_a_worker_leaves_the_file_as_it_was(client, path, idx, options):
    content = path.read_bytes()

    def fail(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 3:
            raise RuntimeError("no such frame")
        return block

    movie = da.from_array(NEW, (2, 64, 80)).map_blocks(fail, dtype="int16")
    with pytest.raises(RuntimeError, match="no such frame"):
        mrcz.writeMRC(movie, path, idx=idx, **options)
    assert path.read_bytes() == content
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("options", OPTIONS[1:])
def test_a_file_is_compressed_anew_from_its_own_frames(client, path, options):
    """The workers read the file that is being replaced."""
    with mrcz.open(path) as stack:
        mrcz.writeMRC(stack.to_dask(chunks=(4, 64, 80))[::-1], path, idx=0, **options)
    assert np.array_equal(mrcz.readMRC(path)[0], OLD[::-1])
    assert not mrcz.verify(path)


@pytest.mark.parametrize("repeat", range(3))
@pytest.mark.parametrize("options", OPTIONS[:1])
def test_a_file_that_changes_while_workers_open_it(client, path, options, repeat):
    """They say so; where unpickling fails, dask waits for ever."""
    content = path.read_bytes()
    with mrcz.open(path) as stack, pytest.raises(mrcz.MRCError, match="has changed since"):
        mrcz.writeMRC(stack.to_dask(chunks=(4, 64, 80)) + np.int16(1), path, idx=12)
    assert path.read_bytes() == content
