"""What was decoded last, kept for the next access."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from .locks import ForkSafeLock

__all__ = ["Cache"]


class Cache:
    """What was used last, up to a number of bytes.

    Threads never wait for it: while one is at it, it is empty for the others.

    Parameters
    ----------
    limit : int
        In bytes; 0: nothing is kept.

    Attributes
    ----------
    limit, nbytes : int
        What it may hold, what it does.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._items: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = ForkSafeLock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, name: Hashable) -> Any:
        """Return what was kept under a name, which nobody may change; None if nothing is."""
        lock = self._lock()
        if not lock.acquire(blocking=False):
            return None
        try:
            item, _ = self._items[name]
            self._items.move_to_end(name)
        except KeyError:
            return None
        finally:
            lock.release()
        return item

    def put(self, name: Hashable, item: Any, nbytes: int) -> None:
        """Keep something of `nbytes` bytes; forget what was used longest ago."""
        lock = self._lock()
        if nbytes > self.limit or not lock.acquire(blocking=False):
            return
        try:
            if name in self._items:
                return
            self._items[name] = item, nbytes
            self.nbytes += nbytes
            while self.nbytes > self.limit:
                _, (_, old) = self._items.popitem(last=False)
                self.nbytes -= old
        finally:
            lock.release()
