"""Whatever is written reads back to the last bit; nothing that the caller owns is changed."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcz

from .builders import BIG, LITTLE, chunks_of, fields_of, ramp
from .checks import assert_identical, bits, read, reads_back_as, round_trip, written
from .strategies import BLOSC_CODECS, CODECS, DTYPES, arrays, containers


@given(image=containers(), compressor=st.sampled_from(CODECS), clevel=st.integers(0, 9),
       endian=st.sampled_from(("le", "be")), n_threads=st.sampled_from((None, 1, 2, 3)),
       quick=st.booleans())
def test_round_trip(image, compressor, clevel, endian, n_threads, quick):
    before = copy.deepcopy(image)
    found, header = round_trip(image, compressor=compressor, clevel=clevel, endian=endian,
                               n_threads=n_threads, quickStats=quick)
    assert_identical(found, reads_back_as(before))
    assert header["compressor"] == compressor
    assert type(image) is type(before)
    assert all(bits(one) == bits(other) and one.dtype == other.dtype
               for one, other in zip(image, before, strict=True))


@given(image=arrays(), compressor=st.sampled_from(CODECS))
def test_every_reader_thread_count_gives_the_same(image, compressor):
    data = written(image, compressor=compressor)
    for n_threads in (1, 2, 5):
        assert_identical(read(data, n_threads=n_threads)[0], reads_back_as(image))


@given(image=arrays(min_dims=3), compressor=st.sampled_from(BLOSC_CODECS))
def test_compressed_layout(image, compressor):
    """One blosc version-2 chunk a z-slice, back to back up to the end of the file."""
    data = written(image, compressor=compressor, meta={"a": 1})
    record = fields_of(data)
    assert record["mode"] // 1000 == ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"].index(
        compressor) + 1
    chunks = chunks_of(data, 1024 + record["nsymbt"])
    assert [c["nbytes"] for c in chunks] == [image[0].nbytes] * len(image)
    assert {c["version"] for c in chunks} == {2}
    assert {c["typesize"] for c in chunks} == {image.dtype.itemsize}
    assert sum(c["cbytes"] for c in chunks) == record["packed_bytes"]
    assert len(data) == 1024 + record["nsymbt"] + record["packed_bytes"]
    assert record["label"].startswith(b"MRCZ1.")
    assert record["nlabl"] == 1


@given(image=arrays(), endian=st.sampled_from(("le", "be")))
def test_raw_layout(image, endian):
    """A record of the right byte order and the pixels, nothing else."""
    order = "<" if endian == "le" else ">"
    data = written(image, endian=endian)
    record = fields_of(data, order)
    shape = (1,) * (3 - image.ndim) + image.shape
    assert record["dims"] == shape[::-1]
    assert record["stamp"][:2] == (LITTLE if endian == "le" else BIG)[:2]
    assert record["map"] == b"MAP "
    assert record["nversion"] == 20141
    assert data[1024:] == image.astype(image.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("shape,ispg,mz", [((3, 5, 7), 1, 3), ((5, 7), 0, 1)])
def test_uncompressed_array_is_mrc2014(shape, ispg, mz):
    record = fields_of(written(ramp(shape, "f4"), pixelsize=[2.0, 3.0, 4.0]))
    assert (record["ispg"], record["m"]) == (ispg, (7, 5, mz))
    assert record["cella"] == (28.0, 15.0, 2.0 * mz)
    assert record["cellb"] == (90.0, 90.0, 90.0)
    assert record["map_axes"] == (1, 2, 3)
    assert record["rms"] == -1.0


def test_uncompressed_lists_are_mrc2014_stacks():
    record = fields_of(written(list(ramp((3, 5, 7), "f4")), pixelsize=[2.0, 3.0, 4.0]))
    assert (record["ispg"], record["m"], record["cella"][2]) == (0, (7, 5, 1), 2.0)
    record = fields_of(written(list(ramp((3, 4, 5, 7), "f4")), pixelsize=[2.0, 3.0, 4.0]))
    assert (record["dims"], record["ispg"], record["m"]) == ((7, 5, 12), 401, (7, 5, 4))
    assert record["cella"] == (28.0, 15.0, 8.0)


@pytest.mark.parametrize("image,mz", [(ramp((3, 5, 7), "f4"), 0), (list(ramp((3, 5, 7), "f4")), 1),
                                      (list(ramp((3, 4, 5, 7), "f4")), 4)])
def test_compressed_keeps_the_mrcz_convention(image, mz):
    record = fields_of(written(image, compressor="zstd", pixelsize=[2.0, 3.0, 4.0]))
    nz = np.prod(np.shape(image)[:-2])
    assert record["m"] == (7, 5, mz)
    assert record["cella"] == (28.0, 15.0, 2.0 * nz)


@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("shape", [(1,), (9,), (1, 1), (1, 9), (9, 1), (1, 1, 9), (1, 9, 1),
                                   (9, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 9)])
def test_no_axis_is_squeezed_but_a_single_z(shape, compressor):
    image = ramp(shape, "i2")
    assert_identical(round_trip(image, compressor=compressor)[0], reads_back_as(image))


@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_lists_of_frames(count, kind, compressor):
    frames = kind(ramp((count, 5, 7), "u2"))
    assert_identical(round_trip(frames, compressor=compressor)[0], list(frames))


@pytest.mark.parametrize("compressor", [None, "lz4"])
def test_4d_is_the_list_of_its_volumes(compressor):
    image = ramp((3, 4, 5, 7), "u2")
    assert_identical(round_trip(image, compressor=compressor)[0], list(image))


@pytest.mark.parametrize("bad", [
    pytest.param(lambda: [np.zeros((4, 4), "f4"), np.zeros((4, 4), "f4"),
                          np.zeros((4, 5), "f4")], id="shape"),
    pytest.param(lambda: [np.zeros((4, 4), "f4"), np.zeros((4, 4), "f4"),
                          np.zeros((4, 4), "i2")], id="dtype"),
    pytest.param(lambda: [np.zeros((4, 4), "f4"), np.zeros((4, 4), "f4"),
                          np.zeros((2, 4, 4), "f4")], id="ndim"),
])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_unlike_frames_are_named(bad, compressor, tmp_path):
    with pytest.raises((ValueError, TypeError), match=r"\b2\b"):
        mrcz.writeMRC(bad(), tmp_path / "bad.mrc", compressor=compressor)
    assert not (tmp_path / "bad.mrc").exists()


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4, 4), "f4"), np.zeros((4, 0), "f4"),
                                   np.zeros((), "f4"), np.zeros((2,) * 5, "f4")])
def test_nothing_to_write(empty, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        mrcz.writeMRC(empty, tmp_path / "empty.mrc")
    assert not (tmp_path / "empty.mrc").exists()


class Wrapped:
    """Something that is no array but can be made one."""

    def __init__(self, image):
        self.image = image

    def __array__(self, dtype=None, copy=None):
        return self.image if dtype is None else self.image.astype(dtype)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_anything_with_array(compressor):
    image = ramp((3, 5, 7), "f4")
    assert_identical(round_trip(Wrapped(image), compressor=compressor)[0], image)
    assert_identical(round_trip([Wrapped(frame) for frame in image], compressor=compressor)[0],
                     list(image))


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_memmap_in(compressor, tmp_path):
    image = np.memmap(tmp_path / "raw", "u2", "w+", shape=(3, 5, 7))
    image[...] = ramp((3, 5, 7), "u2")
    found, _ = round_trip(image, compressor=compressor)
    assert_identical(found, np.asarray(image))


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_of_some_size(dtype, compressor):
    """Frames of several blosc blocks, more frames than threads."""
    image = ramp((9, 321, 257), dtype)
    assert_identical(round_trip(image, compressor=compressor)[0], image)


def test_returns_none(tmp_path):
    assert mrcz.writeMRC(ramp((3, 4), "f4"), tmp_path / "a.mrc") is None


def test_memoryviews_are_arrays():
    image = ramp((3, 5, 7), "f4")
    assert_identical(round_trip(memoryview(image))[0], image)
    assert_identical(round_trip([memoryview(frame) for frame in image])[0][2], image[2])


def test_a_mask_that_is_lost_is_told(notices):
    image = np.ma.masked_greater(ramp((2, 3, 4), "i2"), 5)
    with notices() as said:
        assert_identical(round_trip(image)[0], image.data)
    assert any("mask" in text for text in said)
    with notices() as said:
        round_trip(np.ma.masked_array(image.data))
    assert not said


class OnDisk:
    """What h5py's datasets are: arrays that know no ``None``, and tell what is read of them."""

    def __init__(self, image):
        self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim
        self.largest = 0
        self._image = image

    def __len__(self):
        return len(self._image)

    def __getitem__(self, key):
        assert None not in (key if isinstance(key, tuple) else (key,))
        part = self._image[key]
        self.largest = max(self.largest, part.nbytes)
        return part

    def __array__(self, dtype=None, copy=None):
        return self[...]


