"""The 1024-byte record at the head of every file: one dtype, parsed and checked.

Fields are those of MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015), IMOD's stamp
and flags, and MRCZ's own words: voltage, C3, gain and packed bytes.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .byteorder import byteorder_of, find_byteorder, other_than, strays_of
from .errors import MRCFormatError, MRCTruncatedError
from .headerindex import LABEL_BYTES, MOST_LABELS, HeaderIndex, find_index, labels_in_use
from .modes import (
    COMPRESSOR_ENUM,
    COMPRESSOR_FACTOR,
    IMOD_PACKED_BYTES,
    IMOD_STAMP,
    MODES,
    PACKED_BYTES,
    UNSIGNED_BYTES,
    FrameLayout,
    Mode,
    mode_of_bytes,
    modes_of,
)

__all__ = [
    "DTYPES",
    "HEADER_BYTES",
    "HEADER_DTYPE",
    "HEAD_BYTES",
    "IMAGE_STACK",
    "LARGEST_SIZE",
    "LIST_LABEL",
    "VOLUME",
    "VOLUME_STACK",
    "Record",
    "amend",
    "parse",
]

HEADER_BYTES = 1024

HEAD_BYTES = HEADER_BYTES + 1
"""What `parse` looks at: the record, and whether metadata begin behind it."""

LARGEST_SIZE = (1 << 31) - 1
"""Of NX, NY and NZ, which are int32."""

HEADER_DTYPE = np.dtype(
    [
        ("nx", "<i4"), ("ny", "<i4"), ("nz", "<i4"),  # columns, rows, sections
        ("mode", "<i4"),  # pixel type + 1000 * compressor
        ("nxstart", "<i4"), ("nystart", "<i4"), ("nzstart", "<i4"),
        ("mx", "<i4"), ("my", "<i4"), ("mz", "<i4"),  # samples a unit cell
        ("cella", "<f4", 3), ("cellb", "<f4", 3),  # Å, degrees
        ("mapc", "<i4"), ("mapr", "<i4"), ("maps", "<i4"),  # axis of columns, rows, sections
        ("dmin", "<f4"), ("dmax", "<f4"), ("dmean", "<f4"),
        ("ispg", "<i4"),  # 0 image stack, 1 volume, 401 volume stack
        ("nsymbt", "<i4"),  # bytes of extended header
        ("extra1", "V8"),
        ("exttyp", "S4"), ("nversion", "<i4"),
        ("extra2", "V20"),
        ("voltage", "<f4"), ("c3", "<f4"), ("gain", "<f4"),  # kV, mm, counts/e-
        ("packed_bytes", "<i8"),
        ("imod_stamp", "<i4"), ("imod_flags", "<i4"),
        ("extra3", "V36"),
        ("origin", "<f4", 3),
        ("map", "S4"), ("machst", "V4"),
        ("rms", "<f4"),
        ("nlabl", "<i4"), ("labels", f"S{LABEL_BYTES}", MOST_LABELS),
    ]
)  # fmt: skip
"""The record, little-endian; ``.newbyteorder('>')`` is the other one."""

DTYPES = {"<": HEADER_DTYPE, ">": HEADER_DTYPE.newbyteorder(">")}
_NAMES = HEADER_DTYPE.names or ()
_CODES = {"i4": "i", "i8": "q", "f4": "f"}
"""Types of numbers to what `struct` calls them, which unpacks in half of NumPy's time."""
_TEXTS = ("exttyp", "map")


def _format() -> str:
    """Return `HEADER_DTYPE` as a format of `struct`."""
    bases = [(HEADER_DTYPE[name].base, math.prod(HEADER_DTYPE[name].shape)) for name in _NAMES]
    return "".join(count * _CODES.get(base.str[1:], f"{base.itemsize}s") for base, count in bases)


def _places() -> dict[str, int | slice]:
    """Return which of the values that `struct` unpacks are each field's."""
    places, first = dict[str, int | slice](), 0
    for name in _NAMES:
        shape = HEADER_DTYPE[name].shape
        places[name] = slice(first, first + shape[0]) if shape else first
        first += math.prod(shape)
    return places


_STRUCTS = {order: struct.Struct(order + _format()) for order in DTYPES}
_PLACES = _places()
_LABEL = re.compile(r"MRCZ\s*(\d+)\.(\d+)")
LIST_LABEL = "MRCZ list, slices="
_LIST_LABEL_PATTERN = re.compile(re.escape(LIST_LABEL) + r"(\d+)")

VOLUME, IMAGE_STACK, VOLUME_STACK = 1, 0, 401
"""Values of ISPG for data without crystal symmetry."""


