"""What a STAR block is in memory: column names, text columns, particles and their optics."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import pandas as pd

from mrcz.errors import MRCError
from mrcz.sinks import Sink
from mrcz.targets import open_sink

__all__ = [
    "MissingColumnError",
    "Particles",
    "StarBlock",
    "atomic_text",
    "find_block",
    "is_text_column",
    "label_of",
    "name_of",
    "rows_of",
    "select_rows",
]

# Labels that RELION types as strings: their values stay text even where they look like
# numbers (a group named 001). From the label table of RELION (EMDL_STRING).
_TEXT_COLUMN = re.compile(
    r".*Name(NoDW|Original|IfTrue)?|.*File2?|.*StarFile2?|Comment|.*SymmetryGroup"
    r"|(Ctf|Reference|SGDGradient)Image|CtfPowerSpectrum|MicrographMetadata|FourierMask"
    r"|JobOption(Variable|Value|GUILabel|DefaultValue|HelpText|FilePattern|DirectoryDefault"
    r"|MenuOptions)|ExtRecons.*|UnfilteredMapHalf[12]|PipeLineEdge.*|PipeLineProcessAlias"
    r"|ScheduleEmailAddress|ScheduleOperator.*|ScheduleStringVariable.*|ScheduleJobMode"
    r"|(Odd|Even)Zernike|TomoTiltSeries.*|.*DefectFile"
)


class MissingColumnError(MRCError, KeyError):
    """A block or a column that an operation needs is not in the file."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message


class StarBlock(dict[str, Any]):
    """One data block of a STAR file: a dict of column name -> values.

    A column of a ``loop_`` is a 1-D array (int64, float64, or object for text); an item of a
    label-value block is a plain int, float or str. Names have neither underscore nor ``rln``.

    Attributes
    ----------
    version : str or None
        The number in the ``# version 30001`` comment that RELION >= 3.1 writes above a block.
    """

    def __init__(self, *args: Any, version: str | None = None, **columns: Any) -> None:
        super().__init__(*args, **columns)
        self.version = version

    def copy(self) -> StarBlock:
        """Return a shallow copy that keeps the version."""
        return StarBlock(self, version=self.version)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self), self.version)


def _rebuild(columns: dict[str, Any], version: str | None) -> StarBlock:
    return StarBlock(columns, version=version)


def name_of(label: str) -> str:
    """Return the column name of a STAR label; `label_of` is its exact inverse.

    Examples
    --------
    >>> [name_of(label) for label in ("_rlnAnglePsi", "_cisTEMAnglePsi", "_Odd")]
    ['AnglePsi', 'cisTEMAnglePsi', '_Odd']
    """
    if re.match(r"_rln[A-Z]", label):
        return label[4:]
    return label[1:] if re.match(r"_[a-z]", label) else label


def label_of(name: str) -> str:
    """Return the STAR label of a column name.

    RELION's names begin with a capital, so any other program's label (``_cisTEM...``,
    ``_wrp...``), which begins in lower case, needs no record of where it came from.

    Examples
    --------
    >>> [label_of(name) for name in ("AnglePsi", "cisTEMAnglePsi", "_Odd")]
    ['_rlnAnglePsi', '_cisTEMAnglePsi', '_Odd']
    """
    if name.startswith("_"):
        return name
    return f"_rln{name}" if name[:1].isupper() else f"_{name}"


def is_text_column(name: str) -> bool:
    """Tell whether RELION types this column as a string."""
    return _TEXT_COLUMN.fullmatch(name) is not None


def select_rows(block: Mapping[str, Any], rows: np.ndarray) -> StarBlock:
    """Return the block with some of its rows, by a mask or an order of them all.

    Raises
    ------
    ValueError
        If columns, which may be lists and those of pandas too, differ in length.
    """
    table = {name: np.asarray(values) for name, values in block.items() if np.ndim(values)}
    lengths = {name: len(values) for name, values in table.items()}
    if len({*lengths.values(), len(rows)}) > 1:
        raise ValueError(f"columns differ in length, {len(rows)} rows are wanted: "
                         + ", ".join(f"{name} {length}" for name, length in lengths.items()))
    chosen = {name: table[name][rows] if name in table else values
              for name, values in block.items()}
    return StarBlock(chosen, version=getattr(block, "version", None))


def rows_of(keys: Any, wanted: np.ndarray, *, what: str, table: str) -> np.ndarray:
    """Return the row of each of `wanted` in a table whose rows are known by `keys`.

    Parameters
    ----------
    keys, wanted : 1-D array
        Numbers or names.
    what, table : str
        What they name, and where, for errors.

    Raises
    ------
    MissingColumnError
        If one has no row.
    ValueError
        If two rows have the same key.
    """
    index = pd.Index(np.asarray(keys))
    if not index.is_unique:
        raise ValueError(f"{table} has {what} {index[index.duplicated()][0]} twice")
    rows = index.get_indexer(wanted)
    if (rows < 0).any():
        raise MissingColumnError(f"there is no {what} {wanted[rows < 0][0]}, {table} has "
                                 f"{', '.join(map(str, index))}")
    return np.asarray(rows)


def find_block(star: Mapping[str, Any], key: str | bytes, *others: str) -> str:
    """Return the name of a block: `key`, `key` with ``data_`` before it, or one of `others`.

    Raises
    ------
    MissingColumnError
        If there is none; the message lists the blocks there are.
    """
    wanted = key.decode() if isinstance(key, bytes) else key
    for name in (wanted, f"data_{wanted}", *others):
        if name in star:
            return name
    there = ", ".join(star) or "nothing: load a STAR file first"
    asked = " or ".join(repr(name) for name in (wanted, *others))
    raise MissingColumnError(f"no block {asked} is loaded; loaded is {there}")


