"""The pixels of a Gatan DM image: where they lie and how they become an array.

The types are DigitalMicrograph's, by number.  Most are read, or mapped into memory, as
they are; booleans, colours and packed Fourier transforms are converted after reading.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MRCFormatError, MRCTruncatedError
from ..parallel import default_threads, run_ordered
from ..recycling import empty
from ..sources import FileSource
from .array import DMArray
from .types import Order

__all__ = ["COLOURS", "RGBA", "Pixels", "locate", "type_of"]

BAND_SIZE = 4 << 20
"""Bytes that a thread reads at once."""
SCATTERED_ROW = 1 << 10
"""Rows of at least so many bytes are read each to its place, smaller ones together."""
MAX_SCATTERED = 512
"""Rows in one such read; systems allow 1024."""
_HAS_PREADV = hasattr(os, "preadv")

RGBA = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])

Array = NDArray[Any]

PLAIN = {1: "i2", 2: "f4", 3: "c8", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8",
         13: "c16", 39: "i8", 40: "u8"}
BOOL = 14
COLOURS = (8, 23)
PACKED_SQUARE = 5
PACKED = {PACKED_SQUARE: "c8", 27: "c8", 28: "c16"}


@dataclass(frozen=True)
class Pixels:
    """The pixels of one image in a file.

    Attributes
    ----------
    path : str
        The file.
    offset : int
        Byte offset of the first pixel.
    shape : tuple of int
        Slowest axis first.
    stored_dtype, stored_shape : numpy.dtype, tuple of int
        Type and shape of what is in the file.
    convert : callable or None
        Makes of such an array the pixels; None if they are stored as they are.
    flip : bool
        Whether the rows are turned, so that the first is the lowest, as in MRC.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    stored_shape: tuple[int, ...]
    convert: Callable[[Array], Array] | None
    flip: bool

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.stored_shape) * self.stored_dtype.itemsize

    def get(self) -> Array:
        """Return the pixels: mapped into memory where they can be, else read."""
        stored = None if self.convert is not None or self.nbytes == 0 else self._map()
        if stored is None:
            return self.read()
        return _turned(stored) if self._has_turned_rows else stored

    def read(self) -> Array:
        """Return the pixels in memory.

        Raises
        ------
        MRCTruncatedError
            If the file has become shorter than it was when its tags were read.
        """
        return self._read(self.offset, self.stored_shape)

    def read_frames(self, first: int, last: int) -> Array:
        """Return frames `first` up to `last`, exclusive, of all behind one another."""
        if len(self.shape) == 2:  # as packed transforms are, which are read whole
            return self.read()
        frame_shape = self.stored_shape[len(self.shape) - 2:]
        offset = self.offset + first * math.prod(frame_shape) * self.stored_dtype.itemsize
        return self._read(offset, (last - first, *frame_shape))

    def _read(self, offset: int, stored_shape: tuple[int, ...]) -> Array:
        stored = empty(stored_shape, self.stored_dtype)
        if stored.nbytes:
            turn_now = self.convert is None and self._has_turned_rows
            (_read_turned if turn_now else _read_straight)(stored, self.path, offset)
        if self.convert is None:
            return stored
        array = self.convert(stored)
        return np.ascontiguousarray(_turned(array)) if self._has_turned_rows else array

    @property
    def _has_turned_rows(self) -> bool:
        return self.flip and len(self.shape) > 1

    def _map(self) -> Array | None:
        """Return what is stored as a memory map; None where the file system has none."""
        start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
        length = self.offset - start + self.nbytes
        with Path(self.path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < start + length:
                raise MRCTruncatedError("the file has become shorter", path=self.path,
                                        offset=size, expected=f"{start + length} bytes")
            # Users may write to the array; the file never changes with it. A promise to copy
            # more than the memory there is may be refused: then the array is read-only.
            for access in (mmap.ACCESS_COPY, mmap.ACCESS_READ):
                with suppress(OSError):
                    memory = mmap.mmap(file.fileno(), length, offset=start, access=access)
                    break
            else:
                return None
        array: Array = np.ndarray(self.stored_shape, self.stored_dtype, memory,
                                  self.offset - start)
        return array


def locate(data: DMArray, data_type: int, shape: tuple[int, ...], *, order: Order,
           flip: bool, permissive: bool) -> Pixels:
    """Return the pixels that the tags of an image describe.

    Parameters
    ----------
    data : DMArray
        The tag ``ImageData:Data``.
    data_type : int
        The tag ``ImageData:DataType``.
    shape : tuple of int
        The tag ``ImageData:Dimensions``, slowest axis first.
    order : str
        ``'<'`` or ``'>'``, the byte order of the file.
    flip : bool
        Whether to turn the rows.
    permissive : bool
        Where `data` is short, take the slices that are whole; where it is long, its start.

    Raises
    ------
    MRCFormatError
        If the type is unknown, or such pixels do not fill `data` exactly.
    """
    dtype, stored_shape, convert = _layout(data, data_type, shape)
    pixels = Pixels(data.path, data.offset, shape, np.dtype(order + dtype),
                    stored_shape, convert, flip)
    if permissive and shape:
        pixels = _shorten(pixels, data)
    fits = pixels.nbytes == data.nbytes or (permissive and 0 < pixels.nbytes < data.nbytes)
    if not shape or not fits:
        raise MRCFormatError(
            f"an image of type {data_type} and {shape} pixels does not fit its data",
            path=data.path, offset=data.offset, expected=f"{pixels.nbytes} bytes",
            found=f"{data.nbytes} bytes")
    return pixels


def _shorten(pixels: Pixels, data: DMArray) -> Pixels:
    """Return the slices of which all pixels are in `data`."""
    is_packed = pixels.convert in (_unpack_half, _unpack_square)
    slice_size = pixels.nbytes // pixels.shape[0] if pixels.nbytes else 0
    whole = data.nbytes // slice_size if slice_size else 0
    if is_packed or not 0 < whole < pixels.shape[0]:
        return pixels
    return replace(pixels, shape=(whole, *pixels.shape[1:]),
                   stored_shape=(whole, *pixels.stored_shape[1:]))


def type_of(data: DMArray) -> int | None:
    """Return the type of pixels that a tag's items look like, for images that don't tell it."""
    names = data.dtype.names or ()
    parts = [data.dtype[name].newbyteorder("=") for name in names]
    if len(parts) == 2 and parts[0] == parts[1] and parts[0].kind == "f":
        return {4: 3, 8: 13}[parts[0].itemsize]
    item = "" if names else data.dtype.newbyteorder("=").str[1:]
    return BOOL if item == "b1" else next((n for n, name in PLAIN.items() if name == item), None)


Layout = tuple[str, tuple[int, ...], Callable[[Array], Array] | None]


def _layout(data: DMArray, data_type: int, shape: tuple[int, ...]) -> Layout:
    """Return dtype and shape of what is stored, and what makes pixels of it."""
    if data_type in PLAIN:
        return PLAIN[data_type], shape, None
    if data_type == BOOL:
        return "u1", shape, _to_bool
    if data_type in COLOURS:
        return "u1", (*shape, 4), _to_rgba
    if data_type in PACKED:
        return _packed_layout(data, data_type, shape)
    raise MRCFormatError(f"pixels of type {data_type} are not known", path=data.path,
                         offset=data.offset,
                         expected=f"one of {sorted([*PLAIN, BOOL, *COLOURS, *PACKED])}")


def _packed_layout(data: DMArray, data_type: int, shape: tuple[int, ...]) -> Layout:
    dtype = PACKED[data_type]
    plain: Layout = (dtype, shape, None)
    if len(shape) != 2 or shape[1] % 2 or (data_type == PACKED_SQUARE and shape[0] != shape[1]):
        return plain
    ny, nx = shape
    packed: Layout = ((dtype, (ny, nx // 2), _unpack_square) if data_type == PACKED_SQUARE
                      else (dtype, (ny, nx // 2 + 1), _unpack_half))
    # Gatan's files that hold the whole plane say that it is complex; those of others may not.
    sizes = [math.prod(stored) * np.dtype(dtype).itemsize for stored in (shape, packed[1])]
    return plain if data.nbytes == sizes[0] != sizes[1] else packed


# --- reading ----------------------------------------------------------------------------


def _read_straight(out: Array, path: str, offset: int) -> None:
    """Fill the contiguous array `out` with the bytes from `offset` on."""
    view = out.reshape(-1).view("u1").data
    with FileSource(path) as source:

        def read(start: int) -> None:
            source.read_into(offset + start, view[start:start + BAND_SIZE])

        bands = range(0, out.nbytes, BAND_SIZE)
        run_ordered(bands, read, threads=_threads_for(bands))


def _read_turned(out: Array, path: str, offset: int) -> None:
    """Fill `out` like `_read_straight`, with the rows of each plane in reverse order."""
    rows = out.shape[-2]
    row_size = out.shape[-1] * out.itemsize
    planes = out.reshape(-1).view("u1").reshape(-1, rows, row_size)
    height = max(1, BAND_SIZE // row_size)
    if row_size >= SCATTERED_ROW:
        height = min(height, MAX_SCATTERED)
    with FileSource(path) as source, Path(path).open("rb", buffering=0) as file:

        def read(band: tuple[int, int]) -> None:
            plane, first = band
            last = min(first + height, rows)
            start = offset + (plane * rows + first) * row_size
            target = planes[plane, rows - last:rows - first]
            if row_size < SCATTERED_ROW or not _read_scattered(target, file.fileno(), start):
                turned = np.empty_like(target)
                source.read_into(start, turned.reshape(-1).data)
                target[:] = turned[::-1]

        bands = [(plane, first) for plane in range(len(planes))
                 for first in range(0, rows, height)]
        run_ordered(bands, read, threads=_threads_for(bands))


def _read_scattered(target: Array, fd: int, offset: int) -> bool:
    """Read the rows of `target`, the last first, each to its place; return if that went well.

    The system copies every pixel just once.
    """
    if not _HAS_PREADV:
        return False
    view, size = target.reshape(-1).data, target.shape[1]
    rows = [view[at:at + size] for at in range(view.nbytes - size, -1, -size)]
    return os.preadv(fd, rows, offset) == view.nbytes


def _threads_for(bands: Sequence[Any]) -> int:
    """Return how many threads are worth starting."""
    return max(1, min(default_threads(), len(bands) // 2))


def _turned(array: Array) -> Array:
    """Return a view with the rows in reverse order."""
    turned: Array = array[..., ::-1, :]
    return turned


# --- conversion -------------------------------------------------------------------------


def _to_bool(stored: Array) -> Array:
    is_set: Array = stored != 0
    return is_set


def _to_rgba(stored: Array) -> Array:
    """Return (..., y, x, 4) bytes in the file's order blue, green, red, alpha as RGBA."""
    pixels: Array = np.ascontiguousarray(stored[..., [2, 1, 0, 3]]).view(RGBA)[..., 0]
    return pixels


def _unpack_half(packed: Array) -> Array:
    """Return the full plane (ny, nx) of a transform stored as (ny, nx / 2 + 1).

    The columns are stored from the centre to the left edge.  To the right of the centre
    stand their conjugates, row by row.  This was measured on RosettaSciIO: no description
    and no file of these types is known, as DigitalMicrograph saves them unpacked.
    """
    half = packed.shape[1] - 1
    full = np.empty((packed.shape[0], 2 * half), packed.dtype)
    full[:, :half + 1] = packed[:, ::-1]
    np.conjugate(packed[:, 1:half], out=full[:, half + 1:])
    return full


def _unpack_square(packed: Array) -> Array:
    """Return the full plane (n, n) of a real image's transform stored as (n, n / 2).

    The layout is that of Chris Boothroyd's description of DigitalMicrograph's files.
    Columns 1 and on are those to the right of the centre.  Column 0 holds two columns of
    which one half says all, as they mirror themselves: in its first half the plane's left
    edge, in its second the centre.  Each of them has two real numbers, which share the
    first pixel.  All the rest are conjugates, mirrored through the centre.
    """
    n, half = packed.shape[0], packed.shape[1]
    full = np.empty((n, n), packed.dtype)
    full[:, half + 1:] = packed[:, 1:]
    for column, stored in ((0, packed[:half, 0]), (half, packed[half:, 0])):
        full[half, column] = stored[0].real
        full[0, column] = stored[0].imag
        full[half + 1:, column] = stored[1:]
        full[1:half, column] = stored[:0:-1].conj()
    full[0, 1:half] = full[0, :half:-1].conj()
    full[1:, 1:half] = full[:0:-1, :half:-1].conj()
    return full
