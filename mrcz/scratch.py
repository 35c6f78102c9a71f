"""Bytes kept in memory or, when they get many, in a file without a name."""

from __future__ import annotations

import os
from typing import IO

__all__ = ["Scratch"]

_MOST_IN_MEMORY = 64 << 20
_HAS_PREAD = hasattr(os, "preadv")


class Scratch:
    """Bytes that are written once, by one thread at a time, and read as often as one likes.

    All by offset: a file's position would be shared with the forks of this process.
    """

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`, no further than behind what was written before.

        Raises
        ------
        OSError
            If the folder for temporary files has no room.
        """
        if self._file is None and offset + len(data) > _MOST_IN_MEMORY:
            import tempfile  # takes a twentieth of `import mrcz`

            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (closed by close)
            self._write_to_file(0, self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory[offset : offset + len(data)] = data
        else:
            self._write_to_file(offset, data)

    def _write_to_file(self, offset: int, data: bytes | bytearray) -> None:
        assert self._file is not None
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                if _HAS_PREAD:
                    done += os.pwrite(self._file.fileno(), view[done:], offset + done)
                else:
                    self._file.seek(offset + done)
                    done += self._file.write(view[done:])

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with what was written from `offset` on, all of which is there."""
        if self._file is None:
            with memoryview(self._memory) as memory:
                view[:] = memory[offset : offset + len(view)]
            return
        done = 0
        while done < len(view):
            count = self._read_some(offset + done, view[done:])
            if not count:
                raise OSError("a temporary file has become shorter")
            done += count

    def _read_some(self, offset: int, view: memoryview) -> int:
        assert self._file is not None
        if _HAS_PREAD:
            return os.preadv(self._file.fileno(), [view], offset)
        self._file.seek(offset)
        return int(self._file.readinto(view))  # type: ignore[attr-defined]

    def close(self) -> None:
        """Give back what is held; safe to call twice."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()
