"""``mrcz convert``: any file that can be read to MRC, MRCZ, NumPy or TIFF."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..codec import SHUFFLES
from ..copies.copying import require_absent, unfinished_file
from ..copies.original import user_metadata
from ..exporters import pack, write_npy, write_tiff
from ..filenames import MRC_SUFFIXES, OTHER_SUFFIXES, STREAM_MODULES, split_suffix
from ..header import IMAGE_STACK, VOLUME, VOLUME_STACK
from ..importers import CHANNELS, Frames, open_frames
from ..modes import BLOSC1_COMPRESSORS
from ..options import parse_write_options
from ..pixels import LARGEST_NIBBLE, Pixels, writable_mode
from ..replacing import is_same_file
from ..resave import resave
from ..sources import is_url
from ..targets import open_sink
from ..units import size_text
from ..writer import StackWriter
from .carryover import carry_over
from .console import UsageError, say
from .files import (
    InputFile,
    Job,
    find_files,
    for_each_file,
    pixel_size,
    positive_int,
    size_of,
    thread_count,
)
from .transforms import Plan, parse_bin, parse_slice, transformed

__all__ = ["add_parser", "run"]

NUMPY, TIFF = (".npy",), (".tif", ".tiff")
WRITTEN = (*MRC_SUFFIXES, *NUMPY, *TIFF)
HISTORY = "mrczConvert"
"""Key of the metadata that tells what was done."""

EPILOG = """\
examples:
  mrcz convert movie.dm4 movie.mrcz
  mrcz convert movie.tif movie.mrcz                    K3 movies: LZW, many pages
  mrcz convert movie.eer movie.mrcz --bin 40,1,1       40 frames averaged into one
  mrcz convert movie.mrcz part.mrc --slice 0:10
  mrcz convert map.mrc small.mrc --slice :,100:300,100:300 --bin 2,2,2
  mrcz convert average.mrc average.mrcz --keep-bits 10
  mrcz convert *.tif compressed/                       a folder that exists
  mrcz convert session/ compressed/                    every image below session/

The name of OUT says what is written: .mrcz compressed; .mrc, .mrcs, .map, .rec, .st, .ali,
.ccp4 not, or packed as a whole with .gz, .bz2 or .xz behind; .npy; .tif. Read are, by content,
all of these, .npz, DM4, DM3 and EER, and what HyperSpy knows where it is installed.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert", help="convert between MRC, MRCZ, DM4, TIFF, EER and NumPy",
        description="Convert files, or parts of them, frame by frame.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="IN ... OUT",
                        help="what to read: files, patterns or folders; and the new file, or a "
                             "folder for several")
    parser.add_argument("--slice", type=parse_slice, metavar="Z[,Y[,X]]",
                        default=(slice(None),) * 3,
                        help="part to take, as in Python: 0:10, 5, ::2, :,0:512,0:512")
    parser.add_argument("--bin", type=parse_bin, metavar="N|Z,Y,X", default=(1, 1, 1),
                        help="average N x N pixels, or Z x Y x X; integers become float32")
    parser.add_argument("--dtype", metavar="TYPE",
                        help="store as int8, int16, uint16, float32, uint4 ...; an error if a "
                             "value does not fit")
    parser.add_argument("--keep-bits", type=positive_int, metavar="N",
                        help="LOSSY: round the mantissas of floats to N bits; the metadata tells")
    parser.add_argument("-c", "--compressor", choices=("auto", "none", *BLOSC1_COMPRESSORS),
                        metavar="CODEC", help="%(choices)s; default: auto for .mrcz, else none")
    parser.add_argument("-l", "--level", type=int, choices=range(10), default=1, metavar="N",
                        help="0 to 9, default %(default)s")
    parser.add_argument("--shuffle", choices=("auto", *SHUFFLES), metavar="FILTER",
                        help="%(choices)s")
    parser.add_argument("--pixelsize", type=pixel_size, metavar="A",
                        help="Angstrom, where the file does not tell or is wrong")
    parser.add_argument("--item", metavar="NAME",
                        help="image number in a DM file, array in an .npz, series in a TIFF")
    parser.add_argument("--channel", choices=CHANNELS, metavar="NAME",
                        help="what to take of colour images: %(choices)s")
    parser.add_argument("--update", action="store_true",
                        help="there is no OUT: files of MRCZ below 0.5.0 are saved anew, so that "
                             "they tell whether they hold a list, and kept beside")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--jobs", type=positive_int, default=1, metavar="N",
                        help="files at a time")
    parser.add_argument("--threads", type=thread_count, metavar="N",
                        help="threads in all; default: one a core")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    if args.update:
        return _update(args)
    if args.dtype is not None:
        try:
            mode, _ = writable_mode(args.dtype, what="--dtype")
        except TypeError as error:
            raise UsageError(error) from error
        args.dtype = "uint4" if mode.packed else args.dtype  # however it is spelled
    pairs, missing = _pairs(args)
    _require_compressible(args, pairs)

    def work(pair: tuple[str, str], job: Job) -> str:
        return convert_file(*pair, args, job)

    failed = for_each_file(work, pairs, args=args, sizes=[size_of(path) for path, _ in pairs],
                           report=(lambda text: None) if args.quiet else say)
    return 1 if failed or missing else 0


