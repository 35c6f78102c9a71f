"""``mrcz repair``: what is intact in a damaged file, as a new file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ..copies.copying import require_absent
from ..progress import Advance
from ..replacing import is_same_file
from ..salvage import salvage_file
from .console import UsageError, print_json, progress_bar, say
from .files import require_file

__all__ = ["TROUBLE", "add_parser", "run"]

TROUBLE = 2
"""What to exit with if nothing is written: 1 says that frames are lost."""

MOST_NAMED = 20

EPILOG = """\
examples:
  mrcz verify movie.mrcz                  tells whether, and where, it is damaged
  mrcz repair movie.mrcz movie-saved.mrcz
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "repair", help="save what is intact in a damaged file",
        description="Write the intact frames of a damaged or cut file to a new one, in which lost "
                    "frames are zeros. The damaged file is only read. Exits with 1 if frames are "
                    "lost, 2 if nothing could be saved.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the damaged file")
    parser.add_argument("output", metavar="OUTPUT", help="the new file")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    require_file(args.file, args.command)
    if is_same_file(args.file, args.output):
        raise UsageError("OUTPUT must be another file than the damaged one")
    require_absent(args.output, args.force)

    @contextmanager
    def watched(total: int) -> Iterator[Advance]:
        with progress_bar(total, quiet=args.quiet, title=args.command) as bar:
            yield bar.update

    report = salvage_file(args.file, args.output, watched)
    if args.json:
        print_json(asdict(report))
    elif not args.quiet:
        say(f"{args.output}: {len(report.recovered)} frames recovered, {len(report.lost)} lost"
            f"{_named(report.lost)}")
        for note in report.notes:
            say(f"note: {note}")
    return 1 if report.lost else 0


def _named(frames: list[int]) -> str:
    if not frames:
        return ""
    more = f" and {len(frames) - MOST_NAMED} more" if len(frames) > MOST_NAMED else ""
    return f": {', '.join(map(str, frames[:MOST_NAMED]))}{more} (these are zeros now)"
