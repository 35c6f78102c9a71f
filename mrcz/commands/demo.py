"""``mrcz demo``: a round trip of real and of simulated data, with proof and figures."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from ..ioMRC import readMRC, writeMRC
from ..parallel import default_threads
from ..pixels import Pixels
from ..units import size_text
from .console import print_json, say

__all__ = ["add_parser", "run"]

VOLUME = "EMD-3001.map"
MOVIE_SHAPE = (16, 2048, 2048)
DOSE = 0.6
"""Electrons a pixel and frame, a usual rate of counting detectors."""
REPEATS = 3


EPILOG = """\
examples:
  mrcz demo
  mrcz demo --json
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo", help="compress, read back and check sample data",
        description="Compress a map of the Electron Microscopy Data Bank and a simulated "
                    "counting movie, read them back, check every bit, and print sizes, ratio "
                    "and speed on this machine. Leaves nothing behind.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    with as_file(files("mrcz") / "data" / VOLUME) as path:
        volume, header = readMRC(path)
    results = []
    with tempfile.TemporaryDirectory(prefix="mrcz-demo-") as folder:
        if not args.json:
            say(f"{default_threads()} threads; times are the best of {REPEATS}, to and from "
                f"{folder}")
        results.append(round_trip(f"{VOLUME}, a map of the EMDB", volume, folder,
                                  header["pixelsize"]))
        _tell(args, results[-1])
        results.append(round_trip("simulated counting movie", counting_movie(), folder, 1.06))
        _tell(args, results[-1])
    if args.json:
        print_json(results)
    return 0 if all(result["identical"] for result in results) else 1


def counting_movie(shape: tuple[int, int, int] = MOVIE_SHAPE) -> Pixels:
    """Return a movie of single electrons, the same every time.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Frames, rows, columns.

    Returns
    -------
    (nz, ny, nx) array of int8
        Poisson counts.
    """
    random = np.random.default_rng(2014)
    movie = np.empty(shape, np.int8)
    for frame in movie:
        frame[...] = random.poisson(DOSE, frame.shape)
    return movie


def round_trip(name: str, image: Pixels, folder: str, pixelsize: Any) -> dict[str, Any]:
    """Write an array compressed, read it back, and return what came of it."""
    path = os.path.join(folder, "demo.mrcz")
    writing = _best_time(lambda: writeMRC(image, path, pixelsize=pixelsize, compressor="auto"))
    reading = _best_time(lambda: readMRC(path))
    read, header = readMRC(path)
    return {
        "name": name,
        "shape": image.shape,
        "dtype": image.dtype.name,
        "compressor": header["compressor"],
        "bytes": image.nbytes,
        "file_bytes": os.path.getsize(path),
        "ratio": image.nbytes / os.path.getsize(path),
        "write_bytes_per_second": image.nbytes / writing,
        "read_bytes_per_second": image.nbytes / reading,
        "identical": read.dtype == image.dtype and read.tobytes() == image.tobytes(),
    }


def _best_time(action: Any) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def _tell(args: argparse.Namespace, result: dict[str, Any]) -> None:
    if args.json:
        return
    shape = " x ".join(map(str, result["shape"]))
    say()
    say(f"{result['name']}: {shape}, {result['dtype']}")
    say(f"  size   {size_text(result['bytes'])} -> {size_text(result['file_bytes'])} "
        f"({result['compressor'] or 'uncompressed'}), ratio {result['ratio']:.2f}")
    say(f"  write  {size_text(result['write_bytes_per_second'])}/s")
    say(f"  read   {size_text(result['read_bytes_per_second'])}/s")
    say("  read back: " + ("identical to the last bit" if result["identical"]
                           else "DIFFERENT: please report this"))
