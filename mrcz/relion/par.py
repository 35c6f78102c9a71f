"""Frealign and cisTEM ``.par`` text <-> table: fixed columns that may touch or overflow.

The columns and widths are those of the programs' own formats:

===========  =====================================================================  =====
Frealign 9   I7,3F8.2,2F10.2,I8,I6,2F9.1,2F8.2,I10,F11.4,2F8.2                        136
FrealignX,   the same with PSHIFT (F8.2) between ANGAST and OCC                       144
cisTEM
Frealign     I7,3F8.2,2F10.2,I8,I6,2F9.1,2F8.2,I13,2F8.2 (early 9: no SIGMA)          128
9.0
Frealign 8   I7,5F8.2,F8.0,I6,2F9.1,F8.2,F7.2,F8.2 (shifts in pixels)                 102
===========  =====================================================================  =====
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mrcz.errors import MRCFormatError
from mrcz.relion.blocks import MissingColumnError, atomic_text

__all__ = ["FREALIGN_9", "FREALIGN_X", "LAYOUTS", "Layout", "read_par", "write_par"]

log = logging.getLogger("mrcz.ReliablePy")

_LONGEST = 400
"""Characters of a number, which no program needs: all take the memory of the longest."""


@dataclass(frozen=True)
class Field:
    """One column: its width in characters and the decimals of a float; None is an integer."""

    name: str
    width: int
    decimals: int | None = None


@dataclass(frozen=True)
class Layout:
    """The columns of one program's .par files."""

    name: str
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(field.name for field in self.fields)

    @property
    def ends(self) -> np.ndarray:
        """The position after each column in a line."""
        return np.cumsum([field.width for field in self.fields])

    @property
    def width(self) -> int:
        """The length of a line."""
        return int(self.ends[-1])

    def cut(self, line: bytes) -> list[bytes]:
        """Return the fields of a line, by position where it fits, else by white space."""
        ends = self.ends
        if len(line) == self.width and all(line[end - 1 : end] != b" " for end in ends):
            return [line[end - f.width : end] for f, end in zip(self.fields, ends, strict=True)]
        return line.split()


_HEAD = (
    Field("N", 7), Field("PSI", 8, 2), Field("THETA", 8, 2), Field("PHI", 8, 2),
    Field("SHX", 10, 2), Field("SHY", 10, 2), Field("MAG", 8), Field("FILM", 6),
    Field("DF1", 9, 1), Field("DF2", 9, 1), Field("ANGAST", 8, 2),
)
_TAIL = (
    Field("OCC", 8, 2), Field("LogP", 10), Field("SIGMA", 11, 4), Field("SCORE", 8, 2),
    Field("CHANGE", 8, 2),
)
FREALIGN_9 = Layout("Frealign 9", _HEAD + _TAIL)
FREALIGN_X = Layout("FrealignX", (*_HEAD, Field("PSHIFT", 8, 2), *_TAIL))
_FREALIGN_90 = Layout("Frealign 9.0", (
    *_HEAD, Field("OCC", 8, 2), Field("LogP", 13), Field("SCORE", 8, 2), Field("CHANGE", 8, 2)))
_FREALIGN_8 = Layout("Frealign 8", (
    Field("N", 7), Field("PSI", 8, 2), Field("THETA", 8, 2), Field("PHI", 8, 2),
    Field("SHX", 8, 2), Field("SHY", 8, 2), Field("MAG", 8, 0), Field("FILM", 6),
    Field("DF1", 9, 1), Field("DF2", 9, 1), Field("ANGAST", 8, 2), Field("PRESA", 7, 2),
    Field("DPRES", 8, 2)))

#: Every layout that is read and written. Each has its own number of columns.
LAYOUTS = (FREALIGN_9, FREALIGN_X, _FREALIGN_90, _FREALIGN_8)


