"""Dask arrays whose chunks hold parts of many frames, by way of a temporary file.

To write a frame, all chunks that hold a part of it must have been computed, and with them
the other frames of those chunks: often the whole array. Computed chunks are kept on disk,
each as it is, and the frames are put together from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from .pixels import Pixels

__all__ = ["spooled"]

_TOGETHER_BYTES = 64 << 20
"""Of chunks that are computed at a time, for dask's threads; one where it is larger."""


def spooled(
    array: Any, most: int, compute: Callable[..., tuple[Any, ...]]
) -> Iterator[Pixels]:
    """Yield the frames of a dask array, some at a time; every chunk is computed once.

    Parameters
    ----------
    array : (nz, ny, nx) dask array
        Of one chunk in z; the others are in a temporary file meanwhile, in the folder that
        dask's setting ``temporary-directory`` names, or the system's.
    most : int
        Frames at a time.
    compute : callable
        Computes blocks.

    Raises
    ------
    OSError
        If the temporary folder has no space for the array.
    ValueError
        If a chunk is not of the size that the array says.
    """
    import tempfile

    from dask import config

    assert array.numblocks[0] == 1
    places = [(slice(y, y + ny), slice(x, x + nx)) for (y, ny), (x, nx)
              in product(_starts(array.chunks[1]), _starts(array.chunks[2]))]
    blocks, shapes = array.to_delayed().ravel(), list(product(*array.chunks))
    together = max(1, _TOGETHER_BYTES * len(blocks) // max(1, array.nbytes))
    with tempfile.TemporaryFile(dir=config.get("temporary-directory", None)) as file:
        for first in range(0, len(blocks), together):
            computed = compute(*blocks[first : first + together])
            for block, shape in zip(computed, shapes[first:], strict=False):
                if block.shape != shape:
                    raise ValueError(f"a chunk of the dask array has the shape {block.shape}, "
                                     f"where {shape} was announced")
                pixels = np.asarray(block).astype(array.dtype, "C", "same_kind", copy=False)
                file.write(pixels.reshape(-1).view(np.uint8).data)
            del computed, block, pixels  # or they would live on while the next are computed
        for start in range(0, len(array), most):
            stop = min(start + most, len(array))
            frames = np.empty((stop - start, *array.shape[1:]), array.dtype)
            offset = 0
            for rows, columns in places:
                target = frames[:, rows, columns]
                frame_bytes = target[0].nbytes
                file.seek(offset + start * frame_bytes)
                part = np.fromfile(file, array.dtype, target.size)
                target[...] = part.reshape(target.shape)
                offset += len(array) * frame_bytes
            yield frames
            del frames, target


def _starts(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return where chunks along an axis start, and how long they are."""
    edges = np.cumsum([0, *sizes]).tolist()
    return list(zip(edges[:-1], sizes, strict=True))
