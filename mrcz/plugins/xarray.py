"""The backend for xarray: ``xarray.open_dataset(path, engine="mrcz")``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ..filenames import MRC_SUFFIXES
from ..header import VOLUME
from ..stack import Stack

__all__ = ["MRCBackend"]


class _Frames(BackendArray):  # type: ignore[misc]
    """A `Stack` behind xarray's indexing."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.shape, self.dtype = stack.shape, stack.dtype

    def __getitem__(self, key: Any) -> Any:
        # An integer beside an array means another thing to xarray than to NumPy.
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        return self._stack[key]


class MRCBackend(BackendEntrypoint):  # type: ignore[misc]
    """Opens a file as a dataset of one variable, ``image``, of which pixels are read lazily.

    Coordinates z, y, x of sections, rows and columns are in Å from the first pixel; where the
    header has no pixel size there are none. Attributes are the voltage (kV), C3 (mm), gain
    (counts/e-) and the user's metadata.
    """

    description = "MRC and MRCZ electron-microscopy files"

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether a file's name is that of an MRC file."""
        return isinstance(filename_or_obj, (str, os.PathLike)) and (
            os.path.splitext(filename_or_obj)[1].lower() in MRC_SUFFIXES)

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> Any:
        """Return the dataset of a file.

        Parameters
        ----------
        filename_or_obj : str or os.PathLike
            The file.
        drop_variables : str or iterable of str, optional
            Names of variables that are left out.

        Returns
        -------
        xarray.Dataset
            ``image`` (z, y, x), of RGB (z, y, x, channel), and its coordinates in Å.

        Raises
        ------
        OSError
            If the file can't be opened.
        MRCFormatError
            If it is malformed.
        """
        stack = Stack(filename_or_obj)
        stack[:0]  # refuses sizes that lie, before there are coordinates of that length
        dims = ("z", "y", "x", "channel")[: stack.ndim]
        pixels = xr.Variable(dims, indexing.LazilyIndexedArray(_Frames(stack)), _attributes(stack),
                             {"preferred_chunks": dict(zip(dims, stack.chunks, strict=True))})
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        variables = {"image": pixels} if "image" not in dropped else {}
        dataset = xr.Dataset(variables, coords={
            name: coordinate for name, coordinate in _coordinates(stack).items()
            if name not in dropped})
        dataset.set_close(stack.close)
        return dataset


def _coordinates(stack: Stack) -> dict[str, Any]:
    record = stack.header.record
    assert record is not None
    sizes = dict(zip("zyx", record.spacing, strict=True))
    if record.fields["ispg"] < VOLUME:
        sizes["z"] = 0.0  # a series of images: there is no length between them
    return {name: (name, np.arange(count) * sizes[name], {"units": "angstrom"})
            for name, count in zip("zyx", stack.shape, strict=False)
            if sizes[name] > 0 and np.isfinite(sizes[name])}


def _attributes(stack: Stack) -> dict[str, Any]:
    facts = {name: stack.header[name] for name in ("voltage", "C3", "gain")}
    return {**stack.meta, **facts}
