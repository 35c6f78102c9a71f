"""Memory for the pixels that are returned to users, used again when they have let go of it.

The kernel hands out zeroed pages only, and zeroing costs a fifth to a third of the time of
reading a compressed movie. A program that reads one movie after the other frees an array
of the very size that it asks for next, so the last ones freed are kept for that.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import Any

import numpy as np

from .buffers import address_of
from .pixels import Pixels

__all__ = ["empty", "set_kept_memory"]

_MIN_BYTES = 8 << 20
"""Smaller arrays are the allocator's business."""

_CAN_KEEP = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MAP_PRIVATE")

_most_kept = 512 << 20
_kept: list[mmap.mmap] = []
"""Free memory. Only touched by single operations of a list: `_Memory.__del__` may run in the
midst of anything, so a lock could be waiting for its own thread."""


def set_kept_memory(nbytes: int) -> None:
    """Set how much memory of freed images may be kept for the next ones of the same size.

    Memory that is kept makes reading movie after movie about 1.25 times as fast. It is lent:
    the operating system takes it as soon as anybody else needs memory (``MADV_FREE``), though
    it may count it as the process's till then. What a process takes at its peak does not
    change. Where the system lacks such lending (Windows), nothing is kept.

    Parameters
    ----------
    nbytes : int
        In all; 512 MiB (``512 << 20``) at the start, 0 to keep none.

    Raises
    ------
    ValueError
        If `nbytes` is negative.

    Examples
    --------
    >>> set_kept_memory(0)
    >>> set_kept_memory(512 << 20)
    """
    global _most_kept
    if nbytes < 0:
        raise ValueError(f"nbytes must be 0 or more, not {nbytes}")
    _most_kept = nbytes
    _keep_at_most(nbytes)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    """Return an array like `numpy.empty`, perhaps in memory of a freed one of its size."""
    nbytes = math.prod(shape) * dtype.itemsize
    if not (_CAN_KEEP and _MIN_BYTES <= nbytes <= _most_kept):
        return np.empty(shape, dtype)
    try:
        memory = _take(nbytes)
    except OSError:  # of a kind that has no numbers for "no memory": let NumPy say it
        return np.empty(shape, dtype)
    return np.asarray(_Memory(memory)).view(dtype).reshape(shape)


class _Memory:
    """What an array's `base` is: keeps its memory, and gives it back with the last view."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "data": (address_of(np.frombuffer(memory, np.uint8)), False),
            "shape": (len(memory),),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        _give(self._memory)


def _take(nbytes: int) -> mmap.mmap:
    """Return memory of exactly `nbytes` bytes; what is kept of other sizes is let go first."""
    with contextlib.suppress(IndexError):
        while True:
            memory = _kept.pop()
            if len(memory) == nbytes:
                return memory
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _give(memory: mmap.mmap) -> None:
    if len(memory) > _most_kept:
        return
    try:
        memory.madvise(mmap.MADV_FREE)
    except OSError:  # memory that can't be lent is not kept
        return
    _kept.append(memory)
    _keep_at_most(_most_kept)


def _keep_at_most(nbytes: int) -> None:
    with contextlib.suppress(IndexError):
        while sum(map(len, _kept[:])) > nbytes:
            del _kept[0]
