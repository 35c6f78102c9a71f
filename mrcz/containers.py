"""What a user hands over to be written: arrays, lists, lazy arrays, iterables of frames.

All become one sequence of 2-D frames, in slabs that fit in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .header import IMAGE_STACK, LARGEST_SIZE, VOLUME, VOLUME_STACK
from .pixels import Pixels
from .spooling import spooled

__all__ = [
    "SLAB_BYTES",
    "Container",
    "contain",
    "is_dask",
    "slab_edges",
]

logger = logging.getLogger("mrcz")

SLAB_BYTES = 64 << 20
"""Bytes of a lazy array that are held at a time."""
_JOINED_BYTES = 2 * SLAB_BYTES
"""Most of a dask array that is held, twice, to put frames together from parts."""


@dataclass(frozen=True)
class Container:
    """Frames to be written.

    Attributes
    ----------
    items : sequence or iterable
        Arrays of 2 or 3 dimensions; ``items_ndim`` says which.
    shape : tuple of int
        (nz, ny, nx); nz is 0 for an iterable of unknown length.
    dtype : dtype
        Of the pixels.
    slices : int
        0 for one array, else slices an item of a list.
    ispg : int
        What MRC2014 calls it.
    """

    items: Iterable[Any]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slices: int
    ispg: int

    @property
    def is_dask(self) -> bool:
        """Whether all of it is dask arrays."""
        return isinstance(self.items, Sequence) and all(map(is_dask, self.items))

    @property
    def is_computed_in_parts(self) -> bool:
        """Whether a slab may be computed while another is held: dask's chunks are small enough."""
        frame_bytes = self.shape[1] * self.shape[2] * self.dtype.itemsize
        return self.is_dask and all(
            max(item.chunks[0]) * frame_bytes <= SLAB_BYTES if item.ndim == 3 else True
            for item in self.items)

    def slabs(self, nbytes: int | None = None) -> Iterator[Sequence[Pixels]]:
        """Yield (n, ny, nx) arrays, or lists of (ny, nx) arrays that are emptied after use.

        Parameters
        ----------
        nbytes : int, optional
            Of a lazy array that are held at a time; a chunk of dask's where that is more.
            None: 64 MiB.
        """
        if not self.slices and isinstance(self.items, tuple) and _in_memory(self.items[0]):
            yield self.items[0]
            return
        frame_bytes = max(1, self.shape[1] * self.shape[2] * self.dtype.itemsize)
        most = max(1, (nbytes or SLAB_BYTES) // frame_bytes)
        if not isinstance(self.items, Sequence):
            yield from self._copied_slabs(most)
            return
        slab: list[Pixels] = []
        for number, item in enumerate(self.items):
            self._check(number, item)
            for frames in _frames_of(item, most):
                slab.extend(frames)
                del frames  # or this slab would live on while the next is computed
                if len(slab) >= most and not _in_memory(item):  # which the user's list holds
                    yield slab
                    slab.clear()
        if slab:
            yield slab

    def _copied_slabs(self, most: int) -> Iterator[Any]:
        """Yield the frames of an iterable, of which each may come in the memory of the last."""
        slab = np.empty((most, *self.shape[1:]), self.dtype)
        count = 0
        for number, frame in enumerate(self.items):
            self._check(number, frame)
            slab[count] = frame
            count += 1
            if count == most:
                yield slab
                count = 0
        if count:
            yield slab[:count]

    def _check(self, number: int, item: Any) -> None:
        """Check an item of a list against the first."""
        if not self.slices:
            return
        expected = self.shape[1:] if np.ndim(item) == 2 else (self.slices, *self.shape[1:])
        if tuple(item.shape) != expected:
            raise ValueError(f"frame {number} of the list has shape {tuple(item.shape)}, "
                             f"but frame 0 has {expected}: all must be equal")
        if item.dtype != self.dtype:
            raise TypeError(f"frame {number} of the list has dtype {item.dtype}, "
                            f"but frame 0 has {self.dtype}: all must be equal")


def contain(image: Any) -> Container:
    """Return the frames of anything that `writeMRC` accepts.

    Parameters
    ----------
    image : array-like
        An array of 1 to 4 dimensions (4-D: the list of its 3-D items), a list or tuple
        of equal 2-D or 3-D arrays, or an iterable of 2-D frames. Lazy arrays (dask,
        h5py, zarr, `Stack`) stay lazy.

    Raises
    ------
    ValueError
        For other shapes, or no pixels.
    TypeError
        For what is no array, or items that differ in dtype.
    """
    if isinstance(image, (list, tuple)):
        return _contain_list(image)
    array = _as_array(image)
    if array is None:
        return _contain_iterable(image)
    if array.ndim == 4:
        return _contain_list(array if _in_memory(array) or is_dask(array)
                             else [_Volume(array, number) for number in range(array.shape[0])])
    if not 1 <= array.ndim <= 3:
        raise ValueError(f"input_image must have 1 to 4 dimensions, not {array.ndim}")
    ispg = VOLUME if array.ndim == 3 else IMAGE_STACK
    if array.ndim < 3:
        array = _with_axes(array, 3 - array.ndim)
    shape = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
    return _checked(Container((array,), shape, np.dtype(array.dtype), 0, ispg))


def _contain_list(items: Any) -> Container:
    arrays = [_as_array(item) for item in items]
    if not arrays:
        raise ValueError("input_image is an empty list: there is nothing to write")
    for number, array in enumerate(arrays):
        if array is None or array.ndim not in (2, 3):
            kind = type(items[number]).__name__ if array is None else f"{array.ndim}-D"
            raise ValueError(f"frame {number} of the list must be a 2-D or 3-D array, not {kind}")
    first = arrays[0]
    assert first is not None
    slices = int(first.shape[0]) if first.ndim == 3 else 1
    container = _checked(
        Container(
            arrays,
            (len(arrays) * slices, int(first.shape[-2]), int(first.shape[-1])),
            np.dtype(first.dtype),
            slices,
            VOLUME_STACK if first.ndim == 3 else IMAGE_STACK,
        )
    )
    for number, array in enumerate(arrays):
        container._check(number, array)
    return container


def _contain_iterable(image: Any) -> Container:
    if not isinstance(image, Iterable) or isinstance(image, (str, bytes, dict)):
        raise TypeError(f"input_image must be an array, a list of arrays or an iterable of "
                        f"frames, not {type(image).__name__}")
    frames = iter(image)
    first = next(frames, None)
    array = None if first is None else _as_array(first)
    if array is None or array.ndim != 2:
        raise ValueError("an iterable must yield 2-D arrays, and at least one")

    def items() -> Iterator[Any]:
        yield array
        yield from (np.asarray(frame) for frame in frames)

    shape = (0, int(array.shape[0]), int(array.shape[1]))
    return Container(items(), shape, np.dtype(array.dtype), 1, IMAGE_STACK)


def _checked(container: Container) -> Container:
    if 0 in container.shape:
        raise ValueError(f"input_image has no pixels: its shape is {container.shape}")
    if max(container.shape) > LARGEST_SIZE:
        raise ValueError(f"MRC counts up to {LARGEST_SIZE} frames, rows and columns; input_image "
                         f"has the shape {container.shape}")
    return container


class _Volume:
    """An item of a lazy 4-D array, as lazy as that is: h5py reads it whole where it iterates."""

    def __init__(self, whole: Any, number: int) -> None:
        self._whole = whole
        self._number = number
        self.shape = tuple(whole.shape[1:])
        self.dtype = whole.dtype
        self.ndim = 3

    def __getitem__(self, frames: slice) -> Pixels:
        return np.asarray(self._whole[self._number, frames])


def _with_axes(array: Any, count: int) -> Any:
    """Return an array of one frame with more axes in front; h5py and zarr know no ``None``."""
    return (array if is_dask(array) else np.asarray(array))[(None,) * count]


def _as_array(image: Any) -> Any:
    """Return an array, a lazy one as it is; None for what isn't one."""
    if type(image) is np.ndarray:
        return image
    if isinstance(image, (np.ndarray, np.generic, memoryview)):
        if np.ma.is_masked(image):
            _tell_of_mask()
        return np.asarray(image)
    if hasattr(image, "__dask_graph__") and isinstance(getattr(image, "chunks", None), tuple) and (
        not is_dask(image)
    ):
        return _as_array(image.data)  # xarray's
    if is_dask(image) and isinstance(getattr(image, "_meta", None), np.ma.MaskedArray):
        _tell_of_mask()
    if is_dask(image) and np.isnan(image.shape).any():
        raise ValueError(f"input_image is a dask array that doesn't know its shape, "
                         f"{image.shape}: call its compute_chunk_sizes() first")
    if (
        isinstance(getattr(image, "dtype", None), np.dtype)
        and hasattr(image, "shape")
        and hasattr(image, "ndim")
        and hasattr(image, "__getitem__")
    ):
        return image
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):
        return np.asarray(image)
    return None


