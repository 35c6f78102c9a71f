"""``mrcz diff``: whether two files hold the same, and if not, what differs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..copies.original import user_metadata
from ..copies.slabs import slab_ranges
from ..parallel import threads_of
from ..pixels import Pixels
from ..reader import MRCReader
from .console import plain, print_json, progress_bar, say, seven_digits
from .files import require_file, thread_count

__all__ = ["TROUBLE", "add_parser", "run"]

TROUBLE = 2
"""What to exit with if they can't be compared: 1 says that they differ."""

COMPARED_KEYS = ("pixelsize", "voltage", "C3", "gain")
"""What a header says of the experiment; the rest is of the form of the file."""

RELATIVE = 1e-6
"""Numbers of headers are float32."""


EPILOG = """\
examples:
  mrcz diff movie.mrc movie.mrcz
  mrcz diff --pixels --tolerance 1e-6 old.map new.map
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "diff", help="compare two files, pixel by pixel",
        description="Compare pixels, pixel size, voltage, C3, gain and metadata of two files, "
                    "whatever their compression, byte order or type. Exits with 0 if they are the "
                    "same, 1 if not, 2 if they can't be compared.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    parser.add_argument("--tolerance", type=_tolerance, default=0.0, metavar="T",
                        help="difference of pixels that counts as none (default 0)")
    parser.add_argument("--pixels", action="store_true", help="compare pixels alone")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="default: one a core")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    return parser


def _tolerance(text: str) -> float:
    """Return a number that differences can be compared with, which NaN is not."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


@dataclass
class PixelDifference:
    """How the pixels of two files differ.

    Attributes
    ----------
    differing : int
        Pixels that differ by more than the tolerance.
    largest : float
        Largest absolute difference; infinite where one of two is NaN.
    frames : list of int
        Frames that differ.
    """

    differing: int = 0
    largest: float = 0.0
    frames: list[int] = field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    for path in (args.first, args.second):
        require_file(path, args.command)
    with MRCReader(args.first) as first, MRCReader(args.second) as second:
        found: dict[str, Any] = {} if args.pixels else compare_headers(first, second)
        if first.shape != second.shape:
            found["shape"] = [first.shape, second.shape]
        else:
            pixels = compare_pixels(first, second, args)
            if pixels.differing:
                found["pixels"] = vars(pixels)
        dtypes = (first.dtype.name, second.dtype.name)
    if args.json:
        print_json(found)
    elif not args.quiet:
        _tell(found, args, dtypes)
    return 1 if found else 0


def compare_headers(first: MRCReader, second: MRCReader) -> dict[str, Any]:
    """Return what the headers and the metadata say differently: name to both values."""
    headers = (first.header("\\AA"), second.header("\\AA"))
    found: dict[str, Any] = {}
    for key in COMPARED_KEYS:
        one, other = (np.asarray(header[key], float) for header in headers)
        if not np.allclose(one, other, rtol=RELATIVE, atol=0, equal_nan=True):
            found[key] = [seven_digits(plain(header[key])) for header in headers]
    metas = [user_metadata(reader.metadata) for reader in (first, second)]
    for key in sorted({*metas[0], *metas[1]}):
        if not (all(key in meta for meta in metas) and _same(metas[0][key], metas[1][key])):
            found[f"metadata.{key}"] = [plain(meta.get(key)) for meta in metas]
    return found


def _same(one: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same; NaN is itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)


def compare_pixels(
    first: MRCReader, second: MRCReader, args: argparse.Namespace
) -> PixelDifference:
    """Compare the pixels of two files of one shape, in bounded memory."""
    found = PixelDifference()
    threads = threads_of(args.threads)
    itemsize = max(first.dtype.itemsize, second.dtype.itemsize)
    frame_bytes = int(np.prod(first.shape[1:])) * itemsize
    with progress_bar(first.record.nz * frame_bytes, quiet=args.quiet, title="diff") as bar:
        for part in slab_ranges(range(first.record.nz), frame_bytes):
            one, other = first.read(part, threads=threads), second.read(part, threads=threads)
            for number, a, b in zip(part, one, other, strict=True):
                _compare_frame(number, a, b, args.tolerance, found)
            bar.update(len(part) * frame_bytes)
    return found


def _compare_frame(
    number: int, a: Pixels, b: Pixels, tolerance: float, found: PixelDifference
) -> None:
    different = a != b
    if a.dtype.kind in "fc" and b.dtype.kind in "fc":
        different &= ~(np.isnan(a) & np.isnan(b))
    if not different.any():
        return
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a[different].astype(wide) - b[different].astype(wide))
    apart = np.where(np.isnan(apart), np.inf, apart)
    count = int(np.count_nonzero(apart > tolerance))
    if count:
        found.differing += count
        found.frames.append(number)
        found.largest = max(found.largest, float(apart.max()))


def _tell(found: dict[str, Any], args: argparse.Namespace, dtypes: tuple[str, str]) -> None:
    if not found:
        form = "" if dtypes[0] == dtypes[1] else f" (stored as {dtypes[0]} and {dtypes[1]})"
        say(f"{args.first} and {args.second} hold the same{form}")
        return
    for key, values in found.items():
        if key == "pixels":
            frames = values["frames"]
            some = ", ".join(map(str, frames[:10])) + (", ..." if len(frames) > 10 else "")
            say(f"pixels: {values['differing']} differ, by up to {values['largest']:g}, in frames "
                f"{some}")
        elif key == "shape":
            say("shape: " + " and ".join(" x ".join(map(str, shape)) for shape in values))
        else:
            say(f"{key}: {values[0]} and {values[1]}")
