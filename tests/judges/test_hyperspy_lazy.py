"""``hs.load(path, lazy=True)``, as it is in HyperSpy: nothing is decoded before it is needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

import mrcz

from ..checks import HEADER_KEYS, assert_identical
from .conftest import HERE, Judge, environment

pytestmark = pytest.mark.judge

MB = 1 << 20
MOVIE = np.random.default_rng(8).poisson(3, (200, 256, 512)).astype("uint16")  # 256 KiB a frame
METADATA = {"Acquisition_instrument": {"TEM": {"beam_energy": 300.0}}, "mine": {"list": [1, "µ"]}}


@pytest.fixture
def lazy(tmp_path: Path) -> Judge:
    return Judge(environment("MRCZ_JUDGE_HYPERSPY"), "ask_hyperspy_lazy.py", tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "x.mrcz")
    mrcz.writeMRC(MOVIE, path, compressor="zstd", meta=METADATA, pixelsize=[56, 1.2, 1.2],
                  voltage=300.0)
    return path


def test_nothing_is_decoded_at_load_and_one_frame_for_one_frame(lazy, path):
    answer, = lazy([{"do": "open", "path": path, "frame": 3}])
    assert answer["lazy"] and answer["is_dask"]
    assert answer["decoded"] == 0
    assert answer["shape"] == list(MOVIE.shape)
    assert answer["dtype"] == MOVIE.dtype.str
    assert answer["decoded_for_frame"] == MOVIE[3].nbytes
    assert_identical(answer["array"], MOVIE[3])
    assert np.array_equal(answer["rows"], MOVIE[4, 10:20])
    assert answer["decoded_for_rows"] <= MOVIE[4].nbytes
    np.testing.assert_allclose([scale for scale, _ in answer["axes"]], [5.6, 0.12, 0.12],
                               rtol=1e-6)


def test_memory_stays_flat(lazy, tmp_path):
    path = str(tmp_path / "large.mrcz")
    frame = np.random.default_rng(0).poisson(1, (2048, 2048)).astype("uint16")
    with mrcz.create(path, (50, 2048, 2048), "uint16", compressor="lz4") as writer:
        for number in range(50):
            writer.append(frame + np.uint16(number))
    opened, reduced, saved = lazy([
        {"do": "open", "path": path, "frame": 7},
        {"do": "reduce", "path": path},
        {"do": "save", "path": path, "to": path, "options": {"compressor": "lz4"}}])
    assert opened["nbytes"] == 400 * MB
    assert opened["grown"] < 30
    assert opened["grown_by_frame"] < 80
    assert_identical(opened["array"], frame + np.uint16(7))
    assert saved["grown"] < 300
    np.testing.assert_allclose(reduced["array"], frame + 24.5)
    image, _ = mrcz.readMRC(path, idx=49)
    assert_identical(image, 2 * (frame + np.uint16(49)))


def test_the_users_metadata_and_no_more(lazy, path):
    answer, = lazy([{"do": "open", "path": path}])
    assert set(answer["metadata"]) == {"General", "Signal", "_HyperSpy", *METADATA}
    assert answer["metadata"]["mine"] == METADATA["mine"]
    assert set(answer["header"]) == {*HEADER_KEYS, *METADATA}
    lazy([{"do": "save", "path": path, "to": path, "options": {"compressor": "zstd"}}])
    again, = lazy([{"do": "open", "path": path}])
    assert set(again["metadata"]) == set(answer["metadata"])
    assert again["metadata"]["mine"] == METADATA["mine"]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler(lazy, path, scheduler):
    answer, = lazy([{"do": "compute", "path": path, "scheduler": scheduler}])
    assert_identical(answer["array"], MOVIE)


def test_pickles_to_a_worker_that_notices_a_changed_file(lazy, tmp_path):
    given = lazy.array(MOVIE[:20])
    answer, = lazy([{"do": "distribute", "path": str(tmp_path / "a.mrcz"), "given": given}])
    assert answer["pickled_bytes"] < 4000
    for step, array in enumerate(answer["arrays"]):
        assert_identical(np.load(array), MOVIE[:20] + np.uint16(step))


@pytest.mark.parametrize("options", [{"compressor": None}, {"compressor": "zstd"},
                                     {"compressor": "lz4", "do_async": True}])
def test_saved_elsewhere_and_onto_itself(lazy, path, tmp_path, options):
    other = str(tmp_path / "other.mrcz")
    lazy([{"do": "save", "path": path, "to": other, "options": options},
          {"do": "save", "path": path, "to": path, "options": options}])
    for name in (other, path):
        image, header = mrcz.readMRC(name)
        assert_identical(image, 2 * MOVIE)
        assert header["compressor"] == options["compressor"]
        assert header["mine"] == METADATA["mine"]
    assert sorted(os.listdir(tmp_path)) == ["other.mrcz", "x.mrcz"]


def test_shapes_are_flat(lazy, tmp_path):
    """Three dimensions, whatever the file holds; HyperSpy would give four wrong axes."""
    cases = {"one": MOVIE[:1], "list": list(MOVIE[:6]),
             "volumes": [MOVIE[:3], MOVIE[3:6]], "volume": MOVIE[:6]}
    for name, image in cases.items():
        mrcz.writeMRC(image, tmp_path / f"{name}.mrcz", compressor="zstd")
    answers = lazy([{"do": "compute", "path": str(tmp_path / f"{name}.mrcz"),
                     "scheduler": "threads"} for name in cases])
    for name, answer in zip(cases, answers, strict=True):
        assert_identical(answer["array"], MOVIE[:1] if name == "one" else MOVIE[:6])


def test_rosettasciios_own_tests_reloading_lazily(run_python):
    done = run_python(environment("MRCZ_JUDGE_HYPERSPY"), "-c",
                      f"import sys, pytest; sys.path.insert(0, {str(HERE)!r}); "
                      "sys.exit(pytest.main(sys.argv[1:]))",
                      "-q", "-p", "lazy_reload", "-p", "no:cacheprovider", "--noconftest",
                      "--pyargs", "rsciio.tests.test_mrcz")
    assert done.returncode == 0, done.stdout[-5000:]
    assert "65 passed" in done.stdout, done.stdout[-500:]
    assert "skipped" not in done.stdout, done.stdout[-500:]
    lazy, loaded = map(int, re.search(r"loaded lazily: (\d+) of (\d+)", done.stdout).groups())
    assert lazy == loaded >= 65
