"""``mrcz info``: what files hold, from their headers alone."""

from __future__ import annotations

import argparse
from typing import Any

from ..copies.chunks import describe_chunks
from ..errors import MRCError
from ..reader import MRCReader
from ..units import size_text
from .console import (
    complain,
    describe,
    plain,
    print_json,
    print_table,
    say,
    seven_digits,
)
from .files import FILE_ERRORS, add_file_arguments, find_files, size_of

__all__ = ["add_parser", "run"]

LONGEST_VALUE = 300
"""Characters of a metadata value that are printed; --json has all."""


EPILOG = """\
examples:
  mrcz info movie.mrcz
  mrcz info /data/session                          a line each
  mrcz info --json *.mrc | jq '.[].pixelsize[2]'
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "info", help="show what files hold",
        description="Show what files hold, without reading pixels: a page for one file, a line "
                    "each for several. Sizes of pixels are in Angstrom, z y x.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print all of it as a JSON array")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    files, failed = find_files(args.files, args.command)
    pages = []
    for file in files:
        try:
            pages.append(describe_file(file.path))
        except FILE_ERRORS as error:
            if args.debug:
                raise
            complain(args.command, error)
            failed += 1
    if args.json:
        print_json(pages)
    elif len(files) == 1 and pages:
        print_page(pages[0])
    elif pages:
        print_overview(pages)
    return 1 if failed else 0


def describe_file(path: str) -> dict[str, Any]:
    """Return all facts about a file that its header, metadata and chunks tell.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    OSError, MRCError
        If its header can't be read. Damage further on is told as ``'problem'``.
    """
    with MRCReader(path) as reader:
        record, fields = reader.record, reader.record.fields
        page: dict[str, Any] = {
            "file": path,
            "bytes": size_of(path) or reader.source.size,
            "shape": reader.shape,
            "dtype": "uint4" if record.mode.packed else reader.dtype.name,
            "mode": record.mode.number,
            "byteorder": {"<": "little-endian", ">": "big-endian"}[record.byteorder],
            "slices": reader.slices(),
            "compressor": record.compressor,
            "pixelsize": seven_digits(record.pixelsize),
            "voltage": seven_digits(fields["voltage"]),
            "C3": seven_digits(fields["c3"]),
            "gain": seven_digits(fields["gain"]),
            "minimum": fields["dmin"],
            "maximum": fields["dmax"],
            "mean": fields["dmean"],
            "rms": fields["rms"],
            "spacegroup": fields["ispg"],
            "origin": fields["origin"],
            "extended_header": {"type": fields["exttyp"], "bytes": fields["nsymbt"]},
            "labels": record.labels,
            "metadata": reader.metadata,
        }
        try:
            page.update(_describe_storage(reader))
        except MRCError as error:
            page["problem"] = describe(error)
    return dict(plain(page))


def _describe_storage(reader: MRCReader) -> dict[str, Any]:
    """Return how the pixels are stored: sizes, and what the chunks say of themselves."""
    record, table = reader.record, reader.table
    pixel_bytes = record.nz * record.frame_bytes
    start, stop = table.span(0, record.nz)
    facts: dict[str, Any] = {
        "pixel_bytes": pixel_bytes,
        "stored_bytes": stop - start,
        "ratio": round(pixel_bytes / (stop - start), 4),
    }
    if record.compressor is not None:
        facts["chunks"] = describe_chunks(reader)
    return facts


def print_page(page: dict[str, Any]) -> None:
    """Print everything about one file."""
    facts = [
        ("file", f"{page['file']}  ({size_text(page['bytes'])})"),
        ("dimensions", f"{_shape_text(page)}  {_kind(page)}"),
        ("pixels", f"{page['dtype']}  (mode {page['mode']}, {page['byteorder']})"),
        ("stored", _storage_text(page)),
        ("pixel size", _pixelsize_text(page["pixelsize"])),
        ("voltage", f"{_number_text(page['voltage'])} kV"),
        ("C3", f"{_number_text(page['C3'])} mm"),
        ("gain", f"{_number_text(page['gain'])} counts/e-"),
        ("statistics", _statistics_text(page)),
        ("space group", page["spacegroup"]),
    ]
    if page["extended_header"]["bytes"]:
        kind = page["extended_header"]["type"] or "untyped"
        facts.append(("extended", f"{kind}, {size_text(page['extended_header']['bytes'])}"))
    facts += [("label", label) for label in page["labels"]]
    for title, value in facts:
        say(f"{title:<12} {value}")
    if page["metadata"]:
        say("metadata")
        for key, value in page["metadata"].items():
            say(f"  {key}: {_shortened(value)}")
    if "problem" in page:
        say(f"{'PROBLEM':<12} {page['problem']}")


def print_overview(pages: list[dict[str, Any]]) -> None:
    """Print a line for each file."""
    print_table(
        ("file", "dimensions", "pixels", "compressor", "size", "ratio", "pixel size"),
        [(page["file"], _shape_text(page), page["dtype"], page["compressor"] or "-",
          size_text(page["bytes"]), f"{page['ratio']:.2f}" if "ratio" in page else "damaged",
          f"{_number_text(page['pixelsize'][2])} Å" if page["pixelsize"][2] else "unknown")
         for page in pages],
    )


def _number_text(value: float | None) -> str:
    return "not a number" if value is None else f"{value:g}"


def _pixelsize_text(sizes: list[float | None]) -> str:
    if not any(sizes):
        return "unknown"
    return f"{' '.join(map(_number_text, sizes))} Å  (z y x)"


def _shape_text(page: dict[str, Any]) -> str:
    return " x ".join(str(size) for size in page["shape"])


def _kind(page: dict[str, Any]) -> str:
    count, slices = page["shape"][0], page["slices"]
    if slices:
        items = f"{slices} x {page['shape'][1]} x {page['shape'][2]}" if slices > 1 else "images"
        return f"(list of {count // slices} {items})"
    return "(nz ny nx)"


def _storage_text(page: dict[str, Any]) -> str:
    if "ratio" not in page:
        return page["compressor"] or "uncompressed"
    sizes = f"{size_text(page['stored_bytes'])} of {size_text(page['pixel_bytes'])}"
    if page["compressor"] is None:
        return f"uncompressed, {size_text(page['pixel_bytes'])}"
    chunks = page["chunks"]
    how = [page["compressor"]]
    if chunks["codec"] != [page["compressor"]]:
        how.append(f"(chunks: {', '.join(chunks['codec'])})")
    how.append(", ".join(chunks["filter"]))
    blocks = "/".join(size_text(size) for size in chunks["blocksize"])
    return f"{' '.join(how)}, blocks of {blocks}; {sizes}, ratio {page['ratio']:.2f}"


def _statistics_text(page: dict[str, Any]) -> str:
    lowest, highest, mean, rms = (page[key] for key in ("minimum", "maximum", "mean", "rms"))
    if None in (lowest, highest, mean) or lowest > highest:
        return "not determined"
    known_rms = "" if rms is None or rms < 0 else f", RMS {rms:g}"
    return f"{lowest:g} to {highest:g}, mean {mean:g}{known_rms}  (as the header says)"


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else (
        f"{text[:LONGEST_VALUE]}… ({len(text)} characters; --json shows all)")
