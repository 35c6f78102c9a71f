"""The record of a file to be written, from what is known of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from .__version__ import __version__
from .header import DTYPES, LIST_LABEL, VOLUME, VOLUME_STACK
from .headerindex import with_index
from .modes import COMPRESSOR_FACTOR, REVERSE_COMPRESSOR_ENUM, Mode

__all__ = ["HeaderFields"]

_MACHINE_STAMP = {"<": b"DD\0\0", ">": b"\x11\x11\0\0"}


@dataclass(frozen=True)
class HeaderFields:
    """What goes into the record of a file to be written.

    Attributes
    ----------
    shape : tuple of int
        (nz, ny, nx).
    mode : Mode
        Type of the pixels.
    compressor : str or None
        Codec of the frames.
    slices : int
        0 for an array, else slices an item of a list.
    ispg : int
        `VOLUME`, `IMAGE_STACK` or `VOLUME_STACK`.
    pixelsize : tuple of float
        (z, y, x) in Å.
    voltage, c3, gain : float
        kV, mm, counts/e-.
    minimum, maximum, mean, rms : float
        Statistics of the pixels; rms is -1 where it was not computed.
    metadata_bytes : int
        Length of the JSON text.
    packed_bytes : int
        Length of all chunks; 0 in an uncompressed file.
    byteorder : str
        ``'<'`` or ``'>'``.
    lengths : sequence of int
        Of the chunks, for the index.
    axes : tuple of int
        The cell's axes that sections, rows and columns go along: 0 for z, 1 for y, 2 for x.
    """

    shape: tuple[int, int, int]
    mode: Mode
    compressor: str | None = None
    slices: int = 0
    ispg: int = VOLUME
    pixelsize: tuple[float, float, float] = (1.0, 1.0, 1.0)
    voltage: float = 0.0
    c3: float = 0.0
    gain: float = 1.0
    minimum: float = 0.0
    maximum: float = 0.0
    mean: float = 0.0
    rms: float = -1.0
    metadata_bytes: int = 0
    packed_bytes: int = 0
    byteorder: str = "<"
    lengths: Sequence[int] = ()
    axes: tuple[int, int, int] = (0, 1, 2)

    def pack(self) -> bytes:
        """Return the 1024 bytes."""
        nz, ny, nx = self.shape
        mz = {VOLUME: nz, VOLUME_STACK: max(1, self.slices)}.get(self.ispg, 1)
        z, y, x = self.pixelsize
        m, cell = (nx, ny, mz), (x * nx, y * ny, z * mz)
        if self.compressor is not None:  # python-mrcz's reading of MZ and CELLA
            m, cell = (nx, ny, self.slices), (x * nx, y * ny, z * nz)
        elif mz == nz:  # a volume, whose axes may be permuted
            counts = dict(zip(self.axes, self.shape, strict=True))
            m = (counts[2], counts[1], counts[0])
            cell = (x * m[0], y * m[1], z * m[2])
        labels = [f"MRCZ{__version__}".encode()]
        if self.slices:
            labels.append(f"{LIST_LABEL}{self.slices}".encode())
        ends = dict(enumerate(accumulate(self.lengths), 1))
        record = np.zeros((), DTYPES[self.byteorder])
        with np.errstate(over="ignore"):
            record[()] = (
                nx, ny, nz,
                self.mode.number + COMPRESSOR_FACTOR * REVERSE_COMPRESSOR_ENUM[self.compressor],
                0, 0, 0,
                *m, cell, (90.0, 90.0, 90.0),
                *(3 - axis for axis in reversed(self.axes)),
                self.minimum, self.maximum, self.mean,
                self.ispg, self.metadata_bytes,
                b"",
                b"json" if self.metadata_bytes else b"", 20141,
                b"",
                self.voltage, self.c3, self.gain,
                self.packed_bytes,
                0, 0,
                b"",
                (0.0, 0.0, 0.0),
                b"MAP ", _MACHINE_STAMP[self.byteorder],
                self.rms,
                len(labels), with_index(labels, nz, self.packed_bytes, ends),
            )  # fmt: skip
        return record.tobytes()