def _update(args: argparse.Namespace) -> int:
    """Save files of MRCZ below 0.5.0 anew."""
    files, failed = find_files(args.paths, args.command)

    def work(file: InputFile, job: Job) -> str:
        done = resave(file.path)
        job.advance(size_of(file.path))
        kept = f", the old file is {done.backup}" if done.backup else ""
        return f"{file.path}: {done.reason}{kept}"

    failed += for_each_file(work, files, args=args,
                            sizes=[size_of(file.path) for file in files],
                            report=(lambda text: None) if args.quiet else say)
    return 1 if failed else 0


def _pairs(args: argparse.Namespace) -> tuple[list[tuple[str, str]], int]:
    """Return what to read and what to write, and how many names meant nothing."""
    *names, target = args.paths
    if not names:
        raise UsageError("there must be a file to read and one to write")
    into_folder = os.path.isdir(target)
    if any(map(os.path.isdir, names)):
        if not into_folder and (os.path.exists(target) or _format(target) in WRITTEN):
            raise UsageError(f"{target} is not a folder: what is in a folder goes to one")
        into_folder = True  # it is made, as by compress -o
    elif not into_folder and target.endswith(("/", os.sep)):
        raise UsageError(f"there is no folder {target}")
    _require_one(names, target, into_folder)
    files, missing = find_files(names, args.command, (*MRC_SUFFIXES, *OTHER_SUFFIXES))
    _require_one(files, target, into_folder)
    if into_folder:
        pairs = [(file.path, os.path.join(target, os.path.dirname(file.relative),
                                          split_suffix(os.path.basename(file.path))[0] + ".mrcz"))
                 for file in files if not _is_output(file, target)]
    else:
        pairs = [(file.path, target) for file in files]
    _check_outputs(pairs)
    return pairs, missing


def _require_one(inputs: Sequence[Any], target: str, into_folder: bool) -> None:
    if len(inputs) > 1 and not into_folder:
        raise UsageError(f"{target} is not a folder, and there are {len(inputs)} files to convert")


def _is_output(file: InputFile, target: str) -> bool:
    """Return whether a file was found below a folder, where the new files go that lies in it."""
    path, inside = os.path.abspath(file.path), os.path.join(os.path.abspath(target), "")
    named = path[: -len(file.relative)]
    return path.startswith(inside) and not named.startswith(inside)


def _check_outputs(pairs: Sequence[tuple[str, str]]) -> None:
    taken: dict[str, str] = {}
    for path, output in pairs:
        if _format(output) not in WRITTEN:
            raise UsageError(f"{output}: the name must end with one of {' '.join(WRITTEN)}")
        if is_url(output):
            raise UsageError(f"{output}: the new file must be a local one")
        if is_same_file(path, output):
            raise UsageError(f"{path} can't be converted into itself")
        first = taken.setdefault(os.path.abspath(output), path)
        if first != path:
            raise UsageError(f"{first} and {path} would both go to {output}")


def _require_compressible(args: argparse.Namespace, pairs: Sequence[tuple[str, str]]) -> None:
    """Check that nobody waits for a compression that the new files don't have."""
    for _, output in pairs:
        kind = _format(output)
        if kind not in MRC_SUFFIXES and (args.compressor not in (None, "none") or args.shuffle):
            raise UsageError(f"{output}: --compressor and --shuffle are for MRC files, "
                             f"not for {kind}")


def _format(path: str) -> str:
    return split_suffix(path)[1].lower()


def convert_file(path: str, output: str, args: argparse.Namespace, job: Job) -> str:
    """Convert one file; return what to say of it."""
    require_absent(output, args.force)
    status = None if is_url(path) else os.stat(path)
    with open_frames(path, threads=job.threads, item=args.item,
                     channel=args.channel) as frames:
        plan = Plan.of(frames, args.slice, args.bin, args.dtype, args.keep_bits)
        share = size_of(path) / plan.shape[0]

        def pieces() -> Iterator[Pixels]:
            for piece in transformed(frames, plan):
                yield piece
                job.advance(int(len(piece) * share))

        with unfinished_file(output, path, status, force=args.force) as unfinished:
            _write(unfinished, output, frames, plan, pieces(), args, job)
    shape = " x ".join(map(str, plan.shape))
    kind = plan.dtype.name
    if _format(output) in MRC_SUFFIXES:
        wanted = _wanted_dtype(frames, plan, args)
        kind = "uint4" if wanted == "uint4" else writable_mode(wanted)[1].name
    return f"{path} -> {output}  {shape} {kind}, {size_text(os.path.getsize(output))}"


