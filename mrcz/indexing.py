"""NumPy's indexing split in two: what has to be read, and what NumPy does with it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Selection", "select"]


@dataclass(frozen=True)
class Selection:
    """What an index means for a stack of frames.

    Attributes
    ----------
    frames : sequence of int
        Frames to be read, each once.
    rows : tuple of int
        First row and the one behind the last.
    key : tuple
        Index that gives the result from the array of these frames and rows.
    """

    frames: Sequence[int]
    rows: tuple[int, int]
    key: tuple[Any, ...]

    @property
    def by_frame(self) -> bool:
        """Whether the result can be made of those of some frames at a time, or is of one frame."""
        if any(part is Ellipsis or isinstance(part, bool) for part in self.key):
            return False
        frames, *rest = self.key[next(n for n, part in enumerate(self.key) if part is not None) :]
        if not any(isinstance(part, np.ndarray) for part in (frames, *rest)):
            return True
        if not isinstance(frames, slice):
            return False
        # NumPy puts the axes of arrays first, unless these and the integers are neighbours.
        places = [place for place, part in enumerate(rest) if not (part is None
                                                                   or isinstance(part, slice))]
        return places[-1] - places[0] == len(places) - 1

    @property
    def narrows(self) -> bool:
        """Whether the result is smaller than the frames and rows it comes from."""
        _, rows, *rest = (part for part in self.key if part is not None)
        return (isinstance(rows, np.ndarray)
                or (isinstance(rows, slice) and abs(rows.step or 1) > 1)
                or any(not isinstance(part, slice) or part != slice(None) for part in rest))


def select(key: Any, shape: tuple[int, ...]) -> Selection:
    """Split an index.

    Parameters
    ----------
    key : object
        As NumPy takes it.
    shape : tuple of int
        (nz, ny, nx) or (nz, ny, nx, 3).

    Raises
    ------
    IndexError
        As NumPy raises it.

    Examples
    --------
    >>> selection = select((slice(None, None, -2), 3), (5, 10, 10))
    >>> list(selection.frames), selection.rows, selection.key[1]
    ([4, 2, 0], (3, 4), 0)
    """
    parts = _expand(key, shape)
    frames: Sequence[int] = range(shape[0])
    rows = (0, shape[1])
    axis = 0
    new_key: list[Any] = []
    for part in parts:
        if part is None or part is Ellipsis or isinstance(part, bool):
            new_key.append(part)  # takes no axis
            continue
        if axis == 0:
            frames, part = _pick(part, shape[0])
        elif axis == 1:
            rows, part = _cover(part, shape[1])
        elif not isinstance(part, slice):
            _check(part, shape[axis], axis)
        new_key.append(part)
        axis += 1
    return Selection(frames, rows, tuple(new_key))


def _expand(key: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return one part an axis (and those that make axes), an Ellipsis where it tells."""
    parts: list[Any] = []
    for part in key if isinstance(key, tuple) else (key,):
        parts.extend(_parse(part))
    taken = len([part for part in parts
                 if not (part is None or part is Ellipsis or isinstance(part, bool))])
    if taken > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but "
                         f"{taken} were indexed")
    dots = [number for number, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill = [slice(None)] * (len(shape) - taken)
    place = dots[0] if dots else len(parts)
    if fill or not dots or not _tells(parts):
        parts[place : place + 1] = fill
    return _without_masks(parts, shape)


def _tells(parts: list[Any]) -> bool:
    """Return whether an Ellipsis means something even where it stands for no axis.

    It parts the arrays beside it, which moves their axes, and makes one pixel an array.
    """
    return (any(isinstance(part, (np.ndarray, _MaskPart)) for part in parts)
            or all(isinstance(part, int) or part is Ellipsis for part in parts))


def _parse(part: Any) -> list[Any]:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return [part]
    if not isinstance(part, (np.ndarray, bool, np.bool_)):
        try:
            return [operator.index(part)]
        except TypeError:
            pass
    array = np.asarray(part)
    if array.dtype.kind == "b":
        if array.ndim == 0:
            return [bool(array)]
        return [array] if array.ndim == 1 else [_MaskPart(array, n) for n in range(array.ndim)]
    if array.size == 0 and not isinstance(part, np.ndarray):
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise IndexError("only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) "
                         "and integer or boolean arrays are valid indices")
    return [int(array)] if array.ndim == 0 else [array.astype(np.intp)]


@dataclass(frozen=True)
class _MaskPart:
    """One axis of a boolean array of several."""

    mask: Any
    number: int


def _without_masks(parts: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return parts with the places of what is true for boolean arrays, their sizes checked."""
    axis = 0
    for place, part in enumerate(parts):
        if part is None or part is Ellipsis or isinstance(part, bool):
            continue
        size = None
        if isinstance(part, _MaskPart):
            size = part.mask.shape[part.number]
            parts[place] = np.nonzero(part.mask)[part.number]
        elif isinstance(part, np.ndarray) and part.dtype.kind == "b":
            size = len(part)
            parts[place] = np.flatnonzero(part)
        if size is not None and size != shape[axis]:
            raise IndexError(f"boolean index did not match indexed array along axis {axis}; size "
                             f"of axis is {shape[axis]} but size of corresponding boolean axis "
                             f"is {size}")
        axis += 1
    return parts


def _check(part: Any, size: int, axis: int) -> Any:
    """Return an int or an array of them counted from the front, bounds checked."""
    if isinstance(part, int):
        if not -size <= part < size:
            raise IndexError(f"index {part} is out of bounds for axis {axis} with size {size}")
        return part % size
    bad = (part < -size) | (part >= size)
    if bad.any():
        raise IndexError(f"index {part[bad][0]} is out of bounds for axis {axis} with size {size}")
    return np.where(part < 0, part + size, part)


def _pick(part: Any, size: int) -> tuple[Sequence[int], Any]:
    """Return the frames that an index takes, and the index into them."""
    if isinstance(part, slice):
        return range(*part.indices(size)), slice(None)
    part = _check(part, size, 0)
    if isinstance(part, int):
        return [part], 0
    frames, places = np.unique(part, return_inverse=True)
    return frames.tolist(), places.reshape(part.shape)


def _cover(part: Any, size: int) -> tuple[tuple[int, int], Any]:
    """Return the range of rows that holds those of an index, and the index into it."""
    if isinstance(part, slice):
        wanted = range(*part.indices(size))
        if not wanted:
            return (0, 0), slice(0, 0)
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        stop = wanted[-1] - low + (1 if wanted.step > 0 else -1)
        return (low, high + 1), slice(wanted[0] - low, None if stop < 0 else stop, wanted.step)
    part = _check(part, size, 1)
    if isinstance(part, int):
        return (part, part + 1), 0
    if part.size == 0:
        return (0, 0), part
    low = int(part.min())
    return (low, int(part.max()) + 1), part - low
