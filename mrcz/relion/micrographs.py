"""Choosing micrographs by their CTF, and the CTF of micrographs that zorro has aligned."""

from __future__ import annotations

import configparser
import glob
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcz.errors import MRCFormatError
from mrcz.relion.blocks import Particles, StarBlock

__all__ = ["CtfLimits", "ctf_star_from_zorro", "ctf_values"]

log = logging.getLogger("mrcz.ReliablePy")


@dataclass(frozen=True)
class CtfLimits:
    """What a micrograph must keep to: Angstrom, but the figure of merit, which has no unit."""

    defocus: float
    astigmatism: float
    fom: float
    resolution: float

    def accepted(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return a mask of the micrographs that pass all limits; NaN never passes."""
        return np.asarray(
            (values["defocus"] <= self.defocus)
            & (values["astigmatism"] <= self.astigmatism)
            & (values["fom"] >= self.fom)
            & (values["resolution"] <= self.resolution)
        )


def ctf_values(star: Mapping[str, Any], key: str) -> dict[str, np.ndarray]:
    """Return mean defocus, astigmatism, resolution (Angstrom) and figure of merit."""
    table = Particles(star, key, "the Gctf filter")
    u, v = table.floats("DefocusU"), table.floats("DefocusV")
    return {
        "defocus": (u + v) / 2,
        "astigmatism": np.abs(u - v),
        "fom": table.floats("CtfFigureOfMerit"),
        "resolution": table.floats("FinalResolution", "CtfMaxResolution"),
    }


def ctf_star_from_zorro(
    logs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    physical_pixel: float,
    amplitude_contrast: float,
) -> dict[str, StarBlock]:
    """Return the micrographs of zorro logs with their CTF, ready for RELION's extraction.

    Parameters
    ----------
    logs : str, path or iterable of them
        A glob pattern, or the logs themselves.
    physical_pixel : float
        The detector's pixel in micrometre; with the pixel size it gives the magnification.
    amplitude_contrast : float
        Used where the log has none.

    Raises
    ------
    FileNotFoundError
        If the pattern matches nothing.
    MRCFormatError
        If a log lacks the calibration or the CTF.
    """
    names = (sorted(glob.glob(os.fspath(logs)))
             if isinstance(logs, str | os.PathLike)
             else [os.fspath(name) for name in logs])
    if not names:
        raise FileNotFoundError(f"no zorro log matches {logs!r}")
    rows = [_zorro_row(name, physical_pixel, amplitude_contrast) for name in names]
    table = {column: np.array([row[column] for row in rows], object if column in (
        "MicrographName", "CtfImage") else np.float64) for column in rows[0]}
    return {"data_": StarBlock(table)}


def _zorro_row(name: str, physical_pixel: float, amplitude_contrast: float) -> dict[str, Any]:
    parser = configparser.RawConfigParser(allow_no_value=True, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(Path(name).read_text(encoding="utf-8"))
        ctf = json.loads(parser["ctf"]["CTFInfo"])
        files = json.loads(parser["io"]["files"])
        calibration = parser["calibration"]
        angstrom = 10.0 * float(calibration["pixelsize"])  # zorro has nanometre
        voltage, c3 = float(calibration["voltage"]), float(calibration["C3"])
        defocus = {column: float(ctf[column])
                   for column in ("DefocusU", "DefocusV", "DefocusAngle")}
        micrograph = files.get("filt") or files.get("sum") or name.removesuffix(".log")
        contrast = ctf.get("AmplitudeContrast")
        contrast = amplitude_contrast if contrast is None else float(contrast)
        merit, resolution = (_number(ctf.get(column))
                             for column in ("CtfFigureOfMerit", "FinalResolution"))
    except (configparser.Error, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MRCFormatError("not a zorro log with calibration and CTF", path=name,
                             found=repr(error)) from error
    return {
        "MicrographName": str(micrograph),
        "CtfImage": str(files.get("ctf") or micrograph),
        **defocus,
        "Voltage": voltage,
        "SphericalAberration": c3,
        "AmplitudeContrast": contrast,
        "Magnification": 1e4 * physical_pixel / angstrom,
        "DetectorPixelSize": float(physical_pixel),
        "CtfFigureOfMerit": merit,
        "FinalResolution": resolution,
    }


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
