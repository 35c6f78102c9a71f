"""Memory that tasks work in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .locks import ForkSafeLock
from .pixels import Pixels

__all__ = ["PIECE_BYTES", "BufferPool", "address_of"]

PIECE_BYTES = 4 << 20
"""Bytes of pixels a task: they stay in the processor's cache, and buffers are reused."""


class BufferPool:
    """Buffers that tasks take turns to use: fresh memory costs more than decompressing."""

    def __init__(self) -> None:
        self._free: list[Pixels] = []
        self._lock = ForkSafeLock()

    def take(self, nbytes: int) -> Pixels:
        """Return a buffer of at least `nbytes` bytes, until `give`."""
        with self._lock:
            buffer = self._free.pop() if self._free else None
        if buffer is None or buffer.nbytes < nbytes:
            buffer = np.empty(nbytes, np.uint8)
        return buffer

    def give(self, buffer: Pixels) -> None:
        """Take back what `take` returned."""
        with self._lock:
            self._free.append(buffer)

    @contextmanager
    def borrow(self, nbytes: int) -> Iterator[Pixels]:
        """Lend an array of `nbytes` bytes."""
        buffer = self.take(nbytes)
        try:
            yield buffer[:nbytes]
        finally:
            self.give(buffer)


def address_of(array: Pixels) -> int:
    """Return where an array's first element lies in memory."""
    return int(array.__array_interface__["data"][0])
