"""Minimum, maximum, mean and RMS deviation, gathered piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Statistics", "measure"]

_PART = 1 << 15
"""Pixels that are converted to float64 at a time."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of some pixels, in float64.

    Complex pixels have no order: theirs are 0, -1, -2 and -1, which is how MRC2014 says
    that minimum, maximum, mean and RMS are not determined.

    Attributes
    ----------
    count : int
        Pixels.
    minimum, maximum, total : float
        Of the pixels.
    squares : float or None
        Sum of the squared deviations from the mean, where it was asked for.

    Examples
    --------
    >>> a = measure(np.array([1.0, 2.0]), with_rms=True)
    >>> b = measure(np.array([3.0, 6.0]), with_rms=True)
    >>> both = a + b
    >>> both.mean, round(both.rms, 4)
    (3.0, 1.8708)
    """

    count: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    total: float = 0.0
    squares: float | None = 0.0

    @property
    def is_determined(self) -> bool:
        """Whether the pixels have an order; NaN counts as one."""
        return not self.minimum > self.maximum

    @property
    def mean(self) -> float:
        """Arithmetic mean; 0 of no pixels."""
        return self.total / self.count if self.count else 0.0

    @property
    def rms(self) -> float:
        """RMS deviation from the mean; -1 (MRC2014: not determined) if not asked for."""
        if self.squares is None or not self.count:
            return -1.0
        return math.sqrt(self.squares / self.count) if self.squares >= 0 else math.nan

    def __add__(self, other: Statistics) -> Statistics:
        if not self.count or not other.count:
            return other if other.count else self
        count = self.count + other.count
        squares = None
        if self.squares is not None and other.squares is not None:
            # Chan, Golub & LeVeque (1983): no cancellation where the mean is large.
            apart = other.mean - self.mean
            squares = (self.squares + other.squares
                       + apart * apart * (self.count / count) * other.count)
        return Statistics(
            count,
            _either_nan(min, self.minimum, other.minimum),
            _either_nan(max, self.maximum, other.maximum),
            self.total + other.total,
            squares,
        )


def _either_nan(choose: Any, a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else float(choose(a, b))


def measure(pixels: np.ndarray[Any, Any], *, with_rms: bool) -> Statistics:
    """Return the statistics of an array, of any dtype that can be written."""
    if not pixels.size:
        return Statistics(squares=0.0 if with_rms else None)
    if pixels.dtype.kind == "c":
        return Statistics(pixels.size, 0.0, -1.0, -2.0 * pixels.size, None)
    with np.errstate(all="ignore"):
        low, high = float(pixels.min()), float(pixels.max())
        if not with_rms:
            wide = _sum_dtype(pixels, max(abs(low), abs(high)))
            total = float(np.add.reduce(pixels, axis=None, dtype=wide))
            return Statistics(pixels.size, low, high, total, None)
        return Statistics(pixels.size, low, high, *_sums(pixels.reshape(-1)))


def _sum_dtype(pixels: np.ndarray[Any, Any], most: float) -> type[np.generic]:
    """Return the dtype to add pixels in: where 32 bits hold the sum, three times as fast."""
    fits = pixels.dtype.kind in "biu" and most * pixels.size < 1 << 31
    return np.int32 if fits else np.float64


def _sums(pixels: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the sum, and the sum of the squared deviations from the mean.

    In parts that stay in the processor's cache, as deviations from a value near the mean:
    that keeps the squares small, and sums of integers exact.
    """
    count = pixels.size
    origin = np.round(np.mean(pixels[:_PART], dtype=np.float64))
    if not np.isfinite(origin):
        origin = np.float64(0.0)
    buffer = np.empty(min(_PART, count), np.float64)
    total = squares = 0.0
    for start in range(0, count, _PART):
        part = pixels[start : start + _PART]
        deviations = np.subtract(part, origin, out=buffer[: len(part)], dtype=np.float64)
        total += float(np.add.reduce(deviations))
        # Not np.dot: its BLAS starts threads of its own.
        squares += float(np.add.reduce(np.multiply(deviations, deviations, out=deviations)))
    squares = max(0.0, squares - total * total / count) if np.isfinite(squares) else squares
    return total + count * float(origin), squares
