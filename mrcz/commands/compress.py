"""``mrcz compress``: MRC files to MRCZ, without loss and with proof."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from typing import Any

from ..codec import SHUFFLES
from ..copies.compressing import (
    CompressOptions,
    Copied,
    compress_file,
    is_compressed,
)
from ..errors import MissingCodecError
from ..filenames import MRC_SUFFIXES, compressed_name
from ..modes import BLOSC1_COMPRESSORS
from ..plugins.batch import compress_on_cluster
from ..reader import MRCReader
from ..sources import is_url
from ..units import size_text
from .console import UsageError, complain, print_json, progress_bar, say
from .files import (
    FILE_ERRORS,
    InputFile,
    Job,
    add_file_arguments,
    add_job_arguments,
    find_files,
    for_each_file,
    naming,
    output_paths,
    size_of,
)

__all__ = [
    "add_copy_arguments",
    "add_parser",
    "require_folder",
    "run",
    "run_copies",
]

SECONDS_TO_CONNECT = 20

EPILOG = """\
examples:
  mrcz compress movie.mrc                      movie.mrcz beside it
  mrcz compress raw/ -o archive/ --jobs 4      a tree of files
  mrcz compress --delete-original 'day1/*.mrc' removes each original that is proven safe
  mrcz compress -c lz4 --shuffle noshuffle a.mrc
  mrcz compress /data --dask tcp://head:8786   on a cluster

Every copy is read back and compared with the original, byte for byte, before it gets
its name. Run the same command again after an interruption: what is done is skipped.
"mrcz decompress" gives the original file back, headers of other programs included.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compress", help="compress MRC files to MRCZ, without loss",
        description="Compress MRC files (also .gz, .bz2 and .xz) to MRCZ, without loss.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    add_copy_arguments(parser)
    parser.add_argument("-c", "--compressor", default="auto",
                        choices=("auto", *BLOSC1_COMPRESSORS), metavar="CODEC",
                        help="%(choices)s; default %(default)s: tries some on a sample of each "
                             "file")
    parser.add_argument("-l", "--level", type=int, choices=range(10), default=1, metavar="N",
                        help="0 to 9, default %(default)s; for auto a hint")
    parser.add_argument("--shuffle", choices=("auto", *SHUFFLES), metavar="FILTER",
                        help="%(choices)s; default: bitshuffle, or what auto chooses")
    parser.add_argument("--checksum", action=argparse.BooleanOptionalAction, default=True,
                        help="add a checksum a frame, which readers compare and other programs "
                             "ignore (default: yes)")
    parser.add_argument("--dask", metavar="ADDRESS",
                        help="let the workers of a dask scheduler (tcp://host:8786) do it; they "
                             "must see the files under the same paths")
    parser.add_argument("--verify", action=argparse.BooleanOptionalAction, default=True,
                        help="read back and compare each copy (default: yes)")
    return parser


