"""python-mrcz 0.5.10 and 0.6.0 read our compressed files, and we read theirs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import mrcz

from ..builders import ramp
from ..checks import HEADER_KEYS, assert_identical, bits
from .conftest import Judge, environment

pytestmark = pytest.mark.judge

DTYPES = ("i1", "i2", "u2", "i4", "u4", "f4", "c8")
CODECS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
META = {"foo": 5, "nested": {"list": [1, 2.5, None, True], "name": "café 電子"}}
OPTICS = {"pixelsize": [1.2, 2.6, 3.4], "voltage": 300.0, "C3": 2.7, "gain": 1.05}
SHAPES = {"volume": ((4, 33, 40), False), "image": ((33, 40), False),
          "list": ((4, 33, 40), True), "volumes": ((3, 4, 33, 40), True),
          "list of one": ((1, 33, 40), True)}


def assert_optics(header):
    np.testing.assert_allclose(header["pixelsize"], OPTICS["pixelsize"], rtol=1e-6)
    for key in ("voltage", "C3", "gain"):
        assert header[key] == pytest.approx(OPTICS[key], rel=1e-6)
    assert {key: header[key] for key in META} == META


@pytest.mark.parametrize("shape,as_list", SHAPES.values(), ids=SHAPES)
def test_reads_our_compressed_files(shape, as_list, python_mrcz, tmp_path):
    jobs, images = [], []
    for number, (dtype, codec) in enumerate(itertools.product(DTYPES, CODECS)):
        image, path = ramp(shape, dtype), str(tmp_path / f"{number}.mrcz")
        mrcz.writeMRC(list(image) if as_list else image, path, compressor=codec, meta=META,
                      clevel=number % 10, **OPTICS)
        jobs.append({"do": "read", "path": path})
        images.append(image)
    for image, answer in zip(images, python_mrcz(jobs), strict=True):
        assert answer["list"] == as_list
        assert_identical(answer["array"], image)
        assert_optics(answer["header"])


@pytest.mark.parametrize("shuffle", ["bitshuffle", "shuffle", "noshuffle"])
def test_reads_our_other_filters(shuffle, python_mrcz, tmp_path):
    jobs, images = [], []
    for number, dtype in enumerate(DTYPES):
        image, path = ramp((3, 400, 517), dtype), str(tmp_path / f"{number}.mrcz")
        mrcz.writeMRC(image, path, compressor="zstd", shuffle=shuffle)
        jobs.append({"do": "read", "path": path})
        images.append(image)
    for image, answer in zip(images, python_mrcz(jobs), strict=True):
        assert_identical(answer["array"], image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_the_pixels_of_our_raw_files(dtype, python_mrcz, tmp_path):
    """As a list of one volume, which is how it reads every valid MRC2014 volume."""
    image = ramp((4, 33, 40), dtype)
    mrcz.writeMRC(image, tmp_path / "raw.mrc", meta=META, **OPTICS)
    answer, = python_mrcz([{"do": "read", "path": str(tmp_path / "raw.mrc")}])
    assert bits(answer["array"]) == bits(image)
    assert_optics(answer["header"])


@pytest.mark.parametrize("shape,as_list", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("codec", [None, *CODECS])
def test_we_read_its_files(shape, as_list, codec, python_mrcz, tmp_path):
    jobs, images = [], []
    for number, dtype in enumerate(DTYPES):
        image = ramp(shape, dtype)
        images.append(image)
        jobs.append({"do": "write", "array": python_mrcz.array(image), "list": as_list,
                     "path": str(tmp_path / f"{number}.mrcz"),
                     "options": {"compressor": codec, "meta": META, **OPTICS}})
    python_mrcz(jobs)
    for job, image in zip(jobs, images, strict=True):
        found, header = mrcz.readMRC(job["path"])
        assert_identical(found, list(image) if as_list else image)
        assert_optics(header)
        assert list(header) == [*HEADER_KEYS, *META]
        assert header["compressor"] in ((codec, "lz4") if codec == "lz4hc" else (codec,))


@pytest.fixture
def python_mrcz_060(tmp_path):
    return Judge(environment("MRCZ_JUDGE_060"), "ask_python_mrcz.py", tmp_path)


@pytest.mark.parametrize("codec", CODECS)
def test_version_5_chunks_both_ways(codec, python_mrcz_060, tmp_path):
    """Not of complex64 the other way round: such chunks of its are damaged, by its own reading."""
    judge, jobs, images = python_mrcz_060, [], []
    for dtype in DTYPES:
        image, path = ramp((4, 33, 40), dtype), str(tmp_path / f"{dtype}.mrcz")
        images.append(image)
        mrcz.writeMRC(image, path, compressor=codec, backend="blosc2")
        jobs.append({"do": "read", "path": path})
    for image, answer in zip(images, judge(jobs), strict=True):
        assert_identical(answer["array"], image)
    its = [image for image in images if image.dtype != "c8"]
    jobs = [{"do": "write", "array": judge.array(image), "list": False,
             "path": str(tmp_path / f"{image.dtype}_its.mrcz"),
             "options": {"compressor": codec, "backend": "blosc2"}} for image in its]
    judge(jobs)
    for job, image in zip(jobs, its, strict=True):
        found, header = mrcz.readMRC(job["path"])
        assert_identical(found, image)
        assert header["backend"] == "blosc2"


def test_we_read_its_uint4(python_mrcz, tmp_path):
    """It can't read ours: of uint4 it reads no list, and every valid volume is one to it."""
    image = (np.arange(2 * 12 * 20).reshape(2, 12, 20) % 15).astype("u1")
    path = str(tmp_path / "theirs.mrc")
    python_mrcz([{"do": "write", "array": python_mrcz.array(image.astype("i1")), "list": False,
                  "path": path, "options": {"dtype": "uint4"}}])
    assert_identical(mrcz.readMRC(path)[0], image)
