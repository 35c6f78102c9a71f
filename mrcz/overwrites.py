"""Frames that somebody overwrites in place while they are read.

Only those of uncompressed files are ever overwritten so. Readers hold no lock, which would
cost a round trip on a network's disk, and would let them wait for a writer that computes its
frames; they look afterwards whether the file has changed, and read again then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .journal import has_footer
from .sources import FileSource

__all__ = ["Overwrites"]

_MOST_TIMES = 10
"""A file may change without end, as one that a camera writes into."""
_PATIENCE = 1.0
_PAUSE = 0.0005
"""Seconds: how long a change may take to be copied to its place, and between two looks."""


class Overwrites:
    """Whether, and when, a file was changed.

    Parameters
    ----------
    source : FileSource
        The file, opened and not yet read.
    end : int
        Where its pixels end: behind them a writer keeps what it will copy to its place.
    """

    def __init__(self, source: FileSource, end: int) -> None:
        self._source = source
        self._end = end
        self._seen = source.identity

    def happened(self) -> bool:
        """Return whether there was a change since the last look that found none."""
        return self._source.state() != self._seen

    def read_undisturbed(self, read: Callable[[], None], digest: Callable[[], int]) -> bool:
        """Read, again if need be, so that nothing is copied to its place meanwhile.

        A file that changes all the time may do so elsewhere, or for changes to come: what is
        read twice and is the same lay there so in between.

        Parameters
        ----------
        read : callable
            Reads once more what has been read.
        digest : callable
            Returns a number that tells what was read last from anything else.

        Returns
        -------
        bool
            False if a change waits to be completed: its writer was killed, or is very slow.
        """
        found = digest()
        for _ in range(_MOST_TIMES):
            if not self._wait():
                return False
            before = self._source.state()
            read()
            if self._source.state() == before and not self._is_copied(before[0]):
                self._seen = before
                return True
            last, found = found, digest()
            if found == last:
                return True
        return True

    def _wait(self) -> bool:
        """Wait while something is copied to its place; return whether that came to its end."""
        deadline = time.monotonic() + _PATIENCE
        while self._is_copied(self._source.state()[0]):
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def _is_copied(self, size: int) -> bool:
        return size > self._end and has_footer(self._source, size)
