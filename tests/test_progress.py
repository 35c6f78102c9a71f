"""``progress=True``: what the bar is told, and that nothing else changes."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import tqdm.auto

import mrcz
from mrcz.cli import main
from mrcz.convert import dm_to_mrcz

from . import dm_writer as w
from .builders import ramp

MOVIE = ramp((20, 64, 80), "i2")


@pytest.fixture
def bars(monkeypatch):
    """The bars that were shown, each with what it was told."""
    made = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **kwargs):
            kwargs["file"] = io.StringIO()
            super().__init__(*args, **kwargs, mininterval=0)
            self.steps = []
            made.append(self)

        def update(self, n=1):
            self.steps.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return made


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_writing_and_reading(tmp_path, bars, compressor):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc", compressor=compressor, progress=True)
    image, _ = mrcz.readMRC(tmp_path / "a.mrc", progress=True)
    np.testing.assert_array_equal(image, MOVIE)
    assert len(bars) == 2
    for bar in bars:
        assert bar.total == bar.n == sum(bar.steps) == MOVIE.nbytes
        assert bar.desc.startswith("a.mrc")


@pytest.mark.parametrize("compressor", [None, "lz4"])
def test_one_large_frame_moves_in_steps(tmp_path, bars, compressor):
    frame = np.zeros((3000, 4000), "f4")
    mrcz.writeMRC(frame, tmp_path / "a.mrc", compressor=compressor, progress=True)
    assert len(bars[0].steps) > 3
    assert bars[0].n == frame.nbytes


def test_many_frames_move_in_steps(tmp_path, bars):
    mrcz.writeMRC(np.zeros((40, 1024, 1024), "i2"), tmp_path / "a.mrcz", compressor="lz4")
    mrcz.readMRC(tmp_path / "a.mrcz", progress=True)
    assert len(bars[0].steps) > 2


def test_the_bytes_are_the_same(bars):
    plain, shown = io.BytesIO(), io.BytesIO()
    options = {"compressor": "auto", "checksum": True, "quickStats": False}
    mrcz.writeMRC(MOVIE, plain, **options)
    mrcz.writeMRC(MOVIE, shown, **options, progress=True)
    assert plain.getvalue() == shown.getvalue()


def test_casts_lists_parts_and_out(bars, tmp_path):
    mrcz.writeMRC(list(MOVIE.astype("f8")), tmp_path / "a.mrc", progress=True)
    assert bars[-1].n == bars[-1].total == MOVIE.nbytes * 2
    mrcz.readMRC(tmp_path / "a.mrc", idx=(2, 5), progress=True)
    assert bars[-1].n == bars[-1].total == 3 * 64 * 80 * 4
    out = np.empty(MOVIE.shape, "f4")
    mrcz.readMRC(tmp_path / "a.mrc", out=out, progress=True)
    np.testing.assert_array_equal(out, MOVIE)
    assert bars[-1].n == out.nbytes


def test_an_iterable_has_no_known_end(bars):
    mrcz.writeMRC((frame for frame in MOVIE), io.BytesIO(), progress=True)
    assert bars[0].total is None
    assert bars[0].n == MOVIE.nbytes


def test_converting(tmp_path, bars):
    w.write(tmp_path / "a.dm4", w.document(w.image_of(MOVIE)))
    dm_to_mrcz(tmp_path / "a.dm4", tmp_path / "a.mrcz", progress=True)
    assert bars[0].n == bars[0].total == MOVIE.nbytes


def test_silent_without(tmp_path, bars, capsys):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    mrcz.readMRC(tmp_path / "a.mrc")
    assert not bars
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_closed_when_reading_fails(tmp_path, bars):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    data = (tmp_path / "a.mrcz").read_bytes()
    (tmp_path / "a.mrcz").write_bytes(data[: len(data) // 2])
    with pytest.raises(mrcz.MRCTruncatedError):
        mrcz.readMRC(tmp_path / "a.mrcz", progress=True)
    assert bars[0].disable  # tqdm's word for closed


def test_tqdm_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        mrcz.writeMRC(MOVIE, tmp_path / "a.mrc", progress=True)
    assert not (tmp_path / "a.mrc").exists()


def test_verifying(tmp_path, bars):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", compressor="zstd")
    assert mrcz.verify(tmp_path / "a.mrcz", progress=True) == []
    assert bars[0].total == bars[0].n == MOVIE.nbytes
    assert len(bars[0].steps) == len(MOVIE)


def of_command(bars, *arguments):
    """What the bar of a command was told, and how much it waited for."""
    bars.clear()
    main([*map(str, arguments)])
    (bar,) = bars
    return bar.steps, bar.total


def test_verify_moves_with_the_bytes(tmp_path, bars):
    for name in ("a.mrc", "a.mrcz"):
        mrcz.writeMRC(MOVIE, tmp_path / name, compressor="zstd" if "z" in name else None)
        steps, total = of_command(bars, "verify", tmp_path / name)
        assert total == (tmp_path / name).stat().st_size == pytest.approx(sum(steps))
        assert max(steps) < total / 10


@pytest.mark.parametrize("arguments", [["-c", "zstd"], ["-c", "zstd", "--no-verify"], ["--force"]])
def test_commands_end_at_their_total(tmp_path, bars, arguments):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    mrcz.writeMRC(MOVIE, tmp_path / "b.mrc")
    (tmp_path / "broken.mrc").write_bytes(b"short")
    for again in range(2):  # the second time there is nothing to do
        steps, total = of_command(bars, "compress", tmp_path, *arguments)
        assert sum(steps) == pytest.approx(total), again
    steps, total = of_command(bars, "decompress", tmp_path, "--force")
    assert sum(steps) == pytest.approx(total)
    assert len(steps) > 2


def test_the_bar_of_commands_is_silent_without_a_terminal(tmp_path, bars, capsys):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    for flag in ("--json", "--quiet"):
        of_command(bars, "verify", flag, tmp_path / "a.mrc")
        assert bars[0].disable
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"},
                                     {"compressor": "zstd", "checksum": True}])
def test_repairing(tmp_path, bars, options):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrcz", **options)
    data = bytearray((tmp_path / "a.mrcz").read_bytes())
    size = len(data)
    if options:
        data[size // 2 : size // 2 + 64] = bytes(64)
        (tmp_path / "a.mrcz").write_bytes(data)
    steps, total = of_command(bars, "repair", tmp_path / "a.mrcz", tmp_path / "b.mrcz")
    assert total == size * (2 if options else 1)
    assert 0.8 * total < sum(steps) < 1.2 * total
    bars.clear()
    mrcz.repair(tmp_path / "a.mrcz", tmp_path / "c.mrcz", progress=True)
    assert bars[0].n == sum(steps)


def test_without_a_console_there_is_no_bar(tmp_path, monkeypatch):
    """Windows' pythonw and programs with windows of their own have no standard error."""
    monkeypatch.setattr(sys, "stderr", None)
    mrcz.writeMRC(ramp((2, 3, 4), "i2"), tmp_path / "a.mrcz", compressor="zstd", progress=True)
    assert mrcz.readMRC(tmp_path / "a.mrcz", progress=True)[0].shape == (2, 3, 4)
    assert mrcz.verify(tmp_path / "a.mrcz", progress=True) == []
