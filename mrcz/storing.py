"""Frames in memory as they will lie in a file: cast, in its byte order, packed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from .buffers import Borrowed
from .codec import CodecOptions
from .modes import FrameLayout, Mode
from .pixels import LARGEST_NIBBLE, Pixels, cast_into, pack_nibbles

__all__ = ["FrameFormat", "Stored", "StoredFrames"]

_SMALL_BYTES = 1 << 16
"""Frames of a list up to this length are copied together: each call for one costs more."""


@dataclass(frozen=True)
class FrameFormat(FrameLayout):
    """How frames are stored.

    Attributes
    ----------
    mode : Mode
        Pixel type.
    ny, nx : int
        Rows, columns.
    byteorder : str
        ``'<'`` or ``'>'``.
    options : CodecOptions or None
        None: uncompressed.
    """

    mode: Mode
    ny: int
    nx: int
    byteorder: str = "<"
    options: CodecOptions | None = None

    def store(self, pixels: Pixels, values: Pixels, *, what: str) -> Pixels:
        """Return `pixels` as they are stored, by way of `values`, memory of the stored dtype.

        Parameters
        ----------
        pixels, values : (..., nx) arrays
            Of one shape.
        what : str
            For messages.

        Raises
        ------
        ValueError, TypeError
            If a pixel can't be stored.
        """
        if self.mode.packed:
            cast_into(pixels, values, largest=LARGEST_NIBBLE, what=what)
            return pack_nibbles(values)
        if pixels.dtype == values.dtype:
            values[...] = pixels
        else:
            cast_into(pixels, values, largest=None, what=what)
        return values


class Stored(NamedTuple):
    """Bytes as they are stored, and the pixels that they stand for."""

    data: Pixels
    values: Pixels


class StoredFrames:
    """Frames of which parts are asked for as they are stored.

    Straight from the caller's array if that is how they are stored.

    Parameters
    ----------
    frames : (n, ny, nx) array or sequence of (ny, nx) arrays
        Of any dtype that casts to the format's without loss; any strides.
    frame_format : FrameFormat
        How they are stored.
    number : int
        Of the first one in the file, for messages.
    """

    def __init__(
        self, frames: Sequence[Pixels], frame_format: FrameFormat, number: int = 0
    ) -> None:
        self.frames = frames
        self.number = number
        self._format = frame_format

    def __len__(self) -> int:
        return len(self.frames)

    def require_shape(self) -> None:
        """Check that all are as large as the format has them: a lazy array may not keep its word.

        Raises
        ------
        ValueError
            If one isn't.
        """
        expected = (self._format.ny, self._format.nx)
        frames = self.frames[:1] if isinstance(self.frames, np.ndarray) else self.frames
        for number, frame in enumerate(frames, self.number):
            if frame.shape != expected:
                raise ValueError(f"frame {number} has the shape {frame.shape} (ny, nx), where "
                                 f"{expected} was announced")

    @property
    def is_plain(self) -> bool:
        """Whether all of them lie in memory one behind the other, as they are stored."""
        return isinstance(self.frames, np.ndarray) and self._is_stored(self.frames)

    def _is_stored(self, pixels: Pixels) -> bool:
        return (pixels.dtype == self._format.disk_dtype and pixels.flags.c_contiguous
                and not self._format.mode.packed)

    def block(self, stack: ExitStack, first: int, last: int) -> Stored | None:
        """Return whole frames as one block; None where they have to be taken one by one.

        Parameters
        ----------
        stack : ExitStack
            Gives back the memory.
        first, last : int
            Range of frames.
        """
        if isinstance(self.frames, np.ndarray) and self._is_stored(self.frames[first:last]):
            return Stored(self.frames[first:last], self.frames[first:last])
        if last - first == 1:
            return None
        try:
            return self._gathered(stack, first, last)
        except (ValueError, TypeError):
            return None  # one by one, it will be told which

    def _gathered(self, stack: ExitStack, first: int, last: int) -> Stored | None:
        shape = last - first, self._format.ny, self._format.nx
        if isinstance(self.frames, np.ndarray):
            values = self._memory(stack, shape)
            return Stored(self._format.store(self.frames[first:last], values, what=""), values)
        if self._format.frame_bytes > _SMALL_BYTES or self._format.mode.packed:
            return None
        values = self._memory(stack, shape)
        for frame, out in zip(self.frames[first:last], values, strict=True):
            self._format.store(frame, out, what="")
        return Stored(values, values)

    def part(self, stack: ExitStack, frame: int, start: int, stop: int) -> Stored:
        """Return bytes ``[start, stop)`` of a frame, and the values of rows that start there.

        Raises
        ------
        ValueError, TypeError
            If a pixel can't be stored.
        """
        rows, row_bytes = self.frames[frame], self._format.row_bytes
        first, last = start // row_bytes, -(-stop // row_bytes)
        skipped = -(-start // row_bytes) - first
        if self._is_stored(rows):
            data = rows.reshape(-1).view(np.uint8)[start:stop]
            return Stored(data, rows[first + skipped : last])
        rows = rows[first:last]
        values = self._memory(stack, rows.shape)
        stored = self._format.store(rows, values, what=f"frame {self.number + frame}")
        begin = start - first * row_bytes
        data = stored.reshape(-1).view(np.uint8)[begin : begin + stop - start]
        return Stored(data, values[skipped:])

    def _memory(self, stack: ExitStack, shape: tuple[int, ...]) -> Pixels:
        buffer = stack.enter_context(Borrowed(prod(shape) * self._format.disk_dtype.itemsize))
        values: Pixels = buffer.view(self._format.disk_dtype).reshape(shape)
        return values
