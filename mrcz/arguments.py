"""Checks of single arguments: the message names the argument, what is allowed and what came."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

__all__ = ["LARGEST_FLOAT", "frame_number", "integer", "number", "single"]

LARGEST_FLOAT = float(np.finfo(np.float32).max)
"""Of the numbers in the record."""


def integer(
    name: str,
    value: Any,
    lowest: int | None = None,
    highest: int | None = None,
    *,
    kind: str = "an integer",
) -> int:
    """Return `value` as an int.

    Parameters
    ----------
    name : str
        Of the argument.
    value : object
        What came.
    lowest, highest : int, optional
        What is allowed.
    kind : str
        What it may be in words, for the message.

    Raises
    ------
    TypeError
        Unless it is an integer; a bool is none.
    ValueError
        If it is outside the bounds.

    Examples
    --------
    >>> integer("clevel", np.int8(5), 0, 9)
    5
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {kind}, not {value!r}") from None
    if (lowest is not None and number < lowest) or (highest is not None and number > highest):
        bounds = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{name} must be {bounds}, not {value!r}")
    return number


def frame_number(value: Any, kind: str) -> int:
    """Return an `idx` as an int; tables of particles have them as floats, which python-mrcz takes.

    Raises
    ------
    TypeError
        Unless it is an integer, or a float without a fraction.

    Examples
    --------
    >>> frame_number(np.float64(3), "an integer")
    3
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return integer("idx", value, kind=kind)


def single(value: Any) -> Any:
    """Return what an array of one item holds, as HDF5 and Matlab files have numbers.

    Examples
    --------
    >>> single(np.array([[300.0]])), single(300)
    (300.0, 300)
    """
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def number(name: str, value: Any) -> float:
    """Return `value` as a float that the record can hold.

    Raises
    ------
    TypeError
        Unless it is a number.
    ValueError
        If it is not finite, or too large for float32.

    Examples
    --------
    >>> number("voltage", "300")
    300.0
    """
    try:
        result = float(single(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, not {value!r}") from error
    except OverflowError:
        result = np.inf
    if not abs(result) <= LARGEST_FLOAT:
        raise ValueError(f"{name} must be a number that float32 holds, not {value!r}")
    return result
