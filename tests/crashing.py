"""Writers that are killed with SIGKILL at random moments, and what is left read after each.

One interpreter forks writer after writer, so that a kill costs a few milliseconds. A kill
comes at a moment drawn from several times the duration of a write.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mrcz
from mrcz.reader import MRCReader

from .processes import memory_folder

FRAMES, SIDE = 8, 160
SEEN = {"to complete": 0, "left over": 0}
OPTIONS: dict[str, dict[str, object]] = {
    "raw": {}, "zstd": {"compressor": "zstd"},
    "checksum": {"compressor": "zstd", "checksum": True},
}  # fmt: skip


def frames(number: int, count: int) -> np.ndarray:
    """Frames that tell their number at every pixel, yet don't compress to nothing."""
    noise = np.random.default_rng(number).integers(0, 64, (count, SIDE, SIDE))
    return (noise + 64 * number).astype("int32")


def check_findings(path: Path, options: dict[str, object]) -> None:
    """A kill may leave bytes that belong to nothing, or a change to complete; no more."""
    findings = [str(finding) for finding in mrcz.verify(path)]
    assert all("was interrupted" in finding for finding in findings), findings
    SEEN["to complete"] += any("not yet in place" in finding for finding in findings)
    SEEN["left over"] += any("belong to nothing" in finding for finding in findings)
    with MRCReader(path) as reader:
        assert (reader.trailer is not None) == ("checksum" in options), "checksums are gone"


class Write:
    """A file written anew again and again: the n-th write's pixels and metadata, or the next."""

    def __init__(self, path: Path, options: dict[str, object]) -> None:
        self.path, self.options, self.number = path, options, 0
        self.once()

    def once(self) -> None:
        self.number += 1
        mrcz.writeMRC(frames(self.number, FRAMES), self.path, meta={"number": self.number},
                      **self.options)

    def check(self) -> None:
        image, header = mrcz.readMRC(self.path)
        assert header["number"] >= self.number, "a finished write is gone"
        self.number = header["number"]
        assert np.array_equal(image, frames(self.number, FRAMES)), "garbage"
        assert mrcz.verify(self.path) == []


class Append:
    """A file that grows by two frames a time."""

    def __init__(self, path: Path, options: dict[str, object]) -> None:
        self.path, self.options, self.number = path, options, 1
        mrcz.writeMRC(frames(0, 2), path, **options)

    def once(self) -> None:
        mrcz.writeMRC(frames(self.number, 2), self.path, idx=2 * self.number, **self.options)
        self.number += 1

    def check(self) -> None:
        image, _ = mrcz.readMRC(self.path)
        assert len(image) % 2 == 0, "half an append"
        assert len(image) // 2 >= self.number, "a finished append is gone"
        self.number = len(image) // 2
        for number in range(self.number):
            assert np.array_equal(image[2 * number : 2 * number + 2], frames(number, 2)), "garbage"
        check_findings(self.path, self.options)
        if self.number > 60:  # start anew: reading gets slow
            Append.__init__(self, self.path, self.options)


class Overwrite:
    """A file three of whose frames are replaced, again and again others."""

    def __init__(self, path: Path, options: dict[str, object]) -> None:
        self.path, self.options, self.number = path, options, 0
        self.now, self.seen = frames(0, FRAMES), 0
        mrcz.writeMRC(self.now, path, **options)

    def _next(self, now: np.ndarray, number: int) -> np.ndarray:
        place = number % (FRAMES - 2)
        return np.concatenate([now[:place], frames(number, 3), now[place + 3 :]])

    def once(self) -> None:
        self.number += 1
        mrcz.writeMRC(frames(self.number, 3), self.path, idx=self.number % (FRAMES - 2),
                      **self.options)

    def check(self) -> None:
        image, _ = mrcz.readMRC(self.path)
        newest = int(image.max()) // 64
        assert newest >= self.number, "a finished write is gone"
        while self.seen < newest:
            self.seen += 1
            self.now = self._next(self.now, self.seen)
        self.number = newest
        assert np.array_equal(image, self.now), "garbage"
        check_findings(self.path, self.options)


JOBS: dict[str, Callable[..., Write | Append | Overwrite]] = {
    "write": Write, "append": Append, "overwrite": Overwrite,
}  # fmt: skip


def kill_once(job: Write | Append | Overwrite, rng: random.Random, longest: float) -> None:
    """Fork a process that repeats the job, and kill it."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b".")
        while True:
            job.once()
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    time.sleep(rng.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"


def run(what: str, kills: int, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    folder = Path(memory_folder())
    interrupted = 0
    try:
        jobs = [JOBS[what](folder / name, options) for name, options in OPTIONS.items()]
        began = time.perf_counter()
        for job in jobs:
            job.once()
            job.check()
        longest = 2 * (time.perf_counter() - began) / len(jobs)
        for number in range(kills):
            job = jobs[number % len(jobs)]
            kill_once(job, rng, longest)
            job.check()
            left = [path for path in folder.iterdir() if path.name not in OPTIONS]
            interrupted += bool(left)
            assert all(path.name.endswith(".mrcz-tmp") for path in left), left
            for path in left:
                path.unlink()
    finally:
        shutil.rmtree(folder)
    return {"what": what, "kills": kills, "seed": seed, "temporaries": interrupted, **SEEN,
            "longest_ms": round(1e3 * longest, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=JOBS)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of changes to complete
    print(json.dumps(run(options.what, options.kills, options.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
