"""Pixels between memory and disk: byte order, packed and paired types, checked casts."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from .modes import WRITABLE, WRITTEN_AS, Mode

__all__ = [
    "LARGEST_NIBBLE",
    "Pixels",
    "cast",
    "cast_into",
    "disk_to_memory",
    "memory_dtype",
    "pack_nibbles",
    "tell_cast",
    "writable_mode",
]

logger = logging.getLogger("mrcz")

_told_casts: set[str] = set()

Pixels = np.ndarray[Any, np.dtype[Any]]

LARGEST_NIBBLE = 15
"""Of the values of uint4."""


def memory_dtype(mode: Mode) -> np.dtype[Any]:
    """Return the dtype of the arrays that are handed to the user, in native order."""
    return np.dtype(mode.memory)


def disk_to_memory(raw: Pixels, mode: Mode, byteorder: str, out: Pixels) -> None:
    """Convert stored rows to pixels.

    Parameters
    ----------
    raw : (..., row_bytes) array of uint8
        As on disk.
    mode : Mode
        What they are.
    byteorder : str
        ``'<'`` or ``'>'``.
    out : (..., nx) or (..., nx, 3) array
        Filled.
    """
    if mode.packed:
        out[..., 0::2] = raw[..., : (out.shape[-1] + 1) // 2] & 15
        out[..., 1::2] = raw[..., : out.shape[-1] // 2] >> 4
        return
    values = raw.view(byteorder + mode.disk)
    if mode.paired:
        out.real = values[..., 0::2]
        out.imag = values[..., 1::2]
    else:
        out[...] = values.reshape(out.shape)


def pack_nibbles(pixels: Pixels) -> Pixels:
    """Return rows of values 0..15 packed two a byte, the first in the low bits.

    Parameters
    ----------
    pixels : (..., nx) array of uint8
        A row of odd length is padded with a zero.

    Examples
    --------
    >>> pack_nibbles(np.array([[1, 2, 3]], np.uint8))
    array([[33,  3]], dtype=uint8)
    """
    packed: Pixels = pixels[..., 0::2].copy()
    packed[..., : pixels.shape[-1] // 2] |= pixels[..., 1::2] << 4
    return packed


def writable_mode(dtype: Any, *, what: str = "input_image") -> tuple[Mode, np.dtype[Any]]:
    """Return the mode that stores `dtype`, and the dtype that is stored.

    Parameters
    ----------
    dtype : dtype-like
        ``'uint4'`` is the packed mode 101.
    what : str
        The argument, for the message.

    Raises
    ------
    TypeError
        If no mode holds it; the message lists what is supported.
    """
    code = _code_of(dtype)
    mode = WRITABLE.get(WRITTEN_AS.get(code, code))
    if mode is None:
        supported = [np.dtype(name).name if name != "uint4" else name
                     for name in (*WRITABLE, *WRITTEN_AS)]
        raise TypeError(f"{what} has dtype {dtype!s}, which MRC can't hold; supported are "
                        f"{', '.join(supported)}: convert it, or say dtype=")
    return mode, memory_dtype(mode)


def tell_cast(dtype: np.dtype[Any]) -> None:
    """Log, once a type, that pixels of it are stored as another type."""
    code = f"{dtype.kind}{dtype.itemsize}"
    if code in WRITTEN_AS and code not in _told_casts:
        _told_casts.add(code)
        logger.warning("%s has no MRC mode and is written as %s (said once)",
                       dtype.name, np.dtype(WRITTEN_AS[code]).name)


def _code_of(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype.lower() in ("uint4", "u4bit"):
        return "uint4"
    try:
        if dtype is None:  # float64, as NumPy has it
            raise TypeError
        found = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"dtype {dtype!r} is not one that NumPy knows, nor 'uint4'") from error
    return f"{found.kind}{found.itemsize}" if found.subdtype is None and not found.names else "V"


def cast_into(source: Pixels, out: Pixels, *, largest: int | None, what: str) -> None:
    """Copy `source` to `out`, never changing a value beyond rounding.

    Parameters
    ----------
    source, out : arrays of one shape
        `out` has the dtype to be stored.
    largest : int, optional
        Upper limit of the values where it is below that of out's dtype (15 for uint4).
    what : str
        Name of the frame, for messages.

    Raises
    ------
    ValueError
        If a value would wrap, overflow to infinity, or is NaN and out holds integers.
    TypeError
        If `source` is complex and `out` is not, or holds no numbers.
    """
    if source.dtype.kind not in "biufc":  # NumPy makes numbers of dates and of text
        raise TypeError(f"{what} has dtype {source.dtype}, which is no pixel")
    if source.dtype.kind == "c" and out.dtype.kind != "c":
        raise TypeError(f"{what} is complex: a cast to {out.dtype} would drop its imaginary part")
    if out.dtype.kind in "iu" and source.size:
        _check_range(source, out.dtype, largest, what)
    with np.errstate(over="raise", invalid="ignore"):
        try:
            np.copyto(out, source, casting="unsafe")
        except FloatingPointError:
            raise ValueError(f"{what} has values beyond {np.finfo(out.dtype).max:.4g}, "
                             f"the largest of {out.dtype}") from None


def cast(
    source: Pixels, dtype: np.dtype[Any], *, what: str, largest: int | None = None
) -> Pixels:
    """Return a copy of `source` as another dtype, in C order; see `cast_into`."""
    out = np.empty(source.shape, dtype)
    cast_into(source, out, largest=largest, what=what)
    return out


def _check_range(source: Pixels, dtype: np.dtype[Any], largest: int | None, what: str) -> None:
    if largest is None and np.can_cast(source.dtype, dtype, "safe"):
        return
    limits = np.iinfo(dtype)
    top = limits.max if largest is None else largest
    # As Python's numbers, which compare exactly: float32 takes 2**31 - 1 for 2**31.
    low, high = source.min().item(), source.max().item()
    # Truncation keeps what is within one; NaN fails.
    if not (limits.min - 1 < low and high < top + 1):
        raise ValueError(f"{what} has values from {low} to {high}; dtype {dtype}"
                         f"{' (packed)' if largest is not None else ''} holds "
                         f"{limits.min} to {top} and no NaN")
