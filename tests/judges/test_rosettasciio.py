"""RosettaSciIO finds the same tags and pixels in Gatan files as we do, real and made."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcz
from mrcz.cli import main
from mrcz.dm.array import DMArray
from mrcz.ioDM4 import readDM4

from .. import dm_writer as w
from ..test_dm4_tags import trees
from .conftest import Judge, environment, real_data

pytestmark = pytest.mark.judge

VARIANTS = [(version, order) for version in (3, 4) for order in "<>"]
FILES_OF_EACH_KIND = {"1D-test": 1, "2D-test": 12, "3D-test": 8, "test-MonarcCL": 2}


def folder():
    """The real files, which are too many to be copied, and not ours."""
    return Path(os.environ.get("MRCZ_TEST_DM4") or real_data() / "dm4")


def manifest():
    return json.loads((folder() / "manifest.json").read_text())


@pytest.fixture
def rosettasciio(tmp_path):
    return Judge(environment("MRCZ_JUDGE_HYPERSPY"), "ask_rosettasciio.py", tmp_path)


def test_all_real_files_are_there():
    for kind, count in FILES_OF_EACH_KIND.items():
        found = [name for name in manifest() if name.startswith(kind)]
        assert len(found) == count
        assert all((folder() / name).is_file() for name in found)


def test_real_files_are_as_in_the_manifest():
    for name, (expected,) in manifest().items():
        image = readDM4(folder() / name, flip=False).im[-1]
        data = image.imageData
        kind = data.dtype.str if data.dtype.names is None else "RGBA(u1)"
        digest = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
        assert (kind, list(image.shape), digest) == (
            expected["dtype"], expected["shape"], expected["sha256"]), name
        assert image.read().tobytes() == np.ascontiguousarray(data).tobytes(), name
        check_axes(image.imageInfo, expected["axes"])


def check_axes(info, axes):
    for letter, axis in zip("XYZ", reversed(axes), strict=False):
        scale = info[f"Dim{letter}Scale"]
        assert (scale, info[f"Dim{letter}Units"]) == (axis["scale"], axis["units"])
        assert -info[f"Dim{letter}Origin"] * scale == pytest.approx(axis["offset"])


def test_real_files(rosettasciio):
    compare(rosettasciio, [folder() / name for name in manifest()])


def test_orientation_of_real_files():
    for name in manifest():
        as_stored = readDM4(folder() / name, flip=False).im
        for image, stored in zip(readDM4(folder() / name).im, as_stored, strict=True):
            expected = stored.imageData
            if expected.ndim > 1:
                expected = expected[..., ::-1, :]
            np.testing.assert_array_equal(image.imageData, expected)
            np.testing.assert_array_equal(image.read(), expected)


def test_real_files_converted(tmp_path):
    """By the command line: pixels as in the manifest, sizes and voltage as in the tags."""
    for name, (expected,) in manifest().items():
        target = tmp_path / f"{name}.mrcz"
        status = main(["convert", "--quiet", str(folder() / name), str(target)])
        if expected["dtype"] == "RGBA(u1)":
            assert status == 1  # MRC has no colours; --channel takes one
            continue
        assert status == 0
        pixels, header = mrcz.readMRC(target)
        stored = np.dtype(expected["dtype"])
        as_stored = pixels[..., ::-1, :].astype(stored).reshape(expected["shape"])
        if stored.itemsize // (1 + (stored.kind == "c")) < 8:  # others become single precision
            assert hashlib.sha256(as_stored.tobytes()).hexdigest() == expected["sha256"], name
        else:
            image = readDM4(folder() / name, flip=False).im[-1].read()
            np.testing.assert_allclose(as_stored, image, rtol=1e-7)
        info = header["imageInfo"]
        assert header["voltage"] == pytest.approx(info.get("Voltage", 0) / 1000)
        angstrom = {"": 0, "nm": 10, "µm": 1e4}
        known = min(2, len(expected["shape"]))
        for letter, size in zip("YX"[-known:], header["pixelsize"][-known:], strict=True):
            unit, scale = info[f"Dim{letter}Units"], info[f"Dim{letter}Scale"]
            assert size == pytest.approx(scale * angstrom[unit], rel=1e-6), name


# --- made files -------------------------------------------------------------------------


# It takes dots and brackets in names for paths.
NAMES = st.text("Aa0 _-()/:µÅ試", min_size=1, max_size=20)


@settings(max_examples=6)
@given(made=st.lists(trees(NAMES), min_size=4, max_size=4))
def test_any_tags(rosettasciio, tmp_path, made):
    paths = []
    for number, tree in enumerate(made):
        tags = {name: pair[0] for name, pair in tree.items()}
        document = w.document(w.image_of(np.zeros((2, 3), "i2"), tags=tags))
        version, order = VARIANTS[number % 4]
        paths.append(w.write(tmp_path / f"{number}.dm4", document, version, order))
    compare(rosettasciio, paths)


def sample(dtype, shape):
    data = np.arange(1, np.prod(shape) + 1).reshape(shape)
    if dtype == "b1":
        return data % 3 == 0
    return (data * (1 + 2j) if dtype[0] == "c" else data).astype(dtype)


def made_images():
    for shape in ((5,), (3, 4), (2, 3, 4), (2, 2, 3, 4)):
        for dtype in w.PIXELS.values():
            yield w.image_of(sample(dtype, shape))
    colours = w.Leaf((20, 3, 12), np.arange(48, dtype="u1").tobytes())
    for data_type in (8, 23):
        yield w.image(data_type, (3, 4), colours)
    for data_type, dtype, shape, count in (
            (5, "f4", (2, 2), 4), (5, "f4", (4, 4), 16), (5, "f4", (16, 16), 256),
            *[(data_type, dtype, shape, 2 * shape[0] * (shape[1] // 2 + 1))
              for data_type, dtype in ((27, "f4"), (28, "f8"))
              for shape in ((2, 2), (4, 4), (3, 8), (8, 4), (1, 6), (16, 16))]):
        yield w.image(data_type, shape, w.pixels(sample(dtype, (count,))))


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_all_types_of_pixels(rosettasciio, tmp_path, version, order):
    compare(rosettasciio, [
        w.write(tmp_path / f"{number}.dm4", w.document(image), version, order)
        for number, image in enumerate(made_images())])


# --- comparison -------------------------------------------------------------------------


def compare(judge, paths):
    """Compare files, all read by one process of the judge's."""
    answers = judge([{"path": str(path)} for path in paths])
    for path, answer in zip(paths, answers, strict=True):
        compare_file(readDM4(path, flip=False), answer["images"])