def _wanted_dtype(frames: Frames, plan: Plan, args: argparse.Namespace) -> Any:
    return args.dtype or ("uint4" if frames.packed and plan.dtype == np.uint8 else plan.dtype)


def _write(
    path: str,
    output: str,
    frames: Frames,
    plan: Plan,
    pieces: Iterator[Pixels],
    args: argparse.Namespace,
    job: Job,
) -> None:
    """Write in the format that the name of the output asks for."""
    kind, stream = _format(output), os.path.splitext(output)[1].lower()
    options = _options(frames, plan, args)
    largest = LARGEST_NIBBLE if args.dtype == "uint4" else None
    if kind in NUMPY:
        write_npy(path, pieces, plan.shape, plan.dtype, largest)
    elif kind in TIFF:
        sizes = [options["pixelsize"][axis] for axis in frames.axes]
        write_tiff(path, pieces, plan.shape, plan.dtype, sizes, largest)
    else:
        compressor = args.compressor or ("auto" if kind == ".mrcz" else "none")
        if compressor != "none":
            options.update(compressor=compressor, clevel=args.level, shuffle=args.shuffle)
        _write_mrc(path, frames, plan, pieces, args, threads=job.threads, **options)
    if stream in STREAM_MODULES:
        pack(path, stream)


def _options(frames: Frames, plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Return header and metadata of the result, as options of `mrcz.create`."""
    options = dict(frames.options)
    sizes = list(options.get("pixelsize", [0.0] * 3))
    if args.pixelsize is not None:
        sizes = [args.pixelsize] * 3
    for axis, part, size in zip(frames.axes, plan.ranges, plan.bins, strict=True):
        sizes[axis] = float(sizes[axis]) * part.step * size
    options["pixelsize"] = sizes
    meta = user_metadata(options.get("meta") or {})
    history = _history(frames, plan, args)
    if history and HISTORY in meta:
        history["before"] = meta[HISTORY]  # what was done by an earlier conversion
    options["meta"] = {**meta, HISTORY: history} if history else meta
    if plan.shape[0] != frames.shape[0] and isinstance(meta.get("slices"), int):
        del options["meta"]["slices"]
    return options


def _history(frames: Frames, plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Return what is done to the pixels, empty where nothing is."""
    whole = tuple(range(size) for size in frames.shape)
    done: dict[str, Any] = {}
    if frames.channel is not None:
        done["channel"] = frames.channel
    if plan.ranges != whole:
        done["slice"] = [[part.start, part.stop, part.step] for part in plan.ranges]
    if plan.bins != (1, 1, 1):
        done["bin"] = list(plan.bins)
    if plan.dtype != frames.dtype:
        done["dtype"] = [frames.dtype.name, args.dtype or plan.dtype.name]
    if plan.bits is not None:
        done["keepBits"] = plan.bits
    return done


def _write_mrc(
    path: str,
    frames: Frames,
    plan: Plan,
    pieces: Iterator[Pixels],
    args: argparse.Namespace,
    *,
    threads: int,
    **options: Any,
) -> None:
    try:
        mode, _ = writable_mode(_wanted_dtype(frames, plan, args))
    except TypeError as error:
        raise TypeError(f"MRC can't hold {plan.dtype}: --dtype int32, float32 ... converts it"
                        ) from error
    parsed = parse_write_options(n_threads=threads, **options)
    slices, ispg = _arrangement(frames, plan)
    writer = StackWriter(open_sink(path), mode, (plan.shape[1], plan.shape[2]), parsed,
                         slices=slices, ispg=ispg, count=plan.shape[0], axes=frames.axes)
    with writer:
        for piece in pieces:
            writer.append_slab(list(piece))
    if frames.record is not None:
        carry_over(path, frames.record, plan, keep_group=not slices)


def _arrangement(frames: Frames, plan: Plan) -> tuple[int, int]:
    """Return slices an item and ISPG."""
    if frames.slices > 1 and plan.shape[0] == frames.shape[0]:
        return frames.slices, VOLUME_STACK
    if frames.slices == 1:
        return 1, IMAGE_STACK
    return 0, frames.ispg if frames.ispg in (IMAGE_STACK, VOLUME) else VOLUME