def read_par(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a .par file.

    Columns may touch (``-179.99-100.00``) where a line has exactly the program's width;
    otherwise white space separates them. A value that overflowed its column (``********``) is
    NaN. Lines that start with ``C`` are comments.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    pandas.DataFrame
        One row a particle; the columns are those of the program (see `LAYOUTS`): angles PSI,
        THETA, PHI, ANGAST and PSHIFT in degrees, shifts SHX, SHY in Angstrom (Frealign 8:
        pixels), defocus DF1, DF2 in Angstrom (underfocus positive), OCC in percent. The
        ``attrs`` hold ``layout`` (a name), ``header`` and ``footer`` (the comment lines).

    Raises
    ------
    MRCFormatError
        If a line has no known form.
    OSError
        If the file cannot be read.
    """
    lines = [line.rstrip() for line in Path(path).read_bytes().split(b"\n")]
    rows = [i for i, line in enumerate(lines) if line and not line.lstrip().startswith(b"C")]
    if not rows:
        raise MRCFormatError("no particle in the .par file", path=path)
    layout = _layout_of(lines[rows[0]], rows[0], path)
    columns = _fixed(lines, rows, layout) or _by_line(lines, rows, layout, path)
    table = pd.DataFrame({field.name: _numbers(field, texts, rows, path)
                          for field, texts in zip(layout.fields, columns, strict=True)})
    comments = [(i, line.decode("utf-8", "surrogateescape"))
                for i, line in enumerate(lines) if line.lstrip().startswith(b"C")]
    table.attrs.update(layout=layout.name,
                       header=[text for i, text in comments if i < rows[0]],
                       footer=[text for i, text in comments if i > rows[0]])
    return table


def _layout_of(line: bytes, row: int, path: str | os.PathLike[str]) -> Layout:
    for layout in LAYOUTS:
        if len(line) == layout.width and len(layout.cut(line)) == len(layout.fields):
            return layout
    words = len(line.split())
    for layout in LAYOUTS:
        if words == len(layout.fields):
            return layout
    known = ", ".join(f"{len(la.fields)} ({la.name}, {la.width} characters)" for la in LAYOUTS)
    raise MRCFormatError(f"line {row + 1} has no known form", path=path,
                         expected=f"a number of columns out of {known}",
                         found=f"{words} columns in {len(line)} characters")


def _fixed(lines: list[bytes], rows: list[int], layout: Layout) -> list[np.ndarray] | None:
    """Return the columns where every line has them at the program's positions, else None."""
    if any(len(lines[i]) != layout.width for i in rows):
        return None
    text = np.frombuffer(b"".join([lines[i] for i in rows]), "S1").reshape(-1, layout.width)
    ends = layout.ends
    if (text[:, ends - 1] == b" ").any():
        return None
    return [np.ascontiguousarray(text[:, end - f.width : end]).view(f"S{f.width}")[:, 0]
            for f, end in zip(layout.fields, ends, strict=True)]


def _by_line(
    lines: list[bytes], rows: list[int], layout: Layout, path: str | os.PathLike[str]
) -> list[np.ndarray]:
    cut = []
    for i in rows:
        cut.append(layout.cut(lines[i]))
        if len(cut[-1]) != len(layout.fields):
            raise MRCFormatError(f"line {i + 1} does not fit {layout.name}", path=path,
                                 expected=f"{len(layout.fields)} columns",
                                 found=f"{len(cut[-1])}: {lines[i][:80]!r}")
        if max(map(len, cut[-1])) > _LONGEST:
            raise MRCFormatError(f"line {i + 1}: a number of more than {_LONGEST} characters",
                                 path=path, found=repr(lines[i][:80]))
    return [np.array(column) for column in zip(*cut, strict=True)]


def _numbers(
    field: Field, texts: np.ndarray, rows: list[int], path: str | os.PathLike[str]
) -> np.ndarray:
    overflow = np.char.find(texts, b"*") >= 0
    if overflow.any():
        log.warning("%s: %d values of %s overflowed their column (****) and are NaN",
                    path, overflow.sum(), field.name)
        texts = np.where(overflow, b"nan", texts)
    kind = np.int64 if field.decimals is None and not overflow.any() else np.float64
    for target in (kind, np.float64):  # another program may print MAG as 37037.
        try:
            return texts.astype(target)
        except (ValueError, OverflowError):
            continue
    for row, text in zip(rows, texts, strict=True):
        try:
            float(text)
        except ValueError as error:
            raise MRCFormatError(f"line {row + 1}: {field.name} is no number", path=path,
                                 found=repr(text.decode("utf-8", "replace"))) from error
    raise MRCFormatError(f"{field.name} cannot be read as numbers", path=path)


def write_par(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a .par file in the fixed columns of the program whose columns the table has.

    Parameters
    ----------
    path : str or os.PathLike
        The file; replaced only when the new one is whole.
    table : pandas.DataFrame
        The columns of one of `LAYOUTS`, in any order; ``attrs`` may hold comment lines, as
        `read_par` leaves them. NaN is written as ``****``, as Fortran does.

    Raises
    ------
    MissingColumnError
        If the columns are those of no layout.
    ValueError
        If a value does not fit its column: the program could not read it back.
    """
    layout = _layout_for(table)
    columns = [_texts(field, table[field.name].to_numpy()) for field in layout.fields]
    with atomic_text(path) as out:
        out.writelines(f"{line}\n" for line in table.attrs.get("header", ()))
        out.writelines("".join(row) + "\n" for row in zip(*columns, strict=True))
        out.writelines(f"{line}\n" for line in table.attrs.get("footer", ()))


def _layout_for(table: pd.DataFrame) -> Layout:
    for layout in LAYOUTS:
        if set(layout.columns) == set(table.columns):
            return layout
    known = "; ".join(f"{layout.name}: {', '.join(layout.columns)}" for layout in LAYOUTS)
    raise MissingColumnError(f"no .par layout has the columns {', '.join(map(str, table.columns))};"
                             f" known are {known}")


def _texts(field: Field, values: np.ndarray) -> list[str]:
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        raise ValueError(f"column {field.name}: a .par file has no infinity")
    whole = field.decimals is None
    if whole and (np.mod(numbers[~np.isnan(numbers)], 1) != 0).any():
        raise ValueError(f"column {field.name} must be whole numbers")
    point = "." if field.decimals == 0 else ""  # Fortran's F8.0 prints the point
    form = f"%{field.width - len(point)}.{field.decimals or 0}f{point}"
    texts = ["*" * field.width if value != value else form % value for value in numbers.tolist()]
    longest = max(map(len, texts), default=0)
    if longest > field.width:
        row = next(i for i, text in enumerate(texts) if len(text) > field.width)
        raise ValueError(f"column {field.name}, row {row}: {texts[row]} does not fit "
                         f"{field.width} characters")
    return texts
