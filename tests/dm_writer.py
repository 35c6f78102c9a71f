"""Writes Gatan DM3 and DM4 files of every tag and pixel type, for the tests.

A file is a tree of plain Python: a dict is a directory of named tags, a list one of
unnamed tags, and a `Leaf` is a value.  An entry of a list may also be a ``(name, value)``
pair, for directories that mix both, or hold a name twice.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# The numbers that a file uses for the types of tags, as struct characters.
NUMBERS = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "B", 9: "b", 10: "b",
           11: "q", 12: "Q"}
STRUCT, STRING, ARRAY = 15, 18, 20
TAG_OF_DTYPE = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "b1": 8, "u1": 10,
                "i1": 10, "i8": 11, "u8": 12}


@dataclass(frozen=True)
class Leaf:
    """A value: its type as the file describes it, and its parts.

    ``info`` is the sequence of numbers that describes the type; ``parts`` alternates
    struct format characters with the values they pack, or is raw bytes.
    """

    info: tuple[int, ...]
    parts: Any

    def data(self, order: str) -> Any:
        if isinstance(self.parts, np.ndarray):
            return memoryview(np.ascontiguousarray(
                self.parts, self.parts.dtype.newbyteorder(order))).cast("B")
        if isinstance(self.parts, (bytes, memoryview)):
            return self.parts
        return b"".join(struct.pack(order + fmt, *values) for fmt, values in self.parts)


def number(code: int, value: float) -> Leaf:
    return Leaf((code,), [(NUMBERS[code], (value,))])


def int32(value: int) -> Leaf:
    return number(3, value)


def uint32(value: int) -> Leaf:
    return number(5, value)


def float32(value: float) -> Leaf:
    return number(6, value)


def float64(value: float) -> Leaf:
    return number(7, value)


def boolean(value: bool) -> Leaf:
    return number(8, value)


def array(code: int, values: Sequence[float]) -> Leaf:
    return Leaf((ARRAY, code, len(values)), [(f"{len(values)}{NUMBERS[code]}", tuple(values))])


def text(value: str) -> Leaf:
    """A string as DigitalMicrograph stores it: an array of uint16."""
    units = np.frombuffer(value.encode("utf-16-le", "surrogatepass"), "<u2")
    return array(4, units.tolist())


def string18(value: str, order: str = "<") -> Leaf:
    """The string type of the format, whose length is counted in bytes."""
    data = value.encode("utf-16-le" if order == "<" else "utf-16-be")
    return Leaf((STRING, len(data)), data)


def struct_of(codes: Sequence[int], values: Sequence[float]) -> Leaf:
    return Leaf(_struct_info(codes), [("".join(NUMBERS[c] for c in codes), tuple(values))])


def array_of_structs(codes: Sequence[int], rows: Sequence[Sequence[float]]) -> Leaf:
    fmt = "".join(NUMBERS[c] for c in codes)
    return Leaf((ARRAY, *_struct_info(codes), len(rows)), [(fmt, tuple(row)) for row in rows])


def _struct_info(codes: Sequence[int]) -> tuple[int, ...]:
    fields: list[int] = []
    for code in codes:
        fields += [0, code]
    return (STRUCT, 0, len(codes), *fields)


# --- files ------------------------------------------------------------------------------


def chunks(tree: Any, version: int = 4, order: str = "<") -> list[Any]:
    """The file with this root directory, as a list of buffers."""
    word = ">I" if version == 3 else ">Q"
    body = _directory(tree, version, order)
    length = sum(map(len, body))
    header = struct.pack(">I", version) + struct.pack(word, length) + struct.pack(
        ">I", int(order == "<"))
    return [header, *body, bytes(8)]


def dm_bytes(tree: Any, version: int = 4, order: str = "<") -> bytes:
    return b"".join(chunks(tree, version, order))


def write(path: Path | str, tree: Any, version: int = 4, order: str = "<") -> Path:
    with Path(path).open("wb") as file:
        file.writelines(chunks(tree, version, order))
    return Path(path)


def _entries(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, dict):
        return list(tree.items())
    return [entry if isinstance(entry, tuple) else ("", entry) for entry in tree]


def _directory(tree: Any, version: int, order: str) -> list[Any]:
    word = ">I" if version == 3 else ">Q"
    entries = _entries(tree)
    out: list[Any] = [b"\x01\x00" + struct.pack(word, len(entries))]
    for name, value in entries:
        raw = name if isinstance(name, bytes) else name.encode()
        content = (_leaf(value, word, order) if isinstance(value, Leaf)
                   else _directory(value, version, order))
        kind = 21 if isinstance(value, Leaf) else 20
        out.append(struct.pack(">BH", kind, len(raw)) + raw)
        if version == 4:
            out.append(struct.pack(">Q", sum(map(len, content))))
        out += content
    return out


def _leaf(leaf: Leaf, word: str, order: str) -> list[Any]:
    info = b"".join(struct.pack(word, n) for n in leaf.info)
    return [b"%%%%" + struct.pack(word, len(leaf.info)) + info, leaf.data(order)]


# --- images -----------------------------------------------------------------------------


def pixels(data: np.ndarray) -> Leaf:
    """The Data tag of an image: complex pixels are structs of two floats."""
    if data.dtype.kind == "c":
        part = np.dtype(f"f{data.dtype.itemsize // 2}")
        info: tuple[int, ...] = _struct_info([TAG_OF_DTYPE[part.str[1:]]] * 2)
        flat = np.ascontiguousarray(data).view(part).reshape(-1)
    else:
        info = (TAG_OF_DTYPE[data.dtype.str[1:]],)
        flat = data.reshape(-1)
    return Leaf((ARRAY, *info, data.size), flat)


def axis(scale: float = 1.0, origin: float = 0.0, units: str = "") -> dict[str, Any]:
    return {"Origin": float32(origin), "Scale": float32(scale), "Units": text(units)}


def image(data_type: int, shape: Sequence[int], data: Leaf, *, depth: int = 1,
          axes: Sequence[dict[str, Any]] | None = None, brightness: Any = None,
          tags: Any = None, name: str = "test") -> dict[str, Any]:
    """An entry of the ImageList; ``shape`` and ``axes`` in NumPy's order, slowest first."""
    axes = [axis() for _ in shape] if axes is None else axes
    return {
        "ImageData": {
            "Calibrations": {"Brightness": brightness or axis(),
                             "Dimension": list(axes)[::-1],
                             "DisplayCalibratedUnits": boolean(True)},
            "Data": data,
            "DataType": uint32(data_type),
            "Dimensions": [uint32(n) for n in reversed(shape)],
            "PixelDepth": uint32(depth)},
        "ImageTags": tags or {},
        "Name": text(name),
        "UniqueID": [uint32(n) for n in (1, 2, 3, 4)]}


# DigitalMicrograph's numbers for pixel types.
PIXELS = {1: "i2", 2: "f4", 3: "c8", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4",
          12: "f8", 13: "c16", 14: "b1"}
PIXEL_NUMBER = {dtype: number for number, dtype in PIXELS.items()}


def image_of(data: np.ndarray, **options: Any) -> dict[str, Any]:
    """An image entry with these pixels, in the file's own order."""
    return image(PIXEL_NUMBER[data.dtype.str[1:]], data.shape, pixels(data),
                 depth=data.dtype.itemsize, **options)


def thumbnail(size: int = 8) -> dict[str, Any]:
    grey = np.arange(size * size, dtype="i4").reshape(size, size)
    return image(23, grey.shape, pixels(grey), depth=4)


def document(*images: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """The root of a file with a thumbnail and these images."""
    return {
        "DocumentObjectList": [{"AnnotationType": uint32(20), "ImageSource": uint32(0)}],
        "DocumentTags": {},
        "ImageList": [thumbnail(), *images],
        "ImageSourceList": [{"ClassName": text("ImageSource:Simple"), "Id": [uint32(0)],
                             "ImageRef": uint32(1)}],
        "InImageMode": boolean(True),
        **extra}
