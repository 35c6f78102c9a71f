"""`verify` names every frame that is damaged or lost, and `repair` saves all the others."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import headerindex
from mrcz.cli import main
from mrcz.header import amend
from mrcz.integrity import Finding
from mrcz.reader import MRCReader

from .builders import ramp

NOISE = np.random.default_rng(3).integers(-30000, 30000, (300, 20, 30)).astype("int16")
UNEQUAL = np.where(np.arange(300)[:, None, None] % 7 < 3, NOISE, 1).astype("int16")
"""The size of a hole tells little about how many of these are in it."""


def spans_of(path: Path) -> list[tuple[int, int]]:
    with MRCReader(path) as reader:
        return [reader.table.span(frame) for frame in range(reader.record.nz)]


def named(findings: list[Finding]) -> set[int]:
    return {frame for finding in findings if finding.frame is not None
            for frame in range(finding.frame, finding.frame + finding.count)}


def destroy(path: Path, frames: list[int]) -> None:
    """Leave holes where some frames were, header and all."""
    data = bytearray(path.read_bytes())
    spans = spans_of(path)
    for frame in frames:
        start, stop = spans[frame]
        data[start:stop] = bytes(stop - start)
    path.write_bytes(data)


def without_index(path: Path) -> None:
    with_labels(path, [b"MRCZ1.0.0"])


def with_labels(path: Path, labels: list[bytes]) -> None:
    data = path.read_bytes()
    path.write_bytes(amend(data[:1024], "<", labels=labels + [b""] * (10 - len(labels)))
                     + data[1024:])


def assert_told_and_saved(path: Path, lost: set[int], pixels: np.ndarray) -> None:
    assert named(mrcz.verify(path)) == lost
    output = path.with_name("saved")
    report = mrcz.repair(path, output)
    assert set(report.lost) == lost
    expected = pixels.copy()
    expected[sorted(lost)] = 0
    np.testing.assert_array_equal(mrcz.readMRC(output, slices=0)[0], expected)
    assert mrcz.verify(output) == []


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("compressor", ["lz4", "zstd"])
@pytest.mark.parametrize("lost", [[0], [299], [150], [0, 1, 2], [40, 41, 42, 43, 90, 200, 201],
                                  list(range(20, 60)), [3, 4, 131, 295, 296]])
def test_frames_behind_holes_keep_their_numbers(
    tmp_path: Path, lost: list[int], compressor: str, checksum: bool
) -> None:
    """By the trailer or, without one, by the index in the record."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(UNEQUAL, path, compressor=compressor, checksum=checksum)
    destroy(path, lost)
    assert_told_and_saved(path, set(lost), UNEQUAL)
    assert not any("estimated" in str(finding) for finding in mrcz.verify(path))


def test_an_index_of_some_frames_tells_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    many = np.tile(UNEQUAL[:, :10, :20], (7, 1, 1))
    mrcz.writeMRC(many, path, compressor="zstd")
    with MRCReader(path) as reader:
        assert reader.record.index.step > 2
    lost = {*range(100, 141), 999, 1500, 1501}
    destroy(path, sorted(lost))
    assert_told_and_saved(path, lost, many)
    assert not any("estimated" in str(finding) for finding in mrcz.verify(path))


def test_an_estimated_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(NOISE[:30], path, compressor="zstd")
    destroy(path, [4, 9, 10])
    without_index(path)
    assert_told_and_saved_with_note(path, {4, 9, 10})
    data = path.read_bytes()
    path.write_bytes(data[: spans_of_whole(data)])
    assert_told_and_saved_with_note(path, {4, 9, 10, *range(20, 30)})


def spans_of_whole(data: bytes) -> int:
    """Where the 20th of 30 frames of noise is cut, which all are of one size."""
    return 1024 + (len(data) - 1024) * 20 // 30 + 10


def assert_told_and_saved_with_note(path: Path, lost: set[int]) -> None:
    findings = mrcz.verify(path)
    assert named(findings) == lost
    assert "estimated" in str(findings[-1])
    report = mrcz.repair(path, path.with_name("saved"))
    assert set(report.lost) == lost
    assert "estimated" in report.notes[0]


def test_an_index_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(NOISE[:30], path, compressor="zstd")
    starts = {frame: start - 1024 for frame, (start, _) in enumerate(spans_of(path))}
    destroy(path, [4, 20])
    shifted = {frame: starts[frame - 3] if frame > 9 else start for frame, start in starts.items()}
    shifted[10] = starts[9] + 16
    with MRCReader(path) as reader:
        fields = reader.record.fields
    labels = headerindex.with_index(fields["labels"], 30, fields["packed_bytes"], shifted)
    with_labels(path, labels)
    with MRCReader(path) as reader:
        assert len(reader.record.index) == 29
    report = mrcz.repair(path, tmp_path / "saved")
    assert report.lost == [4, 20]
    np.testing.assert_array_equal(np.delete(mrcz.readMRC(tmp_path / "saved")[0], [4, 20], 0),
                                  np.delete(NOISE[:30], [4, 20], 0))


@pytest.mark.parametrize("options", [
    {}, {"endian": "be"}, {"compressor": "lz4"}, {"compressor": "zstd", "checksum": True}])