@dataclass(frozen=True)
class Record(FrameLayout):
    """What the record of a file says, checked.

    Attributes
    ----------
    fields : mapping
        Every field of `HEADER_DTYPE` as Python values.
    byteorder : str
        ``'<'`` or ``'>'``, of the record and the pixels.
    mode : Mode
        Type of the pixels.
    compressor : str or None
        Codec of the frames.
    nx, ny, nz : int
        Columns, rows, slices.
    path : str
        The file's name, for messages.
    lacks_extended : bool
        Whether the file has no room for the extended header that NSYMBT announces, which is 0
        in `fields` then.
    """

    fields: Mapping[str, Any]
    byteorder: str
    mode: Mode
    compressor: str | None
    nx: int
    ny: int
    nz: int
    path: str
    lacks_extended: bool = False

    @property
    def data_offset(self) -> int:
        """Byte offset of the first pixel or chunk."""
        return HEADER_BYTES + int(self.fields["nsymbt"])

    @property
    def labels(self) -> list[str]:
        """The text labels in use, without padding."""
        texts = [raw.decode("latin-1").strip("\0 ")
                 for raw in labels_in_use(self.fields["labels"])]
        return [text for text in texts if text]

    @cached_property
    def version(self) -> tuple[int, int] | None:
        """Version (major, minor) in the label ``MRCZ<version>``; None without one.

        IMOD's programs copy the labels of their input, but what they write is IMOD's, as its
        stamp says; only from 1.0 on the stamp of a file is kept where a header is written anew.
        """
        found = _LABEL.match(self.fields["labels"][0].decode("latin-1"))
        version = (int(found[1]), int(found[2])) if found else None
        if version is not None and version < (1, 0) and self.fields["imod_stamp"] == IMOD_STAMP:
            return None
        return version

    @property
    def pixelsize(self) -> tuple[float, float, float]:
        """Size of a pixel (z, y, x) in Å.

        CELLA over MX, MY, MZ as in MRC2014, or over the dimensions: see `cell_has_dimensions`.
        """
        dimensions = (self.nx, self.ny, self.nz)
        fields = self.fields
        counts = (fields["mx"], fields["my"], fields["mz"])
        if self.cell_has_dimensions:
            counts = dimensions
        x, y, z = (
            float(cell) / (count if count > 0 else dimension)
            for cell, count, dimension in zip(fields["cella"], counts, dimensions, strict=True)
        )
        return (z, y, x)

    @property
    def cell_has_dimensions(self) -> bool:
        """Whether CELLA is of all pixels, as python-mrcz < 1.0 has it, and in compressed files."""
        is_old = self.version is not None and self.version < (1, 0)
        return is_old or self.compressor is not None

    @property
    def axes(self) -> tuple[int, int, int]:
        """The cell's axes that sections, rows and columns go along: 0 for z, 1 for y, 2 for x.

        MAPS, MAPR and MAPC tell; (0, 1, 2) where they make no sense.
        """
        numbers = (self.fields["maps"], self.fields["mapr"], self.fields["mapc"])
        if sorted(numbers) != [1, 2, 3]:
            return (0, 1, 2)
        s, r, c = (3 - number for number in numbers)
        return (s, r, c)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between sections, rows and columns in Å: `pixelsize`, of permuted axes too."""
        s, r, c = (self.pixelsize[axis] for axis in self.axes)
        return (s, r, c)

    @property
    def declared_slices(self) -> int | None:
        """Slices an item of a list as the record alone tells; 0: not a list.

        None where a label below 0.5.0 leaves only the assumption of a list of 2-D.
        """
        if self.version is None:
            return 0
        if self.version < (0, 5):
            return None
        if self.fields["ispg"] == VOLUME:
            return 0
        if self.version < (1, 0) or self.compressor is not None:
            return max(0, int(self.fields["mz"]))
        return self._list_label or 0

    @property
    def _list_label(self) -> int | None:
        """Slices as the second label has them: MRC2014 has image stacks, but no lists."""
        for label in self.labels[1:]:
            if found := _LIST_LABEL_PATTERN.match(label):
                return int(found[1])
        return None

    @property
    def index(self) -> HeaderIndex:
        """Where some chunks start; void in a file without an index."""
        return find_index(self.fields["labels"], self.nz, self.fields["packed_bytes"])

    @property
    def mark_of_bytes(self) -> dict[str, int]:
        """IMOD's words for what bytes are, where now statistics or a label alone tell of it."""
        added = {UNSIGNED_BYTES: 0, PACKED_BYTES: IMOD_PACKED_BYTES}.get(self.mode)
        if added is None:
            return {}
        flags = self.fields["imod_flags"] if self.fields["imod_stamp"] == IMOD_STAMP else 0
        return {"imod_stamp": IMOD_STAMP, "imod_flags": flags | added}

    @property
    def items_are_volumes(self) -> bool:
        """Whether the items of a list are 3-D even where they hold one slice."""
        return bool(self.fields["ispg"] == VOLUME_STACK)


