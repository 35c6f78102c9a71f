"""mrcfile finds nothing wrong with our files and reads what we wrote; we read what it writes."""

from __future__ import annotations

import hashlib
from itertools import permutations

import numpy as np
import pytest

import mrcz
from mrcz.cli import main

from ..builders import DATA, ramp
from ..checks import assert_identical, bits
from .conftest import real_data

pytestmark = pytest.mark.judge

DTYPES = ("i1", "i2", "u2", "f2", "f4", "c8")  # those of MRC2014
VOXEL = [1.2, 2.6, 3.4]
# What we write: shape, as a list; what mrcfile must take it for, and its Z spacing.
KINDS = {"image": ((33, 40), False, [True, False, False, False]),
         "volume": ((4, 33, 40), False, [False, False, True, False]),
         "stack": ((4, 33, 40), True, [False, True, False, False]),
         "volumes": ((3, 4, 33, 40), True, [False, False, False, True])}


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("shape,as_list,kind", KINDS.values(), ids=KINDS)
def test_ours_is_valid_and_read(shape, as_list, kind, endian, mrcfile, tmp_path):
    jobs, images = [], []
    for dtype in DTYPES:
        image, path = ramp(shape, dtype), str(tmp_path / f"{dtype}.mrc")
        if dtype == "f2":
            image = image % np.float16(1)  # mrcfile squares them in float16 to check the RMS
        mrcz.writeMRC(list(image) if as_list else image, path, pixelsize=VOXEL, endian=endian,
                      quickStats=False)
        jobs += [{"do": "validate", "path": path}, {"do": "open", "path": path}]
        images.append(image)
    answers = mrcfile(jobs)
    for image, validated, opened in zip(images, answers[::2], answers[1::2], strict=True):
        assert validated["valid"], validated["said"]
        assert_identical(opened["array"], image)
        assert opened["kind"] == kind
        np.testing.assert_allclose(opened["voxel"], VOXEL, rtol=1e-6)
        assert opened["nversion"] == 20141
        assert opened["labels"][0].startswith("MRCZ1.")
        if image.dtype.kind != "c":
            wide = image.astype("f8")
            np.testing.assert_allclose(
                opened["stats"], [wide.min(), wide.max(), wide.mean(), wide.std()], rtol=1e-5)


@pytest.mark.parametrize("shape,as_list,kind", KINDS.values(), ids=KINDS)
def test_quick_statistics_of_one_frame_alone_may_be_noted(shape, as_list, kind, mrcfile, tmp_path):
    image, path = ramp(shape, "f4"), str(tmp_path / "a.mrc")
    mrcz.writeMRC(list(image) if as_list else image, path)
    answer, = mrcfile([{"do": "validate", "path": path}])
    assert all("statistics" in line.lower() or "valid" in line for line in answer["said"] if line)
    assert answer["valid"] or len(shape) > 2


def test_of_metadata_only_its_type_may_be_noted(mrcfile, tmp_path):
    image, path = ramp((4, 33, 40), "f4"), str(tmp_path / "a.mrc")
    mrcz.writeMRC(image, path, meta={"a": [1, 2, 3]}, quickStats=False)
    validated, opened = mrcfile([{"do": "validate", "path": path}, {"do": "open", "path": path}])
    assert all("exttyp" in line for line in validated["said"] if line)
    assert_identical(opened["array"], image)


@pytest.mark.parametrize("compression", [None, "gzip", "bzip2"])
@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("shape", [(33, 40), (4, 33, 40), (3, 4, 33, 40), (1, 33, 40)])
def test_we_read_its_files(shape, stack, compression, mrcfile, tmp_path):
    jobs, images = [], []
    for dtype in (*DTYPES, "u1"):
        image = ramp(shape, dtype)
        images.append(image)
        jobs.append({"do": "write", "array": mrcfile.array(image), "voxel": VOXEL[::-1],
                     "path": str(tmp_path / f"{dtype}.map"), "compression": compression,
                     "stack": stack and len(shape) == 3})
    mrcfile(jobs)
    for job, image in zip(jobs, images, strict=True):
        found, header = mrcz.readMRC(job["path"])
        expected = image.astype("u2") if image.dtype == "u1" else image
        expected = expected.reshape(-1, 33, 40)
        assert_identical(found, expected if len(expected) > 1 else expected[0])
        np.testing.assert_allclose(header["pixelsize"], VOXEL, rtol=1e-5)


