"""NumPy's files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .frames import Frames, damage_of, frames_of_array

__all__ = ["is_npz", "open_npy", "open_npz"]


@contextmanager
def open_npy(path: str) -> Iterator[Frames]:
    """Open a .npy file, mapped."""
    with damage_of(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    yield frames_of_array(array, path)


def is_npz(path: str) -> bool:
    """Return whether a zip file has arrays."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


@contextmanager
def open_npz(path: str, item: str | None) -> Iterator[Frames]:
    """Open an array of a .npz file, the only one or the one of that name."""
    with damage_of(path):
        archive = np.load(path, allow_pickle=False)
    with archive:
        # Whatever else lies in the archive numpy.load gives as bytes.
        names = [name.removesuffix(".npy") for name in archive.zip.namelist()
                 if name.endswith(".npy")]
        if item is None and len(names) > 1:
            raise ValueError(f"{path} has several arrays: name one of {', '.join(names)}")
        name = names[0] if item is None else item
        if name not in names:
            raise ValueError(f"{path} has no array {name!r}, only {', '.join(names)}")
        with damage_of(path):
            array = archive[f"{name}.npy"]
    yield frames_of_array(array, path)