def test_frames_behind_a_cut_are_named(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(NOISE, path, **options)
    start, stop = spans_of(path)[100]
    path.write_bytes(path.read_bytes()[: (start + stop) // 2])
    first, second = mrcz.verify(path)
    assert "100 of 300 frames are whole" in str(first)
    assert str(second) == "frames 100 to 299 are lost: no whole one follows"
    assert (second.frame, second.count) == (100, 200)
    assert named(mrcz.verify(path, deep=False)) <= {*range(100, 300)}


@pytest.mark.parametrize("checksum", [False, True])
def test_a_look_at_headers_alone_sees_all_of_them(tmp_path: Path, checksum: bool) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(NOISE, path, compressor="zstd", checksum=checksum)
    assert mrcz.verify(path, deep=False) == []
    data = bytearray(path.read_bytes())
    start, _ = spans_of(path)[70]
    for place, value in ((4, 1), (12, 1)):  # the bytes of pixels, and those of the chunk
        damaged = bytearray(data)
        damaged[start + place] ^= value
        path.write_bytes(damaged)
        (finding, *_) = mrcz.verify(path, deep=False)
        assert finding.offset is not None and start <= finding.offset <= start + 4096
        assert named(mrcz.verify(path)) == {70}
        assert np.array_equal(mrcz.readMRC(path, idx=71)[0], NOISE[71])


def test_damage_before_a_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(NOISE, path, compressor="zstd")
    spans = spans_of(path)
    destroy(path, [7, 8])
    path.write_bytes(path.read_bytes()[: spans[200][0]])
    texts = [str(finding) for finding in mrcz.verify(path)]
    assert any("frames 7 to 8 are damaged" in text for text in texts)
    assert any("frames 200 to 299 are lost" in text for text in texts)


def as_of_blosc2(path: Path, frames: range) -> None:
    mrcz.writeMRC(NOISE[:3], path, compressor="zstd")
    data = bytearray(path.read_bytes())
    for start, _ in spans_of(path)[frames.start : frames.stop]:
        data[start] = 5  # blosc2's version of chunks
    path.write_bytes(data)


def test_damage_is_told_where_a_codec_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that one damaged byte changed is no reason to say nothing of the others."""
    path = tmp_path / "a.mrcz"
    as_of_blosc2(path, range(1, 3))
    monkeypatch.setitem(sys.modules, "blosc2", None)
    findings = mrcz.verify(path)
    assert [finding.frame for finding in findings] == [1, 2]
    assert all("blosc2" in str(finding) for finding in findings)


def test_a_missing_codec_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Intact files were called damaged where a package was missing."""
    path, other = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    as_of_blosc2(path, range(3))
    mrcz.writeMRC(NOISE[:3], other, compressor="zstd")
    monkeypatch.setitem(sys.modules, "blosc2", None)
    with pytest.raises(mrcz.MissingCodecError, match="blosc2"):
        mrcz.verify(path)
    assert mrcz.verify(path, deep=False) == []
    assert main(["verify", str(path), str(other)]) == 2  # which is that of files that can't be read
    told = capsys.readouterr()
    assert told.out == f"{other}: ok\n"
    assert told.err.startswith("mrcz verify: ") and "blosc2" in told.err


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture(params=PACK)
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An uncompressed file of 2.4 MB, packed."""
    path = tmp_path / "a.mrc.packed"
    mrcz.writeMRC(NOISE.repeat(2, 1).repeat(4, 2), path)
    path.write_bytes(PACK[request.param](path.read_bytes()))
    return path


def test_a_stream_that_is_cut_gives_what_is_before(packed: Path) -> None:
    pixels = mrcz.readMRC(packed)[0]
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) * 7 // 10])
    np.testing.assert_array_equal(mrcz.readMRC(packed, idx=(0, 90))[0], pixels[:90])
    with pytest.raises(mrcz.MRCTruncatedError, match="stream is cut"):
        mrcz.readMRC(packed)
    findings = mrcz.verify(packed)
    assert "stream is cut" in str(findings[0])
    lost = named(findings)
    assert lost == {*range(min(lost), 300)}
    assert 90 < min(lost) < 250
    report = mrcz.repair(packed, packed.with_name("saved"))
    assert set(report.lost) == lost
    assert any("stream is cut" in note for note in report.notes)
    saved = mrcz.readMRC(packed.with_name("saved"))[0]
    np.testing.assert_array_equal(saved[: min(lost)], pixels[: min(lost)])
    assert not saved[min(lost) + 1 :].any()


@pytest.mark.parametrize("change", ["cut", "wrong"])
def test_the_checksum_at_the_end_of_a_stream_is_compared(packed: Path, change: str) -> None:
    """However large it is, and though no pixel lies behind it."""
    data = packed.read_bytes()
    packed.write_bytes(data[:-2] if change == "cut" else data[:-7] + bytes(7))
    with pytest.raises(mrcz.MRCFormatError, match="stream is"):
        mrcz.readMRC(packed)
    assert mrcz.readMRC(packed, idx=0)[0].any()
    finding, *_ = mrcz.verify(packed)
    assert "stream is" in str(finding)


def test_a_finding_of_what_can_not_be_read_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz.gz"
    mrcz.writeMRC(ramp((4, 33, 40), "i2"), path, compressor="zstd", checksum=True)
    data = bytearray(path.read_bytes())
    data[133] ^= 1  # voltage
    whole = gzip.compress(bytes(data))
    path.write_bytes(whole[:-2])
    texts = [str(finding) for finding in mrcz.verify(path)]
    assert len(texts) == 2
    assert "stream is cut" in texts[0]
    assert "header or the metadata have changed" in texts[1]