@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 5), (6, 3, 4, 5)])
def test_arrays_on_disk_of_any_dimensions(shape):
    image = ramp(shape, "i2")
    assert_identical(round_trip(OnDisk(image))[0], reads_back_as(image))


def test_lists_of_arrays_on_disk():
    image = ramp((6, 4, 5), "i2")
    assert_identical(round_trip([OnDisk(frame) for frame in image])[0], list(image))


def test_four_dimensions_on_disk_are_read_piece_by_piece():
    image = OnDisk(np.zeros((3, 5, 1024, 8192), "i2"))  # items of 80 MiB
    written(image, compressor="lz4")
    assert image.largest <= 64 << 20


@pytest.mark.parametrize("shape", [(1, 1, 2**31), (1, 2**31, 1), (2**31, 1, 1)])
def test_sizes_beyond_32_bits_are_refused_before_anything_is_written(shape):
    file = io.BytesIO()
    with pytest.raises(ValueError, match="2147483647"):
        mrcz.writeMRC(np.broadcast_to(np.int8(1), shape), file)
    with pytest.raises(ValueError, match="2147483647"):
        mrcz.create(file, shape, "i1")
    assert not file.getvalue()


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8)])
def test_an_uncompressed_record_has_no_index(shape):
    record = written(np.zeros(shape, "i2"))[:1024]
    assert record[304:] == bytes(720)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_read_arrays_are_the_callers(compressor):
    """Writable, aligned and contiguous, as a new array should be."""
    image, _ = round_trip(ramp((3, 5, 7), "f4"), compressor=compressor)
    assert image.flags.writeable
    assert image.flags.aligned
    assert image.flags.c_contiguous
    image[...] = 0
