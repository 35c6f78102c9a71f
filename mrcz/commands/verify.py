"""``mrcz verify``: whether files are what was written."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from ..integrity import check_file
from ..progress import scaled
from .console import print_json, say
from .files import (
    InputFile,
    Job,
    add_file_arguments,
    add_job_arguments,
    find_files,
    for_each_file,
    size_of,
)

__all__ = ["TROUBLE", "add_parser", "run"]

TROUBLE = 2
"""What to exit with if a file can't be read: 1 says that one is damaged."""

EPILOG = """\
examples:
  mrcz verify archive/ --jobs 4
  mrcz verify --shallow archive/          no pixels, milliseconds a file
  mrcz verify -q archive/ || mail -s damage me@example.org
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "verify", help="check files for damage",
        description="Decompress every frame and compare the checksums that a file may have. Exits "
                    "with 1 if anything is wrong with any file, 2 if one can't be read.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    add_job_arguments(parser)
    parser.add_argument("--shallow", action="store_true",
                        help="check header, index and sizes alone, which takes milliseconds")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    files, failed = find_files(args.files, args.command)
    pages: list[dict[str, Any]] = []

    def work(file: InputFile, job: Job) -> dict[str, Any]:
        findings = check_file(
            file.path, not args.shallow, job.threads,
            lambda total: nullcontext(scaled(job.advance, job.size, total)),
        )
        return {"file": file.path, "findings": [{**asdict(finding), "text": str(finding)}
                                                for finding in findings]}

    def report(page: dict[str, Any]) -> None:
        pages.append(page)
        if args.json:
            return
        if not page["findings"] and not args.quiet:
            say(f"{page['file']}: ok")
        for finding in page["findings"]:
            say(f"{page['file']}: {finding['text']}")

    failed += for_each_file(work, files, args=args, report=report,
                            sizes=[size_of(file.path) for file in files])
    if args.json:
        print_json(pages)
    if failed:
        return TROUBLE
    return 1 if any(page["findings"] for page in pages) else 0
