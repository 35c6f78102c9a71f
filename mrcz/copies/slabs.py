"""A file's frames in pieces that fit in memory, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator

from ..pixels import Pixels
from ..reader import MRCReader

__all__ = ["SLAB_BYTES", "read_slabs", "slab_ranges"]

SLAB_BYTES = 64 << 20
"""Bytes of pixels held at a time, or one frame where that is more."""


def slab_ranges(frames: range, frame_bytes: int) -> Iterator[range]:
    """Yield consecutive parts of `frames` of about `SLAB_BYTES` each."""
    step = max(1, SLAB_BYTES // max(1, frame_bytes))
    for first in range(0, len(frames), step):
        yield frames[first : first + step]


def read_slabs(
    reader: MRCReader, frames: range | None = None, *, threads: int
) -> Iterator[tuple[range, Pixels]]:
    """Yield ranges of frames and their pixels, (frames, ny, nx) each.

    Parameters
    ----------
    reader : MRCReader
        The file.
    frames : range, optional
        Which; None: all.
    threads : int
        How many take part.
    """
    frames = range(reader.record.nz) if frames is None else frames
    per_frame = reader.record.ny * reader.record.nx * reader.dtype.itemsize
    for part in slab_ranges(frames, per_frame):
        yield part, reader.read(part, threads=threads)
