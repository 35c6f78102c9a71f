"""How Gatan DM files describe the type of a tag's value, and how such a value is decoded.

A file describes each value with a few integers, read here into a `TagType` tree:
a number (2 to 12), a struct (15), a string (18) or an array (20) of any of these.  All
have a size that is known before the value is looked at, so a value is checked against
the end of the file first and decoded after.

The numbers of the types are those of the unofficial description of the format at
https://www.er-c.org/cbb/info/dmformat/ and were measured on files and on other readers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["BYTE", "MAX_DEPTH", "ArrayType", "NumberType", "Order", "StringType",
           "StructType", "TagType", "describe"]

MAX_DEPTH = 64
"""How deep directories, and types within types, may be nested."""

CHAR, UINT16, STRUCT, STRING, ARRAY = 9, 4, 15, 18, 20

Buffer = bytes | memoryview

Order = Literal["<", ">"]
"""The byte order of values."""


@dataclass(frozen=True)
class NumberType:
    """A number, a boolean or a single character."""

    code: int
    char: str  # its character for the struct module
    name: str  # its dtype, without byte order
    size: int
    parts = 1

    def decode(self, data: Buffer, at: int, order: Order) -> Any:
        """Return the Python value that starts at byte `at` of `data`."""
        value = _STRUCTS[order, self.char].unpack_from(data, at)[0]
        return value if self.code != CHAR else value.decode("latin-1")

    def dtype(self, order: Order) -> np.dtype[Any]:
        """Return the NumPy type of one such value."""
        return np.dtype(order + self.name)


@dataclass(frozen=True)
class StringType:
    """A string whose length is counted in bytes."""

    size: int
    parts = 1

    def decode(self, data: Buffer, at: int, order: Order) -> str:
        """Return the string: UTF-16 as DigitalMicrograph writes, or plain 8-bit text."""
        raw = bytes(data[at:at + self.size])
        is_plain = self.size % 2 == 1 or (raw.isascii() and b"\0" not in raw)
        return raw.decode("latin-1" if is_plain else _utf16(order), "replace")

    def dtype(self, order: Order) -> np.dtype[Any]:
        """Return the NumPy type that holds its bytes."""
        return np.dtype(f"V{self.size}")


@dataclass(frozen=True)
class StructType:
    """A few values of any types, one after the other."""

    fields: tuple[TagType, ...]
    size: int
    parts: int
    chars: str  # for the struct module, where the fields are numbers; else empty

    def decode(self, data: Buffer, at: int, order: Order) -> tuple[Any, ...]:
        """Return the values of the fields."""
        if self.chars:
            return struct.unpack_from(order + self.chars, data, at)
        values = []
        for field in self.fields:
            values.append(field.decode(data, at, order))
            at += field.size
        return tuple(values)

    def dtype(self, order: Order) -> np.dtype[Any]:
        """Return a structured type with the fields f0, f1, ..."""
        return np.dtype([(f"f{i}", field.dtype(order)) for i, field in enumerate(self.fields)])


@dataclass(frozen=True)
class ArrayType:
    """`count` values of one type."""

    item: TagType
    count: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.item.size * self.count

    @property
    def parts(self) -> int:
        """How many Python objects it makes."""
        return 1 + self.item.parts * self.count

    def decode(self, data: Buffer, at: int, order: Order) -> Any:
        """Return a list; or a str, where the items are characters or UTF-16 units.

        Numbers of type uint16 that are no valid UTF-16 text come back as a list.
        """
        item = self.item
        if isinstance(item, NumberType):
            if item.code == UINT16 or item.code == CHAR:
                raw = bytes(data[at:at + self.size])
                try:
                    return raw.decode("latin-1" if item.code == CHAR else _utf16(order))
                except UnicodeDecodeError:
                    pass
            return list(struct.unpack_from(f"{order}{self.count}{item.char}", data, at))
        if isinstance(item, StructType) and item.chars:
            return list(struct.iter_unpack(order + item.chars, data[at:at + self.size]))
        return [item.decode(data, at + i * item.size, order) for i in range(self.count)]

    def dtype(self, order: Order) -> np.dtype[Any]:
        """Return the NumPy type of one such array, for arrays within others."""
        return np.dtype((self.item.dtype(order), (self.count,)))


TagType = NumberType | StringType | StructType | ArrayType

NUMBERS = {code: NumberType(code, char, name, np.dtype(name).itemsize) for code, char, name in (
    (2, "h", "i2"), (3, "i", "i4"), (4, "H", "u2"), (5, "I", "u4"), (6, "f", "f4"),
    (7, "d", "f8"), (8, "?", "?"), (9, "c", "S1"), (10, "b", "i1"), (11, "q", "i8"),
    (12, "Q", "u8"))}
BYTE = NUMBERS[10]
_STRUCTS = {(order, number.char): struct.Struct(order + number.char)
            for order in "<>" for number in NUMBERS.values()}


def _utf16(order: Order) -> str:
    return "utf-16-le" if order == "<" else "utf-16-be"


def describe(info: tuple[int, ...]) -> TagType:
    """Return the type that the integers `info` of a tag describe.

    Parameters
    ----------
    info : tuple of int
        As in the file: ``(3,)`` is an int32, ``(20, 4, 10)`` an array of ten uint16.

    Returns
    -------
    TagType

    Raises
    ------
    ValueError
        If they describe no type; the message says why.

    Examples
    --------
    >>> describe((20, 15, 0, 2, 0, 6, 0, 6, 100)).size  # 100 pairs of float32
    800
    """
    words = iter(info)
    try:
        described = _describe(words, MAX_DEPTH)
    except StopIteration:
        raise ValueError(f"the type {_brief(info)} is incomplete") from None
    if next(words, None) is not None:
        raise ValueError(f"the type {_brief(info)} is followed by more numbers")
    return described


def _describe(words: Iterator[int], depth: int) -> TagType:
    if depth == 0:
        raise ValueError(f"types are nested more than {MAX_DEPTH} deep")
    code = next(words)
    build = _BUILDERS.get(code)
    if build is not None:
        return build(words, depth)
    try:
        return NUMBERS[code]
    except KeyError:
        raise ValueError(f"there is no type {code}") from None


def _describe_array(words: Iterator[int], depth: int) -> ArrayType:
    item = _describe(words, depth - 1)
    count = next(words)
    if item.size == 0 and count > 0:
        # A count of 2**60 nothings fits every file, and no memory.
        raise ValueError("an array has items of no size")
    return ArrayType(item, count)


def _describe_struct(words: Iterator[int], depth: int) -> StructType:
    next(words)  # the length of a name that files never hold
    fields = []
    for _ in range(next(words)):  # ends with StopIteration when the count is made up
        next(words)  # the length of the field's name: as above
        fields.append(_describe(words, depth - 1))
    numbers = [f for f in fields if isinstance(f, NumberType) and f.code != CHAR]
    chars = "".join(number.char for number in numbers) if len(numbers) == len(fields) else ""
    return StructType(tuple(fields), sum(field.size for field in fields),
                      1 + sum(field.parts for field in fields), chars)


def _describe_string(words: Iterator[int], depth: int) -> StringType:
    return StringType(next(words))


_BUILDERS: dict[int, Callable[[Iterator[int], int], TagType]] = {
    STRUCT: _describe_struct, STRING: _describe_string, ARRAY: _describe_array}


def _brief(info: tuple[int, ...]) -> str:
    return repr(info) if len(info) <= 12 else f"{info[:12]!r}..."
