"""RELION particles -> Frealign/cisTEM .par tables."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mrcz.relion.blocks import MissingColumnError, Particles
from mrcz.relion.par import FREALIGN_9, FREALIGN_X, write_par

__all__ = ["particles_to_par", "save_par_files"]

# What Frealign's own start-up scripts write before the first cycle.
_START = {"LogP": -500, "SIGMA": 1.0, "SCORE": 20.0, "CHANGE": 0.0}
_DSTEP = 5.0  # micrometre, the detector pixel that a magnification is made up for
_LAYOUTS = {layout.name: layout for layout in (FREALIGN_9, FREALIGN_X)}


def particles_to_par(
    star: Mapping[str, Any],
    key: str,
    *,
    mag: float | None = None,
    pixelsize: float | None = None,
    layout: str = FREALIGN_9.name,
) -> pd.DataFrame:
    """Return the particles of a block as a Frealign table, with 100 % occupancy.

    ==========  =====================================================================
    N           number of the particle, from 1
    PSI         AnglePsi (degrees); both programs have the same ZYZ angles
    THETA, PHI  AngleTilt, AngleRot (degrees)
    SHX, SHY    **minus** OriginXAngst, OriginYAngst (Angstrom); of RELION <= 3.0 minus
                OriginX, OriginY times the pixel size
    MAG         `mag`, else RELION's Magnification (<= 3.0), else 50000 / pixel size.
                Frealign's DSTEP must be MAG * pixel size / 10000 micrometre: 5 in the
                last case
    FILM        number of the micrograph (MicrographName), from 1 as they first occur
    DF1, DF2    DefocusU, DefocusV (Angstrom, underfocus positive)
    ANGAST      DefocusAngle (degrees from x to the direction of DF1)
    PSHIFT      PhaseShift (degrees); FrealignX and cisTEM only
    OCC         100 %
    others      what Frealign starts with: LogP -500, SIGMA 1, SCORE 20, CHANGE 0.
                RELION's likelihoods are not on Frealign's scale
    ==========  =====================================================================

    The angles and defocus follow the README of Frealign 9, the sign of the shifts and the
    starting values what the published conversion scripts of Frealign's users do in both
    directions: RELION's origin is the shift that centres the particle, Frealign's is where the
    particle lies. (python-mrcz 0.5 kept RELION's sign, and put a space before each column,
    which moved the values out of Frealign's fixed columns.)

    Parameters
    ----------
    star : mapping
        The blocks.
    key : str
        The block of the particles.
    mag : float, optional
        Magnification to write instead of RELION's.
    pixelsize : float, optional
        Angstrom, instead of what the file says, which RELION 3.0 rounds.
    layout : {'Frealign 9', 'FrealignX'}
        FrealignX and cisTEM have a column for the phase shift.

    Raises
    ------
    MissingColumnError
        If RELION has not written what Frealign needs.
    ValueError
        If an argument is out of range, or phase shifts would be lost.
    """
    for name, value in (("mag", mag), ("pixelsize", pixelsize)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, not {value!r}")
    if layout not in _LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(_LAYOUTS)}, not {layout!r}")
    particles = Particles(star, key, "a .par file")
    x, y = particles.origins(pixelsize)
    phase = particles.floats("PhaseShift") if particles.has("PhaseShift") else None
    if layout == FREALIGN_9.name and phase is not None and phase.any():
        raise ValueError("Frealign 9 has no column for RELION's PhaseShift, which is not 0 here; "
                         "use layout='FrealignX'")
    n = len(particles)
    columns = {
        "N": np.arange(1, n + 1),
        "PSI": particles.floats("AnglePsi"),
        "THETA": particles.floats("AngleTilt"),
        "PHI": particles.floats("AngleRot"),
        "SHX": 0.0 - x,
        "SHY": 0.0 - y,
        "MAG": _magnification(particles, mag, pixelsize),
        "FILM": _films(particles),
        "DF1": particles.floats("DefocusU"),
        "DF2": particles.floats("DefocusV"),
        "ANGAST": particles.floats("DefocusAngle"),
        "PSHIFT": np.zeros(n) if phase is None else phase,
        "OCC": np.full(n, 100.0),
        **{name: np.full(n, value) for name, value in _START.items()},
    }
    return pd.DataFrame({name: columns[name] for name in _LAYOUTS[layout].columns})


def _films(particles: Particles) -> np.ndarray:
    """Number the micrographs from 1 in the order in which they first occur."""
    if particles.has("MicrographName"):
        micrographs = particles.column("MicrographName")
    else:
        names = particles.column("ImageName", "MicrographName")
        micrographs = np.array([str(name).rpartition("@")[2] for name in names], object)
    return np.asarray(pd.factorize(micrographs)[0] + 1)


def _magnification(
    particles: Particles, mag: float | None, pixelsize: float | None
) -> np.ndarray:
    if mag is not None:
        return np.full(len(particles), round(mag))
    if particles.has("Magnification"):
        return np.asarray(np.rint(particles.floats("Magnification")), np.int64)
    try:
        size = particles.pixel_size() if pixelsize is None else np.full(len(particles), pixelsize)
    except MissingColumnError as error:
        raise MissingColumnError(f"{error}; or give mag= or pixelsize=") from error
    return np.asarray(np.rint(1e4 * _DSTEP / size), np.int64)


def save_par_files(
    prefix: str | os.PathLike[str], table: pd.DataFrame, n_classes: int, seed: int | None
) -> list[str]:
    """Write ``prefix_1_rX.par`` for X = 1 to `n_classes`; return the names.

    With more than one class the occupancies are random; those of one particle add up to 100 %.
    """
    if operator.index(n_classes) < 1:
        raise ValueError(f"N_classes must be at least 1, not {n_classes}")
    random = np.random.default_rng(seed)
    # Hundredths of a percent, so that the printed numbers add up too.
    shares = random.multinomial(10_000, random.dirichlet(np.ones(n_classes), len(table)))
    names = []
    for number, share in enumerate(shares.T, 1):
        names.append(f"{os.fspath(prefix)}_1_r{number}.par")
        write_par(names[-1], table.assign(OCC=share / 100.0))
    return names
