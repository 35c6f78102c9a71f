"""ncempy finds the same pixels, shapes and calibrations in Gatan files as we do, real and made."""

from __future__ import annotations

import numpy as np
import pytest

from mrcz.ioDM4 import readDM4

from .. import dm_writer as w
from .conftest import Judge, environment
from .test_rosettasciio import folder, manifest, sample

pytestmark = pytest.mark.judge

UNREAD = {"2D-test-14.dm4", "2D-test-23.dm4"}
"""Booleans and colours, which ncempy does not know."""
TYPES = sorted(set(w.PIXELS.values()) - {"b1"})


@pytest.fixture
def ncempy(tmp_path):
    return Judge(environment("MRCZ_JUDGE_HYPERSPY"), "ask_ncempy.py", tmp_path)


def assert_same(path, answer):
    image = readDM4(path, flip=False).im[-1]
    data = answer["array"]
    for ours in (image.imageData, image.read()):
        assert ours.dtype == data.dtype, path
        assert ours.shape == data.shape == image.shape, path
        np.testing.assert_array_equal(ours, data)
    info = image.imageInfo
    letters = "XYZT"[:data.ndim][::-1]
    assert answer["units"] == [info[f"Dim{letter}Units"] for letter in letters]
    assert answer["scales"] == [info[f"Dim{letter}Scale"] for letter in letters]


def test_real_files(ncempy):
    names = sorted(manifest())
    answers = ncempy([{"path": str(folder() / name)} for name in names])
    assert {name for name, answer in zip(names, answers, strict=True)
            if "refused" in answer} == UNREAD
    for name, answer in zip(names, answers, strict=True):
        if name not in UNREAD:
            assert_same(folder() / name, answer)


@pytest.mark.parametrize("version", [3, 4])
def test_made_files(ncempy, tmp_path, version):
    """Of little-endian values: ncempy refuses others."""
    paths = []
    for number, (dtype, shape) in enumerate(
            (dtype, shape) for dtype in TYPES for shape in ((5,), (3, 4), (2, 3, 4), (2, 2, 3, 4))):
        axes = [w.axis(0.5 * (axis + 1), axis, "nmµ1"[axis]) for axis in range(len(shape))]
        entry = w.image_of(sample(dtype, shape), axes=axes)
        paths.append(w.write(tmp_path / f"{number}.dm4", w.document(entry), version))
    for path, answer in zip(paths, ncempy([{"path": str(path)} for path in paths]), strict=True):
        assert "refused" not in answer, answer
        assert_same(path, answer)