@pytest.mark.parametrize("exttyp,length", [("FEI1", 768 * 4), ("FEI2", 888 * 4), ("CCP4", 160),
                                           ("SERI", 2048), ("AGAR", 1024), ("MRCO", 640)])
def test_we_skip_the_extended_headers_it_writes(exttyp, length, mrcfile, tmp_path):
    image, path = ramp((4, 33, 40), "f4"), str(tmp_path / "a.mrc")
    mrcfile([{"do": "write", "array": mrcfile.array(image), "voxel": VOXEL[::-1], "path": path,
              "exttyp": exttyp, "extended": length}])
    found, header = mrcz.readMRC(path)
    assert_identical(found, image)
    assert header["extendedBytes"] == length


@pytest.mark.parametrize("name", ["EMD-3001.map", "EMD-3001.map.bz2", "EMD-3197.map",
                                  "emd_3197.map.gz", "HAADFscan.mrc", "20241021_00405_movie.mrc"])
def test_real_files_read_alike(name, mrcfile, tmp_path):
    """Maps of EMDB and files of detectors; the last two may not be redistributed."""
    path = real_data() / "maps" / name
    if not path.exists():
        pytest.fail(f"{path} is missing: MRCZ_TEST_DATA must name the folder of real files")
    found, header = mrcz.readMRC(path)
    answer, = mrcfile([{"do": "open", "path": str(path), "permissive": True}])
    assert_identical(found, answer["array"])
    assert found.dtype == answer["array"].dtype
    np.testing.assert_allclose(header["pixelsize"], answer["voxel"], rtol=1e-5)
    mrcz.writeMRC(found, tmp_path / "again.mrcz", compressor="zstd")
    assert_identical(mrcz.readMRC(tmp_path / "again.mrcz")[0], answer["array"])


def test_shipped_files_are_the_real_ones():
    """The copies in tests/data are those of the folder of real files."""
    def digests(folder):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for part in ("golden", "maps") for path in (folder / part).iterdir()}
    shipped, real = digests(DATA), digests(real_data())
    assert {name: real.get(name) for name in shipped} == shipped
    assert set(real) - set(shipped) == {"HAADFscan.mrc", "20241021_00405_movie.mrc"}


@pytest.mark.parametrize("dtype", ["i1", "f4"])
def test_appended_frames_are_read(dtype, mrcfile, tmp_path):
    image, path = ramp((4, 33, 40), dtype), str(tmp_path / "a.mrc")
    for index, frame in enumerate(image):
        mrcz.writeMRC(frame, path, idx=index, pixelsize=VOXEL)
    answer, = mrcfile([{"do": "open", "path": path}])
    assert bits(answer["array"]) == bits(image)
    np.testing.assert_allclose(answer["voxel"], VOXEL, rtol=1e-6)


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))), ids=str)
@pytest.mark.parametrize("steps", [(1, 1, 1), (2, 3, 5)], ids=str)
def test_binned_maps_of_permuted_axes(mrcfile, tmp_path, axes, steps):
    """Of sections, rows and columns, each has the spacing that mrcfile finds for its axis."""
    paths = [str(tmp_path / name) for name in ("a.mrc", "b.mrc")]
    image = ramp((8, 9, 10), "f4")
    mrcfile([{"do": "write", "path": paths[0], "array": mrcfile.array(image),
              "voxel": VOXEL[::-1], "fields": dict(zip(("mapc", "mapr", "maps"), axes,
                                                       strict=True))}])
    assert main(["convert", "-q", *paths, "--bin", ",".join(map(str, steps))]) == 0
    before, after, valid = mrcfile([{"do": "open", "path": path} for path in paths]
                                   + [{"do": "validate", "path": paths[1]}])
    expected = list(before["voxel"])  # z, y, x of the cell
    for number, step in zip(axes[::-1], steps, strict=True):
        expected[3 - number] *= step
    np.testing.assert_allclose(after["voxel"], expected, rtol=1e-6)
    assert after["array"].shape == tuple(n // step for n, step in zip(image.shape, steps,
                                                                      strict=True))
    assert not [line for line in valid["said"] if "exttyp = 'json'" not in line
                and "statistics" not in line], valid
