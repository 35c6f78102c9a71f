"""``mrcz decompress``: MRCZ files to MRC, to the original where the file remembers it."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np

from ..errors import MRCError
from ..reader import MRCReader
from ..sinks import open_sink
from .compress import Result, add_copy_arguments, run_copies
from .copying import (
    copy_frames,
    keep_status,
    remove_original,
    require_absent,
    unfinished_file,
    writer_like,
)
from .files import MRC_SUFFIXES, InputFile, Job, add_file_arguments, split_suffix
from .original import Original, user_metadata
from .slabs import read_slabs

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  mrcz decompress movie.mrcz           movie.mrc beside it
  mrcz decompress archive/ -o raw/     a tree of files

Files that "mrcz compress" wrote come back byte for byte; of others the pixels, the header
and the metadata.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "decompress", help="restore MRC files from MRCZ",
        description="Restore MRC files from MRCZ.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    add_copy_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    return run_copies(args, compressed=True, rename=decompressed_name, work=decompress_file,
                      passes=1)


def decompressed_name(name: str) -> str:
    """Return the name of the decompressed copy of a file: `compressed_name` undone.

    Examples
    --------
    >>> decompressed_name("movie.mrcz"), decompressed_name("emd_1.map.mrcz")
    ('movie.mrc', 'emd_1.map')
    """
    stem, suffix = split_suffix(name)
    if suffix.lower() != ".mrcz":
        return f"{stem}-decompressed{suffix or '.mrc'}"
    inner = os.path.splitext(stem)[1].lower()
    return stem if inner in MRC_SUFFIXES and inner != ".mrcz" else f"{stem}.mrc"


def decompress_file(pair: tuple[InputFile, str], job: Job, *, args: argparse.Namespace) -> Result:
    """Decompress one file, and remove it if that is asked for."""
    started = time.perf_counter()
    path, output = pair[0].path, pair[1]
    status = os.stat(path)
    threads = job.threads
    with MRCReader(path) as reader:
        original = Original.remembered_by(reader)
        job = job.of_file(status.st_size, reader.record.nz * reader.record.frame_bytes)
        require_absent(output, args.force)
        with unfinished_file(output, path, status) as unfinished:
            if original is None:
                _write_anew(reader, unfinished, job, threads)
            else:
                _restore(original, reader, unfinished, job, threads)
            if args.delete_original:
                _check_pixels(unfinished, reader, threads)
            keep_status(unfinished, path, status,
                        status.st_mtime_ns if original is None else original.mtime_ns)
    if args.delete_original:
        remove_original(path, output)
    return Result(path, output, status.st_size, os.path.getsize(output),
                  time.perf_counter() - started, verified=args.delete_original,
                  how="" if original is None else "the original file",
                  removed=args.delete_original)


def _restore(
    original: Original, reader: MRCReader, path: str, job: Job, threads: int
) -> None:
    """Write the file that was compressed."""
    sink = open_sink(path, fsync=True)
    try:
        position = 0
        for piece in original.pieces(reader, threads=threads):
            sink.write_at(position, piece)
            position += len(piece)
            job.advance(len(piece))
        sink.commit()
    except BaseException:
        sink.abort()
        raise


def _write_anew(reader: MRCReader, path: str, job: Job, threads: int) -> None:
    """Write an uncompressed file of the same pixels, header and metadata."""
    writer = writer_like(reader, path, meta=user_metadata(reader.metadata), n_threads=threads,
                         fsync=True)
    copy_frames(reader, writer, job, threads=threads)


def _check_pixels(path: str, reader: MRCReader, threads: int) -> None:
    with MRCReader(path) as copy:
        pairs = zip(read_slabs(reader, threads=threads), read_slabs(copy, threads=threads),
                    strict=True)
        for (_, mine), (_, its) in pairs:
            if not np.array_equal(mine.view(np.uint8), its.view(np.uint8)):
                raise MRCError(f"{reader.record.path}: read back, the copy differs; it is "
                               f"thrown away")
