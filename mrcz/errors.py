"""The exceptions of mrcz.

::

    Exception
    └── MRCError                          anything this library raises about a file
        ├── MRCFormatError (ValueError)   the file is malformed
        │   ├── MRCTruncatedError (EOFError)   it ends before its content does
        │   └── MRCChecksumError          its content is not what was written
        ├── FrameIndexError (IndexError, ValueError)   it has no such frame
        └── MissingCodecError (ImportError)    a package that the file needs is missing

Wrong arguments raise the builtin `ValueError` and `TypeError`; trouble with the
disk or the path raises `OSError`.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "FrameIndexError",
    "MRCChecksumError",
    "MRCError",
    "MRCFormatError",
    "MRCTruncatedError",
    "MissingCodecError",
]


class MRCError(Exception):
    """Base class of everything that mrcz raises about a file."""


class MRCFormatError(MRCError, ValueError):
    """A malformed file.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence without a final stop.
    path : str or os.PathLike, optional
        The file.
    offset : int, optional
        Byte offset in the file where the problem lies.
    expected, found : object, optional
        What should stand there, and what does.

    Examples
    --------
    >>> print(MRCFormatError("bad MODE", path="a.mrc", offset=12, expected="0..16", found=77))
    a.mrc: bad MODE (at byte 12; expected 0..16; found 77)
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | os.PathLike[str] | None = None,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.problem = problem
        self.path = path
        self.offset = offset
        self.expected = expected
        self.found = found
        super().__init__(self._message())

    def _message(self) -> str:
        details = []
        if self.offset is not None:
            details.append(f"at byte {self.offset}")
        if self.expected is not None:
            details.append(f"expected {self.expected}")
        if self.found is not None:
            details.append(f"found {self.found}")
        where = "" if self.path is None else f"{os.fspath(self.path)}: "
        return where + self.problem + (f" ({'; '.join(details)})" if details else "")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception pickles its args alone; errors cross process borders here.
        return _rebuild, (type(self), self.problem, self.path, self.offset,
                          self.expected, self.found)


def _rebuild(
    kind: type[MRCFormatError],
    problem: str,
    path: str | os.PathLike[str] | None,
    offset: int | None,
    expected: object,
    found: object,
) -> MRCFormatError:
    return kind(problem, path=path, offset=offset, expected=expected, found=found)


class MRCTruncatedError(MRCFormatError, EOFError):
    """The file ends before the content that its header announces; also an `EOFError`.

    Its parameters are those of `MRCFormatError`.
    """


class MRCChecksumError(MRCFormatError):
    """The bytes on disk are not those that were written.

    Its parameters are those of `MRCFormatError`.
    """


class FrameIndexError(MRCError, IndexError, ValueError):
    """The file has no such frame; a ValueError too, since python-mrcz raises that."""


class MissingCodecError(MRCError, ImportError):
    """A package that is needed to compress or decompress is not installed."""
