"""Arrays of Gatan DM files that stay in the file until they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..sources import FileSource

__all__ = ["DMArray"]


@dataclass(frozen=True)
class DMArray:
    """An array that stays in the file until it is read.

    Parameters
    ----------
    path : str
        The file.
    offset : int
        Byte offset of the first item.
    dtype : numpy.dtype
        Type of an item, with its byte order; structs have the fields f0, f1, ...
    shape : tuple of int
        Always of one dimension: tags know no other.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "two.bin")
    >>> np.array([5, 7, 9], "<i2").tofile(path)
    >>> DMArray(path, 2, np.dtype("<i2"), (2,)).read()
    array([7, 9], dtype=int16)
    """

    path: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return self.shape[0] * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """Return the array, read from the file.

        Returns
        -------
        ndarray
            Of `shape` and `dtype`.

        Raises
        ------
        MRCTruncatedError
            If the file has become shorter than it was when its tags were read.
        OSError
            If the file can't be read.
        """
        with FileSource(self.path) as source:
            return np.frombuffer(source.read(self.offset, self.nbytes), self.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the array, for `numpy.asarray`."""
        if copy is False:
            raise ValueError("an array in a file can't be had without a copy")
        return self.read() if dtype is None else self.read().astype(dtype, copy=False)
