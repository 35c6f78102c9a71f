"""The pixel modes and the compressors of the format: one table each, all else derived.

The numbers of the modes are those of MRC2014 and IMOD; a compressed file stores
``mode + 1000 * compressor`` in the same word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

__all__ = [
    "BLOSC1_COMPRESSORS",
    "CCPEM_ENUM",
    "COMPRESSOR_ENUM",
    "COMPRESSOR_FACTOR",
    "EMAN2_ENUM",
    "IMOD_PACKED_BYTES",
    "IMOD_STAMP",
    "MODES",
    "PACKED_BYTES",
    "REVERSE_CCPEM_ENUM",
    "REVERSE_COMPRESSOR_ENUM",
    "UNSIGNED_BYTES",
    "WRITABLE",
    "WRITTEN_AS",
    "FrameLayout",
    "Mode",
    "mode_of_bytes",
    "modes_of",
]


@dataclass(frozen=True)
class Mode:
    """One pixel type of the file format.

    Attributes
    ----------
    number : int
        The value of MODE.
    memory : str
        NumPy code of a pixel in memory, without byte order.
    disk : str
        NumPy code of what is stored; differs from `memory` where pixels are converted.
    channels : int
        Stored values a pixel that stay apart in memory (3 for RGB).
    paired : bool
        Real and imaginary part of a pixel stored as two integers.
    packed : bool
        Two 4-bit pixels a byte, the first in the low bits (IMOD's mode 101).
    writable : bool
        Whether this library writes it.
    """

    number: int
    memory: str
    disk: str
    channels: int = 1
    paired: bool = False
    packed: bool = False
    writable: bool = True

    @property
    def converted(self) -> bool:
        """Whether the pixels in memory differ from those on disk beyond byte order."""
        return self.packed or self.memory != self.disk

    def row_bytes(self, nx: int) -> int:
        """Bytes on disk of a row of `nx` pixels; packed rows are padded to a byte."""
        if self.packed:
            return (nx + 1) // 2
        return nx * self.stored_itemsize

    @property
    def stored_itemsize(self) -> int:
        """Bytes a pixel on disk (1 for packed, where it is the byte of two pixels)."""
        return np.dtype(self.disk).itemsize * (2 if self.paired else 1) * self.channels


class FrameLayout:
    """What follows from the pixel type, the size and the byte order of frames in a file.

    A base of classes that have these.

    Attributes
    ----------
    mode : Mode
        Pixel type.
    ny, nx : int
        Rows, columns.
    byteorder : str
        ``'<'`` or ``'>'``.
    """

    mode: Mode
    ny: int
    nx: int
    byteorder: str

    @cached_property
    def disk_dtype(self) -> np.dtype[Any]:
        """Dtype of a stored value, in the file's byte order."""
        return np.dtype(self.byteorder + self.mode.disk)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a stored row."""
        return self.mode.row_bytes(self.nx)

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of a stored frame, uncompressed."""
        return self.row_bytes * self.ny


MODES: dict[int, Mode] = {
    mode.number: mode
    for mode in (
        Mode(0, "i1", "i1"),
        Mode(1, "i2", "i2"),
        Mode(2, "f4", "f4"),
        Mode(3, "c8", "i2", paired=True, writable=False),
        Mode(4, "c8", "c8"),
        Mode(6, "u2", "u2"),
        Mode(7, "i4", "i4"),
        Mode(8, "u4", "u4"),
        Mode(12, "f2", "f2"),
        Mode(16, "u1", "u1", channels=3, writable=False),
        Mode(17, "i1", "i1", writable=False),
        Mode(101, "u1", "u1", packed=True),
    )
}

UNSIGNED_BYTES = Mode(0, "u1", "u1", writable=False)
"""Mode 0 in a file whose IMOD flags, or statistics, say that its bytes are unsigned."""

PACKED_BYTES = Mode(0, "u1", "u1", packed=True, writable=False)
"""Mode 0 in a file whose IMOD flags say that a byte is two pixels; NX counts the bytes."""

IMOD_STAMP = 1146047817  # bytes "IMOD"
_IMOD_SIGNED_BYTES = 1
IMOD_PACKED_BYTES = 16
_SUPER_RESOLUTION = ((7676, 7420), (7680, 7424), (11520, 8184))
"""Pixels of the sensors of K2 and K3, as SerialEM saves them in 4 bits; give or take a few."""

EMAN2_ENUM: dict[int, str] = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4"}
"""EMAN2's own numbering of pixel types, accepted on reading."""

_EMAN2_MODES = {n: Mode(n, code, code, writable=False) for n, code in EMAN2_ENUM.items()}

WRITTEN_AS: dict[str, str] = {"u1": "u2", "b1": "i1", "f8": "f4", "c16": "c8"}
"""Pixel types without a mode of their own, and the type that they are written as."""

WRITABLE: dict[str, Mode] = {
    ("uint4" if mode.packed else mode.memory): mode for mode in MODES.values() if mode.writable
}
"""What can be written: NumPy code (or ``'uint4'``) to mode."""

CCPEM_ENUM: dict[int, str] = {number: mode.memory for number, mode in MODES.items()}

REVERSE_CCPEM_ENUM: dict[str, int] = {
    name: WRITABLE[target].number
    for code, target in [*((code, code) for code in WRITABLE), *WRITTEN_AS.items()]
    for name in ((code,) if code == "uint4" else (np.dtype(code).name, code))
}

COMPRESSOR_FACTOR = 1000

COMPRESSOR_ENUM: dict[int, str | None] = dict(
    enumerate(
        (None, "blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd",
         "ndlz", "zfp_acc", "zfp_prec", "zfp_rate", "openhtj2k", "grok", "openzl",
         "j2k", "htj2k")
    )
)  # fmt: skip

REVERSE_COMPRESSOR_ENUM: dict[str | None, int] = {
    name: number for number, name in COMPRESSOR_ENUM.items()
}

BLOSC1_COMPRESSORS: tuple[str, ...] = tuple(
    name for number, name in COMPRESSOR_ENUM.items() if name is not None and number <= 6
)
"""Compressors of c-blosc 1; those after it exist in blosc2's plugins only."""

_CONVENTIONS = {"ccpem": MODES, "eman2": _EMAN2_MODES}


def modes_of(convention: str) -> dict[int, Mode]:
    """Return the table of modes of a file convention.

    Parameters
    ----------
    convention : str
        ``'ccpem'`` or ``'eman2'``, in any case.

    Raises
    ------
    ValueError
        For another name.
    """
    try:
        return _CONVENTIONS[convention.lower()]
    except (KeyError, AttributeError):
        raise ValueError(
            f"fileConvention must be one of {sorted(_CONVENTIONS)}, not {convention!r}"
        ) from None


def mode_of_bytes(fields: Mapping[str, Any], compressor: str | None) -> Mode:
    """Return what mode 0 holds: IMOD's flags tell, where its stamp makes them valid.

    Else a largest pixel that no signed byte can be: EMAN2 and IMOD before 4.2.23 wrote unsigned
    bytes without a mark. IMOD reads them so.

    Parameters
    ----------
    fields : mapping
        Of the record.
    compressor : str or None
        Codec of the frames.
    """
    is_stamped = fields["imod_stamp"] == IMOD_STAMP
    flags = fields["imod_flags"] if is_stamped else 0
    if flags & _IMOD_SIGNED_BYTES:
        return MODES[0]
    if flags & IMOD_PACKED_BYTES or _is_packed_by_its_label(fields):
        return PACKED_BYTES
    is_of_another = compressor is None and not fields["labels"][0].startswith(b"MRCZ")
    if is_stamped or (is_of_another and fields["dmin"] >= 0 and 128 <= fields["dmax"] <= 255):
        return UNSIGNED_BYTES
    return MODES[0]


def _is_packed_by_its_label(fields: Mapping[str, Any]) -> bool:
    """Return whether SerialEM's plugin for cameras saved two pixels a byte, without IMOD's flag.

    IMOD knows such frames by their only label and the size of a sensor.
    """
    if fields["nlabl"] != 1 or b"4 bits packed" not in fields["labels"][0]:
        return False
    sizes = (2 * fields["nx"], fields["ny"])
    return any(abs(nx - sizes[0]) <= 4 and abs(ny - sizes[1]) <= 2
               for pair in _SUPER_RESOLUTION for nx, ny in (pair, pair[::-1]))
