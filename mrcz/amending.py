"""What the record of a file is to say when frames were added to it, or came in place of others."""

from __future__ import annotations

from typing import Any

from .header import VOLUME, Record
from .reader import MRCReader
from .statistics import Statistics

__all__ = ["header_changes"]


def header_changes(
    reader: MRCReader, fresh: Statistics, *, first: int, nz: int, is_all: bool, exact: bool
) -> dict[str, Any]:
    """Return fields of the record that change, and to what.

    Parameters
    ----------
    reader : MRCReader
        The file as it was.
    fresh : Statistics
        Of the new frames, or of the first of them where more was not asked for.
    first : int
        Number of the first new frame.
    nz : int
        Frames of the file now.
    is_all : bool
        Whether the new frames are all of them.
    exact : bool
        Whether `fresh` is of all new frames.

    Raises
    ------
    ValueError
        If the file holds items of several slices, and the frames don't divide into them.
    """
    changes = _statistics(reader.record, fresh, first, is_all=is_all, exact=exact)
    if nz != reader.record.nz:
        changes |= {"nz": nz, **_cell(reader, nz)}
    return changes


def _cell(reader: MRCReader, nz: int) -> dict[str, Any]:
    """Return the cell of `nz` frames, with the fields that go with it."""
    record, per_item, changes = reader.record, reader.slices(), dict[str, Any]()
    if per_item > 1 and nz % per_item:
        raise ValueError(f"{record.path} holds items of {per_item} slices: "
                         f"{nz} frames don't divide into them")
    cell = list(record.fields["cella"])  # x, y, z
    if record.cell_has_dimensions or record.fields["mz"] <= 0:
        cell[2] = record.pixelsize[0] * nz
    else:
        along = 2 - record.axes[0]  # of the cell's axes, where they may be permuted
        name = ("mx", "my", "mz")[along]
        if record.fields[name] == record.nz and per_item == 0:
            changes[name], cell[along] = nz, record.spacing[0] * nz
            if record.version is not None:
                changes["ispg"] = VOLUME  # one array: with ISPG 0 it would be a list
    return {**changes, "cella": tuple(cell)}


def _statistics(
    record: Record, fresh: Statistics, first: int, *, is_all: bool, exact: bool
) -> dict[str, Any]:
    """Return what is to be said of the pixels; nothing where that stays as it is."""
    before = _statistics_of(record)
    if first == 0:
        whole = fresh
    elif before is None:
        return {}
    elif first < record.nz or not exact:
        return {"rms": -1.0}  # what was of all frames is so no more
    else:
        whole, is_all = before + fresh, True
    return {"dmin": whole.minimum, "dmax": whole.maximum, "dmean": whole.mean,
            "rms": whole.rms if is_all else -1.0}


def _statistics_of(record: Record) -> Statistics | None:
    """Return those of all pixels, if the record has them: its RMS tells.

    0 is the RMS of a constant, but in records of other programs also that of who knows none.
    """
    low, high, mean, rms = (record.fields[name] for name in ("dmin", "dmax", "dmean", "rms"))
    is_ours = record.version is not None and record.version >= (1, 0)
    if not (rms > 0 or (rms == 0 and low == high and is_ours)):
        return None
    count = record.nz * record.ny * record.nx
    return Statistics(count, low, high, mean * count, rms * rms * count)
