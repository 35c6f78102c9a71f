"""Save files of MRCZ below 0.5.0 anew, keeping the old ones beside them.

Usage: python update_mrcz_0.5.0.py [--dry-run] [--slices N] FILE_OR_FOLDER…
"""

from __future__ import annotations

import argparse
import os
import sys

from mrcz.commands.console import describe, say
from mrcz.commands.files import find_files
from mrcz.errors import MRCError
from mrcz.resave import resave

SUFFIXES = (".mrc", ".mrcs", ".mrcz")


def files_of(names: list[str]) -> tuple[list[str], int]:
    """Return the files that are named, those in folders as `mrcz` finds them, and what failed."""
    paths, failed = [], 0
    for name in names:
        if os.path.isdir(name):
            found, missing = find_files([name], "convert --update", SUFFIXES)
            paths += [file.path for file in found]
            failed += missing
        else:
            paths.append(name)
    return paths, failed


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns 1 if a file could not be saved anew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--slices", type=int, default=1, metavar="N",
                        help="1: lists of images (default), 0: arrays, N: lists of volumes")
    options = parser.parse_args(arguments)
    paths, failed = files_of(options.names)
    for number, path in enumerate(paths, 1):
        progress = f"[{number}/{len(paths)}] {path}"
        try:
            result = resave(path, slices=options.slices, dry_run=options.dry_run)
        except (MRCError, OSError, ValueError, TypeError) as error:
            failed += 1
            print(f"{progress}: FAILED, left as it was: {describe(error)}", file=sys.stderr)
            continue
        kept = f"; the old file is {result.backup}" if result.backup else ""
        say(f"{progress}: {result.reason}{kept}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
