"""Pictures of resolution and CTF. Each function returns (Figure, Axes); none shows or saves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcz.relion.blocks import MissingColumnError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mrcz.relion.micrographs import CtfLimits

__all__ = ["plot_ctf_histograms", "plot_fsc", "plot_ssnr"]

FSC_CRITERION = 0.143  # Rosenthal & Henderson (2003), for half maps

_FSC_CURVES = {  # columns of data_fsc in RELION's postprocess.star
    "FourierShellCorrelationCorrected": "corrected",
    "FourierShellCorrelationUnmaskedMaps": "unmasked maps",
    "FourierShellCorrelationMaskedMaps": "masked maps",
    "CorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps": "phase-randomised masked maps",
    "FourierShellCorrelation": "FSC",
}


def plot_fsc(star: Mapping[str, Any], ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Plot the Fourier shell correlation of a postprocess.star or _model.star."""
    curves = _fsc_curves(star)
    figure, axes = _axes(ax)
    for label, (frequency, correlation) in curves.items():
        reach = resolution_at(frequency, correlation)
        text = label if reach is None else f"{label}: {reach:.2f} Å"
        axes.plot(frequency, correlation, label=text)
    axes.axhline(FSC_CRITERION, color="0.4", linestyle="--", linewidth=1,
                 label=f"FSC = {FSC_CRITERION}")
    axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_ylim(min(-0.05, *(np.nanmin(c) - 0.05 for _, c in curves.values())), 1.05)
    _finish(axes, "Fourier shell correlation")
    return figure, axes


def _fsc_curves(star: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if "data_fsc" in star:
        block = star["data_fsc"]
        curves = {label: (_frequency(block, "data_fsc"), np.asarray(block[name], float))
                  for name, label in _FSC_CURVES.items() if name in block}
        if not curves:
            raise MissingColumnError(f"block 'data_fsc' has none of {', '.join(_FSC_CURVES)}; "
                                     f"it has {', '.join(block)}")
        return curves
    curves = {_title(name): (_frequency(block, name),
                                  np.asarray(block["GoldStandardFsc"], float))
              for name, block in _classes(star) if "GoldStandardFsc" in block}
    if not curves:
        raise MissingColumnError(
            "no FSC is loaded: it stands in 'data_fsc' of a postprocess.star or in "
            f"'GoldStandardFsc' of a _model.star; loaded is {', '.join(star) or 'nothing'}")
    return curves


def resolution_at(
    frequency: np.ndarray, correlation: np.ndarray, criterion: float = FSC_CRITERION
) -> float | None:
    """Return the resolution in Angstrom where the curve first falls below `criterion`.

    Between the two shells the crossing is interpolated; None if there is none.

    Examples
    --------
    >>> resolution_at(np.array([0.0, 0.1, 0.2]), np.array([1.0, 0.5, 0.0]), criterion=0.25)
    6.666666666666666
    """
    below = np.flatnonzero(correlation < criterion)
    if not len(below) or below[0] == 0:
        return None
    i = int(below[0])
    upper, lower = correlation[i - 1], correlation[i]
    crossing = frequency[i - 1] + (frequency[i] - frequency[i - 1]) * (
        (upper - criterion) / (upper - lower))
    return float(1 / crossing) if crossing > 0 else None


def plot_ssnr(star: Mapping[str, Any], ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Plot the spectral signal-to-noise ratio of each class of a _model.star."""
    curves = {name: block for name, block in _classes(star) if "SsnrMap" in block}
    if not curves:
        raise MissingColumnError(
            "no SSNR is loaded: it stands in 'SsnrMap' of the blocks data_model_class_N of a "
            f"_model.star; loaded is {', '.join(star) or 'nothing'}")
    figure, axes = _axes(ax)
    for name, block in curves.items():
        ratio = np.asarray(block["SsnrMap"], float)
        positive = np.where(ratio > 0, ratio, np.nan)  # RELION writes 0 beyond its reach
        axes.plot(_frequency(block, name), positive, label=_title(name))
    axes.axhline(1.0, color="0.4", linestyle="--", linewidth=1, label="SSNR = 1")
    axes.set_yscale("log")
    _finish(axes, "Spectral signal-to-noise ratio")
    return figure, axes


def plot_ctf_histograms(
    values: Mapping[str, np.ndarray], limits: CtfLimits
) -> tuple[Figure, np.ndarray]:
    """Plot the histograms of `ctf_values`, with the limits; return the Figure and 4 Axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    kept = limits.accepted(values)
    panels = (("defocus", "Mean defocus (Å)", limits.defocus),
              ("astigmatism", "Astigmatism (Å)", limits.astigmatism),
              ("fom", "Figure of merit", limits.fom),
              ("resolution", "Resolution limit (Å)", limits.resolution))
    for panel, (name, title, limit) in zip(axes.flat, panels, strict=True):
        finite = np.isfinite(values[name])
        if finite.any():
            edges = np.histogram_bin_edges(values[name][finite], bins=min(50, len(kept)))
            panel.hist(values[name][finite], edges, color="0.75", label="all")
            panel.hist(values[name][finite & kept], edges, color="C0", label="kept")
        panel.axvline(limit, color="C3", linestyle="--", label=f"limit {limit:g}")
        panel.set_xlabel(title)
        panel.set_ylabel("Micrographs")
        panel.legend(fontsize="small")
    figure.suptitle(f"{kept.sum()} of {len(kept)} micrographs kept")
    return figure, axes


def _classes(star: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    names = [name for name in star if re.fullmatch(r"data_model_class_[0-9]+", name)]
    return [(name, star[name]) for name in sorted(names, key=lambda n: int(n.split("_")[-1]))]


def _title(name: str) -> str:
    return f"class {int(name.split('_')[-1])}"


def _frequency(block: Mapping[str, Any], name: str) -> np.ndarray:
    """Return the spatial frequency in 1/Angstrom, which RELION calls resolution."""
    if "Resolution" in block:
        return np.asarray(block["Resolution"], float)
    if "AngstromResolution" in block:
        return 1 / np.asarray(block["AngstromResolution"], float)
    raise MissingColumnError(f"block {name!r} has no column 'Resolution' (_rlnResolution); "
                             f"it has {', '.join(block)}")


def _axes(ax: Axes | None) -> tuple[Figure, Axes]:
    if ax is not None:
        figure: Any = ax.get_figure(root=True) if hasattr(ax, "get_subplotspec") else ax.figure
        return figure, ax
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    return figure, ax


def _finish(axes: Axes, title: str) -> None:
    axes.set_xlabel("Spatial frequency (1/Å)")
    axes.set_ylabel(title)
    axes.set_xlim(left=0)
    axes.legend(fontsize="small", loc="upper right", edgecolor="none")
    axes.grid(alpha=0.2)
    # The upper axis reads the same frequencies as Angstrom.
    upper = axes.secondary_xaxis("top")
    ticks = [tick for tick in axes.get_xticks() if 0 < tick <= axes.get_xlim()[1]]
    upper.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
    upper.set_xlabel("Resolution (Å)")
