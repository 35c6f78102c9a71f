"""`mrcz.create`, and frames written into files that exist."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz

MOVIE = np.random.default_rng(2).poisson(2, (9, 32, 40)).astype("int16")


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
def test_append_in_any_portions(tmp_path: Path, compressor: str | None) -> None:
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, 32, 40), "int16", compressor=compressor, meta={"a": 1},
                     pixelsize=2.0, voltage=300.0) as writer:  # fmt: skip
        writer.append(MOVIE[0])
        writer.append(MOVIE[1:4])
        writer.append(list(MOVIE[4:9]))
        assert writer.shape == MOVIE.shape
        assert not path.exists()
    image, header = mrcz.readMRC(path)
    assert np.array_equal(image, MOVIE)
    assert header["a"] == 1
    assert header["voltage"] == 300.0
    assert np.allclose(header["pixelsize"], 2.0)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_flush_leaves_a_complete_file(tmp_path: Path, compressor: str | None) -> None:
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, 32, 40), "int16", compressor=compressor) as writer:
        for number in range(3):
            writer.append(MOVIE[number])
            writer.flush()
            found = mrcz.readMRC(path)[0]
            assert np.array_equal(found.reshape(-1, 32, 40), MOVIE[: number + 1])
    with pytest.raises(RuntimeError), mrcz.create(path, (None, 32, 40), "int16") as writer:
        writer.append(MOVIE[:2])
        writer.flush()
        writer.append(MOVIE[2:])
        raise RuntimeError
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:2])


def test_exception_leaves_nothing_or_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    path.write_bytes(b"old")
    for keep in (False, True):
        with pytest.raises(KeyError), mrcz.create(
            path, (9, 32, 40), "int16", compressor="zstd", keep_partial=keep
        ) as writer:
            writer.append(MOVIE[:4])
            raise KeyError
        assert len(list(tmp_path.iterdir())) == 1
        if not keep:
            assert path.read_bytes() == b"old"
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:4])


def test_wrong_use_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with pytest.raises(ValueError, match="shape"):
        mrcz.create(path, (32, 40), "int16")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int64"):
        mrcz.create(path, (None, 32, 40), "int64")
    with pytest.raises(ValueError, match="no frame"):
        mrcz.create(path, (None, 32, 40), "int16").close()
    with pytest.raises(ValueError, match="announced"), mrcz.create(
        path, (3, 32, 40), "int16"
    ) as writer:
        writer.append(MOVIE[:4])
    with pytest.raises(ValueError, match="announced"), mrcz.create(
        path, (3, 32, 40), "int16"
    ) as writer:
        writer.append(MOVIE[:2])
    with pytest.raises(ValueError, match="frames must be"), mrcz.create(
        path, (3, 32, 40), "int16"
    ) as writer:
        writer.append(MOVIE[:, :30])
    writer = mrcz.create(path, (1, 32, 40), "int16")
    writer.append(MOVIE[0])
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(MOVIE[0])


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4hc"])
@pytest.mark.parametrize("endian", ["le", "be"])
def test_append_and_overwrite_by_idx(
    tmp_path: Path, compressor: str | None, endian: str
) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE[:2], path, compressor=compressor, endian=endian, meta={"a": "b"})
    for number in range(2, 6):
        mrcz.writeMRC(MOVIE[number], path, idx=number)
    mrcz.writeMRC(MOVIE[6:], path, idx=6)
    expected = MOVIE.copy()
    assert np.array_equal(mrcz.readMRC(path)[0], expected)
    for number, count in ((0, 1), (3, 4), (8, 1), (-2, 2)):
        new = np.random.default_rng(number % 7).integers(-9, 9, (count, 32, 40)).astype("int16")
        mrcz.writeMRC(new, path, idx=number)
        start = number % 9
        expected[start : start + count] = new
        image, header = mrcz.readMRC(path)
        assert np.array_equal(image, expected)
        assert header["a"] == "b"
        if compressor:
            assert header["packedBytes"] == path.stat().st_size - 1024 - header["extendedBytes"]
    mrcz.writeMRC(MOVIE[:4], path, idx=7)  # over the end
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([expected[:7], MOVIE[:4]]))


def test_append_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    before = path.read_bytes()
    for frame, idx, kind in (
        (MOVIE[0], 10, IndexError),
        (MOVIE[0], -10, IndexError),
        (MOVIE[0, :5], 0, ValueError),
        (MOVIE[0].astype("f4") * 1e6, 0, ValueError),
        (MOVIE[0] * 1j, 9, TypeError),
    ):
        with pytest.raises(kind):
            mrcz.writeMRC(frame, path, idx=idx)
        assert mrcz.readMRC(path)[0].tobytes() == MOVIE.tobytes()
    with pytest.raises(ValueError, match="zstd"):
        mrcz.writeMRC(MOVIE[0], path, idx=0, compressor="lz4")
    assert path.read_bytes()[:1024] == before[:1024]
    with pytest.raises(TypeError):
        mrcz.writeMRC(MOVIE[0], io.BytesIO(), idx=0)


def test_list_of_volumes_grows_by_volumes(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    volumes = [MOVIE[:3], MOVIE[3:6]]
    for compressor in (None, "zstd"):
        mrcz.writeMRC(volumes, path, compressor=compressor)
        mrcz.writeMRC(MOVIE[6:9], path, idx=6)
        found = mrcz.readMRC(path)[0]
        assert isinstance(found, list)
        assert np.array_equal(np.stack(found), MOVIE.reshape(3, 3, 32, 40))
        with pytest.raises(ValueError, match="3 slices"):
            mrcz.writeMRC(MOVIE[0], path, idx=9)


def test_frames_one_by_one_become_one_array(tmp_path: Path) -> None:
    for compressor in (None, "zstd"):
        path = tmp_path / f"{compressor}.mrc"
        for number in range(4):
            mrcz.writeMRC(MOVIE[number], path, idx=number, compressor=compressor)
        found = mrcz.readMRC(path)[0]
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, MOVIE[:4])


@pytest.mark.parametrize("options", [{}, {"compressor": "lz4"},
                                     {"compressor": "lz4", "checksum": True}])
@pytest.mark.parametrize("meta", [None, {"dose": 1.5}])
def test_what_comes_behind_a_flush_is_counted(
    tmp_path: Path, options: dict[str, Any], meta: dict[str, Any] | None
) -> None:
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, *MOVIE.shape[1:]), MOVIE.dtype, meta=meta, **options) as writer:
        for number in range(4):
            writer.append(MOVIE[number])
            writer.flush()
            image, header = mrcz.readMRC(path, slices=0)
            assert np.array_equal(image.reshape(-1, *MOVIE.shape[1:]), MOVIE[:number + 1])
            assert header.meta == (meta or {})
        writer.append(MOVIE[4])
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:5])
    assert mrcz.verify(path) == []


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_lost_behind_a_flush_is_told(
    tmp_path: Path, compressor: str | None, replaced: bool
) -> None:
    """Its writer would go on into a file without a name, of which nothing is left at the end."""
    path = tmp_path / "a.mrcz"
    writer = mrcz.create(path, (None, *MOVIE.shape[1:]), MOVIE.dtype, compressor=compressor)
    writer.append(MOVIE[:2])
    writer.flush()
    path.unlink()
    if replaced:
        mrcz.writeMRC(MOVIE[:5], path)
    writer.append(MOVIE[2:4])
    for finish in (writer.flush, writer.close):
        with pytest.raises(FileNotFoundError, match="removed or replaced") as caught:
            finish()
        assert caught.value.filename == str(path)
    assert path.exists() == replaced
    if replaced:
        assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:5])


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"},
                                     {"compressor": "lz4", "checksum": True}])
@pytest.mark.parametrize("pending", ["nothing", "a frame", "a frame that failed"])
@pytest.mark.parametrize("then", ["append", "close", "abort"])
def test_frames_that_others_add_behind_a_flush_stay(
    tmp_path: Path, options: dict[str, Any], pending: str, then: str
) -> None:
    """Both would write to the same place; who finds the other's frames there is told."""
    path = tmp_path / "a.mrcz"
    writer = mrcz.create(path, (None, *MOVIE.shape[1:]), MOVIE.dtype, **options)
    writer.append(MOVIE[:2])
    writer.flush()
    if pending == "a frame":
        writer.append(MOVIE[2])
    elif pending == "a frame that failed":
        with pytest.raises(ValueError, match="frame"):
            writer.append([*MOVIE[:3].astype("f8"), MOVIE[0] + 1e9])
    mrcz.writeMRC(MOVIE[3:5], path, idx=2)
    if then == "abort":
        writer.abort()
    else:
        with pytest.raises(OSError, match="another writer") as caught, writer:
            if then == "append":
                writer.append(MOVIE[2])
        assert caught.value.filename == str(path)
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[[0, 1, 3, 4]])
    assert [str(finding) for finding in mrcz.verify(path) if finding.frame is not None] == []


