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

from .catalog import MAIN

COLOURS = {"mrcz": "#d62728", "python-mrcz": "#ff9896", "numpy": "#7f7f7f", "mrcfile": "#bcbd22",
           "blosc2": "#1f77b4", "hdf5": "#2ca02c", "zarr": "#9467bd",
           "tifffile": "#8c564b"}


def plot(results: dict[str, Any], what: str, path: Path) -> None:
    """Draw what was written or read in GB/s against the ratio."""
    shown = [data.name for data in MAIN if data.name in results["data"]]
    figure, panels = pyplot.subplots(2, 2, figsize=(11, 9), layout="constrained")
    for panel, data in zip(panels.flat, shown, strict=False):
        facts = results["data"][data]
        for cell in results["cells"]:
            if cell["data"] == data:
                _point(panel, cell, what, facts["nbytes"])
        if facts.get("entropy_limit"):
            panel.axvline(facts["entropy_limit"], color="black", linestyle=":", linewidth=1)
            panel.annotate("entropy limit", (facts["entropy_limit"], 0.98), rotation=90, va="top",
                           ha="right", fontsize=8,
                           xycoords=("data", "axes fraction"))
        panel.set(title=facts["title"], xlabel="compression ratio",
                  ylabel=f"{what}, GB/s of pixels", xscale="log", yscale="log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3)
    for panel in list(panels.flat)[len(shown):]:
        panel.set_visible(False)
    scale = "" if results["scale"] >= 1 else f" (provisional: data of {results['scale']:g} size)"
    figure.suptitle(f"{what.capitalize()}: up and to the right is better; "
                    f"{results['threads']} threads{scale}")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _point(panel: Any, cell: dict[str, Any], what: str, nbytes: int) -> None:
    if cell["error"] or cell["source"] or not cell.get(what) or "ratio" not in cell:
        return
    if cell["threads"] == 1 and cell["contender"] == "mrcz":
        return
    place = (cell["ratio"], nbytes / statistics.median(cell[what]) / 1e9)
    marker, large = ("o", 9) if cell["contender"] == "mrcz" else ("s", 6)
    panel.plot(*place, marker, color=COLOURS[cell["contender"]], markersize=large)
    panel.annotate(f"{cell['contender']} {cell['label']}", place, xytext=(5, 4),
                   textcoords="offset points", fontsize=7)


def main(source: str, folder: str) -> None:
    """Draw both figures."""
    results = json.loads(Path(source).read_text(encoding="utf-8"))
    matplotlib.rcParams["svg.hashsalt"] = "mrcz"  # the same file for the same results
    Path(folder).mkdir(parents=True, exist_ok=True)
    for what in ("write", "read"):
        plot(results, what, Path(folder) / f"benchmark-{what}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