def add_copy_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what compress and decompress have in common."""
    parser.add_argument("-o", "--output", metavar="DIR",
                        help="folder for the new files; default: beside each file")
    parser.add_argument("--delete-original", action="store_true",
                        help="remove each file once its copy is verified and on the disk")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_job_arguments(parser)


def require_folder(output: str | None) -> None:
    """Raise UsageError if the folder for new files is named like one of them."""
    if output and output.lower().endswith(MRC_SUFFIXES) and not os.path.isdir(output):
        raise UsageError(f"-o {output}: names a folder for the new files, not a file; "
                         f"mrcz convert IN OUT takes the name of a new one")


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    if args.delete_original and not args.verify:
        raise UsageError("--delete-original needs --verify")
    require_folder(args.output)
    options = CompressOptions(**{option.name: getattr(args, option.name)
                                 for option in fields(CompressOptions)})
    if args.dask is not None:
        return run_on_cluster(args, options)

    def work(pair: tuple[str, str], job: Job) -> Copied:
        return compress_file(*pair, options, threads=job.threads, advance=job.advance)

    return run_copies(args, compressed=False, rename=compressed_name, work=work,
                      passes=options.passes)


def run_copies(
    args: argparse.Namespace,
    *,
    compressed: bool,
    rename: Callable[[str], str],
    work: Callable[[tuple[str, str], Job], Copied],
    passes: int,
) -> int:
    """Find files, do `work` on those that are `compressed` or not, and tell what came of it.

    Parameters
    ----------
    args : Namespace
        Of the command line.
    compressed : bool
        What the files must be.
    rename : callable
        Name of an input to name of its output.
    work : callable
        Takes (file, output) and a job.
    passes : int
        How often `work` goes through a file.
    """
    pairs, tell, failed = _plan(args, compressed, rename)
    failed += for_each_file(work, pairs, args=args, report=tell,
                            sizes=[passes * size_of(path) for path, _ in pairs])
    tell.sum_up()
    return 1 if failed else 0


def _plan(
    args: argparse.Namespace, compressed: bool, rename: Callable[[str], str]
) -> tuple[list[tuple[str, str]], _Teller, int]:
    """Return files with their outputs, who tells results, and how many names were no good."""
    for name in args.files:
        if is_url(name):
            raise UsageError(f"{name}: only local files are {args.command}ed; see mrcz convert")
    found, failed = find_files(args.files, args.command)
    files, tell = [], _Teller(args)
    for file in found:
        if _is_compressed(file) in (None, compressed):
            files.append(file)
        else:
            size = size_of(file.path)
            tell(Copied(file.path, None, size, size, skipped="is not compressed" if compressed
                        else "is compressed already"))
    pairs, clashes = output_paths(files, args.output, rename, args.command)
    return pairs, tell, failed + clashes


def run_on_cluster(args: argparse.Namespace, options: CompressOptions) -> int:
    """Let the workers of a dask cluster compress the files; they must see the same paths."""
    pairs, tell, failed = _plan(args, compressed=False, rename=compressed_name)
    pairs = [(os.path.abspath(path), os.path.abspath(output)) for path, output in pairs]
    with connect(args.dask) as client, progress_bar(
        sum(size_of(path) for path, _ in pairs), quiet=args.quiet, title=args.command
    ) as bar, closing(compress_on_cluster(pairs, options, client)) as results:
        for done in results:
            bar.update(done.before)
            bar.clear()
            if done.error is not None:
                complain(args.command, naming(done.error, done.path))
                failed += 1
                continue
            tell(Copied(done.path, done.output, done.before, done.after, done.seconds,
                        skipped=done.skipped, verified=options.verify and not done.skipped,
                        removed=options.delete_original and not done.skipped))
    tell.sum_up()
    return 1 if failed else 0


def connect(address: str) -> Any:
    """Return a client of a dask scheduler.

    Raises
    ------
    MissingCodecError
        If dask is not installed; an ImportError.
    OSError
        If nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingCodecError("--dask needs the package 'distributed': "
                                "pip install mrcz[dask]") from error
    return Client(address, timeout=SECONDS_TO_CONNECT)


def _is_compressed(file: InputFile) -> bool | None:
    """Return whether a file is; None if it can't be read, which the work on it will tell."""
    try:
        with MRCReader(file.path) as reader:
            return is_compressed(reader)
    except FILE_ERRORS:
        return None


class _Teller:
    """Prints results: a line each, and a sum at the end; or JSON."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._results: list[Copied] = []

    def __call__(self, result: Copied) -> None:
        self._results.append(result)
        if self._args.quiet or self._args.json:
            return
        if result.skipped:
            say(f"{result.file}: {result.skipped}, skipped")
            return
        say(f"{result.file} -> {result.output}  {_change(result.before, result.after)}"
            f"{', ' + result.how if result.how else ''}{', verified' * result.verified}"
            f"{', original removed' * result.removed}")

    def sum_up(self) -> None:
        if self._args.json:
            print_json([vars(result) for result in self._results])
            return
        done = [result for result in self._results if not result.skipped]
        if self._args.quiet or len(done) < 2:
            return
        before, after = sum(r.before for r in done), sum(r.after for r in done)
        say(f"{len(done)} files  {_change(before, after)}")


def _change(before: int, after: int) -> str:
    text = f"{size_text(before)} -> {size_text(after)}"
    return f"{text} ({before / after:.2f}x, {size_text(before - after)} saved)" if (
        before > after > 0) else text