def parse(
    data: bytes, *, path: str, endian: str = "le", convention: str = "ccpem",
    size: int | None = None,
) -> Record:
    """Return the record in the first 1024 bytes of a file.

    Parameters
    ----------
    data : bytes
        The first 1024 bytes, and behind them one more, if the file has it.
    path : str
        The file's name, for messages.
    endian : str
        Byte order to assume where neither machine stamp nor MODE tells.
    convention : str
        Numbering of modes: ``'ccpem'`` or ``'eman2'``.
    size : int, optional
        Bytes of the file, where that is known.

    Raises
    ------
    MRCTruncatedError
        With fewer bytes.
    MRCFormatError
        If the mode is unknown or a size is not positive.
    """
    if len(data) < HEADER_BYTES:
        raise MRCTruncatedError("the file is shorter than an MRC header", path=path,
                                offset=len(data), expected=f"{HEADER_BYTES} bytes",
                                found=len(data))
    modes = modes_of(convention)
    byteorder = find_byteorder(data, byteorder_of(endian), modes)
    fields = _unpack(data, byteorder)
    if strays := strays_of(data, byteorder, modes):
        other = _unpack(data, other_than(byteorder))
        fields.update((name, other[name]) for name in strays)
    mode, compressor = _decode_mode(fields["mode"], modes, path)
    nx = fields["nx"]
    if mode.number == 0 and mode.memory == "i1":
        mode = mode_of_bytes(fields, compressor)
        if mode.packed:
            nx *= 2
    for offset, name in enumerate(("nx", "ny", "nz")):
        if fields[name] < 1:
            raise MRCFormatError(f"{name.upper()} is not positive", path=path, offset=4 * offset,
                                 expected=">= 1", found=fields[name])
    if nx > LARGEST_SIZE:
        raise MRCFormatError("NX counts too many bytes of two pixels", path=path, offset=0,
                             expected=f"<= {LARGEST_SIZE // 2}", found=fields["nx"])
    if fields["nsymbt"] < 0:
        raise MRCFormatError("NSYMBT is negative", path=path, offset=92, expected=">= 0",
                             found=fields["nsymbt"])
    record = Record(fields, byteorder, mode, compressor, nx, fields["ny"], fields["nz"], path)
    if _lacks_extended(record, size, data[HEADER_BYTES:HEAD_BYTES]):
        return replace(record, fields={**fields, "nsymbt": 0}, lacks_extended=True)
    return record


def _lacks_extended(record: Record, size: int | None, behind: bytes) -> bool:
    """Return whether pixels begin right behind the record, whatever NSYMBT says.

    Programs that copy the record of their input but not its extended header, as cryoCARE did,
    write such files: their length is that of record and pixels to the byte. Where not even NSYMBT
    bytes are there, that is damage rather, and so it is of a file with a label of this format,
    unless its record tells of metadata and another byte than their first one is behind it.
    """
    nsymbt = record.fields["nsymbt"]
    if not nsymbt or record.compressor is not None:
        return False
    is_text = record.fields["exttyp"].lower() == b"json"
    if record.version is not None and not (is_text and behind != b"{"):
        return False
    return record.data_offset <= (size or 0) == HEADER_BYTES + record.nz * record.frame_bytes


def amend(data: bytes, byteorder: str, **changes: Any) -> bytes:
    """Return a record with some of its fields changed.

    Parameters
    ----------
    data : bytes
        The 1024 bytes as they are.
    byteorder : str
        ``'<'`` or ``'>'``.
    **changes
        Name of a field in `HEADER_DTYPE` to value.
    """
    changed = bytearray(data)
    record = np.frombuffer(changed, DTYPES[byteorder], 1)
    other = record.view(DTYPES[other_than(byteorder)])
    strays = strays_of(data, byteorder, MODES)
    with np.errstate(over="ignore"):
        for name, value in changes.items():
            (other if name in strays else record)[name] = value
    return bytes(changed)


def _unpack(data: bytes, byteorder: str) -> dict[str, Any]:
    values = _STRUCTS[byteorder].unpack_from(data)
    fields: dict[str, Any] = {name: values[place] for name, place in _PLACES.items()}
    for name in _TEXTS:
        fields[name] = fields[name].rstrip(b"\0")
    fields["labels"] = [label.rstrip(b"\0") for label in fields["labels"]]
    return fields


def _decode_mode(number: int, modes: Mapping[int, Mode], path: str) -> tuple[Mode, str | None]:
    compressor, pixel_mode = divmod(number, COMPRESSOR_FACTOR)
    if number < 0 or pixel_mode not in modes:
        raise MRCFormatError("unknown MODE", path=path, offset=12,
                             expected=f"one of {sorted(modes)} + 1000 * compressor", found=number)
    if compressor not in COMPRESSOR_ENUM:
        raise MRCFormatError(f"unrecognized MRCZ compressor id = {compressor}", path=path,
                             offset=12, expected=f"0..{max(COMPRESSOR_ENUM)}", found=compressor)
    return modes[pixel_mode], COMPRESSOR_ENUM[compressor]
