"""Memory that tasks work in."""

from __future__ import annotations

import os
from collections import deque

import numpy as np

from .pixels import Pixels

__all__ = ["LEAST_BYTES", "PIECE_BYTES", "Borrowed", "address_of", "piece_bytes"]

PIECE_BYTES = 4 << 20
"""Bytes of pixels a task: they stay in the processor's cache, and buffers are reused."""

LEAST_BYTES = 1 << 20
"""Pixels that are worth a task; it takes 0.2 ms until another thread has begun."""

_LARGEST_KEPT = 2 * PIECE_BYTES
_free: deque[Pixels] = deque(maxlen=max(4, os.cpu_count() or 1))
"""Buffers that nobody uses, the last one used at the end. A deque's ends need no lock."""


class Borrowed:
    """Lends an array of `nbytes` bytes: fresh memory costs more than decompressing into it."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def __enter__(self) -> Pixels:
        try:
            buffer = _free.pop()
        except IndexError:
            buffer = None
        if buffer is None or buffer.nbytes < self._nbytes:
            # The next one may be a little longer, and what nobody touches costs nothing.
            buffer = np.empty(self._nbytes + self._nbytes // 4, np.uint8)
        self._buffer = buffer
        return buffer[: self._nbytes]

    def __exit__(self, *error: object) -> None:
        if self._buffer.nbytes <= _LARGEST_KEPT:
            _free.append(self._buffer)


def piece_bytes(nbytes: int, threads: int, most: int) -> int:
    """Return what a task takes of `nbytes` bytes of pixels: of little, two go to each thread."""
    return most if threads == 1 else min(most, max(LEAST_BYTES, nbytes // (2 * threads)))


def address_of(array: Pixels) -> int:
    """Return where an array's first element lies in memory."""
    return int(array.__array_interface__["data"][0])