def test_a_file_that_is_moved_behind_a_flush_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    with mrcz.create(path, (None, *MOVIE.shape[1:]), MOVIE.dtype, compressor="zstd") as writer:
        writer.append(MOVIE[:2])
        writer.flush()
        path = path.rename(tmp_path / "b.mrcz")
        writer.append(MOVIE[2:4])
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE[:4])
    assert [file.name for file in tmp_path.iterdir()] == ["b.mrcz"]


def test_declared_shape_is_filled_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    for number in (5, 0, 8, 1, 2, 3, 4, 7, 6):
        mrcz.writeMRC(MOVIE[number], path, shape=MOVIE.shape, idx=number, meta={"m": 1})
        assert mrcz.readMRCHeader(path)[0]["dimensions"].tolist() == [9, 32, 40]
    assert np.array_equal(mrcz.readMRC(path)[0], MOVIE)
    with pytest.raises(ValueError, match="shape"):
        mrcz.writeMRC(MOVIE[0], tmp_path / "b.mrcz", shape=MOVIE.shape, compressor="zstd")


def test_an_iterable_of_frames_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC((frame for frame in MOVIE), path, compressor="zstd")
    found = mrcz.readMRC(path)[0]
    assert isinstance(found, list)
    assert np.array_equal(np.stack(found), MOVIE)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("idx", [None, 0, 2])
