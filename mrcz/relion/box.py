"""EMAN ``.box`` files: x, y of a corner, width and height of each particle, in pixels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mrcz.errors import MRCFormatError
from mrcz.relion.blocks import StarBlock
from mrcz.relion.starwrite import write_star

__all__ = ["box_to_star", "centres", "read_box"]


def read_box(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an EMAN .box file.

    Parameters
    ----------
    path : str or os.PathLike
        Rows of ``x y width height``, which more columns may follow (EMAN 1 writes -3 there).

    Returns
    -------
    numpy.ndarray
        float64 of shape (particles, columns), in pixels; x and y are the box's lower corner.

    Raises
    ------
    MRCFormatError
        If a row is not at least four numbers, or the rows differ in length.
    OSError
        If the file cannot be read.
    """
    rows: list[list[float]] = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise MRCFormatError(f"line {number} is not numbers", path=path,
                                 found=repr(line[:60])) from error
        expected = len(rows[0]) if rows else 4
        if len(row) < 4 or (rows and len(row) != expected):
            raise MRCFormatError(f"line {number} of the .box file", path=path,
                                 expected=f"{expected} numbers", found=len(row))
        rows.append(row)
    return np.array(rows, np.float64).reshape(len(rows), -1 if rows else 4)


def centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the boxes' centres in pixels, RELION's CoordinateX and CoordinateY.

    Examples
    --------
    >>> centres(np.array([[100.0, 200.0, 64.0, 64.0]]))
    (array([132.]), array([232.]))
    """
    return boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2


def box_to_star(
    path: str | os.PathLike[str], target: str | os.PathLike[str], shape: tuple[int, int] | None
) -> tuple[int, int]:
    """Write the centres of a .box file as a STAR file; return how many were kept and dropped.

    Parameters
    ----------
    path, target : str or os.PathLike
        The .box file and the .star file.
    shape : (int, int) or None
        [y, x] of the micrograph in pixels; boxes that reach over its edge are dropped. None:
        unknown, so only those that begin below 0 are.
    """
    boxes = read_box(path)
    inside = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0)
    if shape is not None:
        inside &= boxes[:, 0] + boxes[:, 2] <= shape[1]
        inside &= boxes[:, 1] + boxes[:, 3] <= shape[0]
    x, y = centres(boxes[inside])
    write_star(target, {"data_": StarBlock(CoordinateX=x, CoordinateY=y)})
    return int(inside.sum()), int((~inside).sum())
