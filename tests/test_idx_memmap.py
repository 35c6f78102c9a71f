"""Parts of a file: read, written and mapped."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest

import mrcz

from .builders import fields_of, header, mrc, ramp
from .checks import assert_identical

IMAGE = ramp((6, 5, 7), "i2")


def make(kind, folder):
    """Write the image as one of KINDS."""
    path = folder / "file.mrc"
    if kind == "foreign":
        path.write_bytes(mrc(IMAGE, order=">", extended=b"x" * 160, exttyp=b"CCP4"))
    else:
        mrcz.writeMRC(IMAGE, path, endian="be" if "be" in kind else "le",
                      meta={"a": 1} if "metadata" in kind else None,
                      compressor="zstd" if "zstd" in kind else None)
    return path


KINDS = ("le", "be", "metadata", "foreign")


@pytest.fixture(params=KINDS)
def raw(request, tmp_path):
    return make(request.param, tmp_path)


@pytest.fixture(params=[*KINDS, "zstd", "zstd be", "zstd metadata"])
def file(request, tmp_path):
    return make(request.param, tmp_path)


def plain(image):
    """The pixels of a memmap as a plain array."""
    return np.asarray(image).view(np.ndarray)


# ---- reading

@pytest.mark.parametrize("memmap", [False, True])
@pytest.mark.parametrize("idx", [0, 1, 5, -1, -6, np.int64(2)])
def test_one_frame(file, idx, memmap):
    assert_identical(plain(mrcz.readMRC(file, idx=idx, useMemmap=memmap)[0]), IMAGE[idx])


@pytest.mark.parametrize("memmap", [False, True])
@pytest.mark.parametrize("first,last", [(0, 6), (1, 3), (2, 3), (0, 1), (5, 6), (-3, -1), (1, -1),
                                        (-2, 6)])
def test_range_with_its_end_exclusive(file, first, last, memmap):
    for idx in ((first, last), [first, last]):
        found = plain(mrcz.readMRC(file, idx=idx, useMemmap=memmap)[0])
        assert_identical(found.reshape(-1, 5, 7), IMAGE[first:last])
        assert found.ndim == 3 or last - first == 1


@pytest.mark.parametrize("idx", [6, -7, (0, 7), (3, 3), (4, 2), (-7, 2), 100])
def test_out_of_range(file, idx):
    with pytest.raises((IndexError, ValueError), match=r"idx|frame"):
        mrcz.readMRC(file, idx=idx)


@pytest.mark.parametrize("idx,expected", [
    (2.0, IMAGE[2]), (np.float64(-1), IMAGE[5]), (np.array(2), IMAGE[2]),
    ((np.float32(1), 3.0), IMAGE[1:3])])
@pytest.mark.parametrize("memmap", [False, True])
def test_an_index_as_tables_have_it(file, idx, expected, memmap):
    """`numpy.loadtxt` makes floats of the numbers of particles; python-mrcz takes them."""
    found = mrcz.readMRC(file, idx=idx, useMemmap=memmap)[0]
    assert_identical(np.reshape(plain(found), expected.shape), expected)


def test_writing_at_an_index_as_tables_have_it(tmp_path):
    for number in np.arange(2.0):
        mrcz.writeMRC(IMAGE[int(number)], tmp_path / "a.mrc", idx=number)
    assert_identical(mrcz.readMRC(tmp_path / "a.mrc")[0], IMAGE[:2])
    with pytest.raises(TypeError, match="idx"):
        mrcz.writeMRC(IMAGE[0], tmp_path / "a.mrc", idx=0.5)


@pytest.mark.parametrize("idx", ["1", 1.5, np.nan, np.array([1.5, 3]), np.array([2]), True,
                                 range(1, 3), (1, 2, 3), (1,), (None, 2)])
def test_not_an_index(file, idx):
    with pytest.raises((TypeError, ValueError), match="idx"):
        mrcz.readMRC(file, idx=idx)


def test_one_frame_of_a_list(tmp_path):
    mrcz.writeMRC(list(IMAGE), tmp_path / "list.mrc")
    assert_identical(mrcz.readMRC(tmp_path / "list.mrc", idx=4)[0], IMAGE[4])


@pytest.mark.parametrize("idx", [0, 3, (1, 4)])
def test_uint4(idx, tmp_path):
    image = (np.arange(6 * 5 * 7).reshape(6, 5, 7) % 16).astype("u1")
    mrcz.writeMRC(image, tmp_path / "four.mrc", dtype="uint4")
    expected = image[idx] if isinstance(idx, int) else image[slice(*idx)]
    assert_identical(mrcz.readMRC(tmp_path / "four.mrc", idx=idx)[0], expected)


# ---- mapping

def test_memmap(raw):
    image, header = mrcz.readMRC(raw, useMemmap=True)
    assert isinstance(image, np.memmap)
    assert_identical(plain(image), IMAGE)
    assert list(header["dimensions"]) == [6, 5, 7]


def test_memmap_of_a_part(raw):
    assert isinstance(mrcz.readMRC(raw, useMemmap=True, idx=(1, 3))[0], np.memmap)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_memmap_of_slices(raw, slices):
    image, _ = mrcz.readMRC(raw, useMemmap=True, slices=slices)
    assert all(isinstance(item, np.memmap) for item in image)
    expected = list(IMAGE) if slices == 1 else list(IMAGE.reshape(-1, slices, 5, 7))
    assert_identical([plain(item) for item in image], expected)


def test_uint4_cannot_be_mapped_but_is_given_lazily(tmp_path):
    image = np.arange(32, dtype="u1").reshape(2, 4, 4) % 16
    mrcz.writeMRC(image, tmp_path / "four.mrc", dtype="uint4")
    lazy, _ = mrcz.readMRC(tmp_path / "four.mrc", useMemmap=True)
    assert_identical(plain(lazy), image)


# ---- writing

def frame(value, *shape):
    return np.full(shape or (5, 7), value, "i2")


@pytest.mark.parametrize("memmap", [False, True])
def test_frame_by_frame_into_a_new_file(memmap, tmp_path):
    path = tmp_path / "new.mrc"
    for index, one in enumerate(IMAGE):
        mrcz.writeMRC(one, path, idx=index, pixelsize=[5.6, 3.4])
        found, header = mrcz.readMRC(path, useMemmap=memmap)
        assert_identical(plain(found), IMAGE[:index + 1] if index else IMAGE[0])
        assert list(header["dimensions"]) == [index + 1, 5, 7]
        np.testing.assert_allclose(header["pixelsize"], [10, 5.6, 3.4], rtol=1e-6)


@pytest.mark.parametrize("idx,block", [(0, 1), (3, 1), (-1, 1), (1, 2), (4, 2), (5, 3), (6, 2),
                                       (0, 6)])
def test_overwrite_and_append(file, idx, block):
    order = ">" if fields_of(file.read_bytes())["stamp"][0] == 0x11 else "<"
    before = fields_of(file.read_bytes(), order)
    new = frame(99, block, 5, 7) if block > 1 else frame(99)
    mrcz.writeMRC(new, file, idx=idx)
    expected = np.concatenate([IMAGE, IMAGE[:0] if idx + block <= 6 else
                               np.zeros((idx + block - 6, 5, 7), "i2")])
    expected[idx if idx >= 0 else idx + 6:][:block] = 99
    found, header = mrcz.readMRC(file)
    assert_identical(found, expected)
    after = fields_of(file.read_bytes(), order)
    for kept in ("mode", "nsymbt", "exttyp", "stamp", "label", "cellb", "map_axes", "voltage"):
        assert after[kept] == before[kept]
    np.testing.assert_allclose(header["pixelsize"], [0.1] * 3 if before["label"][:4] == b"MRCZ"
                               else [1] * 3, rtol=1e-6)
    assert header.get("a") == (1 if before["exttyp"] == b"json" else None)


def test_shape_declares_the_final_file(tmp_path):
    path = tmp_path / "declared.mrc"
    mrcz.writeMRC(frame(1), path, idx=0, shape=(5, 5, 7))
    assert fields_of(path.read_bytes())["dims"] == (7, 5, 5)
    assert path.stat().st_size == 1024 + 5 * 5 * 7 * 2
    for index in (4, 2):
        mrcz.writeMRC(frame(index), path, idx=index)
    found, _ = mrcz.readMRC(path)
    assert found[:, 0, 0].tolist() == [1, 0, 2, 0, 4]
    assert (found == found[:, :1, :1]).all()


def test_shape_without_idx(tmp_path):
    path = tmp_path / "declared.mrc"
    mrcz.writeMRC(IMAGE[:2], path, shape=(6, 5, 7), meta={"a": 1})
    for index in range(2, 6):
        mrcz.writeMRC(IMAGE[index], path, idx=index)
    found, header = mrcz.readMRC(path)
    assert_identical(found, IMAGE)
    assert header["a"] == 1


@pytest.mark.parametrize("shape", [(5, 5, 8), (5, 7), (1, 5, 7), (0, 5, 7), "big"])
def test_shape_that_does_not_fit(shape, tmp_path):
    with pytest.raises((ValueError, TypeError), match="shape"):
        mrcz.writeMRC(IMAGE[:2], tmp_path / "a.mrc", shape=shape)
    assert not (tmp_path / "a.mrc").exists()


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_the_shape_of_what_is_written_changes_nothing(tmp_path, compressor):
    """python-mrcz ignores it, and scripts hand over ``image.shape``."""
    path = tmp_path / "a.mrc"
    for image, shape in ((IMAGE, IMAGE.shape), (list(IMAGE), list(IMAGE.shape)),
                         (IMAGE[0], IMAGE[0].shape), ([IMAGE, IMAGE], (12, 5, 7))):
        path.unlink(missing_ok=True)
        mrcz.writeMRC(image, path, shape=shape, compressor=compressor)
        declared = path.read_bytes()
        mrcz.writeMRC(image, path, compressor=compressor)
        assert declared == path.read_bytes()
    mrcz.writeMRC(IMAGE, io.BytesIO(), shape=IMAGE.shape, compressor=compressor)


def test_a_shape_without_room_is_named(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"old")
    with pytest.raises(mrcz.FrameIndexError, match=r"shape=\(3, 5, 7\) .* room for 6 frames"):
        mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", shape=(3, 5, 7))
    assert (tmp_path / "a.mrc").read_bytes() == b"old"


@pytest.mark.parametrize("nz", [1, 4, 20])
def test_another_shape_takes_no_frames_away(tmp_path, nz):
    """A file that exists is not made anew for frames that go behind its first ones."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE[:2], path)
    for index in range(2, 6):
        mrcz.writeMRC(IMAGE[index], path, idx=index, shape=(max(nz, index + 1), 5, 7))
    mrcz.writeMRC(IMAGE[5], path, idx=-1, shape=(nz, 5, 7))
    assert_identical(mrcz.readMRC(path)[0], IMAGE)
    mrcz.writeMRC(IMAGE[0], path, idx=0, shape=(nz + 6, 5, 7))  # the first one begins a file
    assert mrcz.readMRC(path)[0].shape == (nz + 6, 5, 7)


