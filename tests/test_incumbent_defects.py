"""What python-mrcz (0.5.10 or 0.6.0, as measured) gets wrong, each as a test of its own."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import mrcz

from .builders import DATA, fields_of, ramp
from .checks import HEADER_KEYS, assert_identical, read, round_trip, written

IMAGE = ramp((6, 5, 7), "i2")


def test_the_end_of_idx_is_exclusive_as_documented(tmp_path):
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc")
    assert_identical(mrcz.readMRC(tmp_path / "a.mrc", idx=(1, 3))[0], IMAGE[1:3])


def test_a_micrometre_is_ten_thousand_angstrom_both_ways():
    data = written(IMAGE, pixelsize=1.0, pixelunits="\\mum")
    np.testing.assert_allclose(read(data)[1]["pixelsize"], [1e4] * 3, rtol=1e-6)
    _, header = read(data, pixelunits="\\mum")
    np.testing.assert_allclose(header["pixelsize"], [1] * 3, rtol=1e-6)


def test_lz4hc_has_its_own_id():
    data = written(IMAGE, compressor="lz4hc")
    assert fields_of(data)["mode"] == 3001
    assert read(data)[1]["compressor"] == "lz4hc"


def test_uint4_keeps_fifteen():
    image = (np.arange(2 * 4 * 6).reshape(2, 4, 6) % 16).astype("u1")
    assert_identical(round_trip(image, dtype="uint4")[0], image)


def test_uint4_keeps_odd_widths():
    image = (np.arange(2 * 4 * 7).reshape(2, 4, 7) % 16).astype("u1")
    assert_identical(round_trip(image, dtype="uint4")[0], image)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_big_endian_files_read_back(compressor):
    found, header = round_trip(IMAGE, endian="be", compressor=compressor)
    assert_identical(found, IMAGE)
    assert header["gain"] == 1.0


@pytest.mark.parametrize("version", ["0.3.8", "0.4.1", "0.5.0", "0.5.10", "0.6.0"])
def test_its_own_big_endian_files_are_read(version):
    image, _ = mrcz.readMRC(DATA / "golden" / f"{version}_be_f4.mrc", slices=0)
    assert image.shape == (3, 40, 31)
    assert 0.5 < image.std() < 2  # normal deviates; swapped bytes are astronomical


def of_old_versions(image, compressor):
    """A big-endian file as 0.5.0 to 0.5.10 wrote it (measured): some fields are little-endian."""
    frames = np.concatenate(image).reshape(-1, 5, 7) if isinstance(image, list) else image
    slices = 0 if image is frames else image[0].size // 35
    data = bytearray(written(image, endian="be", compressor=compressor, voltage=300.0, C3=2.7,
                             gain=1.5))
    for offset in (12, 76, 80, 84, 132, 136, 140, 220):
        data[offset : offset + 4] = data[offset : offset + 4][::-1]
    data[144:152] = data[144:152][::-1]
    struct.pack_into(">2i", data, 28, 0, 0)  # MX, MY
    struct.pack_into("<i", data, 36, slices)  # MZ
    struct.pack_into(">3f", data, 40, 3 * 7, 2 * 5, 1 * len(frames))
    data[88:92], data[108:112], data[220:224] = bytes(4), bytes(4), b"\1\0\0\0"
    data[224:1024] = b"MRCZ0.5.10".ljust(800, b"\0")
    return bytes(data)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4"])
@pytest.mark.parametrize("kind", [np.asarray, list, lambda image: [image[:3], image[3:]]])
def test_all_of_the_header_of_its_old_big_endian_files_is_read(compressor, dtype, kind):
    """MODE 0 is the same in both orders; MZ, which makes a list, is in the wrong one."""
    image = kind(ramp((6, 5, 7), dtype))
    data = of_old_versions(image, compressor)
    found, header = read(data)
    assert type(found) is type(image)
    assert_identical(found, image)
    np.testing.assert_allclose(header["pixelsize"], [1, 2, 3])
    np.testing.assert_allclose([header["voltage"], header["C3"], header["gain"]], [300, 2.7, 1.5])
    first = np.reshape(image[0], (-1, 5, 7))[0]
    assert (header["minImage"], header["maxImage"]) == (first.min(), first.max())
    assert header["packedBytes"] == (0 if compressor is None else len(data) - 1024)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("dtype", ["i1", "i2"])
@pytest.mark.parametrize("kind", [np.asarray, list])
def test_its_old_big_endian_files_are_appended_to(tmp_path, compressor, dtype, kind):
    path = tmp_path / "a.mrc"
    image = kind(ramp((6, 5, 7), dtype))
    path.write_bytes(of_old_versions(image, compressor))
    frame = np.full((5, 7), 99, dtype)
    mrcz.writeMRC(frame, path, idx=6, quickStats=False)
    found, header = mrcz.readMRC(path)
    assert type(found) is type(image)
    assert_identical(found, kind(np.concatenate([image, frame[None]])))
    assert header["voltage"] == 300.0
    np.testing.assert_allclose(header["pixelsize"], [1, 2, 3])
    assert header["packedBytes"] == (0 if compressor is None else path.stat().st_size - 1024)
    mrcz.writeMRC(found, path, quickStats=False)  # anew, as all files are written now
    assert_identical(mrcz.readMRC(path)[0], found)


def test_the_mean_is_not_the_middle_of_the_extremes():
    image = np.zeros((2, 4, 4), "f4")
    image[0, 0, 0] = 16
    assert round_trip(image)[1]["meanImage"] == 1


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"}, {"dtype": "f4"}])
def test_the_callers_list_keeps_its_arrays(options):
    frames = list(IMAGE.astype("f8"))
    same = list(frames)
    round_trip(frames, **options)
    assert all(one is other and one.dtype == "f8" for one, other in zip(frames, same, strict=True))


@pytest.mark.parametrize("shape", [(6, 1, 7), (6, 5, 1), (2, 1, 1)])
def test_axes_of_one_are_kept(shape):
    assert round_trip(np.ones(shape, "f4"))[0].shape == shape


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_nothing_but_metadata_joins_the_standard_keys(compressor):
    """HyperSpy copies every other key into the user's metadata, and writes it out again."""
    header = round_trip(IMAGE, compressor=compressor)[1]
    assert tuple(header) == HEADER_KEYS
    assert header["metaId"] == b""


@pytest.mark.parametrize("name", ["EMD-3001.map", "EMD-3197.map"])
def test_maps_are_arrays_not_lists_of_one(name):
    assert isinstance(mrcz.readMRC(DATA / "maps" / name)[0], np.ndarray)


def test_a_map_of_more_sampling_than_sections_is_read():
    assert mrcz.readMRC(DATA / "maps" / "EMD-3001.map")[0].shape == (25, 43, 73)


def test_values_are_plain_numbers_under_any_numpy():
    """NumPy 2.4 refused python-mrcz's conversions of arrays of one; ours are scalars."""
    header = round_trip(IMAGE, compressor="zstd")[1]
    assert isinstance(header["packedBytes"], int)
    for key in ("MRCtype", "minImage", "maxImage", "meanImage", "voltage", "C3", "gain",
                "extendedBytes"):
        assert np.ndim(header[key]) == 0


def test_a_second_idx_write_finds_the_frames_behind_metadata(tmp_path):
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path, meta={"a": 1})
    mrcz.writeMRC(IMAGE[0] + 1, path, idx=0)
    image, header = mrcz.readMRC(path)
    assert_identical(image, np.concatenate([IMAGE[:1] + np.int16(1), IMAGE[1:]]))
    assert header["a"] == 1
