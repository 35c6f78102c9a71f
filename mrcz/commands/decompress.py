"""``mrcz decompress``: MRCZ files to MRC, to the original where the file remembers it."""

from __future__ import annotations

import argparse
from typing import Any

from ..copies.compressing import Copied
from ..copies.decompressing import decompress_file
from ..filenames import decompressed_name
from .compress import add_copy_arguments, require_folder, run_copies
from .files import Job, add_file_arguments

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
    require_folder(args.output)

    def work(pair: tuple[str, str], job: Job) -> Copied:
        return decompress_file(*pair, force=args.force, delete_original=args.delete_original,
                               threads=job.threads, advance=job.advance)

    return run_copies(args, compressed=True, rename=decompressed_name, work=work, passes=1)
