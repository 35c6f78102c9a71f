#!/usr/bin/env python
"""Measure this package and its peers on the same data, in the same run.

Make the environment once, then measure::

    python utils/benchmark.py --make-environment DIR
    python utils/benchmark.py --environment DIR --json results.json --check
    python utils/benchmark.py --from results.json --rst docs/performance-results.inc
    python utils/benchmark.py --environment DIR --from results.json --plots docs/images

``--quick`` is the smoke test; docs/performance.rst says what is measured, and how.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchlib import environment, report
from benchlib.bars import Results, bars
from benchlib.catalog import CODECS, DATA_SETS, MAIN, cells_of
from benchlib.environment import Environment
from benchlib.extras import Extras
from benchlib.measure import Contest, say

QUICK_SCALE, QUICK_ROUNDS = 0.01, 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = _names_from(list(CODECS), parser)
    parser.add_argument("--make-environment", type=Path, metavar="DIR",
                        help="make a virtual environment with the contenders, and stop")
    parser.add_argument("--environment", type=Path, metavar="DIR",
                        help="run in that environment (default: the running one)")
    parser.add_argument("--contenders", type=names, default=list(CODECS), metavar="A,B",
                        help=f"some of {','.join(CODECS)}")
    parser.add_argument("--data", type=_names_from([data.name for data in DATA_SETS], parser),
                        default=[data.name for data in DATA_SETS], metavar="A,B",
                        help=f"some of {','.join(data.name for data in DATA_SETS)}")
    parser.add_argument("--threads", type=int, default=environment.cores(),
                        help="threads of every contender (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="runs after the warm-up")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink the data, e.g. 0.1")
    parser.add_argument("--work", type=Path, default=_memory_folder(), metavar="DIR",
                        help="where files are written (default: %(default)s)")
    parser.add_argument("--real", type=Path, nargs="+", default=[], metavar="DIR",
                        help="folders of MRC and DM files to try compressor='auto' on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE",
                        help="take the figures of such a file instead of measuring")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the tables of the manual")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the plots of the manual")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--quick", action="store_true",
                        help="a smoke test on small data: nothing is asked of the times")
    options = parser.parse_args(arguments)
    if options.quick:
        options.scale, options.rounds = QUICK_SCALE, QUICK_ROUNDS
    if options.threads < 1 or options.rounds < 1 or not 0 < options.scale <= 1:
        parser.error("--threads and --rounds must be at least 1, --scale in (0, 1]")
    return options


def _names_from(
    allowed: Sequence[str], parser: argparse.ArgumentParser
) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(allowed)
        if unknown:
            parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(allowed)}")
        return text.split(",")

    return names


def _memory_folder() -> Path:
    """Return a folder in memory if there is one, so that no disk is measured."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return all figures."""
    where = Environment.at(options.environment, options.threads)
    here, absent = where.present(options.contenders)
    if absent:
        say(f"absent: {', '.join(absent)}")
    python, versions = where.versions()
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "python": python, "versions": versions,
        "machine": environment.machine(options.work), "threads": options.threads,
        "rounds": options.rounds, "scale": options.scale, "contenders": here, "absent": absent,
        "cells": [], "data": {}, "extras": {"errors": {}},
    }
    # Of tiny data they say nothing, and every figure is a process of its own.
    measured_peaks = [data.name for data in (MAIN[:1] if options.quick else MAIN)]
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.work) as folder:
        work = Path(folder)
        for data in (each.scaled(options.scale) for each in DATA_SETS if each.name in options.data):
            cells = cells_of(data, here, options.threads)
            if cells:
                contest = Contest(where, data, cells, work)
                peaks = data.name in measured_peaks
                figures, results["data"][data.name] = contest.run(options.rounds, peaks=peaks)
                results["cells"] += figures
        if "mrcz" in here:
            extras = Extras(where, work, options.scale, options.rounds)
            results["extras"] = extras.run(here, options.real)
    return results


def errors_of(results: dict[str, Any]) -> list[str]:
    """Return what went wrong, apart from being slow."""
    errors = [f"{cell['data']} {cell['key'] if 'key' in cell else cell['contender']}: "
              f"{cell[key]}" for cell in results["cells"] for key in ("error", "rows_error")
              if cell.get(key)]
    return errors + [f"{name}: {text}" for name, text in results["extras"]["errors"].items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and return the exit code."""
    options = parse(arguments)
    if options.make_environment is not None:
        environment.make(options.make_environment, options.contenders)
        return 0
    if options.source is None:
        raw = measure(options)
    else:
        raw = json.loads(options.source.read_text(encoding="utf-8"))
    results = Results(raw)
    checked = bars(results)
    print(report.text(results))
    if options.check or not options.quick:
        print("\n" + report.bar_text(checked))
    _write(options, results)
    errors = errors_of(raw)
    for error in errors:
        print(f"ERROR {error}", file=sys.stderr)
    missed = options.check and not all(bar.passed for bar in checked)
    return 1 if errors or missed else 0


def _write(options: argparse.Namespace, results: Results) -> None:
    """Write the files that were asked for."""
    if options.json is not None:
        options.json.write_text(json.dumps(results.raw, indent=1) + "\n", encoding="utf-8")
    if options.rst is not None:
        options.rst.write_text(report.rst(results, bars(results)), encoding="utf-8")
    if options.plots is not None:
        import subprocess

        where = Environment.at(options.environment, results.threads)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "results.json"
            source.write_text(json.dumps(results.raw), encoding="utf-8")
            subprocess.run(where.command("plots", str(source), str(options.plots.resolve())),
                           check=True, env=where.variables("numpy"))


if __name__ == "__main__":
    sys.exit(main())
