"""What HyperSpy reads, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from ..errors import MRCError, MRCFormatError
from ..pixels import Pixels
from ..units import angstrom_per, is_length
from .frames import Frames, frames_of_array

__all__ = ["open_with_hyperspy"]


@contextmanager
def open_with_hyperspy(path: str, error: MRCError) -> Iterator[Frames]:
    """Open a file that is no MRC file, as `error` tells; the largest signal of it."""
    hyperspy = importlib.import_module("hyperspy.api")
    try:
        signal = hyperspy.load(path, lazy=True)
    except MemoryError:
        raise
    except Exception as reason:  # whatever a plugin of HyperSpy raises
        raise MRCFormatError(f"no reader knows this file; as MRC: {error}; HyperSpy: {reason}",
                             path=path) from error
    if isinstance(signal, list):
        signal = max(signal, key=lambda one: one.data.size)
    options = {"pixelsize": _hyperspy_pixelsize(signal),
               "meta": {"hyperspy": _without_private(signal.metadata.as_dictionary())}}
    with closing(_Lazy(signal.data)) as lazy:
        yield frames_of_array(lazy, path, options)  # type: ignore[arg-type]


def _without_private(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if not key.startswith("_")}


class _Lazy:
    """A dask array that is computed where it is indexed."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def reshape(self, shape: tuple[int, ...]) -> _Lazy:
        return _Lazy(self._data.reshape(shape))

    def __getitem__(self, key: Any) -> Pixels:
        part = self._data[key]
        return np.asarray(part.compute() if hasattr(part, "compute") else part)

    def close(self) -> None:
        """Let go of the data."""
        self._data = None


def _hyperspy_pixelsize(signal: Any) -> list[float]:
    manager = signal.axes_manager
    axes = sorted((*manager.navigation_axes, *manager.signal_axes),
                  key=lambda axis: axis.index_in_array)
    sizes = []
    for axis in axes[-3:]:
        unit = str(axis.units)  # also where it is HyperSpy's word for unknown, or None
        sizes.append(abs(float(axis.scale)) * angstrom_per(unit) if is_length(unit) else 0.0)
    return [0.0] * (3 - len(sizes)) + sizes
