"""What notebooks show, without anything but NumPy."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
import sys
import zlib

import numpy as np
import pytest

import mrcz
from mrcz.preview import encode_png

from .builders import DATA


def decode_png(data: bytes) -> np.ndarray:
    """The pixels of a PNG without filters, its checksums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, chunks = 8, {}
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        position += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    nx, ny, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(ny, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape((ny, nx, 3) if color == 2 else (ny, nx))


def stack_of(image, **options):
    file = io.BytesIO()
    mrcz.writeMRC(image, file, **options)
    file.seek(0)
    return mrcz.open(file)


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (7, 3, 3)])
def test_png_holds_the_pixels(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_a_preview_is_the_averaged_and_stretched_frame(compressor):
    frames = np.random.default_rng(0).normal(size=(5, 96, 120)).astype("f4")
    found = stack_of(frames, compressor=compressor).preview(size=40)
    binned = frames[2].reshape(32, 3, 40, 3).mean(axis=(1, 3))
    low, high = np.percentile(binned, (0.3, 99.7))
    expected = np.clip((binned - low) / (high - low) * 255, 0, 255)
    assert found.dtype == np.uint8
    assert found.shape == (32, 40)
    np.testing.assert_allclose(found, expected, atol=0.51)
    assert found.min() == 0
    assert found.max() == 255


def test_the_frame_that_was_asked_for():
    frames = np.zeros((4, 8, 8), "i2")
    frames[1, 2, 3] = 1
    stack = stack_of(frames)
    assert stack.preview(1)[2, 3] == 255
    assert stack.preview(-3)[2, 3] == 255
    assert len(np.unique(stack.preview(0))) == 1


def test_small_frames_are_not_enlarged():
    assert stack_of(np.eye(8, dtype="f4")).preview(size=100).shape == (8, 8)


@pytest.mark.parametrize("image", [
    np.full((8, 8), np.nan, "f4"), np.full((8, 8), np.inf, "f4"),
    np.array([[np.finfo("f4").max, -np.finfo("f4").max]] * 4, "f4"),
    np.ones((8, 8), "c8") * 1j, np.arange(64, dtype="u2").reshape(8, 8),
    np.array([[np.nan, 1.0], [2.0, np.inf]], "f4"), np.ones((1, 3000), "i1")])
@pytest.mark.filterwarnings("error")
def test_pixels_of_all_kinds(image):
    stack = stack_of(image)
    assert stack.preview(size=64).dtype == np.uint8
    assert "<img" in stack._repr_html_()


@pytest.mark.parametrize("size", [0, -1, "big", 1.5, True])
def test_size_must_make_sense(size):
    with pytest.raises(ValueError, match="size must be"):
        stack_of(np.eye(8, dtype="f4")).preview(size=size)


def test_a_frame_that_is_not_there():
    with pytest.raises(IndexError):
        stack_of(np.eye(8, dtype="f4")).preview(5)
    with pytest.raises(TypeError, match="frame must be"):
        stack_of(np.ones((3, 8, 8), "f4")).preview(slice(0, 2))


def test_html_has_the_facts_and_the_middle_frame_upside_down(tmp_path):
    frames = np.zeros((3, 64, 32), "i2")
    frames[1, :8] = 100
    mrcz.writeMRC(frames, tmp_path / "<movie>.mrcz", compressor="zstd", pixelsize=1.06,
                  voltage=300, C3=2.7, meta={"dose<": 1})
    with mrcz.open(tmp_path / "<movie>.mrcz") as stack:
        text = stack._repr_html_()
    for fact in ("&lt;movie&gt;.mrcz", "3 x 64 x 32  int16", "zstd", "1.06 x 1.06", "300 kV",
                 "2.7 mm", "dose&lt;", "frame 1"):
        assert fact in text
    assert "<movie>" not in text
    data = re.search('base64,([^"]+)"', text)
    assert data
    picture = decode_png(base64.b64decode(data[1]))
    assert picture[-8:].min() == 255
    assert picture[:-8].max() == 0


def test_html_shows_the_facts_of_a_damaged_file(tmp_path):
    mrcz.writeMRC(np.ones((3, 64, 64), "i2"), tmp_path / "a.mrcz", compressor="zstd")
    data = bytearray((tmp_path / "a.mrcz").read_bytes())
    data[1024:] = bytes(len(data) - 1024)
    (tmp_path / "a.mrcz").write_bytes(data)
    with mrcz.open(tmp_path / "a.mrcz") as stack:
        text = stack._repr_html_()
    assert "3 x 64 x 64" in text
    assert "no picture: " in text


def test_only_the_frame_that_is_shown_is_read(tmp_path, monkeypatch):
    mrcz.writeMRC(np.ones((50, 256, 256), "f4"), tmp_path / "a.mrc")
    with mrcz.open(tmp_path / "a.mrc") as stack:
        source = stack._reader.source
        counted, read_into = [], type(source).read_into

        def count(self, offset, view):
            counted.append(len(view))
            read_into(self, offset, view)

        monkeypatch.setattr(type(source), "read_into", count)
        stack._repr_html_()
    assert 256 * 256 * 4 <= sum(counted) <= 256 * 256 * 4 + 4096


@pytest.mark.parametrize("path", sorted((DATA / "golden").glob("0.6.0*"))[::4])
def test_real_files(path):
    with mrcz.open(path) as stack:
        assert "<img" in stack._repr_html_()


@pytest.mark.parametrize("frame,error", [(3, IndexError), (-4, ValueError), (10**30, IndexError),
                                         (1.0, TypeError), ("1", TypeError), (True, TypeError),
                                         ([1], TypeError), (slice(1), TypeError)])
def test_frames_that_are_none(frame, error, tmp_path):
    mrcz.writeMRC(np.zeros((3, 4, 5), "int8"), tmp_path / "a.mrc")
    with mrcz.open(tmp_path / "a.mrc") as stack:
        assert np.array_equal(stack.preview(-3), stack.preview(0))
        with pytest.raises(error, match="frame must be"):
            stack.preview(frame)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their names are Unicode")
def test_html_is_text_whatever_the_name(tmp_path):
    """Notebooks encode it as UTF-8."""
    path = tmp_path / os.fsdecode(b"latin\xff.mrc")
    mrcz.writeMRC(np.zeros((3, 4, 5), "int8"), path, meta={"key\udcff": 1})
    with mrcz.open(path) as stack:
        assert rb"latin\udcff.mrc" in stack._repr_html_().encode("utf-8")


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_html_of_what_is_closed(compressor, tmp_path):
    """As a ``with`` block leaves it behind."""
    mrcz.writeMRC(np.ones((3, 40, 50), "i2"), tmp_path / "<a>.mrc", compressor=compressor)
    with mrcz.open(tmp_path / "<a>.mrc") as stack:
        pass
    text = stack._repr_html_()
    assert "&lt;a&gt;.mrc" in text
    assert "int16" in text
    assert "<img" not in text