class _SinkBytes(io.RawIOBase):
    """Bytes in order, for a sink that takes them by offset; nothing after `discard`."""

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink
        self._offset = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._sink is not None:
            self._sink.write_at(self._offset, data)
            self._offset += size
        return size

    def discard(self) -> None:
        self._sink = None


@contextlib.contextmanager
def atomic_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` only when it was written whole."""
    sink = open_sink(path, fsync=True)
    raw = _SinkBytes(sink)
    out = io.TextIOWrapper(io.BufferedWriter(raw, 1 << 20), encoding="utf-8",
                           errors="surrogateescape", newline="\n")
    try:
        yield out
        out.flush()
        sink.commit()
    except BaseException:
        raw.discard()
        sink.abort()
        raise
    finally:
        out.close()


@dataclass(frozen=True)
class Particles:
    """The particles of one block with what their optics groups say of them.

    Parameters
    ----------
    star : mapping of str to mapping
        All blocks, as in `mrcz.ReliablePy.ReliablePy.star`.
    key : str
        The block of the particles.
    purpose : str
        Who asks; named in errors.
    """

    star: Mapping[str, Any]
    key: str
    purpose: str

    @property
    def block(self) -> Mapping[str, Any]:
        """The block of the particles."""
        found: Mapping[str, Any] = self.star[self.key]
        return found

    def __len__(self) -> int:
        lengths = [len(v) for v in self.block.values() if np.ndim(v) == 1]
        return lengths[0] if lengths else 0

    def has(self, *names: str) -> bool:
        """Tell whether the block or its optics table has all of these columns."""
        optics = self.star.get("data_optics", {})
        return all(name in self.block or name in optics for name in names)

    def column(self, *names: str) -> np.ndarray:
        """Return the first of `names` that there is, one value a particle.

        A column that only the optics table has is looked up through ``OpticsGroup``.

        Raises
        ------
        MissingColumnError
            If there is none of them.
        """
        for name in names:
            if name in self.block:
                return np.asarray(self.block[name])
        for name in names:
            if name in self.star.get("data_optics", {}):
                return self._from_optics(name)
        raise MissingColumnError(self._missing(names))

    def floats(self, *names: str) -> np.ndarray:
        """Return `column` as float64.

        Raises
        ------
        MissingColumnError
            If there is no such column.
        ValueError
            If it holds text that is no number.
        """
        values = self.column(*names)
        try:
            return np.asarray(values, np.float64)
        except ValueError as error:
            raise ValueError(
                f"column {names[0]!r} of block {self.key!r} must be numbers for "
                f"{self.purpose}: {error}"
            ) from error

    def _from_optics(self, name: str) -> np.ndarray:
        optics = self.star["data_optics"]
        if "OpticsGroup" not in optics or "OpticsGroup" not in self.block:
            raise MissingColumnError(
                f"{name!r} stands in the optics table only, and 'OpticsGroup' is missing in "
                f"{'data_optics' if 'OpticsGroup' not in optics else self.key!r}"
            )
        rows = rows_of(optics["OpticsGroup"], np.asarray(self.block["OpticsGroup"]),
                       what="optics group", table="data_optics")
        return np.asarray(np.asarray(optics[name])[rows])

    def _missing(self, names: tuple[str, ...]) -> str:
        wanted = " or ".join(f"{n!r} ({label_of(n)})" for n in names)
        text = (
            f"block {self.key!r} has no column {wanted}, which {self.purpose} needs; "
            f"it has {', '.join(self.block) or 'none'}"
        )
        if "data_optics" in self.star:
            text += f"; data_optics has {', '.join(self.star['data_optics'])}"
        return text

    def pixel_size(self) -> np.ndarray:
        """Return the pixel size of each particle image in Angstrom.

        From ``ImagePixelSize`` (RELION >= 3.1), else ``DetectorPixelSize`` (micrometre) and
        ``Magnification`` (RELION <= 3.0), else ``PixelSize``, also of a loaded _model.star.
        """
        if self.has("ImagePixelSize"):
            return self.floats("ImagePixelSize")
        if self.has("Magnification", "DetectorPixelSize"):
            micrometre = self.floats("DetectorPixelSize")
            return np.asarray(1e4 * micrometre / self.floats("Magnification"))
        general = self.star.get("data_model_general", {})
        if not self.has("PixelSize") and "PixelSize" in general:
            return np.full(len(self), float(general["PixelSize"]))
        return self.floats("PixelSize", "ImagePixelSize", "Magnification")

    def origins(self, pixelsize: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Return RELION's x and y origin offsets in Angstrom.

        ``OriginXAngst`` (RELION >= 3.1) is in Angstrom already; ``OriginX`` (<= 3.0) is in
        pixels of the particle image, of `pixelsize` Angstrom or what the file says.
        """
        if self.has("OriginXAngst", "OriginYAngst"):
            return self.floats("OriginXAngst"), self.floats("OriginYAngst")
        x = self.floats("OriginX", "OriginXAngst")
        y = self.floats("OriginY", "OriginYAngst")
        scale = self.pixel_size() if pixelsize is None else float(pixelsize)
        return x * scale, y * scale
