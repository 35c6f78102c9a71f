"""Choosing and grouping particles."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mrcz.relion.blocks import (
    MissingColumnError,
    Particles,
    StarBlock,
    rows_of,
    select_rows,
)

__all__ = ["prune_near_edge", "regroup"]

log = logging.getLogger("mrcz.ReliablePy")


def prune_near_edge(
    star: Mapping[str, Any], key: str, box: float | None, shape: tuple[int, int]
) -> StarBlock:
    """Return the block without the particles whose box reaches over the micrograph's edge.

    Parameters
    ----------
    star : mapping
        The blocks.
    key : str
        The block of the particles.
    box : float or None
        The box's side in pixels of the micrograph; None: from the file, see `_box_size`.
    shape : (int, int)
        [y, x] of the micrographs in pixels.
    """
    particles = Particles(star, key, "pruning near the edge")
    height, width = (float(side) for side in shape)
    if box is not None and not (np.isfinite(box) and box > 0):
        raise ValueError(f"box must be a positive number of pixels, not {box!r}")
    half = (_box_size(star, particles) if box is None else float(box)) / 2
    x, y = particles.floats("CoordinateX"), particles.floats("CoordinateY")
    inside = (x >= half) & (x + half <= width) & (y >= half) & (y + half <= height)
    log.info("%d of %d particles are too near the edge", (~inside).sum(), len(inside))
    return select_rows(particles.block, inside)


def _box_size(star: Mapping[str, Any], particles: Particles) -> np.ndarray | float:
    """Return the box's side in micrograph pixels.

    From the optics table (RELION >= 3.1), scaled from particle to micrograph pixels where both
    sizes are known, or from ``OriginalImageSize`` of a loaded _model.star.
    """
    if particles.has("ImageSize"):
        size = particles.floats("ImageSize")
        for micrograph in ("MicrographPixelSize", "MicrographOriginalPixelSize"):
            if particles.has("ImagePixelSize", micrograph):
                return np.asarray(
                    size * particles.floats("ImagePixelSize") / particles.floats(micrograph))
        return size
    general = star.get("data_model_general", {})
    if "OriginalImageSize" in general:
        return float(general["OriginalImageSize"])
    raise MissingColumnError(
        "the box size is unknown: give box=, or load a file with 'ImageSize' in data_optics or a "
        f"_model.star with 'OriginalImageSize'; loaded is {', '.join(star)}")


def regroup(
    star: Mapping[str, Any], key: str, per_group: int, mini_batch: bool, seed: int | None
) -> StarBlock:
    """Return the block with ``GroupNumber`` and ``GroupName`` from a k-means clustering.

    The clusters lie in the space of DefocusU, DefocusV (Angstrom) and GroupScaleCorrection,
    each scaled to unit variance, since 1000 Angstrom would drown any scale correction.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if not per_group > 0:
        raise ValueError(f"partPerGroup must be positive, not {per_group!r}")
    particles = Particles(star, key, "regrouping")
    features = np.column_stack([
        particles.floats("DefocusU"), particles.floats("DefocusV"),
        _scale_correction(star, particles)])
    if not np.isfinite(features).all():
        raise ValueError(f"block {key!r} has NaN or infinite values in defocus or scale")
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    distinct = len(np.unique(features, axis=0))
    clusters = min(max(1, round(len(features) / per_group)), max(1, distinct))
    if clusters > 1:
        method = MiniBatchKMeans if mini_batch else KMeans
        options = {"batch_size": max(1024, 3 * clusters)} if mini_batch else {}
        labels = method(clusters, n_init=3, random_state=seed, **options).fit_predict(features)
    else:
        labels = np.zeros(len(features), int)
    numbers = pd.factorize(labels, sort=True)[0] + 1  # without gaps, from 1 as in RELION
    digits = len(str(numbers.max(initial=1)))
    names = np.array([f"group_{n:0{digits}d}" for n in range(1, numbers.max(initial=0) + 1)],
                     object)
    block = select_rows(particles.block, np.arange(len(features)))
    block["GroupNumber"] = numbers.astype(np.int64)
    block["GroupName"] = names[numbers - 1]
    log.info("%d particles in %d groups", len(numbers), len(names))
    return block


def _scale_correction(star: Mapping[str, Any], particles: Particles) -> np.ndarray:
    """Return the scale correction of each particle's group, which _model.star may hold."""
    groups = star.get("data_model_groups", {})
    link = next((name for name in ("GroupName", "GroupNumber")
                 if name in groups and name in particles.block), None)
    if "GroupScaleCorrection" in particles.block or link is None:
        return particles.floats("GroupScaleCorrection")
    rows = rows_of(groups[link], particles.column(link), what=link, table="data_model_groups")
    return np.asarray(np.asarray(groups["GroupScaleCorrection"], np.float64)[rows])
