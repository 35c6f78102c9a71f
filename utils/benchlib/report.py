"""Results as text for the terminal and as reStructuredText for docs/performance.rst."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from . import model
from .bars import MIB, Bar, Results
from .catalog import LEVELS, MAIN

HEADINGS = ("contender", "codec", "write GB/s", "read GB/s", "first read GB/s", "one frame ms",
            "ratio", "write MiB", "read MiB")


def rate(nbytes: int, seconds: Sequence[float]) -> str:
    """Return GB/s: the median, and in brackets the slowest and fastest run."""
    if not seconds:
        return "-"
    slow, fast = nbytes / max(seconds) / 1e9, nbytes / min(seconds) / 1e9
    return f"{nbytes / statistics.median(seconds) / 1e9:.2f} ({slow:.2f}-{fast:.2f})"


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median in ms, and in brackets the fastest and slowest run."""
    if not seconds:
        return "-"
    return (f"{statistics.median(seconds) * 1e3:.2f} "
            f"({min(seconds) * 1e3:.2f}-{max(seconds) * 1e3:.2f})")


def rows_of(results: Results, data: str) -> list[tuple[str, ...]]:
    """Return the table of one data set, without its headings."""
    nbytes = results.raw["data"][data]["nbytes"]
    rows = []
    for cell in results.raw["cells"]:
        if cell["data"] != data:
            continue
        name = cell["contender"]
        if cell["threads"] != results.threads:
            name += f", {cell['threads']} thread"
        if cell["source"]:
            name += ", file of python-mrcz"
        if cell["error"]:
            rows.append((name, cell["label"], "failed", *["-"] * 6))
            continue
        peaks = [f"{cell[key] / MIB:.0f}" if key in cell else "-"
                 for key in ("write_peak", "read_peak")]
        first = f"{nbytes / cell['first_read'] / 1e9:.2f}" if "first_read" in cell else "-"
        ratio = f"{cell['ratio']:.3f}" if "ratio" in cell else "-"
        rows.append((name, cell["label"], rate(nbytes, cell["write"]), rate(nbytes, cell["read"]),
                     first, milliseconds(cell["frame"]), ratio, *peaks))
    return rows


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def title_of(results: Results, data: str) -> str:
    """Return what a data set is, and the best ratio possible."""
    facts = results.raw["data"][data]
    shape = " x ".join(str(length) for length in facts["shape"])
    limit = facts.get("entropy_limit")
    title = f"{facts['title']}, {shape}"
    return title if limit is None else f"{title}; entropy limit {limit:.3f}"


def text(results: Results) -> str:
    """Return all tables."""
    parts = [f"{title_of(results, data)}\n{text_table(HEADINGS, rows_of(results, data))}"
             for data in results.raw["data"]]
    if results.raw["absent"]:
        parts.append("absent: " + ", ".join(results.raw["absent"]))
    return "\n\n".join(parts)


def bar_text(bars: Sequence[Bar]) -> str:
    """Return the demands, the failed ones last, and their count."""
    ordered = sorted(bars, key=lambda bar: not bar.passed)
    failed = sum(not bar.passed for bar in bars)
    table = text_table(("demand", "bar", "measured", ""), [bar.row() for bar in ordered])
    return f"{table}\n\n{len(bars) - failed} passed, {failed} failed"


def list_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Return a reStructuredText table."""
    lines = [f".. list-table:: {title}".rstrip(), "   :header-rows: 1", ""]
    for row in (headings, *rows):
        lines += [f"   {'* -' if not column else '  -'} {cell}" for column, cell in enumerate(row)]
    return "\n".join(lines)


def section(title: str, *parts: str) -> str:
    """Return a titled section."""
    return "\n\n".join([f"{title}\n{'~' * len(title)}", *parts])


def rst(results: Results, bars: Sequence[Bar]) -> str:
    """Return the page that docs/performance.rst includes."""
    raw = results.raw
    about = [("Processor", f"{raw['machine']['processor']}, {raw['machine']['cores']} cores, "
                           f"{raw['threads']} threads used"),
             ("Memory", f"{raw['machine']['memory_gb']} GB"),
             ("Files on", raw["machine"]["work_filesystem"]),
             ("System", raw["machine"]["system"]),
             ("Python", raw["python"]),
             ("Packages", ", ".join(f"{name} {version}" for name, version
                                    in sorted(raw["versions"].items()))),
             ("Runs", f"{raw['rounds']} of each, after one warm-up"),
             ("Size of the data", "full" if raw["scale"] >= 1 else
              f"about {raw['scale']:g} of the full size: a provisional run"),
             ("Date", raw["date"])]
    parts = [".. Made by utils/benchmark.py --rst; do not edit.",
             section("The machine and the run", list_table(("what", "value"), about))]
    parts += [section(raw["data"][data.name]["title"], f"{title_of(results, data.name)}.",
                      list_table(HEADINGS, rows_of(results, data.name)))
              for data in MAIN if data.name in raw["data"]]
    parts.append(section("One thread and all", "How many times as fast all threads are as one.",
                         list_table(*scaling(results))))
    parts.append(section("Single calls", list_table(*calls(results))))
    paper = model.table(results)
    if paper:
        parts.append(section("On paper: 64 cores and an NVMe drive",
                             "GB/s of pixels that each resource alone would allow.",
                             list_table(model.HEADINGS, paper)))
    heading = ("demand", "bar", "measured", "verdict")
    parts.append(section("The bars", list_table(heading, [bar.row() for bar in bars])))
    if raw["absent"]:
        parts.append("Not installed in this run: " + ", ".join(raw["absent"]) + ".")
    return "\n\n".join(parts) + "\n"


def scaling(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return how many times as fast all threads are as one."""
    rows = []
    for data in results.raw["data"]:
        for codec in LEVELS:
            one = results.cell(data, "mrcz", codec, threads=1)
            many = results.cell(data, "mrcz", codec)
            gains = [results.speedup(many, one, what) for what in ("write", "read")]
            if one and many and results.threads > 1 and None not in gains:
                rows.append((results.raw["data"][data]["title"], f"{codec} {LEVELS[codec]}",
                             *(f"{gain:.2f}x" for gain in gains)))
    return ("data", "codec", "write", "read"), rows


def calls(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the times of what is not about throughput."""
    rows: list[tuple[str, ...]] = []
    for name in ("mrcz", "python-mrcz"):
        cell = results.cell("small", name, "zstd")
        rows += [(f"{what} one frame of 64 x 64, {name}", milliseconds(cell[what]))
                 for what in ("read", "write") if cell]
    extras = results.extras
    rows += [(f"import {name}", milliseconds(seconds))
             for name, seconds in extras.get("imports", {}).items()]
    rows += [(f"two reads, {name}", milliseconds(seconds))
             for name, seconds in extras.get("concurrent", {}).items()]
    rows.append(("one frame of 65,536", milliseconds(extras.get("many_frames", []))))
    rows.append(("64 rows of a frame of 4092 x 5760",
                 milliseconds(results.cell("k3", "mrcz", "zstd").get("rows", []))))
    return ("what", "ms (fastest-slowest)"), rows
