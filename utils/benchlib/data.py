"""Making the seeded pixels: ``python -m benchlib.data FILE JSON``."""

from __future__ import annotations

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

SEED = 20140101


def make(path: str, shape: list[int], dtype: str, mean: float | None, threads: int) -> None:
    """Write pixels as .npy; the same for any number of threads."""
    pixels = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(shape))

    def fill(number: int) -> None:
        rng = np.random.default_rng([SEED, number])
        if mean is None:
            pixels[number] = rng.standard_normal(pixels.shape[1:], np.float32)
        else:
            pixels[number] = rng.poisson(mean, pixels.shape[1:])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(pixels))))
    pixels.flush()


def entropy_limit(path: str) -> float | None:
    """Return the best ratio that independent integer pixels allow; None for floats.

    Shannon's limit: bits a pixel, over the entropy of the pixels' distribution.
    """
    pixels = np.load(path, mmap_mode="r")
    if pixels.dtype.kind == "f":
        return None
    counts = np.zeros(1 << 16, np.int64)
    for frame in pixels:
        found = np.bincount(frame.ravel())
        counts[: len(found)] += found
    shares = counts[counts > 0] / pixels.size
    return 8 * pixels.dtype.itemsize / -math.fsum(shares * np.log2(shares))


def main(path: str, text: str) -> None:
    """Make one file and print what is known of it."""
    wanted: dict[str, Any] = json.loads(text)
    make(path, **wanted)
    json.dump({"entropy_limit": entropy_limit(path)}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
