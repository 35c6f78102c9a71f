"""Maps whose sections, rows and columns go along other axes of the cell than z, y and x."""

from __future__ import annotations

from importlib.resources import files
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

from .builders import fields_of, mrc

SHAPE = (8, 9, 10)  # sections, rows, columns
VOXEL = {"x": 1.0, "y": 2.5, "z": 4.0}
IMAGE = np.random.default_rng(8).normal(size=SHAPE).astype("f4")
AXES = list(permutations((1, 2, 3)))  # MAPC, MAPR, MAPS


@pytest.fixture(params=AXES, ids=str)
def axes(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    return request.param


def names(axes: tuple[int, int, int]) -> str:
    """The cell's axes that sections, rows and columns go along."""
    return "".join("xyz"[number - 1] for number in reversed(axes))


def permuted(axes: tuple[int, int, int], **fields: object) -> bytes:
    """A map whose cell has as many intervals along each axis as the map has pixels."""
    counts = dict(zip(names(axes), SHAPE, strict=True))
    cell = tuple(counts[axis] * VOXEL[axis] for axis in "xyz")
    return mrc(IMAGE, map_axes=axes, m=tuple(counts[axis] for axis in "xyz"), cella=cell,
               start=(10, 20, 30), origin=(100.0, 200.0, 300.0), **fields)


def voxel_of(path: Path) -> dict[str, float]:
    """What MRC2014 says, and mrcfile does: CELLA over M; of compressed files see the spec."""
    found = fields_of(path.read_bytes()[:1024])
    nx, ny, nz = found["dims"]
    m = (nx, ny, nz) if found["mode"] > 1000 else found["m"]
    return dict(zip("xyz", np.array(found["cella"]) / m, strict=True))


def convert(*arguments: object) -> None:
    assert main(["convert", "-q", *map(str, arguments)]) == 0


@pytest.mark.parametrize("target", ["b.mrc", "b.mrcz"])
@pytest.mark.parametrize("option,steps,starts", [
    (("--bin", "2,3,5"), (2, 3, 5), (0, 0, 0)),
    (("--slice", "2::2,3::3,5:"), (2, 3, 1), (2, 3, 5)),
    (("--slice", "2:,:,1::3", "--bin", "3,1,1"), (3, 1, 3), (2, 0, 1)),
    ((), (1, 1, 1), (0, 0, 0)),
])
def test_convert_scales_the_axis_that_it_shrinks(tmp_path, axes, option, steps, starts, target):
    (tmp_path / "a.mrc").write_bytes(permuted(axes))
    path = tmp_path / target
    convert(tmp_path / "a.mrc", path, *option)
    along = names(axes)
    expected, origin = dict(VOXEL), {"x": 100.0, "y": 200.0, "z": 300.0}
    for axis, step, start in zip(along, steps, starts, strict=True):
        expected[axis] *= step
        origin[axis] += start * VOXEL[axis]
    assert voxel_of(path) == pytest.approx(expected)
    found = fields_of(path.read_bytes()[:1024])
    assert found["map_axes"] == axes
    assert found["origin"] == pytest.approx([origin[axis] for axis in "xyz"])
    assert found["start"] == tuple((place + start) // step for place, start, step in zip(
        (10, 20, 30), starts[::-1], steps[::-1], strict=True))
    header, _ = mrcz.readMRCHeader(path)
    assert header["pixelsize"] == pytest.approx([expected[axis] for axis in "zyx"])
    assert header.record.spacing == pytest.approx([expected[axis] for axis in along])
    if target == "b.mrc":
        counts = dict(zip(along, found["dims"][::-1], strict=True))
        assert found["m"] == tuple(counts[axis] for axis in "xyz")


def test_what_is_equal_stays_equal(tmp_path, axes):
    """Binning a map and then turning it is turning it and then binning."""
    (tmp_path / "a.mrc").write_bytes(permuted(axes))
    convert(tmp_path / "a.mrc", tmp_path / "b.mrc", "--bin", "2,3,5")
    assert mrcz.readMRC(tmp_path / "b.mrc")[0].shape == (4, 3, 2)
    sizes = np.array(mrcz.readMRC(tmp_path / "b.mrc")[1].record.spacing) * (4, 3, 2)
    whole = np.array(mrcz.readMRC(tmp_path / "a.mrc")[1].record.spacing) * SHAPE
    np.testing.assert_allclose(sizes, whole)  # nothing was left over


