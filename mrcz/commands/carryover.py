"""What the record of an MRC file alone knows, carried over by ``mrcz convert``."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..disk import InPlaceFile
from ..header import HEADER_BYTES, LARGEST_SIZE, VOLUME, VOLUME_STACK, Record, amend, parse
from ..headerindex import MOST_LABELS, labels_in_use, with_index
from ..sources import FileSource
from .transforms import Plan

__all__ = ["carry_over"]

logger = logging.getLogger("mrcz")


def carry_over(path: str, record: Record, plan: Plan, *, keep_group: bool) -> None:
    """Copy what MRC's own header tells beyond the options: place, axes, labels.

    Parameters
    ----------
    path : str
        The new file, little-endian.
    record : Record
        Of the old one.
    plan : Plan
        What was done to its pixels.
    keep_group : bool
        Whether a whole copy has its space group, and so its cell.
    """
    fields = record.fields
    extended = fields["exttyp"].decode("latin-1").strip("\0 ") or "of another program"
    if fields["nsymbt"] and extended.lower() != "json":
        logger.warning("%s: its extended header (%s, %d bytes) is not carried over; "
                       "mrcz compress keeps it", record.path, extended, fields["nsymbt"])
    with FileSource(path) as source:
        new = source.read(0, HEADER_BYTES)
    written = parse(new, path=path)
    changes = {**_labels_of(record, written), **_place_of(record, plan), "cellb": fields["cellb"]}
    is_whole = plan.ranges == tuple(range(size) for size in (record.nz, record.ny, record.nx))
    if keep_group and is_whole:
        changes["ispg"] = fields["ispg"]
        if plan.bins == (1, 1, 1):
            changes.update(_cell_of(record, written))
    file = InPlaceFile(path)
    try:
        file.write_at(0, amend(new, "<", **changes))
        file.commit()
    finally:
        file.abort()


def _labels_of(record: Record, written: Record) -> dict[str, Any]:
    """Return the changes that put the old labels behind the new ones, as many as there is room."""
    own = labels_in_use(written.fields["labels"])
    old = [text for text in labels_in_use(record.fields["labels"]) if text.strip(b"\0 ")
           and not text.startswith(b"MRCZ")]
    labels = [*own, *old][:MOST_LABELS]
    return {"nlabl": len(labels),
            "labels": with_index(labels, written.nz, written.fields["packed_bytes"],
                                 written.index.by_frame())}


def _place_of(record: Record, plan: Plan) -> dict[str, Any]:
    """Return the changes that say where a part lies in the whole.

    The start is in pixels of the file's own axes, the origin in Angstrom of the cell's.
    """
    fields, changes = record.fields, dict[str, Any]()
    for name, part, size in zip(("nzstart", "nystart", "nxstart"), plan.ranges, plan.bins,
                                strict=True):
        start = (fields[name] + part.start) // (part.step * size)
        changes[name] = start if start <= LARGEST_SIZE else 0  # what was there was garbage
    # Without MAP a record is of the old style, whose origin stood where that and the stamp do now.
    origin = list(fields["origin"]) if fields["map"].startswith(b"MAP") else [0.0]
    if any(origin) and np.isfinite(origin).all():
        for axis, part in zip(record.axes, plan.ranges, strict=True):
            origin[2 - axis] += part.start * record.pixelsize[axis]
        changes["origin"] = origin
    return changes


def _cell_of(record: Record, written: Record) -> dict[str, Any]:
    """Return the changes that give a whole copy the cell that it had.

    Of a crystal it has other sizes than the map, of a stack of volumes it is that of one.
    """
    mx, my, mz = (record.fields[name] for name in ("mx", "my", "mz"))
    group = record.fields["ispg"]
    if written.compressor is not None or group < VOLUME or min(mx, my, mz) < 1:
        return {}
    if group >= VOLUME_STACK and written.nz % mz:
        return {}
    z, y, x = written.pixelsize
    return {"mx": mx, "my": my, "mz": mz, "cella": (x * mx, y * my, z * mz)}
