"""MRC files as other programs write them, built byte by byte, without any help from mrcz."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"

# Name: (byte offset, struct format), after the MRC2014 paper's table and MRCZ's additions.
FIELDS: dict[str, tuple[int, str]] = {
    "dims": (0, "3i"),  # nx, ny, nz
    "mode": (12, "i"),
    "start": (16, "3i"),
    "m": (28, "3i"),  # mx, my, mz
    "cella": (40, "3f"),  # x, y, z
    "cellb": (52, "3f"),
    "map_axes": (64, "3i"),
    "stats": (76, "3f"),  # min, max, mean
    "ispg": (88, "i"),
    "nsymbt": (92, "i"),
    "exttyp": (104, "4s"),
    "nversion": (108, "i"),
    "voltage": (132, "f"),
    "C3": (136, "f"),
    "gain": (140, "f"),
    "packed_bytes": (144, "q"),
    "imod_stamp": (152, "i"),
    "imod_flags": (156, "i"),
    "origin": (196, "3f"),
    "map": (208, "4s"),
    "stamp": (212, "4s"),
    "rms": (216, "f"),
    "nlabl": (220, "i"),
    "label": (224, "80s"),
}

LITTLE, BIG = b"\x44\x44\x00\x00", b"\x11\x11\x00\x00"
IMOD_STAMP = 1146047817
IMOD_SIGNED_BYTES = 1

MODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 7: "i4", 8: "u4", 12: "f2"}
MODE_OF = {np.dtype(name): mode for mode, name in MODES.items()}
EMAN2_MODES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4"}

# What stands in EXTTYP, and a length that the program really writes.
EXTENDED_HEADERS = {
    b"CCP4": 160, b"SERI": 2 * 1024, b"AGAR": 1024, b"MRCO": 640,
    b"FEI1": 768 * 3, b"FEI2": 888 * 3, b"HDF5": 512, b"\0\0\0\0": 80,
}


def header(dims_zyx: tuple[int, int, int], mode: int, *, order: str = "<",
           **fields: Any) -> bytearray:
    """A 1024-byte record; `fields` are FIELDS by name, replacing sensible defaults."""
    nz, ny, nx = dims_zyx
    values: dict[str, Any] = {
        "dims": (nx, ny, nz), "mode": mode, "m": (nx, ny, nz),
        "cella": (float(nx), float(ny), float(nz)), "cellb": (90.0, 90.0, 90.0),
        "map_axes": (1, 2, 3), "stats": (0.0, 1.0, 0.5), "ispg": 1, "nversion": 20140,
        "map": b"MAP ", "stamp": LITTLE if order == "<" else BIG, "rms": -1.0,
    } | fields
    record = bytearray(1024)
    for name, value in values.items():
        offset, form = FIELDS[name]
        struct.pack_into(order + form, record, offset,
                         *(value if isinstance(value, tuple) else (value,)))
    return record


def fields_of(record: bytes | bytearray, order: str = "<") -> dict[str, Any]:
    """The fields of a record by name: tuples where there are several values."""
    found = {}
    for name, (offset, form) in FIELDS.items():
        values = struct.unpack_from(order + form, record, offset)
        found[name] = values if len(values) > 1 else values[0]
    return found


def mrc(image: np.ndarray, *, order: str = "<", mode: int | None = None,
        extended: bytes = b"", **fields: Any) -> bytes:
    """A whole uncompressed file around a 3-D array, whatever its mode."""
    mode = MODE_OF[image.dtype.newbyteorder("=")] if mode is None else mode
    record = header(image.shape[:3], mode, order=order, nsymbt=len(extended), **fields)
    data = image.astype(image.dtype.newbyteorder(order)).tobytes()
    return bytes(record) + extended + data


def pack_uint4(image: np.ndarray) -> bytes:
    """Two pixels a byte, the first in the low half; every row padded to whole bytes."""
    rows = []
    for row in image.reshape(-1, image.shape[-1]):
        pixels = [*row.tolist(), 0] if len(row) % 2 else row.tolist()
        rows.append(bytes(low | high << 4 for low, high in zip(pixels[::2], pixels[1::2],
                                                               strict=True)))
    return b"".join(rows)


def ramp(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that all differ from their neighbours, in the dtype's range, complex too."""
    kind = np.dtype(dtype)
    count = np.arange(int(np.prod(shape))).reshape(shape)
    if kind.kind == "c":
        return (count - 1j * count[..., ::-1]).astype(kind)
    if kind.kind == "f":
        return (count % 4093 / 8 - 3).astype(kind)
    return (count * 7 % min(251, int(np.iinfo(kind).max)) - (3 if kind.kind == "i" else 0)
            ).astype(kind)


def chunks_of(data: bytes, start: int, order: str = "<") -> list[dict[str, int]]:
    """Walk the blosc chunks from `start` to the end of the file by their 16-byte headers."""
    chunks = []
    while start < len(data):
        version, codec_format, flags, typesize, nbytes, blocksize, cbytes = struct.unpack_from(
            "<4B3i", data, start)
        chunks.append({"offset": start, "version": version, "format": codec_format,
                       "flags": flags, "typesize": typesize, "nbytes": nbytes,
                       "blocksize": blocksize, "cbytes": cbytes})
        start += cbytes
    return chunks