def test_copies_keep_the_axes(tmp_path, axes):
    (tmp_path / "a.mrc").write_bytes(permuted(axes))
    assert main(["compress", "-q", "-c", "lz4", str(tmp_path / "a.mrc")]) == 0
    assert fields_of((tmp_path / "a.mrcz").read_bytes()[:1024])["map_axes"] == axes
    assert voxel_of(tmp_path / "a.mrcz") == pytest.approx(VOXEL)
    # This one does not remember the original.
    convert(tmp_path / "a.mrcz", tmp_path / "b.mrcz", "-c", "lz4")
    assert main(["decompress", "-q", str(tmp_path / "b.mrcz")]) == 0
    assert fields_of((tmp_path / "b.mrc").read_bytes()[:1024])["map_axes"] == axes
    assert voxel_of(tmp_path / "b.mrc") == pytest.approx(VOXEL)
    assert main(["diff", "-q", str(tmp_path / "a.mrc"), str(tmp_path / "b.mrc")]) == 0


def test_appended_sections_lengthen_the_cell_along_their_axis(tmp_path, axes):
    path = tmp_path / "a.mrc"
    path.write_bytes(permuted(axes))
    mrcz.writeMRC(IMAGE[:4], path, idx=8)
    assert voxel_of(path) == pytest.approx(VOXEL)
    counts = dict(zip(names(axes), (12, 9, 10), strict=True))
    assert fields_of(path.read_bytes()[:1024])["m"] == tuple(counts[axis] for axis in "xyz")


def test_pictures_and_notebooks(tmp_path, axes):
    path = tmp_path / "a.mrc"
    path.write_bytes(permuted(axes))
    s, r, c = (VOXEL[axis] for axis in names(axes))
    with mrcz.open(path) as stack:
        assert f"{r:g} x {c:g}, slices {s:g} Å" in stack._repr_html_()
    with mrcz.open(path, pixelunits="nm") as stack:
        assert f"{r / 10:g} x {c / 10:g}, slices {s / 10:g} nm" in stack._repr_html_()


@pytest.mark.parametrize("axes", [(0, 0, 0), (1, 1, 3), (1, 2, 4), (-1, 2, 3), (2**31 - 1, 1, 2)])
def test_axes_that_make_no_sense_are_those_of_most_files(tmp_path, axes):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(IMAGE, map_axes=axes, cella=(10.0, 22.5, 32.0)))
    assert mrcz.readMRC(path)[1].record.spacing == pytest.approx((4.0, 2.5, 1.0))
    convert(path, tmp_path / "b.mrc", "--bin", "2,3,5")
    assert voxel_of(tmp_path / "b.mrc") == pytest.approx({"x": 5.0, "y": 7.5, "z": 8.0})
    assert fields_of((tmp_path / "b.mrc").read_bytes())["map_axes"] == (1, 2, 3)


def test_a_whole_copy_keeps_the_cell_of_a_crystal(tmp_path):
    """EMD-3001: a part of the cell, columns along z, rows along x."""
    sample = Path(str(files("mrcz") / "data" / "EMD-3001.map"))
    convert(sample, tmp_path / "b.mrc")
    old, new = (fields_of(path.read_bytes()[:1024]) for path in (sample, tmp_path / "b.mrc"))
    for name in ("m", "cellb", "map_axes", "start", "ispg"):
        assert new[name] == old[name], name
    assert new["cella"] == pytest.approx(old["cella"])
    convert(sample, tmp_path / "c.mrc", "--bin", "1,1,2")
    assert voxel_of(tmp_path / "c.mrc") == pytest.approx(
        {"x": 17.93 / 40, "y": 4.71 / 12, "z": 2 * 33.03 / 72})