@pytest.mark.parametrize("image,idx", [
    (frame(1), 7), (frame(1), -7), (frame(1, 7, 5), 0), (frame(1, 2, 4, 7), 0),
    (frame(1), "0")])
def test_a_refused_write_leaves_the_file_alone(file, image, idx):
    before = file.read_bytes()
    with pytest.raises((ValueError, IndexError, TypeError)):
        mrcz.writeMRC(image, file, idx=idx)
    assert file.read_bytes() == before


def test_the_last_frame_is_overwritten_and_two_are_appended(file):
    before = mrcz.readMRC(file)[0]
    mrcz.writeMRC(frame(1, 3, 5, 7), file, idx=-1)
    assert_identical(mrcz.readMRC(file)[0], np.concatenate([before[:-1], frame(1, 3, 5, 7)]))


def test_another_dtype_is_cast_or_refused_never_wrapped(file):
    """The file's dtype rules: what fits is cast to it, what does not is a ValueError."""
    mrcz.writeMRC(frame(7).astype("f4"), file, idx=1)
    assert (mrcz.readMRC(file, idx=1)[0] == 7).all()
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"int16|i2"):
        mrcz.writeMRC(frame(7).astype("f4") * 1e6, file, idx=1)
    assert file.read_bytes() == before


@pytest.mark.parametrize("noise", [False, True])
def test_auto_takes_what_the_file_has(noise, tmp_path):
    """'auto' leaves noise uncompressed, and so must a later call of the same arguments."""
    image = (np.random.default_rng(0).integers(0, 256, (6, 64, 64)).astype("u1").view("i1")
             if noise else np.zeros((6, 64, 64), "i1"))
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(image[:4], path, compressor="auto")
    assert (mrcz.readMRCHeader(path)[0]["compressor"] is None) == noise
    mrcz.writeMRC(image[4:], path, compressor="auto", idx=4)
    assert_identical(mrcz.readMRC(path)[0], image)


