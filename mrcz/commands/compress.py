"""``mrcz compress``: MRC files to MRCZ, without loss and with proof."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..codec import SHUFFLES
from ..errors import MissingCodecError, MRCError
from ..modes import BLOSC1_COMPRESSORS
from ..reader import MRCReader
from ..sources import is_url
from .console import UsageError, complain, print_json, progress_bar, say, size_text
from .copying import (
    check_restores,
    copy_frames,
    keep_status,
    remove_original,
    require_absent,
    unfinished_file,
    writer_like,
)
from .files import (
    FILE_ERRORS,
    InputFile,
    Job,
    add_file_arguments,
    add_job_arguments,
    find_files,
    for_each_file,
    output_paths,
    size_of,
    split_suffix,
)
from .original import KEY, Original, user_metadata

__all__ = ["add_parser", "run"]

SUFFIX = ".mrcz"
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


@dataclass(frozen=True)
class Result:
    """What was done to a file."""

    file: str
    output: str | None
    before: int
    after: int
    seconds: float = 0.0
    how: str = ""
    skipped: str = ""
    verified: bool = False
    removed: bool = False


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    if args.delete_original and not args.verify:
        raise UsageError("--delete-original needs --verify")
    if args.dask is not None:
        return run_on_cluster(args)
    return run_copies(args, compressed=False, rename=compressed_name, work=compress_file,
                      passes=1 + args.verify)


def run_copies(
    args: argparse.Namespace, *, compressed: bool, rename: Any, work: Any, passes: int
) -> int:
    """Find files, do `work` on those that are `compressed` or not, and tell what came of it.

    Parameters
    ----------
    compressed : bool
        What the files must be.
    rename : callable
        Name of an input to name of its output.
    work : callable
        Takes (file, output) and a job, returns a `Result`.
    passes : int
        How often `work` goes through a file.
    """
    pairs, skipped, failed = _plan(args, compressed, rename)
    results: list[Result] = []
    tell = _Teller(args, results)
    for result in skipped:
        tell(result)
    failed += for_each_file(
        partial(work, args=args), pairs, args=args, report=tell,
        nbytes=passes * sum(size_of(file.path) for file, _ in pairs),
    )
    tell.sum_up()
    return 1 if failed else 0


def _plan(
    args: argparse.Namespace, compressed: bool, rename: Any
) -> tuple[list[tuple[InputFile, str]], list[Result], int]:
    """Return files with their outputs, what is left out, and how many names were no good."""
    for name in args.files:
        if is_url(name):
            raise UsageError(f"{name}: only local files are {args.command}ed; see mrcz convert")
    found, failed = find_files(args.files, args.command)
    files, skipped = [], []
    for file in found:
        if _is_compressed(file) in (None, compressed):
            files.append(file)
        else:
            size = size_of(file.path)
            skipped.append(Result(file.path, None, size, size,
                                  skipped="is not compressed" if compressed
                                  else "is compressed already"))
    pairs, clashes = output_paths(files, args.output, rename, args.command)
    failed += clashes
    return pairs, skipped, failed


def run_on_cluster(args: argparse.Namespace) -> int:
    """Let the workers of a dask cluster compress the files; they must see the same paths."""
    from ..plugins.batch import FileResult, compress_one

    pairs, skipped, failed = _plan(args, compressed=False, rename=compressed_name)
    tell = _Teller(args, [])
    for result in skipped:
        tell(result)
    options = argparse.Namespace(**{name: getattr(args, name) for name in (
        "compressor", "level", "shuffle", "checksum", "verify", "force", "delete_original")})
    with connect(args.dask) as client, progress_bar(
        sum(size_of(file.path) for file, _ in pairs), quiet=args.quiet, title=args.command
    ) as bar, client.get_executor(pure=False) as workers:
        futures = [workers.submit(compress_one, (os.path.abspath(file.path),
                                                 os.path.abspath(output)),
                                  options=options, threads=1) for file, output in pairs]
        for future in as_completed(futures):
            done: FileResult = future.result()
            bar.update(done.before)
            bar.clear()
            if done.error is not None:
                complain(args.command, done.error)
                failed += 1
                continue
            tell(Result(done.path, done.output, done.before, done.after, done.seconds,
                        skipped=done.skipped, verified=args.verify and not done.skipped,
                        removed=args.delete_original and not done.skipped))
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
    """Return whether a file is; None if it can't be read, which the work on it will tell.

    One that `compress` wrote counts even where auto found nothing to gain.
    """
    try:
        with MRCReader(file.path) as reader:
            return reader.record.compressor is not None or KEY in reader.metadata
    except FILE_ERRORS:
        return None


class _Teller:
    """Prints results: a line each, and a sum at the end; or JSON."""

    def __init__(self, args: argparse.Namespace, results: list[Result]) -> None:
        self._args = args
        self._results = results

    def __call__(self, result: Result) -> None:
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


def compressed_name(name: str) -> str:
    """Return the name of the compressed copy of a file.

    Examples
    --------
    >>> compressed_name("movie.mrc"), compressed_name("emd_1.map.gz")
    ('movie.mrcz', 'emd_1.map.mrcz')
    """
    stem, suffix = split_suffix(name)
    return (stem if suffix.lower() == ".mrc" else stem + suffix) + SUFFIX


def compress_file(pair: tuple[InputFile, str], job: Job, *, args: argparse.Namespace) -> Result:
    """Compress one file, check the copy, and remove the original if that is asked for."""
    started = time.perf_counter()
    path, output = pair[0].path, pair[1]
    status = os.stat(path)
    threads = job.threads
    with MRCReader(path) as reader:
        original = Original.of(reader, status)
        job = job.of_file(status.st_size, reader.record.nz * reader.record.frame_bytes)
        if not args.force and _is_done(output, original):
            if args.delete_original:
                check_restores(output, reader, job, threads=threads)
                remove_original(path, output)
            return Result(path, output, status.st_size, os.path.getsize(output),
                          skipped="is done already", verified=args.delete_original,
                          removed=args.delete_original)
        require_absent(output, args.force)
        with unfinished_file(output, path, status) as unfinished:
            writer = writer_like(
                reader, unfinished, n_threads=threads, fsync=args.delete_original,
                compressor=args.compressor, clevel=args.level, shuffle=args.shuffle,
                checksum=args.checksum,
                meta={**user_metadata(reader.metadata), KEY: original.as_metadata()},
            )  # fmt: skip
            copy_frames(reader, writer, job, threads=threads)
            if args.verify:
                check_restores(unfinished, reader, job, threads=threads)
            keep_status(unfinished, path, status, status.st_mtime_ns)
        with MRCReader(output) as copy:
            how = _how(copy)
    if args.delete_original:
        remove_original(path, output)
    return Result(path, output, status.st_size, os.path.getsize(output),
                  time.perf_counter() - started, how=how, verified=args.verify,
                  removed=args.delete_original)


def _is_done(output: str, original: Original) -> bool:
    """Return whether a copy was made from this very file, and is whole."""
    try:
        with MRCReader(output) as copy:
            remembered = Original.remembered_by(copy)
            return copy.table.end <= copy.source.size and remembered == original
    except (OSError, MRCError):
        return False


def _how(copy: MRCReader) -> str:
    if copy.record.compressor is None:
        return "uncompressed: nothing to gain"
    from .info import describe_chunks

    chunks = describe_chunks(copy)
    return f"{copy.record.compressor} {'/'.join(chunks['filter'])}"
