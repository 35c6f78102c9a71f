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

from .arguments import integer
from .buffers import address_of
from .pixels import Pixels

__all__ = ["empty", "set_kept_memory"]

_MIN_BYTES = 8 << 20
"""Smaller arrays are the allocator's business."""

_CAN_KEEP = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MAP_PRIVATE")

_most_kept = 1 << 30

# Only touched by single operations of a list or a dict: `_Memory.__del__` may run in the midst
# of anything, so a lock could be waiting for its own thread.
_kept: list[mmap.mmap] = []
"""Free memory, that longest free first."""
_in_use: dict[int, int] = {}
"""Bytes of what arrays have, by the memory's id."""
_peak = 0
"""Most bytes that arrays have had at a time."""


def set_kept_memory(nbytes: int) -> None:
    """Set how much memory of freed images may be kept for the next ones of the same size.

    Memory that is kept makes reading movie after movie about 1.25 times as fast. It is lent:
    the operating system takes it as soon as anybody else needs memory (``MADV_FREE``), though
    it may count it as the process's till then. What is kept and in use is together at most a
    quarter more than the most that was in use at a time, and no more than that most when
    images of one size, or ever larger ones, are read. Where the system lacks such lending
    (Windows), nothing is kept.

    Parameters
    ----------
    nbytes : int
        In all; 1 GiB (``1 << 30``) at the start, 0 to keep none.

    Raises
    ------
    ValueError, TypeError
        Unless `nbytes` is an integer of 0 or more.

    Examples
    --------
    >>> set_kept_memory(0)
    >>> set_kept_memory(1 << 30)
    """
    global _most_kept
    nbytes = integer("nbytes", nbytes, 0)
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
    """Return memory of exactly `nbytes` bytes, kept or new."""
    memory = _kept_of(nbytes)
    if memory is None:
        _make_room(nbytes)
        memory = _new(nbytes)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
    _in_use[id(memory)] = nbytes
    return memory


def _new(nbytes: int) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        return mmap.mmap(-1, nbytes, flags=flags)
    except OSError:  # a limit on what a process may have; what is kept counts too
        _keep_at_most(0)
        return mmap.mmap(-1, nbytes, flags=flags)


def _kept_of(nbytes: int) -> mmap.mmap | None:
    for memory in _kept[::-1]:
        if len(memory) == nbytes and _drop(memory):
            return memory
    return None


def _make_room(nbytes: int) -> None:
    """Let go of what is smaller, and of what would raise the process's peak by a quarter."""
    global _peak
    needed = sum(list(_in_use.values())) + nbytes
    _peak = max(_peak, needed)
    for memory in _kept[:]:
        if len(memory) < nbytes:
            _drop(memory)
    _keep_at_most(_peak * 5 // 4 - needed)


def _give(memory: mmap.mmap) -> None:
    _in_use.pop(id(memory), None)
    if len(memory) > _most_kept:
        return
    try:
        memory.madvise(mmap.MADV_FREE)
    except OSError:  # memory that can't be lent is not kept
        return
    _kept.append(memory)
    _keep_at_most(_most_kept)


def _keep_at_most(nbytes: int) -> None:
    while (kept := _kept[:]) and sum(map(len, kept)) > nbytes:
        _drop(kept[0])


def _drop(memory: mmap.mmap) -> bool:
    """Take memory off the list; False if another thread was faster."""
    try:
        _kept.remove(memory)
    except ValueError:
        return False
    return True
