"""What ``mrcz convert`` does to frames on their way: cut, bin, cast, round."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..copies.slabs import slab_ranges
from ..importers import Frames
from ..pixels import Pixels, cast

__all__ = ["Plan", "keep_bits", "parse_bin", "parse_slice", "transformed"]

AXES = 3


def parse_slice(text: str) -> tuple[slice, slice, slice]:
    """Return what ``--slice`` means: Python's slices of z, y and x.

    Examples
    --------
    >>> parse_slice("0:10")
    (slice(0, 10, None), slice(None, None, None), slice(None, None, None))
    """
    parts = [_parse_one(part) for part in text.split(",")]
    if len(parts) > AXES:
        raise argparse.ArgumentTypeError(f"{text!r} has more than three axes (z,y,x)")
    z, y, x = (*parts, *(slice(None),) * (AXES - len(parts)))
    return z, y, x


def _parse_one(text: str) -> slice:
    try:
        edges = [int(edge) if edge.strip() else None for edge in text.split(":")]
    except ValueError:
        edges = []
    if not 1 <= len(edges) <= 3 or edges == [None]:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST, FIRST:LAST:STEP or a number")
    if len(edges) == 1:
        number = edges[0] or 0
        return slice(number, number + 1 or None)
    if len(edges) == 3 and edges[2] is not None and edges[2] < 1:
        raise argparse.ArgumentTypeError(f"the step in {text!r} must be at least 1")
    return slice(*edges)


def parse_bin(text: str) -> tuple[int, int, int]:
    """Return what ``--bin`` means: how many pixels of z, y and x become one.

    Examples
    --------
    >>> parse_bin("2"), parse_bin("4,2,2")
    ((1, 2, 2), (4, 2, 2))
    """
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes = [1, sizes[0], sizes[0]]
    if len(sizes) != AXES or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not N (y and x) or Z,Y,X, all at least 1")
    return sizes[0], sizes[1], sizes[2]


@dataclass(frozen=True)
class Plan:
    """What is done to the frames of a file.

    Attributes
    ----------
    ranges : (range, range, range)
        What is taken, z, y, x.
    bins : (int, int, int)
        Pixels that are averaged into one.
    dtype : dtype
        Of the result; its values are those of a wider one where pixels are packed.
    bits : int or None
        Bits of the mantissa that are kept.
    """

    ranges: tuple[range, range, range]
    bins: tuple[int, int, int]
    dtype: np.dtype[Any]
    bits: int | None

    @classmethod
    def of(
        cls,
        frames: Frames,
        cut: tuple[slice, slice, slice],
        bins: tuple[int, int, int],
        dtype: Any,
        bits: int | None,
    ) -> Plan:
        """Return the plan for a file.

        Raises
        ------
        ValueError
            If nothing is left of it, or there is no mantissa to round.
        """
        z, y, x = (range(size)[part] for size, part in zip(frames.shape, cut, strict=True))
        plan = cls((z, y, x), bins, _result_dtype(frames, bins, dtype), bits)
        if 0 in plan.shape:
            raise ValueError(f"nothing is left of {frames.shape} (z, y, x) by --slice and --bin")
        if bits is not None and (
            plan.dtype.kind not in "fc" or not 1 <= bits < _mantissa(plan.dtype)
        ):
            raise ValueError(f"--keep-bits rounds floats: {plan.dtype} has "
                             + (f"{_mantissa(plan.dtype)} bits of mantissa, so 1 to "
                                f"{_mantissa(plan.dtype) - 1} can be kept"
                                if plan.dtype.kind in "fc" else "no mantissa"))
        return plan

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx) of the result; rests that fill no bin are left out."""
        nz, ny, nx = (len(part) // size for part, size in zip(self.ranges, self.bins, strict=True))
        return nz, ny, nx


def _result_dtype(frames: Frames, bins: tuple[int, int, int], dtype: Any) -> np.dtype[Any]:
    if dtype is not None:
        return np.dtype(np.uint8 if dtype == "uint4" else dtype)
    if bins != (1, 1, 1) and frames.dtype.kind in "biu":
        return np.dtype(np.float32)
    return frames.dtype


def transformed(frames: Frames, plan: Plan) -> Iterator[Pixels]:
    """Yield the result in pieces of (frames, ny, nx), in bounded memory."""
    per_frame = frames.shape[1] * frames.shape[2] * frames.dtype.itemsize
    for part in _pieces(frames, plan, per_frame):
        piece = part
        if plan.dtype.kind in "iu" and piece.dtype.kind == "f":
            piece = np.rint(piece)
        if plan.bits is not None:
            piece = keep_bits(cast(piece, plan.dtype, what="a frame"), plan.bits)
        yield piece


def _pieces(frames: Frames, plan: Plan, per_frame: int) -> Iterator[Pixels]:
    z = plan.ranges[0]
    per_bin, (nz, ny, nx) = plan.bins[0], plan.shape
    if per_bin == 1:
        for part in slab_ranges(z[:nz], per_frame):
            yield _binned(_cut(frames.read(part), plan), plan)
        return
    kind = np.complex128 if frames.dtype.kind == "c" else np.float64
    for number in range(nz):
        total = np.zeros((ny, nx), kind)
        for part in slab_ranges(z[number * per_bin : (number + 1) * per_bin], per_frame):
            total += _binned(_cut(frames.read(part), plan), plan).sum(axis=0, dtype=kind)
        yield (total / per_bin)[None]


def _cut(block: Pixels, plan: Plan) -> Pixels:
    _, y, x = plan.ranges
    return block[:, y.start : y.stop : y.step, x.start : x.stop : x.step]


def _binned(block: Pixels, plan: Plan) -> Pixels:
    _, by, bx = plan.bins
    if (by, bx) == (1, 1):
        return block
    _, ny, nx = plan.shape
    kind = np.complex128 if block.dtype.kind == "c" else np.float64
    total = np.zeros((len(block), ny, nx), kind)
    for row in range(by):
        for column in range(bx):
            total += block[:, row : ny * by : by, column : nx * bx : bx]
    total /= by * bx
    return total


def _mantissa(dtype: np.dtype[Any]) -> int:
    return int(np.finfo(dtype).nmant)


def keep_bits(pixels: Pixels, bits: int) -> Pixels:
    """Return floats with all but the first `bits` bits of their mantissas rounded off.

    To the nearest, ties to even, so that means stay unbiased; NaN and infinity stay, and
    nothing becomes infinite. The zeros at the end are what makes the result compress; how
    many bits cryo-EM data need: doi.org/10.1016/j.jsb.2022.107875.

    Parameters
    ----------
    pixels : array of float16, float32, float64 or complex
        Changed in place.
    bits : int
        1 to one less than the mantissa has (10, 23, 52).

    Examples
    --------
    >>> keep_bits(np.array([1.0, 1.2, 3.14159], "float32"), 3)
    array([1.  , 1.25, 3.25], dtype=float32)
    """
    values = pixels.view(pixels.real.dtype)
    word = np.dtype(f"u{values.dtype.itemsize}")
    raw = values.view(word)
    drop = _mantissa(values.dtype) - bits
    largest = np.array(np.finfo(values.dtype).max).view(word)
    mask = word.type(~((1 << drop) - 1) & int(np.iinfo(word).max))
    sign = word.type(1 << (8 * word.itemsize - 1))
    magnitude = raw & ~sign
    odd = (raw >> word.type(drop)) & word.type(1)
    rounded = (magnitude + (word.type((1 << (drop - 1)) - 1) + odd)) & mask
    finite = magnitude <= largest
    overflow = finite & (rounded > largest)
    rounded[overflow] = magnitude[overflow] & mask
    np.copyto(raw, rounded | (raw & sign), where=finite)
    return pixels
