"""Speed against ratio, one panel a data set: ``python -m benchlib.plots JSON FOLDER``."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from .catalog import MAIN

COLOURS = {"mrcz": "#d62728", "python-mrcz": "#ff9896", "numpy": "#7f7f7f", "mrcfile": "#bcbd22",
           "blosc2": "#1f77b4", "hdf5": "#2ca02c", "zarr": "#9467bd",
           "tifffile": "#8c564b"}


def plot(results: dict[str, Any], what: str, path: Path) -> None:
    """Draw what was written or read in GB/s against the ratio."""
    shown = [data.name for data in MAIN if data.name in results["data"]]
    figure, panels = pyplot.subplots(2, 2, figsize=(10, 9), layout="constrained")
    for panel, data in zip(panels.flat, shown, strict=False):
        _panel(panel, results, data, what)
    for panel in list(panels.flat)[len(shown):]:
        panel.set_visible(False)
    names = [name for name in COLOURS if name in results["contenders"]]
    marks = [Line2D([], [], linestyle="", **_style(name)) for name in names]
    figure.legend(marks, names, loc="outside lower center", ncols=len(names), frameon=False)
    scale = "" if results["scale"] >= 1 else f" (provisional: data of {results['scale']:g} size)"
    figure.suptitle(f"{what.capitalize()}: up and to the right is better; "
                    f"{results['threads']} threads{scale}")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _panel(panel: Any, results: dict[str, Any], data: str, what: str) -> None:
    facts = results["data"][data]
    for cell in results["cells"]:
        if cell["data"] == data and cell["threads"] == results["threads"]:
            _point(panel, cell, what, facts["nbytes"])
    limit = facts.get("entropy_limit")
    if limit:
        panel.axvline(limit, color="black", linestyle=":", linewidth=1)
        panel.annotate("entropy limit", (limit, 0.02), rotation=90, ha="right", fontsize=8,
                       xycoords=("data", "axes fraction"))
    panel.set(title=facts["title"], xlabel="compression ratio", ylabel=f"{what}, GB/s of pixels",
              yscale="log")
    panel.margins(0.12, 0.06)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_locator(NullLocator())
    panel.grid(alpha=0.3)


def _point(panel: Any, cell: dict[str, Any], what: str, nbytes: int) -> None:
    if cell["error"] or cell["source"] or not cell.get(what):
        return
    place = (cell["ratio"], nbytes / statistics.median(cell[what]) / 1e9)
    panel.plot(*place, linestyle="", **_style(cell["contender"]))
    panel.annotate(cell["label"], place, xytext=(5, 4), textcoords="offset points", fontsize=7)


def _style(contender: str) -> dict[str, Any]:
    own = contender == "mrcz"
    return {"color": COLOURS[contender], "marker": "o" if own else "s",
            "markersize": 9 if own else 6}


def main(source: str, folder: str) -> None:
    """Draw both figures."""
    results = json.loads(Path(source).read_text(encoding="utf-8"))
    matplotlib.rcParams["svg.hashsalt"] = "mrcz"  # the same file for the same results
    matplotlib.rcParams["svg.fonttype"] = "none"
    Path(folder).mkdir(parents=True, exist_ok=True)
    for what in ("write", "read"):
        plot(results, what, Path(folder) / f"benchmark-{what}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
