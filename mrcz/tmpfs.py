"""Files in memory (tmpfs): their pages, made by one core while another writes.

Writing there is the kernel's work, page by page, and it lets in one thread a file. Making pages
takes most of that time, and a page fault may do it besides. So a second thread has the pages made
in front of the first one, which finds them there and has only to copy. Nothing is written
that way, so it can neither harm nor fail: without room it is the write that says so.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

__all__ = ["PagesAhead", "is_in_memory", "make_pages"]

_TMPFS_MAGIC = 0x01021994
"""What statfs(2) calls the type of a tmpfs."""
_MADV_POPULATE_WRITE = 23
"""Linux 5.14; older ones refuse it. It reports where a fault would kill the process."""

_STEP_BYTES = 4 << 20
_FARTHEST_BYTES = 32 << 20
_LEAST_BYTES = 32 << 20
"""Of less, most would be written before there is another thread."""

MakePages = Callable[[int, int], None]
"""Makes the pages of bytes ``[start, stop)`` of a file."""


@lru_cache(maxsize=1)
def _libc() -> Any:
    """Return the C library, which ctypes calls without holding the GIL; `mmap.madvise` holds it."""
    import ctypes

    return ctypes.CDLL(None)


def is_in_memory(fd: int) -> bool:
    """Return whether an open file lies in a tmpfs of Linux."""
    if not sys.platform.startswith("linux"):
        return False
    with suppress(ImportError, OSError, AttributeError):  # some Pythons are built without ctypes
        import ctypes

        status = (ctypes.c_long * 64)()  # more than any struct statfs; the type is its first field
        return _libc().fstatfs(fd, status) == 0 and status[0] == _TMPFS_MAGIC
    return False


def make_pages(fd: int, start: int, stop: int) -> None:
    """Make the pages of bytes ``[start, stop)`` of a file in memory, as far as there is room.

    Parameters
    ----------
    fd : int
        Open for reading and writing; the file is at least `stop` bytes long.
    start, stop : int
        Byte offsets.
    """
    import ctypes

    start -= start % mmap.ALLOCATIONGRANULARITY
    with suppress(OSError, ValueError), mmap.mmap(fd, stop - start, offset=start) as pages:
        first = ctypes.c_char.from_buffer(pages)
        try:
            _libc().madvise(ctypes.byref(first), ctypes.c_size_t(stop - start),
                            _MADV_POPULATE_WRITE)
        finally:
            del first  # or the map could not be closed


class PagesAhead:
    """Steps of making pages, always some way in front of who writes.

    Parameters
    ----------
    room_ahead : callable
        `Sink.room_ahead` of the file.
    start, stop : int
        Bytes of the file that are going to be written.

    Attributes
    ----------
    reached : int
        How far the one who writes has come; `stop` or beyond is the end of it.
    """

    def __init__(self, room_ahead: Callable[[int], MakePages | None], start: int, stop: int
                 ) -> None:  # fmt: skip
        self.reached = start
        self._room_ahead = room_ahead
        self._stop = stop
        self._nbytes = stop - start

    def steps(self) -> Iterator[Callable[[], None]]:
        """Yield what is to be done, until the end is near or reached."""
        if self._nbytes < _LEAST_BYTES or self.reached >= self._stop:
            return
        make = self._room_ahead(self._stop)
        distance = min(_FARTHEST_BYTES, self._nbytes // 4)
        position = 0
        while make is not None:
            position = max(position, self.reached + distance)
            if position >= self._stop:
                return
            step = min(position + _STEP_BYTES, self._stop)
            yield partial(make, position, step)
            position = step
