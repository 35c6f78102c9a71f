"""Writing other programs' files for ``mrcz convert``, in bounded memory."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import MissingCodecError
from .importers import LARGEST_TIFF_PIXEL
from .pixels import Pixels, cast
from .streams import stream_opener

__all__ = ["pack", "write_npy", "write_tiff"]

SMALLEST_TIFF_PIXEL = 0.03
"""Å; TIFF's numbers have 32 bits, and count pixels a centimetre."""


def write_npy(
    path: str,
    pieces: Iterator[Pixels],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    largest: int | None = None,
) -> None:
    """Write a .npy file; one frame has two axes.

    Parameters
    ----------
    path : str
        The new file.
    pieces : iterator of (frames, ny, nx) arrays
        All frames, some at a time.
    shape : (nz, ny, nx)
        Of them all.
    dtype : dtype
        Of the file, which must hold every value.
    largest : int, optional
        What they may reach, where that is less than `dtype` holds.

    Raises
    ------
    ValueError, TypeError
        If a value does not fit.
    """
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(
            file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False,
                   "shape": shape if shape[0] > 1 else shape[1:]})
        for piece in pieces:
            file.write(np.ascontiguousarray(_exactly(piece, dtype, largest)).data)


def write_tiff(
    path: str,
    pieces: Iterator[Pixels],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    pixelsize: list[float],
    largest: int | None = None,
) -> None:
    """Write a TIFF file, BigTIFF from 3 GiB on.

    Parameters
    ----------
    path, pieces, shape, dtype
        As of `write_npy`.
    pixelsize : list of float
        [z, y, x] in Å; y and x are written where TIFF can tell them.
    largest
        As of `write_npy`.

    Raises
    ------
    MissingCodecError
        Without the package tifffile; an ImportError.
    ValueError, TypeError
        If a value does not fit.
    """
    try:
        import tifffile
    except ImportError as error:
        raise MissingCodecError("writing TIFF needs the package 'tifffile': "
                                "pip install mrcz[tiff]") from error
    known = all(SMALLEST_TIFF_PIXEL < size < LARGEST_TIFF_PIXEL for size in pixelsize[1:])
    resolution = (_rational(1e8 / pixelsize[2]), _rational(1e8 / pixelsize[1])) if known else None
    frames = itertools.chain.from_iterable(_exactly(piece, dtype, largest) for piece in pieces)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    with open(path, "wb") as file, _named(path):
        tifffile.imwrite(
            file, frames, shape=shape, dtype=dtype, bigtiff=nbytes > 3 << 30,
            photometric="minisblack", resolution=resolution,
            resolutionunit="CENTIMETER" if known else None, software="mrcz",
        )  # fmt: skip


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Say which file an error of writing is about; NumPy tells no more than numbers of items."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(errno.EIO, f"can't be written whole: {error}", path) from error
        raise


def _rational(value: float) -> tuple[int, int]:
    """Return numerator and denominator, as exact as TIFF's 32 bits hold them."""
    denominator = 1
    while value * denominator * 10 < 1 << 32 and denominator < 10**9:
        denominator *= 10
    return round(value * denominator), denominator


def _exactly(piece: Pixels, dtype: np.dtype[Any], largest: int | None) -> Pixels:
    """Return a piece as another dtype, all its values kept."""
    if dtype.kind == "b" and not np.isin(piece, (0, 1)).all():
        raise ValueError("a frame has values that are neither 0 nor 1, all that dtype bool holds")
    return cast(piece, dtype, largest=largest, what="a frame")


def pack(path: str, suffix: str) -> None:
    """Replace a file by a stream of it, compressed as `suffix` says.

    Raises
    ------
    MissingCodecError
        If this Python was built without such streams.
    """
    packed, opener = f"{path}.packed", stream_opener(suffix, suffix)
    try:
        with open(path, "rb") as source, opener(packed, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        os.replace(packed, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(packed)
