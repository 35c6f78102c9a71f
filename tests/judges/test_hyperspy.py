"""HyperSpy saves and loads through us, and RosettaSciIO's own tests of its MRCZ plugin pass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import mrcz

from ..builders import ramp
from ..checks import HEADER_KEYS, assert_identical
from .conftest import environment

pytestmark = pytest.mark.judge

DTYPES = ("i1", "i2", "u2", "f4", "c8", "i4", "u4", "f2")
CODECS = (None, "blosclz", "lz4", "lz4hc", "zlib", "zstd")
METADATA = {"Acquisition_instrument": {"TEM": {"beam_energy": 300.0, "magnification": 25000}},
            "mine": {"list": [1, 2.5, "µ"], "flag": True}}
AXES = [[5.6, "nm", "z"], [0.12, "nm", "y"], [0.12, "nm", "x"]]


@pytest.mark.parametrize("do_async", [False, True])
def test_save_and_load(do_async, hyperspy, tmp_path):
    jobs, images = [], []
    for dtype, codec in itertools.product(DTYPES, CODECS):
        image, path = ramp((3, 33, 40), dtype), str(tmp_path / f"{dtype}_{codec}.mrcz")
        options = {"compressor": codec, "clevel": 1, "do_async": do_async}
        jobs.append({"do": "save", "array": hyperspy.array(image), "path": path, "axes": AXES,
                     "metadata": METADATA, "options": options})
        images.append(image)
    hyperspy(jobs)
    answers = hyperspy([{"do": "load", "path": job["path"]} for job in jobs])
    for job, image, answer in zip(jobs, images, answers, strict=True):
        assert_identical(answer["array"], image)
        for key, value in METADATA.items():
            assert answer["metadata"][key] == value
        np.testing.assert_allclose([scale for scale, _ in answer["axes"]],
                                   [scale for scale, *_ in AXES], rtol=1e-6)
        found, header = mrcz.readMRC(job["path"])
        assert_identical(found, image)
        assert header["mine"] == METADATA["mine"]


def test_a_second_save_changes_nothing(hyperspy, tmp_path):
    """Header keys that leak into the user's metadata would come back with every save."""
    first = [str(tmp_path / f"first_{codec}.mrcz") for codec in CODECS]
    second = [str(tmp_path / f"second_{codec}.mrcz") for codec in CODECS]
    for path, codec in zip(first, CODECS, strict=True):
        mrcz.writeMRC(ramp((3, 33, 40), "f4"), path, compressor=codec, meta={"mine": {"a": 1}})
    loaded = hyperspy([{"do": "load", "path": path} for path in first])
    for answer in loaded:
        assert set(answer["metadata"]) <= {"General", "Signal", "_HyperSpy", "mine",
                                           "Acquisition_instrument"}
        assert not set(answer["metadata"]) & set(HEADER_KEYS)
    hyperspy([{"do": "save", "array": hyperspy.array(answer["array"]), "path": path,
               "metadata": answer["metadata"], "axes": AXES, "options": {"compressor": codec}}
              for answer, path, codec in zip(loaded, second, CODECS, strict=True)])
    again = hyperspy([{"do": "load", "path": path} for path in second])
    for before, after in zip(loaded, again, strict=True):
        assert after["metadata"]["mine"] == {"a": 1}
        assert set(after["metadata"]) == set(before["metadata"])


def test_files_without_metadata(hyperspy, tmp_path):
    image = ramp((3, 33, 40), "u2")
    paths = [str(tmp_path / f"bare_{codec}.mrcz") for codec in CODECS]
    for path, codec in zip(paths, CODECS, strict=True):
        mrcz.writeMRC(image, path, compressor=codec, pixelsize=[1.0, 2.0, 3.0])
    for answer in hyperspy([{"do": "load", "path": path} for path in paths]):
        assert_identical(answer["array"], image)
        np.testing.assert_allclose([scale for scale, _ in answer["axes"]], [0.1, 0.2, 0.3],
                                   rtol=1e-5)


def test_rosettasciios_own_tests(run_python):
    done = run_python(environment("MRCZ_JUDGE_HYPERSPY"), "-m", "pytest", "-q", "-p",
                      "no:cacheprovider", "--noconftest",  # which would download other files
                      "--pyargs", "rsciio.tests.test_mrcz")
    assert done.returncode == 0, done.stdout[-5000:]
    assert "65 passed" in done.stdout, done.stdout[-500:]
    assert "skipped" not in done.stdout, done.stdout[-500:]
