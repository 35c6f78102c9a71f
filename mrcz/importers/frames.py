"""What every reader makes of a file: frames that are read when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import MRCError, MRCFormatError
from ..header import IMAGE_STACK, Record
from ..pixels import Pixels

__all__ = ["CHANNELS", "Frames", "damage_of", "frames_of_array", "item_number", "one_channel",
           "three"]  # fmt: skip

CHANNELS = ("grey", "red", "green", "blue")
"""What can be made of a colour image."""

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue, as Rec. ITU-R BT.601 has it."""


@dataclass(frozen=True)
class Frames:
    """The frames of a file, whatever its format.

    Attributes
    ----------
    shape : (nz, ny, nx)
        All leading axes together are nz.
    dtype : dtype
        Of the pixels.
    read : callable
        Takes a range of frames, returns a (frames, ny, nx) array.
    options : dict
        What is known of the header, as options of `mrcz.create`: ``pixelsize`` in Å
        (0: unknown), ``voltage`` (kV), ``C3`` (mm), ``gain`` (counts/e-), ``meta``.
    slices : int
        Slices an item where the file holds a list; else 0.
    ispg : int
        What MRC2014 calls it.
    record : Record or None
        Of an MRC file, with what MRC alone knows.
    packed : bool
        Whether the pixels have 4 bits.
    channels : int
        Values a pixel; where there are several, `read` returns (frames, ny, nx, channels).
    channel : str or None
        What was taken of them.
    axes : tuple of int
        Places of ``pixelsize`` that sections, rows and columns have.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[range], Pixels]
    options: dict[str, Any] = field(default_factory=dict)
    slices: int = 0
    ispg: int = 1
    record: Record | None = None
    packed: bool = False
    channels: int = 1
    channel: str | None = None
    axes: tuple[int, int, int] = (0, 1, 2)

    @property
    def spacing(self) -> list[float]:
        """Distance between sections, rows and columns in Å; 0: unknown."""
        sizes = self.options.get("pixelsize", [0.0] * 3)
        return [float(sizes[axis]) for axis in self.axes]


def one_channel(frames: Frames, channel: str | None, path: str) -> Frames:
    """Return frames of one value a pixel, since MRC files of several are not written.

    Parameters
    ----------
    frames : Frames
        Of a file.
    channel : str or None
        One of `CHANNELS`; greys stay what they are.
    path : str
        The file, for messages.

    Raises
    ------
    TypeError
        If there are colours and no channel is chosen.
    ValueError
        If a colour is wanted of greys.
    """
    if frames.channels == 1:
        if channel in (None, "grey"):
            return frames
        raise ValueError(f"{path} has no colours to take {channel} of")
    if channel is None:
        raise TypeError(f"{path} has {frames.channels} values a pixel (colours), which MRC is not "
                        f"written with: --channel takes one of {', '.join(CHANNELS)}")
    if channel != "grey" and frames.channels < len(LUMA):
        raise ValueError(f"{path} has {frames.channels} values a pixel, none of them {channel}")

    def read(part: range) -> Pixels:
        pixels = frames.read(part)
        if channel != "grey":
            return pixels[..., CHANNELS.index(channel) - 1]
        return _grey(pixels)

    return replace(frames, read=read, channels=1, channel=channel)


def _grey(pixels: Pixels) -> Pixels:
    """Return the brightness of (..., channels) pixels, in their dtype; alpha is left out."""
    if pixels.shape[-1] < len(LUMA):
        return pixels[..., 0]
    luma: Pixels = pixels[..., :3].astype(np.float64) @ np.array(LUMA)
    return (np.rint(luma) if pixels.dtype.kind in "iu" else luma).astype(pixels.dtype)


@contextmanager
def damage_of(path: str) -> Iterator[None]:
    """Tell as damage what a package raises on a file: it may be anything."""
    try:
        yield
    except (MemoryError, MRCError, OSError):
        raise
    except Exception as error:
        raise MRCFormatError(f"can't be read: {error or type(error).__name__}",
                             path=path) from error


def frames_of_array(array: Pixels, path: str, options: dict[str, Any] | None = None) -> Frames:
    """Return the frames of an array, or of what is sliced like one."""
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{path} holds {array.dtype}, which is no pixel")
    shape = three(array.shape)
    if 0 in shape:
        raise ValueError(f"{path} has no pixels: its shape is {array.shape}")
    stack = array.reshape(shape)
    slices = array.shape[-3] if array.ndim > 3 else 0

    def read(frames: range) -> Pixels:
        return np.asarray(stack[frames.start : frames.stop : frames.step])

    return Frames(shape, array.dtype, read, options or {}, slices,
                  ispg=IMAGE_STACK if array.ndim == 2 else 1)


def item_number(item: str | None, path: str) -> int | None:
    """Return which image is meant where a file numbers them.

    Raises
    ------
    ValueError
        If it is no number.
    """
    if item is None:
        return None
    if not item.removeprefix("-").isdecimal():
        raise ValueError(f"{path}: its images have numbers, and {item!r} is none")
    return int(item)


def three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (nz, ny, nx), all leading axes taken together."""
    full = (1,) * (2 - len(shape)) + tuple(shape)
    return math.prod(full[:-2]), full[-2], full[-1]
