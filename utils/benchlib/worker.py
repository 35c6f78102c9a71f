"""One contender in its own process: ``python -m benchlib.worker NAME CODEC THREADS DATA``.

It reads requests, one JSON object a line, and answers each with another. Times are of
the call alone; what it gave is compared with the input before they are told.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from .contenders import Contender, Mrcz, NumpyToFile, Pixels, contender
from .files import remove, size

ROWS = 64
"""How many rows of a frame the figure of that name is about."""


class Mismatch(Exception):
    """What was read is not what was written."""


class Worker:
    """Does as it is asked, on one data set with one contender."""

    def __init__(self, name: str, codec: str, threads: int, data: str) -> None:
        self.contender: Contender = contender(name, codec, threads)
        # Mapped, so that all workers share one copy; as an ndarray, for a memmap is another
        # thing to some contenders.
        self.pixels: Pixels = np.load(data, mmap_mode="r").view(np.ndarray)
        if isinstance(self.contender, NumpyToFile):
            self.contender.know(self.pixels)
        self.pixels.reshape(-1).view(np.uint8)[::512].sum()  # every page is in this process now

    def write(self, path: str) -> dict[str, Any]:
        """Write all pixels to a new file."""
        remove(path)
        answer = timed(lambda: self.contender.write(self.pixels, path))[1]
        return {**answer, "bytes": size(path)}

    def read(self, path: str) -> dict[str, Any]:
        """Read them all."""
        pixels, answer = timed(lambda: self.contender.read(path))
        self._check(pixels.reshape(self.pixels.shape), self.pixels)
        return answer

    def write_for_peak(self, path: str) -> dict[str, Any]:
        """Write them all, and tell by how much that raises the peak of memory."""
        before = resident()
        answer = self.write(path)
        return {**answer, "peak": peak() - before}

    def read_for_peak(self, path: str) -> dict[str, Any]:
        """Read them all, likewise."""
        before = resident()
        pixels, answer = timed(lambda: self.contender.read(path))
        grown = peak() - before - self.pixels.nbytes
        self._check(pixels.reshape(self.pixels.shape), self.pixels)
        return {**answer, "peak": grown}

    def frame(self, path: str, place: float) -> dict[str, Any]:
        """Read the frame at `place`, 0 to 1, of the stack."""
        index = int(place * len(self.pixels))
        pixels, answer = timed(lambda: self.contender.frame(path, index))
        self._check(pixels[None], self.pixels[index : index + 1])
        return answer

    def rows(self, path: str, place: float) -> dict[str, Any]:
        """Read some rows of that frame."""
        index, (ny, _) = int(place * len(self.pixels)), self.pixels.shape[1:]
        first = int(place * (ny - ROWS))
        assert isinstance(self.contender, Mrcz)
        rows = self.contender.rows
        pixels, answer = timed(lambda: rows(path, index, first, first + ROWS))
        self._check(pixels[None], self.pixels[index : index + 1, first : first + ROWS])
        return answer

    def _check(self, found: Pixels, expected: Pixels) -> None:
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise Mismatch(f"{found.dtype} {found.shape} instead of "
                           f"{expected.dtype} {expected.shape}")
        for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            if not np.array_equal(ours, theirs):
                raise Mismatch(f"frame {number} is not what was written")


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what a call gives, and its wall and processor time in seconds."""
    processor, started = time.process_time(), time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    return result, {"seconds": seconds, "cpu": time.process_time() - processor}


def resident() -> int:
    """Return the resident set, in bytes, and let `peak` be of what comes after.

    Only Linux can forget a peak; elsewhere growth below an earlier one is not seen.
    """
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak()


def peak() -> int:
    """Return the largest resident set, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(worker: Worker, requests: Any, answers: Any) -> None:
    """Answer requests until there are no more.

    A request is for the same again and again, as in a script that goes from file to file. To
    tidy up between such calls would time how fast the processor's caches are filled again.
    """
    for line in requests:
        request = json.loads(line)
        operation, turns = getattr(worker, request.pop("do")), request.pop("turns")
        answer: list[dict[str, float]] | str
        gc.collect()
        try:
            answer = [operation(**request, **turn) for turn in turns]
        except Exception:
            answer = traceback.format_exc(limit=-3)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(name: str, codec: str, threads: str, data: str) -> None:
    """Serve standard input; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Worker(name, codec, int(threads), data), sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
