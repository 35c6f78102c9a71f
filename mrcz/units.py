"""Units of length, what a pixel size is given and asked in; and of bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .arguments import LARGEST_FLOAT, single

__all__ = ["angstrom_per", "is_length", "is_storable", "parse_pixelsize", "size_text"]

logger = logging.getLogger("mrcz")

DEFAULT_SLICE_SPACING = 10.0
"""Å between slices where only [y, x] are given, as python-mrcz has it."""


def _metres(prefix: str) -> tuple[str, ...]:
    """Return how units of metres are spelled out."""
    return tuple(f"{prefix}{each}" for each in ("meter", "metre", "meters", "metres"))


_UNITS: dict[str, float] = {
    **dict.fromkeys(("A", "AA", "\\AA", "\u00c5", "\u212b", "\u00e5",
                     *(f"{first}ngstr{vowel}m{plural}" for first in "a\u00e5"
                       for vowel in "o\u00f6" for plural in ("", "s"))), 1.0),
    **dict.fromkeys(("pm", *_metres("pico")), 1e-2),
    **dict.fromkeys(("nm", *_metres("nano")), 10.0),
    **dict.fromkeys(("um", "\\mum", "\u00b5m", "\u03bcm", "micron", "microns", *_metres("micro")),
                    1e4),
    **dict.fromkeys(("mm", *_metres("milli")), 1e7),
    **dict.fromkeys(("cm", *_metres("centi")), 1e8),
    **dict.fromkeys(("m", *_metres("")), 1e10),
}

_told: set[str] = set()
"""Units that were warned of: who saves a thousand files is told once."""

_LARGEST_SIZE = LARGEST_FLOAT / (1 << 31)
"""Å a pixel; the cell, which is that times the pixels of an axis, is stored in float32."""


def angstrom_per(unit: str | None) -> float:
    r"""Return how many Å one `unit` is.

    An unknown unit is taken as nm, as python-mrcz does, with a logged warning, once a unit.
    None, which HyperSpy hands over of axes without units, is no mistake: logged as info.

    Examples
    --------
    >>> angstrom_per("nm"), angstrom_per("\\mum"), angstrom_per("\\AA")
    (10.0, 10000.0, 1.0)
    """
    factor = _angstrom_in(unit)
    if factor is None:
        _tell_unknown(unit)
        factor = _UNITS["nm"]
    return factor


def is_length(unit: object) -> bool:
    """Return whether a unit is one of length, in a spelling that is known.

    Examples
    --------
    >>> is_length("nm"), is_length("1/nm"), is_length(None)
    (True, False, False)
    """
    return _angstrom_in(unit) is not None


def _angstrom_in(unit: object) -> float | None:
    if not isinstance(unit, str):
        return None
    return _UNITS.get(unit, _UNITS.get(unit.strip().lower()))


def _tell_unknown(unit: Any) -> None:
    if unit is None:
        logger.info("a pixel size without unit is taken as nm")
    elif repr(unit) not in _told:
        _told.add(repr(unit))
        spelled = {factor: name for name, factor in reversed(_UNITS.items())}
        logger.warning("unknown pixel unit %r taken as nm (said once); known, spelled out too: %s",
                       unit, ", ".join(spelled.values()))


def is_storable(size: float) -> bool:
    """Return whether a pixel size in Å, and the cell with it, are finite in float32."""
    return abs(size) < _LARGEST_SIZE


def parse_pixelsize(pixelsize: Any, unit: str) -> tuple[float, float, float]:
    """Return a user's pixel size as (z, y, x) in Å.

    Parameters
    ----------
    pixelsize : float or sequence of float
        One value for all axes, ``[y, x]`` (then z is 10 Å) or ``[z, y, x]``, in `unit`.
    unit : str
        See `angstrom_per`.

    Raises
    ------
    ValueError
        If there are not 1, 2 or 3 values, or one of them is not finite.
    TypeError
        If a value is not a number.

    Examples
    --------
    >>> parse_pixelsize([0.2, 0.1], "nm")
    (10.0, 2.0, 1.0)
    """
    factor = angstrom_per(unit)
    values: Sequence[Any]
    if isinstance(pixelsize, (int, float, str)):
        values = [pixelsize]
    elif isinstance(pixelsize, np.ndarray) or not isinstance(pixelsize, Iterable):
        values = np.ravel(pixelsize).tolist()
    else:
        values = list(pixelsize)
    try:
        sizes = [float(single(value)) * factor for value in values]
    except OverflowError:
        sizes = [np.inf]
    except (TypeError, ValueError) as error:
        raise TypeError(f"pixelsize must hold numbers, not {pixelsize!r}") from error
    if not all(map(is_storable, sizes)):
        raise ValueError(f"pixelsize must be finite, and the cell below {LARGEST_FLOAT:.3g} Å, "
                         f"not {pixelsize!r} {unit}")
    if len(sizes) == 1:
        return (sizes[0], sizes[0], sizes[0])
    if len(sizes) == 2:
        return (DEFAULT_SLICE_SPACING, sizes[0], sizes[1])
    if len(sizes) == 3:
        return (sizes[0], sizes[1], sizes[2])
    raise ValueError(f"pixelsize must have 1, 2 or 3 elements, not {len(sizes)}: {pixelsize!r}")


def size_text(count: float) -> str:
    """Return a number of bytes for people, in units of 1000.

    Examples
    --------
    >>> size_text(315084), size_text(12)
    ('315 kB', '12 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
