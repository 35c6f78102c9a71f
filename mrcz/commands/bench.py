"""``mrcz bench``: every codec and filter on a user's own file."""

from __future__ import annotations

import argparse
import io
import time
from typing import Any, NamedTuple

import numpy as np

from ..codec import SHUFFLES, available_compressors
from ..copies.copying import require_absent
from ..errors import MissingCodecError, MRCError
from ..filenames import legible
from ..importers import open_frames
from ..ioMRC import readMRC, writeMRC
from ..modes import BLOSC1_COMPRESSORS
from ..options import AUTO
from ..parallel import threads_of
from ..pictures import save_figure
from ..pixels import Pixels
from ..units import size_text
from .console import UsageError, print_json, print_table, progress_bar, say
from .files import positive_int, require_file, thread_count
from .view import FORMATS

__all__ = ["add_parser", "run"]

SAMPLE_MB = 64
LEVELS = tuple("123456789")


class Trial(NamedTuple):
    """A codec, and what it did."""

    compressor: str
    shuffle: str
    level: int
    ratio: float
    write: float
    read: float


EPILOG = """\
examples:
  mrcz bench movie.mrc -o bench.png
  mrcz bench movie.mrc -c zstd,lz4 -l 1,5,9
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench", help="try every codec and filter on a file of yours",
        description="Compress and decompress frames from all over a file in memory, with every "
                    "codec and filter: ratio and speeds on this machine, in bytes of pixels a "
                    "second.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="any file that convert reads")
    parser.add_argument("-l", "--level", type=_levels, default=[1], metavar="N,...",
                        help="levels, 1 to 9, with commas; default 1")
    parser.add_argument("-c", "--compressor", type=_codecs, metavar="CODEC,...",
                        help=f"of {', '.join((AUTO, *BLOSC1_COMPRESSORS))}; default: all")
    parser.add_argument("--sample", type=positive_int, default=SAMPLE_MB, metavar="MB",
                        help="megabytes of frames that are tried (default %(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, metavar="N",
                        help="of which the fastest counts (default %(default)s)")
    parser.add_argument("-o", "--output", metavar="PICTURE", help="draw ratio over speed, too")
    parser.add_argument("--force", action="store_true", help="replace a picture that exists")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="default: one a core")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def _levels(text: str) -> list[int]:
    levels = text.split(",")
    if not all(level in LEVELS for level in levels):
        raise argparse.ArgumentTypeError(f"{text!r}: levels are 1 to 9, with commas between them")
    return [int(level) for level in levels]


def _codecs(text: str) -> list[str]:
    for codec in text.split(","):
        if codec not in (AUTO, *BLOSC1_COMPRESSORS):
            raise argparse.ArgumentTypeError(
                f"{codec!r} is none of {', '.join((AUTO, *BLOSC1_COMPRESSORS))}")
    return text.split(",")


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    require_file(args.file, args.command)
    if args.output is not None:
        if not args.output.lower().endswith(FORMATS):
            raise UsageError(f"{args.output}: the name of a picture must end with "
                             f"{', '.join(FORMATS)}")
        require_absent(args.output, args.force)
    sample = take_sample(args.file, args.sample * 1_000_000, threads_of(args.threads))
    trials = measure_all(sample, args)
    if args.json:
        print_json([trial._asdict() for trial in trials])
    else:
        if not args.quiet:
            shape = " x ".join(map(str, sample.shape))
            say(f"{args.file}: {shape} {sample.dtype}, {size_text(sample.nbytes)}; "
                f"{threads_of(args.threads)} threads, best of {args.repeats}")
        print_table(("codec", "filter", "level", "ratio", "write/s", "read/s"),
                    [(trial.compressor, trial.shuffle, trial.level, f"{trial.ratio:.3f}",
                      size_text(trial.write), size_text(trial.read)) for trial in trials])
    if args.output is not None:
        draw(trials, args.file, args.output)
    return 0


def take_sample(path: str, nbytes: int, threads: int) -> Pixels:
    """Return frames from all over a file, about `nbytes` bytes but at least one."""
    with open_frames(path, threads=threads) as frames:
        nz, ny, nx = frames.shape
        count = max(1, min(nz, nbytes // (ny * nx * frames.dtype.itemsize)))
        numbers = sorted({round(place) for place in np.linspace(0, nz - 1, count)})
        return np.concatenate([frames.read(range(number, number + 1)) for number in numbers])


def measure_all(sample: Pixels, args: argparse.Namespace) -> list[Trial]:
    """Return the trials, the best ratio first."""
    codecs = args.compressor or [AUTO, *(name for name in BLOSC1_COMPRESSORS
                                         if name in available_compressors())]
    ways = [(codec, shuffle, level) for level in args.level for codec in codecs
            for shuffle in ((AUTO,) if codec == AUTO else SHUFFLES)]
    trials = []
    with progress_bar(len(ways) * sample.nbytes, quiet=args.quiet, title="bench") as bar:
        for way in ways:
            trials.append(measure(sample, *way, repeats=args.repeats, threads=args.threads))
            bar.update(sample.nbytes)
    return sorted(trials, key=lambda trial: -trial.ratio)


def measure(
    sample: Pixels, compressor: str, shuffle: str, level: int, *, repeats: int,
    threads: int | None,
) -> Trial:  # fmt: skip
    """Write and read a sample in memory, some times, and return what the fastest did."""
    writing, reading = [], []
    for _ in range(repeats):
        file = io.BytesIO()
        started = time.perf_counter()
        writeMRC(sample, file, compressor=compressor, clevel=level, n_threads=threads,
                 shuffle=None if shuffle == AUTO else shuffle)
        written = time.perf_counter()
        nbytes = file.tell()
        file.seek(0)
        read_from = time.perf_counter()
        image, _ = readMRC(file, n_threads=threads)
        reading.append(time.perf_counter() - read_from)
        writing.append(written - started)
    if not np.array_equal(image.reshape(sample.shape), sample, equal_nan=sample.dtype.kind in "fc"):
        raise MRCError(f"{compressor} {shuffle} {level}: not the same when read back")
    return Trial(compressor, shuffle, level, sample.nbytes / nbytes,
                 sample.nbytes / min(writing), sample.nbytes / min(reading))


def draw(trials: list[Trial], title: str, path: str) -> None:
    """Draw ratio over speed, one point a trial."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter
    except ImportError as error:
        raise MissingCodecError("pictures need the package 'matplotlib': "
                                "pip install mrcz[view]") from error
    figure: Any = Figure(figsize=(10, 4.6), layout="constrained")
    markers = dict(zip((*SHUFFLES, AUTO), "os^*", strict=True))
    names = sorted({trial.compressor for trial in trials})
    for axes, speed in zip(figure.subplots(1, 2, sharey=True), ("write", "read"), strict=True):
        for trial in trials:
            axes.plot(getattr(trial, speed) / 1e6, trial.ratio, markers[trial.shuffle],
                      color=f"C{names.index(trial.compressor)}", markersize=9,
                      label=f"{trial.compressor}, {trial.shuffle}, {trial.level}")
        axes.set(xlabel=f"{speed} speed, MB/s of pixels", title=speed, xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
    axes.get_figure().axes[0].set_ylabel("ratio")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(legible(title), parse_math=False)
    save_figure(figure, path, 110)
