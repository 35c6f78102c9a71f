"""Measurements that need a process of their own: ``python -m benchlib.probes NAME JSON``."""

from __future__ import annotations

import gc
import importlib
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .contenders import Pixels
from .worker import Mismatch, peak, resident, timed

GRID_CODECS = (("zstd", 1), ("zstd", 2), ("zstd", 3), ("lz4", 9), ("lz4hc", 9), ("zlib", 3))
GRID_BLOCKS = (1 << 16, 1 << 18, 1 << 20, 1 << 22)
GRID_BYTES = 16 << 20
"""How much of a data set every combination is tried on, at most."""
MRC_TYPES = ("i1", "i2", "i4", "u1", "u2", "u4", "f4", "f8", "c8")
"""Pixel types of real files that are compressed as they are."""


def grid(data: str, limit: int) -> list[dict[str, Any]]:
    """Compress a sample with every codec, filter and block size; blosc alone, whole chunks."""
    blosc = importlib.import_module("blosc")
    pixels = np.load(data, mmap_mode="r")
    limit = min(limit, GRID_BYTES)
    frames = [np.ascontiguousarray(frame[: max(1, limit // frame[0].nbytes)])
              for frame in pixels[: max(1, limit // pixels[0].nbytes)]]
    nbytes = sum(frame.nbytes for frame in frames)
    filters = {"bitshuffle": blosc.BITSHUFFLE, "shuffle": blosc.SHUFFLE,
               "noshuffle": blosc.NOSHUFFLE}
    found = []
    for (codec, level), name, block in itertools.product(GRID_CODECS, filters, GRID_BLOCKS):
        blosc.set_blocksize(block)
        packed = sum(len(blosc.compress_ptr(frame.ctypes.data, frame.size, frame.itemsize, level,
                                            filters[name], codec)) for frame in frames)
        found.append({"codec": codec, "level": level, "filter": name, "block": block,
                      "ratio": nbytes / packed})
    return found


def memory(case: str, path: str, compressor: str | None, threads: int, nbytes: int) -> int:
    """Return by how much a call raises the peak RSS beyond its input and output, in bytes."""
    mrcz = importlib.import_module("mrcz")
    if case.startswith("write"):
        pixels = _memory_input(case, nbytes)
        before = resident()
        mrcz.writeMRC(pixels, path, compressor=compressor, n_threads=threads)
        return peak() - before
    shape = mrcz.readMRCHeader(path)[0]["dimensions"] if case == "read out" else ()
    out = np.ones(shape, np.uint16) if case == "read out" else None
    before = resident()
    pixels = mrcz.readMRC(path, n_threads=threads, **({} if out is None else {"out": out}))[0]
    return peak() - before - (pixels.nbytes if out is None else 0)


def _memory_input(case: str, nbytes: int) -> Pixels:
    """Return `nbytes` of resident pixels of the kind that `case` names."""
    rng = np.random.default_rng(1)
    if case == "write float64":
        pixels = np.empty((max(2, nbytes // (8 << 22)), 2048, 2048))
        pixels[:] = rng.standard_normal(pixels.shape[1:])
        return pixels
    if case == "write strided":
        pixels = np.empty((max(2, nbytes // (2 << 22)), 2048, 4096), np.uint16)
        pixels[:] = rng.poisson(40, pixels.shape[1:])
        return pixels[:, :, ::2]
    pixels = np.empty((max(2, nbytes // (2 << 24)), 4096, 4096), np.uint16)
    pixels[:] = rng.poisson(40, pixels.shape[1:])
    return pixels


def concurrent(data: str, folder: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Time two reads one after the other, and two at once from two threads."""
    mrcz = importlib.import_module("mrcz")
    pixels = np.load(data)
    paths = [str(Path(folder) / name) for name in ("first.mrcz", "second.mrcz")]
    for path in paths:
        mrcz.writeMRC(pixels, path, compressor="zstd", n_threads=threads)

    def read(path: str) -> Pixels:
        return mrcz.readMRC(path, n_threads=threads)[0]

    times: dict[str, list[float]] = {"serial": [], "concurrent": []}
    with ThreadPoolExecutor(2) as pool:
        ways = [("serial", map), ("concurrent", pool.map)]
        for number in range(rounds + 1):
            for name, run in ways[:: -1 if number % 2 else 1]:
                gc.collect()
                results, answer = timed(lambda run=run: list(run(read, paths)))
                if not all(np.array_equal(result, pixels) for result in results):
                    raise Mismatch(f"{name} reads")
                if number:
                    times[name].append(answer["seconds"])
                del results
    for path in paths:
        Path(path).unlink()
    return times


def write_many(path: str, frames: int) -> None:
    """Write a file of many small frames; frame k holds k at its first pixel."""
    mrcz = importlib.import_module("mrcz")
    pixels = np.random.default_rng(2).poisson(1.0, (frames, 64, 64)).astype(np.uint16)
    pixels[:, 0, 0] = np.arange(frames) % 65521
    mrcz.writeMRC(pixels, path, compressor="zstd")


def read_one_of_many(path: str, index: int) -> float:
    """Return the seconds of opening a file and reading one frame, in this fresh process."""
    mrcz = importlib.import_module("mrcz")
    started = time.perf_counter()
    with mrcz.open(path) as stack:
        frame = stack[index]
    seconds = time.perf_counter() - started
    if frame[0, 0] != index % 65521:
        raise Mismatch(f"frame {index} of {path}")
    return seconds


def per_frame(path: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that a frame of next to no pixels takes one thread."""
    mrcz = importlib.import_module("mrcz")
    pixels = np.zeros((10000, 64, 64), np.int8)
    times: dict[str, list[float]] = {"read": [], "write": []}
    for number in range(rounds + 1):
        written = timed(lambda: mrcz.writeMRC(pixels, path, compressor="lz4", n_threads=1))[1]
        found, read = timed(lambda: mrcz.readMRC(path, n_threads=1)[0])
        if number:
            times["write"].append(written["seconds"] / len(pixels))
            times["read"].append(read["seconds"] / len(pixels))
        if not np.array_equal(found, pixels):
            raise Mismatch("per_frame")
        Path(path).unlink()
    return times


def real(folder: str) -> list[dict[str, Any]]:
    """Compress every image under `folder` with 'auto' and with zstd 1, in memory."""
    mrcz = importlib.import_module("mrcz")
    found = []
    for name, pixels in _images(mrcz, Path(folder)):
        sizes = {}
        for codec in ("auto", "zstd"):
            file = io.BytesIO()
            mrcz.writeMRC(pixels, file, compressor=codec)
            sizes[codec] = len(file.getvalue())
        found.append({"file": name, "nbytes": pixels.nbytes, **sizes})
    return found


def _images(mrcz: Any, folder: Path) -> Iterator[tuple[str, Pixels]]:
    """Yield the images of MRC and DM files that are of a type that MRC has."""
    for path in sorted(folder.rglob("*")):
        name = path.name.lower().removesuffix(".gz")
        images: list[Any] = []
        if name.endswith((".mrc", ".mrcs", ".map")):
            images = [mrcz.readMRC(str(path))[0]]
        elif name.endswith((".dm3", ".dm4")):
            images = [image.read() for image in mrcz.readDM4(str(path)).im]
        for number, pixels in enumerate(images):
            if (isinstance(pixels, np.ndarray) and pixels.ndim in (2, 3)
                    and pixels.dtype.str[1:] in MRC_TYPES):
                yield f"{path.name} image {number}", pixels


def main(name: str, text: str) -> None:
    """Run one and print its result."""
    probes: dict[str, Callable[..., Any]] = {
        "grid": grid, "memory": memory, "concurrent": concurrent, "real": real,
        "per_frame": per_frame, "write_many": write_many, "read_one_of_many": read_one_of_many,
    }
    json.dump(probes[name](**json.loads(text)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
