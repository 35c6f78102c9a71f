"""Measure what checksums catch, and what they cost: ``python utils/measure_integrity.py``.

First random corruptions of the chunks of a file, read without its trailer and with it: how
many are refused, harmless, or silently wrong. Then the time to read movies with and without
verification, in turns, as ratios of medians and of minima.
"""

import argparse
import itertools
import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mrcz


def corrupted(good: bytes, start: int, stop: int, dice: random.Random) -> bytes:
    """Change one to sixteen bytes of the chunks, or swap two pieces of them."""
    data = bytearray(good)
    if dice.random() < 0.8:
        place = dice.randrange(start, stop)
        for offset in range(dice.choice((1, 1, 1, 2, 4, 16))):
            if place + offset < stop:
                data[place + offset] ^= dice.randrange(1, 256)
    else:
        size = dice.choice((1, 4, 64))
        one, other = dice.randrange(start, stop - size), dice.randrange(start, stop - size)
        data[one : one + size] = good[other : other + size]
    return bytes(data)


def outcome(path: Path, movie: np.ndarray) -> str:
    """Refused, the same pixels, or silently wrong."""
    try:
        found = mrcz.readMRC(path, n_threads=1)[0]
    except (mrcz.MRCError, OSError):
        return "refused"
    return "same pixels" if np.array_equal(found, movie) else "silently wrong"


def experiment(folder: Path, count: int, seed: int) -> None:
    """Count what comes of corrupted files, with checksums and without."""
    dice = random.Random(seed)
    movie = np.random.default_rng(seed).poisson(3, (4, 48, 64)).astype("i2")
    for codec in ("zstd", "lz4", "blosclz", "zlib"):
        for checksum in (False, True):
            path = folder / "a.mrcz"
            mrcz.writeMRC(movie, path, compressor=codec, blocksize=1024, checksum=checksum)
            good = path.read_bytes()
            stop = 1024 + mrcz.readMRCHeader(path)[0]["packedBytes"]
            tally = dict.fromkeys(("refused", "same pixels", "silently wrong"), 0)
            for _ in range(count):
                data = corrupted(good, 1024, stop, dice)
                if data == good:
                    continue
                path.write_bytes(data)
                tally[outcome(path, movie)] += 1
            what = "with checksums" if checksum else "without"
            print(f"{codec:8} {what:15} {tally}")


def cost(folder: Path, rounds: int) -> None:
    """Time reads with verification and without, in turns: of the wall and of the processors."""
    generator = np.random.default_rng(0)
    movies = {"small frames": generator.poisson(3, (96, 512, 512)).astype("i2"),
              "large frames": generator.poisson(3, (24, 2048, 2048)).astype("i1"),
              "frames in pieces": generator.poisson(3, (4, 4092, 5760)).astype("i1")}
    for what, movie in movies.items():
        for codec, threads in itertools.product(("zstd", "lz4"), (1, None)):
            path = folder / "movie.mrcz"
            mrcz.writeMRC(movie, path, compressor=codec, checksum=True)
            out = np.empty_like(movie)
            times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            for number in range(2 * rounds):
                verify = number % 2 == 0
                wall, cpu = time.perf_counter(), time.process_time()
                mrcz.readMRC(path, out=out, n_threads=threads, verify=None if verify else False)
                times[verify].append((time.perf_counter() - wall, time.process_time() - cpu))
            with_, without = (np.array(times[verify]) for verify in (True, False))
            wall, cpu = np.median(with_ / without, axis=0)  # of neighbours, as loads come and go
            least = with_.min(axis=0) / without.min(axis=0)
            print(f"{what}, {codec:4} threads={threads}: verified / not, median of {rounds} pairs: "
                  f"wall {wall:.3f}, processors {cpu:.3f}; minima {least[0]:.3f}, {least[1]:.3f}")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="corruptions a codec")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cost-only", action="store_true", help="leave out the corruptions")
    parser.add_argument("--rounds", type=int, default=9, help="reads of each kind")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        if not options.cost_only:
            experiment(Path(folder), options.count, options.seed)
        cost(Path(folder), options.rounds)


if __name__ == "__main__":
    main()
