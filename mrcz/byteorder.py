"""The byte order of a record: asked for, found, and that of fields which have another one."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from .modes import COMPRESSOR_FACTOR, Mode

__all__ = ["byteorder_of", "find_byteorder", "other_than", "strays_of"]

_ENDIANS = {"le": "<", "be": ">", "<": "<", ">": ">", "little": "<", "big": ">"}
_ALWAYS_LITTLE_ENDIAN = ("mode", "nlabl", "dmin", "dmax", "dmean", "voltage", "c3", "gain",
                         "packed_bytes")
"""Fields that python-mrcz < 0.6 wrote little-endian in its big-endian files too."""


def byteorder_of(endian: str) -> str:
    """Return ``'<'`` or ``'>'`` for the `endian` argument of the public functions.

    Raises
    ------
    ValueError
        Unless it is ``'le'`` or ``'be'`` (or a synonym: ``'<'``, ``'>'``, ``'little'``,
        ``'big'``).
    """
    try:
        return _ENDIANS[endian.lower()]
    except (KeyError, AttributeError):
        raise ValueError(f"endian must be 'le' or 'be', not {endian!r}") from None


def other_than(byteorder: str) -> str:
    """Return ``'<'`` for ``'>'``, and the reverse."""
    return "<" if byteorder == ">" else ">"


def find_byteorder(data: bytes, default: str, modes: Mapping[int, Mode]) -> str:
    """Return the byte order; that of MODE alone may be the other one, see `strays_of`.

    The machine stamp goes first, then a MODE that makes sense with dimensions that do,
    then `default`.
    """
    stamp = data[212:214]
    stamped = ">" if stamp == b"\x11\x11" else "<" if stamp in (b"DD", b"DA", b"AD") else None
    first = stamped or default
    second = other_than(first)

    known, likely = _plausible(data, first, modes)
    if known and likely:
        return first
    known_in_other, likely_in_other = _plausible(data, second, modes)
    return second if known_in_other and likely_in_other else first


def strays_of(data: bytes, byteorder: str, modes: Mapping[int, Mode]) -> tuple[str, ...]:
    """Return the fields whose byte order is not that of the others.

    MODE tells, where only the other order makes sense of it; 0 is the same in both, and then
    the number of labels does. MZ is among them from 0.5.0 on, where it is the slices an item.
    """
    other = other_than(byteorder)
    mode, = struct.unpack_from(f"{byteorder}i", data, 12)
    if _is_known(mode, modes):
        if mode or byteorder == "<" or not data.startswith(b"MRCZ", 224):
            return ()
        if struct.unpack_from("<i", data, 220)[0] != 1:  # NLABL
            return ()
    elif not _is_known(struct.unpack_from(f"{other}i", data, 12)[0], modes):
        return ()
    nz, = struct.unpack_from(f"{byteorder}i", data, 8)
    mz, = struct.unpack_from(f"{other}i", data, 36)
    return (*_ALWAYS_LITTLE_ENDIAN, "mz") if 0 < mz <= nz else _ALWAYS_LITTLE_ENDIAN


def _plausible(data: bytes, byteorder: str, modes: Mapping[int, Mode]) -> tuple[bool, bool]:
    """Return whether MODE is known in a byte order, and whether the dimensions make sense."""
    *sizes, mode = struct.unpack_from(f"{byteorder}4i", data)
    return _is_known(mode, modes), min(sizes) > 0 and max(sizes) < 1 << 20


def _is_known(number: int, modes: Mapping[int, Mode]) -> bool:
    return number % COMPRESSOR_FACTOR in modes and 0 <= number // COMPRESSOR_FACTOR < 1000