def test_frames_that_come_in_one_buffer(tmp_path: Path, compressor: str | None,
                                        idx: int | None) -> None:
    def of_a_camera() -> Any:
        buffer = np.empty_like(MOVIE[0])
        for frame in MOVIE:
            buffer[...] = frame
            yield buffer

    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.zeros_like(MOVIE), path, compressor=compressor)
    mrcz.writeMRC(of_a_camera(), path, compressor=compressor, idx=idx)
    found = np.array(mrcz.readMRC(path)[0])
    assert np.array_equal(found[idx or 0 :], MOVIE)


def test_a_stack_is_copied_lazily_even_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd")
    with mrcz.open(path) as stack:
        mrcz.writeMRC(stack, path, compressor="lz4")
    image, header = mrcz.readMRC(path)
    assert np.array_equal(image, MOVIE)
    assert header["compressor"] == "lz4"


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("keep_partial", [False, True])
def test_a_file_whose_only_frame_could_not_be_stored_is_none(
    tmp_path: Path, compressor: str | None, keep_partial: bool
) -> None:
    options: Any = {"compressor": compressor, "keep_partial": keep_partial}
    path, bad = tmp_path / "a.mrcz", np.full((4, 5), 1000)
    with (pytest.raises(ValueError, match="frame 0 has values"),
          mrcz.create(path, (None, 4, 5), "int8", **options) as writer):
        writer.append(bad)
    with (pytest.raises(ValueError, match="no frame was written"),
          mrcz.create(path, (None, 4, 5), "int8", **options) as writer):
        with pytest.raises(ValueError, match="frame 0 has values"):
            writer.append(bad)
        writer.flush()
    assert not list(tmp_path.iterdir())