def compare_file(dm, judged):
    """Compare tags and pixels; RosettaSciIO leaves out a thumbnail that comes first."""
    rest = {name: tag for name, tag in dm.tags.items() if name != "ImageList"}
    entries = dm.tags["ImageList"][-len(judged):]
    assert judged
    for image, entry, theirs in zip(dm.im[-len(judged):], entries, judged, strict=True):
        tags = theirs["tags"]
        tags.pop("root", None)
        compare_tags([entry], tags.pop("ImageList"), "ImageList")
        compare_tags(rest, tags, "")
        if dm.order == "<":  # it takes all pixels for that, but not the tags
            data = np.load(theirs["array"])
            assert image.imageData.dtype == data.dtype
            np.testing.assert_array_equal(image.imageData, data)


def compare_tags(ours, theirs, path):
    """Compare leaf by leaf; what has no name is TagGroup0, Data0, ... in its words."""
    if isinstance(ours, DMArray):
        assert (ours.offset, ours.nbytes) == (theirs["offset"], theirs["size_bytes"]), path
    elif isinstance(theirs, dict):
        entries = ours.items() if isinstance(ours, dict) else [("[", tag) for tag in ours]
        assert len(entries) == len(theirs), path
        for (name, tag), (their_name, their_tag) in zip(entries, theirs.items(), strict=True):
            is_unnamed = name.startswith("[") and their_name.startswith(("TagGroup", "Data"))
            assert name == their_name or is_unnamed, path
            compare_tags(tag, their_tag, f"{path}:{their_name}")
    elif ours == "":
        assert theirs in ("", []), path  # it reads empty text as an empty list
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), path
        for item, their_item in zip(ours, theirs, strict=True):
            compare_tags(item, their_item, path)
    else:
        assert ours == theirs, path
