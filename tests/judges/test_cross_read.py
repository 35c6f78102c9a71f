"""Random stacks, written by us and read by python-mrcz 0.6.0, and the other way round."""

from __future__ import annotations

import json
import random
import time

import numpy as np
import pytest

import mrcz

from ..checks import assert_identical, bits
from ..processes import by_night
from .conftest import HERE, Judge, environment, run

pytestmark = pytest.mark.judge

COUNT = by_night(1000, 100)
SEED = by_night(int(time.strftime("%Y%m%d")), 20261121)
DTYPES = ("i1", "i2", "u2", "f4", "c8")
CODECS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")


def stack(number: int, noise: bool) -> np.ndarray:
    """Any bits at all, or few different ones; pixels of every dtype that both write."""
    dice = np.random.default_rng((SEED, number))
    dtype = np.dtype(DTYPES[number % len(DTYPES)])
    shape = tuple(int(size) for size in dice.integers((2, 30, 30), (8, 120, 120)))
    raw = dice.integers(0, 256, int(np.prod(shape)) * dtype.itemsize).astype("u1")
    if not noise:
        raw = raw % 2 * np.uint8(dice.integers(1, 256))
    return raw.view(dtype).reshape(shape)


def test_random_stacks_both_ways(tmp_path):
    judge = Judge(environment("MRCZ_JUDGE_060"), "ask_python_mrcz.py", tmp_path)
    dice = random.Random(SEED)
    reads, writes, given, taken = [], [], [], []
    for number in range(COUNT):
        image, as_list = stack(number, noise=number % 3 == 0), dice.random() < 0.3
        # A third of what compresses well, python-mrcz 0.6.0 writes so that nothing reads it.
        theirs_image = stack(number, noise=True)
        given.append((image, as_list))
        taken.append((theirs_image, as_list))
        ours, theirs = tmp_path / f"{number}.ours", tmp_path / f"{number}.theirs"
        mrcz.writeMRC(list(image) if as_list else image, ours, compressor=dice.choice(CODECS),
                      clevel=dice.randint(0, 9), n_threads=dice.randint(1, 3),
                      checksum=dice.random() < 0.5,
                      shuffle=dice.choice(("noshuffle", "shuffle", "bitshuffle")),
                      blocksize=dice.choice((None, 1024, 1 << 14)))
        reads.append({"do": "read", "path": str(ours)})
        writes.append({"do": "write", "array": judge.array(theirs_image), "list": as_list,
                       "path": str(theirs),
                       "options": {"compressor": dice.choice((None, *CODECS)),
                                   "clevel": dice.randint(1, 9)}})
    for (image, as_list), answer in zip(given, judge(reads), strict=True):
        assert answer["list"] == as_list
        assert_identical(answer["array"], image)
    judge(writes)
    exact = 0
    for (image, as_list), job, answer in zip(taken, writes, self_read(judge, writes), strict=True):
        # Some it writes so that not even python-mrcz reads them: it is its own judge.
        if "error" in answer or bits(np.load(answer["array"])) != bits(image):
            continue
        assert_identical(mrcz.readMRC(job["path"])[0], list(image) if as_list else image)
        exact += 1
    print(f"seed {SEED}: {COUNT} of ours read by python-mrcz, {exact} of its {COUNT} sound, "
          f"read by us")
    assert exact >= 0.9 * COUNT


def self_read(judge, jobs):
    """What python-mrcz makes of its own files, errors and all."""
    reads = [{"do": "read", "path": job["path"]} for job in jobs]
    done = run(judge.python, str(HERE / "ask_python_mrcz.py"), str(judge.folder),
               input=json.dumps(reads))
    return json.loads(done.stdout.splitlines()[-1])