def test_auto_goes_on_with_the_codec_that_the_file_has(tmp_path):
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrcz", compressor="zlib")
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrcz", compressor="auto", idx=len(IMAGE))
    image, header = mrcz.readMRC(tmp_path / "a.mrcz")
    assert header["compressor"] == "zlib"
    assert_identical(image, np.concatenate([IMAGE, IMAGE]))


@pytest.mark.parametrize(("mode", "dtype"), [(3, "c8"), (3, "i2"), (16, "u1")])
def test_files_of_kinds_that_are_only_read_are_left_alone(tmp_path, mode, dtype):
    path = tmp_path / "a.mrc"
    data = bytes(header((2, 4, 6), mode)) + bytes(range(192))
    path.write_bytes(data)
    with pytest.raises(mrcz.MRCError, match="only read"):
        mrcz.writeMRC(np.zeros((1, 4, 6), dtype), path, idx=1)
    assert path.read_bytes() == data


def test_a_filter_of_its_own_does_not_change_the_codec(tmp_path):
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrcz", compressor="zstd")
    with pytest.raises(ValueError, match="zstd"):
        mrcz.writeMRC(IMAGE, tmp_path / "a.mrcz", compressor="lz4", shuffle="auto",
                      idx=len(IMAGE))


@pytest.mark.parametrize("lack", ["missing", "refused"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_overwriting_without_copies_in_the_kernel(lack, compressor, monkeypatch, tmp_path):
    """As on macOS and Windows, and on file systems that don't know copy_file_range."""
    def refused(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if lack == "missing":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    else:
        monkeypatch.setattr(os, "copy_file_range", refused, raising=False)
    path, image = tmp_path / "a.mrc", IMAGE.copy()
    mrcz.writeMRC(image, path, compressor=compressor)
    for first, count in ((1, 1), (0, 2), (len(image) - 1, 1), (0, len(image))):
        image[first : first + count] += 1
        mrcz.writeMRC(image[first : first + count], path, idx=first)
        assert_identical(mrcz.readMRC(path)[0], image)
        assert not mrcz.verify(path)
