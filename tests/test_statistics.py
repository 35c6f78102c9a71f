"""Minimum, maximum, mean and RMS: exact, of the first frame or of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mrcz

from .builders import fields_of, mrc, ramp
from .checks import round_trip, written

DTYPES = ("i1", "i2", "u2", "i4", "u4", "f2", "f4")


def record_of(image, **options):
    return fields_of(written(image, **options), ">" if options.get("endian") == "be" else "<")


def expected(image):
    wide = np.asarray(image, "f8")
    return [np.float32(wide.min()), np.float32(wide.max()), np.float32(wide.mean())]


@given(image=st.sampled_from(DTYPES).flatmap(lambda name: hnp.arrays(
           name, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9),
           elements={"allow_nan": False, "allow_infinity": False,
                     "min_value": -1000, "max_value": 1000} if name[0] == "f" else None)),
       compressor=st.sampled_from((None, "lz4")), as_list=st.booleans(),
       endian=st.sampled_from(("le", "be")))
def test_exact(image, compressor, as_list, endian):
    given_image = list(image) if as_list else image
    quick = record_of(given_image, compressor=compressor, endian=endian)
    np.testing.assert_allclose(quick["stats"], expected(image[0]), rtol=1e-6, atol=1e-9)
    full = record_of(given_image, compressor=compressor, endian=endian, quickStats=False)
    np.testing.assert_allclose(full["stats"], expected(image), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(full["rms"], image.astype("f8").std(), rtol=1e-5, atol=1e-7)


def test_quick_looks_at_the_first_frame_alone():
    image = np.zeros((3, 4, 4), "f4")
    image[0] = ramp((4, 4), "f4") * ramp((4, 4), "f4")  # a mean that is not the middle
    image[1] = 1000
    record = record_of(image)
    np.testing.assert_allclose(record["stats"], expected(image[0]), rtol=1e-6)
    assert record["rms"] == -1


def test_they_come_back_in_the_header():
    image = ramp((3, 4, 4), "f4")
    _, header = round_trip(image, quickStats=False)
    np.testing.assert_allclose([header["minImage"], header["maxImage"], header["meanImage"]],
                               expected(image), rtol=1e-6)


@pytest.mark.parametrize("dtype,value", [("u2", 65535), ("i4", 2**31 - 1), ("u4", 2**32 - 1),
                                         ("f2", 60000), ("f4", 3e38), ("i1", 127)])
def test_sums_do_not_overflow(dtype, value):
    image = np.full((3, 64, 64), value, dtype)
    record = record_of(image, quickStats=False)
    np.testing.assert_allclose(record["stats"], [image.flat[0]] * 3, rtol=1e-6)


def test_rms_of_a_large_offset():
    """The deviation from the mean, computed without cancelling it away."""
    image = (1e6 + np.random.default_rng(1).normal(size=(4, 64, 64))).astype("f4")
    record = record_of(image, quickStats=False)
    np.testing.assert_allclose(record["rms"], image.astype("f8").std(), rtol=1e-4)


def test_of_the_pixels_as_written():
    record = record_of(np.full((2, 4, 4), 1 / 3, "f8"), dtype="f2", quickStats=False)
    np.testing.assert_allclose(record["stats"], [np.float16(1 / 3)] * 3, rtol=1e-6)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("image", [
    np.full((2, 4, 4), np.nan, "f4"), np.full((2, 4, 4), np.inf, "f4"), ramp((2, 4, 4), "c8")],
    ids=["nan", "inf", "complex"])
def test_what_has_no_statistics_is_written_all_the_same(image, quick):
    record_of(image, quickStats=quick)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_do_not_change_them(n_threads):
    image = np.random.default_rng(1).normal(size=(33, 64, 64)).astype("f4")
    one = record_of(image, quickStats=False, n_threads=n_threads, compressor="lz4")
    assert one == record_of(image, quickStats=False, n_threads=1, compressor="lz4")


# ---- where frames are added to a file, or put in place of others

STEPS = [(3, slice(3, 5)), (5, slice(5, 6))]


@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_added_frames_too(dtype, compressor, tmp_path):
    image, path = ramp((6, 4, 5), dtype), tmp_path / "a.mrcz"
    image[4] = 1
    mrcz.writeMRC(image[:3], path, compressor=compressor, quickStats=False)
    for idx, part in STEPS:
        mrcz.writeMRC(image[part], path, compressor=compressor, idx=idx, quickStats=False)
    record = fields_of(path.read_bytes())
    np.testing.assert_allclose(record["stats"], expected(image), rtol=1e-6)
    np.testing.assert_allclose(record["rms"], image.astype("f8").std(), rtol=1e-6)


@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("idx,options", [(3, {}), (1, {}), (1, {"quickStats": False})])
def test_an_rms_of_all_is_none_where_that_is_true_no_more(idx, options, compressor, tmp_path):
    image, path = ramp((3, 4, 5), "i2"), tmp_path / "a.mrcz"
    mrcz.writeMRC(image, path, compressor=compressor, quickStats=False)
    before = fields_of(path.read_bytes())
    assert before["rms"] > 0
    mrcz.writeMRC(image[:1] + 1000, path, compressor=compressor, idx=idx, **options)
    record = fields_of(path.read_bytes())
    assert record["rms"] == -1
    assert record["stats"] == before["stats"]


@pytest.mark.parametrize("rms,known", [(0.5, True), (0.0, False), (-1.0, False)])
def test_frames_added_to_files_of_other_programs(rms, known, tmp_path):
    """Where the RMS is 0, nothing may have been measured."""
    image, path = ramp((3, 4, 5), "i2"), tmp_path / "a.mrc"
    path.write_bytes(mrc(image, stats=(0.0, 0.0, 0.0), rms=rms))
    mrcz.writeMRC(image[:1] + 1000, path, idx=3, quickStats=False)
    record = fields_of(path.read_bytes())
    assert (record["stats"][1] > 1000) is known
    assert known or record["rms"] == rms
