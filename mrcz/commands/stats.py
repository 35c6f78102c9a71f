"""``mrcz stats``: exact statistics of all pixels, on the screen and in the header."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..checksums import hash_of
from ..copies.slabs import read_slabs
from ..disk import InPlaceFile, held_for_change
from ..header import HEADER_BYTES, amend
from ..parallel import run_ordered
from ..pixels import Pixels
from ..reader import MRCReader
from ..sources import FileSource
from ..statistics import Statistics, measure
from .console import print_json, print_table, say
from .files import (
    InputFile,
    Job,
    add_file_arguments,
    add_job_arguments,
    find_files,
    for_each_file,
    positive_int,
    size_of,
)

__all__ = ["add_parser", "run"]

BAR_WIDTH = 50


EPILOG = """\
examples:
  mrcz stats *.mrc --jobs 2
  mrcz stats --histogram 40 movie.mrcz
  mrcz stats --fix-header map.mrc         for programs that trust the header
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "stats", help="measure minimum, maximum, mean and RMS of all pixels",
        description="Measure minimum, maximum, mean and RMS deviation of all pixels, in float64. "
                    "Complex pixels have no order, and their statistics are not determined.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    add_job_arguments(parser)
    parser.add_argument("--histogram", type=positive_int, nargs="?", const=20, metavar="BINS",
                        help="count the pixels in bins, too (default 20)")
    parser.add_argument("--fix-header", action="store_true",
                        help="write what was measured into the header; the pixels stay untouched")
    return parser


@dataclass(frozen=True)
class Measured:
    """The statistics of a file."""

    file: str
    statistics: Statistics
    counts: list[int] | None
    edges: list[float] | None
    fixed: bool

    @property
    def values(self) -> tuple[float | None, ...]:
        """Minimum, maximum, mean and RMS; None where they are not determined."""
        found = self.statistics
        if not found.is_determined:
            return (None,) * 4
        return found.minimum, found.maximum, found.mean, found.rms

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        values = dict(zip(("minimum", "maximum", "mean", "rms"), self.values, strict=True))
        page: dict[str, Any] = {"file": self.file, "pixels": self.statistics.count, **values}
        if self.counts is not None:
            page["histogram"] = {"counts": self.counts, "edges": self.edges}
        return page


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    files, failed = find_files(args.files, args.command)
    results: list[Measured] = []

    def work(file: InputFile, job: Job) -> Measured:
        return measure_file(file.path, args, job)

    failed += for_each_file(work, files, args=args, report=results.append,
                            sizes=[size_of(file.path) for file in files])
    if args.json:
        print_json([result.as_dict() for result in results])
    elif results:
        print_table(("file", "minimum", "maximum", "mean", "RMS", "header"),
                    [_row(result) for result in results])
        for result in results if args.histogram else ():
            _print_histogram(result, len(results) > 1)
    return 1 if failed else 0


def measure_file(path: str, args: argparse.Namespace, job: Job) -> Measured:
    """Measure one file, and amend its header if that was asked for."""
    changes = args.fix_header and os.path.isfile(path)
    with held_for_change(path) if changes else nullcontext(), MRCReader(path) as reader:
        if args.fix_header and type(reader.source) is not FileSource:
            raise ValueError(f"{path}: the header of a compressed stream can't be changed; "
                             f"decompress it first")
        found = _measure_all(reader, job, size_of(path))
        counts, edges = None, None
        finite = np.isfinite([found.minimum, found.maximum]).all()
        if args.histogram and found.is_determined and finite:
            counts, edges = _histogram(reader, found, args.histogram, job)
        if args.fix_header:
            fix_header(path, reader, found)
    return Measured(path, found, counts, edges, args.fix_header)


def _measure_all(reader: MRCReader, job: Job, nbytes: int) -> Statistics:
    """Measure frame by frame: a float64 copy of a slab would be eight times its size."""
    parts: list[Statistics] = []
    for part, frames in read_slabs(reader, threads=job.threads):
        run_ordered(frames, partial(measure, with_rms=True), parts.append, threads=job.threads)
        job.advance(len(part) * nbytes // reader.record.nz)
    return sum(parts, Statistics())


def _histogram(
    reader: MRCReader, found: Statistics, bins: int, job: Job
) -> tuple[list[int], list[float]]:
    """Count the pixels, a second time through the file."""
    bins, low, high = _bins(reader, found, bins)
    counts = np.zeros(bins, np.int64)
    edges: Pixels = np.zeros(0)
    for _, frames in read_slabs(reader, threads=job.threads):
        for frame in frames:
            # Float64, or the width of an int8's or float16's range overflows.
            some, edges = np.histogram(frame.astype(np.float64), bins, (low, high))
            counts += some
        job.advance(0)
    return counts.tolist(), edges.tolist()


def _bins(reader: MRCReader, found: Statistics, bins: int) -> tuple[int, float, float]:
    """Return how many bins, and the outer edges; for integers, bins of as many values each."""
    if reader.dtype.kind not in "iu":
        return bins, found.minimum, found.maximum
    values = found.maximum - found.minimum + 1
    width = np.ceil(values / bins)
    count = int(np.ceil(values / width))
    return count, found.minimum - 0.5, found.minimum - 0.5 + count * float(width)


def fix_header(path: str, reader: MRCReader, found: Statistics) -> None:
    """Write statistics into the header of a file, and renew the checksum of the header.

    Parameters
    ----------
    path : str
        The file.
    reader : MRCReader
        Open on it.
    found : Statistics
        Of all its pixels.
    """
    record, trailer = reader.record, reader.trailer
    head = reader.source.read(0, record.data_offset)
    head = amend(head[:HEADER_BYTES], record.byteorder, dmin=found.minimum, dmax=found.maximum,
                 dmean=found.mean, rms=found.rms) + head[HEADER_BYTES:]
    file = InPlaceFile(path)
    try:
        file.write_at(0, head[:HEADER_BYTES])
        if trailer is not None:
            file.write_at(record.data_offset + record.fields["packed_bytes"],
                          replace(trailer, head_checksum=hash_of(head)).pack())
        file.commit()
    finally:
        file.abort()


def _row(result: Measured) -> tuple[str, ...]:
    return (result.file, *("-" if value is None else f"{value:.7g}" for value in result.values),
            "fixed" if result.fixed else "")


def _print_histogram(result: Measured, with_name: bool) -> None:
    say()
    if with_name:
        say(result.file)
    if result.counts is None or result.edges is None:
        say("no histogram: pixels are complex, NaN or infinite")
        return
    most = max(result.counts)
    for count, low, high in zip(result.counts, result.edges, result.edges[1:], strict=False):
        bar = "#" * round(BAR_WIDTH * count / most)
        say(f"{low:>12.5g} to {high:<12.5g} {count:>14} {bar}".rstrip())