def _tell_of_mask() -> None:
    logger.warning("the mask of an array is not stored: masked pixels are written as they are; "
                   "fill them, or store the mask beside")


def is_dask(array: Any) -> bool:
    """Return whether an array is one of dask's."""
    return (hasattr(array, "__dask_graph__") and hasattr(array, "numblocks")
            and isinstance(getattr(array, "chunks", None), tuple))


def _in_memory(item: Any) -> bool:
    return isinstance(item, np.ndarray)


def _frames_of(item: Any, most: int) -> Iterator[Iterable[Pixels]]:
    """Yield the 2-D frames of an item, of a lazy one about `most` at a time."""
    if item.ndim == 2:
        yield _loaded(_with_axes(item, 1))
    elif _in_memory(item):
        yield item
    else:
        for start, stop in slab_edges(item, most):
            part = item[start:stop]
            if is_dask(part) and part.nbytes > _JOINED_BYTES and part.numblocks[1:] != (1, 1):
                yield from spooled(part, most, _computed)
            else:
                yield _loaded(part)


def _loaded(part: Any) -> Iterable[Pixels]:
    """Return the frames of a part of a lazy array."""
    if not is_dask(part):
        return np.asarray(part)
    if part.numblocks[1:] != (1, 1):
        whole, = _computed(part)
        return np.asarray(whole)
    # As one array they would be copied once more, chunks joined.
    blocks = _computed(*part.to_delayed().ravel())
    return (np.asarray(frame) for block in blocks for frame in block)


def _computed(*lazy: Any) -> tuple[Any, ...]:
    """Compute with dask's scheduler; in this thread where it can start none any more."""
    from dask import compute

    try:
        return tuple(compute(*lazy))
    except RuntimeError as error:
        # asyncWriteMRC at the end of a script: the interpreter waits for us, but lets
        # nobody start threads.
        if "cannot schedule new futures" not in str(error):
            raise
        return tuple(compute(*lazy, scheduler="synchronous"))


def slab_edges(array: Any, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of the first axis; a dask chunk is never computed twice.

    Parameters
    ----------
    array : lazy array
        Frames.
    most : int
        Frames a range, or one dask chunk where that is more.
    """
    count = int(array.shape[0])
    heights = [most] * (count // most + 1)
    if is_dask(array):
        heights = [int(height) for height in array.chunks[0]]
    start = stop = 0
    for height in heights:
        if stop > start and stop + height - start > most:
            yield start, stop
            start = stop
        stop = min(stop + height, count)
    if stop > start:
        yield start, stop
