"""Files that are cut short: their whole frames are read, and what is lost is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

from .checks import assert_identical

NZ, WHOLE = 10, 5
IMAGE = np.random.default_rng(3).poisson(4, (NZ, 12, 15)).astype("int16")
OPTIONS = {
    "raw": {}, "big-endian": {"endian": "be"}, "uint4": {"dtype": "uint4"}, "gzip": {},
    "zstd": {"compressor": "zstd"}, "checksum": {"compressor": "lz4", "checksum": True},
}
RAW = ("raw", "big-endian", "uint4", "gzip")
REASON = rf"{WHOLE} of {NZ} frames are whole, and repair saves them"


@pytest.fixture(params=OPTIONS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(kind: str) -> np.ndarray:
    return (IMAGE % 16).astype("u1") if kind == "uint4" else IMAGE


@pytest.fixture
def path(tmp_path: Path, kind: str, image: np.ndarray) -> Path:
    """A file whose frame 5 of 10 is cut in its midst."""
    path = tmp_path / "cut.mrcz"
    mrcz.writeMRC(image, path, meta={"dose": 2}, **OPTIONS[kind])
    data = path.read_bytes()
    start, stop = frame_span(path, WHOLE)
    data = data[: (start + stop) // 2]
    path.write_bytes(gzip.compress(data) if kind == "gzip" else data)
    return path


def frame_span(path: Path, frame: int) -> tuple[int, int]:
    from mrcz.reader import MRCReader

    with MRCReader(path) as reader:
        return reader.table.span(frame)


def test_whole_frames_are_read(path: Path, image: np.ndarray) -> None:
    for frame in (0, 4):
        assert_identical(mrcz.readMRC(path, idx=frame)[0], image[frame])
    assert_identical(mrcz.readMRC(path, idx=(1, 5))[0], image[1:5])
    out = np.empty_like(image[2])
    mrcz.readMRC(path, idx=2, out=out)
    assert_identical(out, image[2])
    with mrcz.open(path) as stack:
        assert stack.shape == image.shape
        assert stack.meta == {"dose": 2}
        assert_identical(stack[4], image[4])
        assert_identical(stack[1:5, 3:5], image[1:5, 3:5])
        assert_identical(stack[[4, 0, 4], :, ::2], image[[4, 0, 4], :, ::2])
        assert stack.preview(3).shape == image.shape[1:]
        assert stack.shape[0] == len(stack) == NZ


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_frame_that_is_cut_is_named(path: Path, kind: str, n_threads: int) -> None:
    for idx in (WHOLE, (2, 7)):
        with pytest.raises(mrcz.MRCTruncatedError,
                           match=rf"cut\.mrcz: frame 5 of 10 is cut; {REASON} \(") as caught:
            mrcz.readMRC(path, idx=idx, n_threads=n_threads)
        error = caught.value
        assert error.offset == 1024 + len(b'{"dose":2}  ') + 5 * 360 or kind not in RAW[:2]
        assert error.expected.endswith(" bytes")
        assert error.found.endswith(" bytes")
        assert int(error.expected.split()[0]) > int(error.found.split()[0]) > 0
    with mrcz.open(path) as stack:
        for key in (5, (5, 0), (slice(4, 6), slice(0, 1)), [5]):
            with pytest.raises(mrcz.MRCTruncatedError, match="frame 5 of 10"):
                stack[key]
        frames = []
        with pytest.raises(mrcz.MRCTruncatedError, match="frame 5 of 10"):
            for frame in stack:
                frames.append(frame)
        assert len(frames) == WHOLE
        assert "frame 5 of 10" in stack._repr_html_()


def test_frames_behind_the_cut(path: Path, kind: str) -> None:
    told = "the file ends before frame 9 of 10" if kind in RAW else "frame 5 of 10 is cut"
    with pytest.raises(mrcz.MRCTruncatedError, match=rf"{told}; {REASON}"):
        mrcz.readMRC(path, idx=9)


def test_everything_is_refused(path: Path, kind: str) -> None:
    told = "the file is too short for its pixels" if kind in RAW else "frame 5 of 10 is cut"
    with pytest.raises(mrcz.MRCTruncatedError, match=rf"{told}; {REASON}"):
        mrcz.readMRC(path)
    with mrcz.open(path) as stack:
        for read in (np.asarray, lambda stack: stack[:], lambda stack: stack[:, 0],
                     lambda stack: stack[::-1]):
            with pytest.raises(mrcz.MRCTruncatedError, match=rf"{told}; {REASON}"):
                read(stack)


def test_nothing_is_taken_from_a_cut_between_frames(tmp_path: Path) -> None:
    path = tmp_path / "cut.mrc"
    mrcz.writeMRC(IMAGE, path)
    path.write_bytes(path.read_bytes()[: 1024 + 5 * 360])
    assert_identical(mrcz.readMRC(path, idx=4)[0], IMAGE[4])
    told = "the file ends before frame 5 of 10; 5 of 10"
    with pytest.raises(mrcz.MRCTruncatedError, match=told) as caught:
        mrcz.readMRC(path, idx=5)
    assert (caught.value.offset, caught.value.expected, caught.value.found) == (
        2824, "360 bytes", "0 bytes")


def test_without_a_whole_frame_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.mrc"
    mrcz.writeMRC(IMAGE, path)
    path.write_bytes(path.read_bytes()[:1300])
    for idx in (None, 0, 5):
        with pytest.raises(mrcz.MRCTruncatedError, match=r"too short for its pixels \(at byte 1300;"
                                                         r" expected 4624 bytes; found 1300\)"):
            mrcz.readMRC(path, idx=idx)


def test_a_file_that_grows(tmp_path: Path) -> None:
    """As of a camera whose header tells at once how many frames there will be."""
    path = tmp_path / "growing.mrc"
    mrcz.writeMRC(IMAGE, path)
    data = path.read_bytes()
    path.write_bytes(data[: 1024 + 3 * 360])
    with mrcz.open(path) as stack:
        with pytest.raises(mrcz.MRCTruncatedError):
            stack[3]
        with path.open("ab") as file:
            file.write(data[1024 + 3 * 360 :])
        assert_identical(stack[3], IMAGE[3])
        assert_identical(stack[:], IMAGE)


def test_maps_of_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.mrc"
    mrcz.writeMRC(IMAGE, path)
    path.write_bytes(path.read_bytes()[:-100])
    mapped, _ = mrcz.readMRC(path, idx=(2, 4), useMemmap=True)
    assert isinstance(mapped, np.memmap)
    assert_identical(np.asarray(mapped), IMAGE[2:4])
    with pytest.raises(mrcz.MRCTruncatedError, match="frame 9 of 10 is cut"):
        mrcz.readMRC(path, idx=9, useMemmap=True)
    lazy, _ = mrcz.readMRC(path, useMemmap=True)
    assert lazy.shape == IMAGE.shape
    assert_identical(lazy[8], IMAGE[8])
    with pytest.raises(mrcz.MRCTruncatedError, match="frame 9 of 10 is cut"):
        lazy[9]


def added(kind: str, count: int) -> tuple[np.ndarray, dict[str, object]]:
    frames = np.full((count, *IMAGE.shape[1:]), 7, "u1" if kind == "uint4" else "i2")
    return frames, {key: value for key, value in OPTIONS[kind].items() if key == "compressor"}


@pytest.mark.parametrize("idx,count", [(NZ, 1), (WHOLE, 1), (WHOLE, 5), (8, 1), (4, 3), (2, 1)])
@pytest.mark.parametrize("lazy", [False, True])
def test_nothing_is_written_into_a_cut_file(
    path: Path, kind: str, idx: int, count: int, lazy: bool
) -> None:
    """Zeros between the cut and what is added would be read as frames."""
    before = path.read_bytes()
    frames, options = added(kind, count)
    with pytest.raises(mrcz.MRCError):
        mrcz.writeMRC(iter(frames) if lazy else frames, path, idx=idx, **options)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_line(path: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]
                          ) -> None:
    part, whole = path.with_name("part.mrc"), path.with_name("whole.mrc")
    code, out, _ = run(capsys, "info", path)
    assert code == 0
    assert "PROBLEM" in out and REASON in out
    assert "10 x 12 x 15" in out
    code, out, _ = run(capsys, "verify", path)
    assert code == 1
    assert REASON in out
    assert run(capsys, "convert", path, part, "--slice", "1:5")[0] == 0
    assert np.array_equal(mrcz.readMRC(part)[0], image[1:5])
    for command in (("convert", path, whole), ("compress", path, "-o", path.parent / "x"),
                    ("decompress", path, "-o", path.parent / "x"), ("stats", path)):
        code, _, err = run(capsys, *command)
        if not (command[0].endswith("compress") and code == 0):  # what is so already
            assert code == 1, command
            assert REASON in err, command
    left = {file.name for file in path.parent.rglob("*") if file.is_file()}
    assert left == {path.name, part.name}
