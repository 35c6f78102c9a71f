"""Metadata: a dict to JSON bytes in the extended header, and back.

Encoding always uses the standard library, so the bytes don't depend on what is
installed; decoding uses rapidjson where it is, and the standard library for what
rapidjson refuses.
"""

from __future__ import annotations

import datetime
import enum
import json
import logging
import os
from collections.abc import Mapping, Set
from typing import Any

import numpy as np

__all__ = ["MAX_DEPTH", "MAX_JSON_BYTES", "decode", "encode", "in_words"]

logger = logging.getLogger("mrcz")

MAX_DEPTH = 256
"""Levels of nesting that are written and read; more is a cycle, a mistake or an attack.

Old versions of rapidjson crash at a million, and what is nested by hundreds can't be copied."""

MAX_JSON_BYTES = 64 << 20
"""Longest JSON text that is written or parsed: parsed objects take many times its size."""

_WORD_BYTES = 4

_STEP_BYTES = 1 << 20

_JSON_TYPES = frozenset({str, bool, int, float, type(None)})

_BOM = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def encode(meta: Mapping[Any, Any] | None) -> bytes:
    """Return `meta` as UTF-8 JSON, ``b''`` for None or an empty dict.

    NumPy scalars and arrays become numbers and lists, sets lists (sorted), an Enum member
    ``'Enum.Class.NAME'`` (an IntEnum or StrEnum its value), dates ISO 8601 text, paths and
    bytes of UTF-8 text, an object with a ``serialize()`` method what that returns, keys
    text. NaN and infinity are written as ``NaN`` and ``Infinity``, as most JSON programs in
    Python read them.

    Parameters
    ----------
    meta : dict or None
        Keys of any kind, values that have a JSON form.

    Returns
    -------
    bytes
        What a file holds as its extended header.

    Raises
    ------
    TypeError
        For a value that has no JSON form; the message names its key path.
    ValueError
        For keys that collide once they are text, nesting beyond `MAX_DEPTH`
        or text beyond `MAX_JSON_BYTES`.

    Examples
    --------
    >>> encode({"dose": np.float32(1.5), "shape": np.arange(3)})
    b'{"dose":1.5,"shape":[0,1,2]}'
    """
    if meta is None:
        return b""
    if not isinstance(meta, Mapping):
        raise TypeError(f"meta must be a dict, not {type(meta).__name__}")
    if not meta:
        return b""
    text = json.dumps(_plain(meta, ("meta",)), ensure_ascii=False, separators=(",", ":"))
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, as in undecodable file names
        data = json.dumps(json.loads(text), separators=(",", ":")).encode("ascii")
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"meta takes {len(data)} bytes as JSON; at most {MAX_JSON_BYTES} are kept")
    return data


def in_words(text: bytes) -> bytes:
    """Return JSON with spaces at its end, up to whole words of 4 bytes.

    Gemmi counts the words of an extended header, and read pixels shifted by the bytes left over;
    and pixels behind whole words are aligned where a file is mapped.

    Examples
    --------
    >>> in_words(b'{"a":1}')
    b'{"a":1} '
    """
    return text.ljust(-(-len(text) // _WORD_BYTES) * _WORD_BYTES)


def decode(data: bytes, where: str) -> dict[str, Any]:
    """Return the dict in `data`; what can't be understood is a logged warning and ``{}``.

    Parameters
    ----------
    data : bytes
        JSON in UTF-8; other encodings are recognized where that is possible.
    where : str
        The file's name, for the warning.

    Returns
    -------
    dict
        Keys are text; lists are lists.

    Examples
    --------
    >>> decode(b'{"dose": 1.5}', "a.mrcz")
    {'dose': 1.5}
    """
    try:
        if len(data) > MAX_JSON_BYTES:
            raise ValueError(f"{len(data)} bytes of text, more than {MAX_JSON_BYTES}")
        text = _text(data, where)
        if (depth := _depth(text)) > MAX_DEPTH:
            raise ValueError(f"it is nested {depth} levels deep, more than {MAX_DEPTH}")
        meta = _loads(text)
        if not isinstance(meta, dict):
            raise ValueError(f"it is a {type(meta).__name__}, not an object")
    except (ValueError, RecursionError, MemoryError) as error:
        logger.warning("%s: its JSON metadata can't be read and is left out: %s", where, error)
        return {}
    return meta


def _text(data: bytes, where: str) -> str:
    encoding = next((name for bom, name in _BOM.items() if data.startswith(bom)), None)
    encoding = encoding or json.detect_encoding(data)
    try:
        return data.decode(encoding).rstrip("\0")
    except UnicodeDecodeError as error:
        logger.warning("%s: its JSON metadata is not %s but read as Latin-1: %s",
                       where, encoding, error)
        return data.decode("latin-1").rstrip("\0")


def _depth(text: str) -> int:
    """Return how many levels deep JSON is nested; roughly, where brackets are few."""
    brackets = text.count("[") + text.count("{")
    if brackets <= MAX_DEPTH:
        return brackets
    data = text.encode("utf-8", "surrogatepass").replace(rb"\\", b"").replace(rb'\"', b"")
    deepest = level = 0
    quoted = 0
    for start in range(0, len(data), _STEP_BYTES):
        part = np.frombuffer(data[start : start + _STEP_BYTES], np.uint8)
        # Not logical_xor.accumulate, which is wrong in NumPy 1.24.
        quotes = quoted + np.cumsum(part == ord('"'), dtype=np.int64)
        quoted = int(quotes[-1])
        marks = part[quotes % 2 == 0]
        opens = (marks == ord("[")) | (marks == ord("{"))
        closes = (marks == ord("]")) | (marks == ord("}"))
        levels = level + np.cumsum(opens.astype(np.int64) - closes)
        if levels.size:
            deepest, level = max(deepest, int(levels.max())), int(levels[-1])
    return deepest


def _loads(text: str) -> Any:
    try:
        import rapidjson
    except ImportError:
        return json.loads(text)
    try:
        return rapidjson.loads(text)
    except ValueError:
        # The standard library reads a little more (lone surrogates, for one).
        return json.loads(text)


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    """Return `value` in the types that JSON has."""
    if isinstance(value, enum.Enum):
        return _plain_enum(value, path)
    if type(value) in _JSON_TYPES:
        return value
    if len(path) > MAX_DEPTH:
        raise ValueError(f"meta is nested deeper than {MAX_DEPTH} levels, at {_where(path[:6])}…")
    if isinstance(value, Mapping):
        return _plain_mapping(value, path)
    if isinstance(value, (list, tuple)):
        # Items that are plain need no path: of lists of numbers it would take most of the time.
        return [item if type(item) in _JSON_TYPES else _plain(item, (*path, f"[{i}]"))
                for i, item in enumerate(value)]
    if isinstance(value, Set):
        return [_plain(item, path) for item in sorted(value, key=repr)]
    if isinstance(value, np.ndarray):
        return _plain(_listed(value), path)
    return _plain_scalar(value, path)


def _plain_enum(value: enum.Enum, path: tuple[str, ...]) -> Any:
    """Return the value of an IntEnum or StrEnum, which JSON has, and the name of any other."""
    if isinstance(value, (str, int, float)):
        return _plain(value.value, path)
    # Combined flags have no name before Python 3.11.
    return f"Enum.{type(value).__name__}.{value.value if value.name is None else value.name}"


def _plain_mapping(value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else _key(key)
        if name in plain:
            raise ValueError(f"two keys of {_where(path)} are {name!r} as text")
        plain[name] = item if type(item) in _JSON_TYPES else _plain(item, (*path, f"[{name!r}]"))
    return plain


def _plain_scalar(value: Any, path: tuple[str, ...]) -> Any:
    if hasattr(value, "serialize") and callable(value.serialize):
        return _plain(value.serialize(), (*path, ".serialize()"))
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return str(value)
    if isinstance(value, np.generic):
        return _plain(_item(value), path)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if (type(value).__module__, type(value).__name__) == ("uuid", "UUID"):
        return str(value)
    if isinstance(value, os.PathLike):
        return _plain(os.fspath(value), path)
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            pass
    for kind in (str, bool, int, float):
        if isinstance(value, kind):  # subclasses
            return kind(value)
    raise TypeError(
        f"{_where(path)} is a {type(value).__name__}, which has no JSON form: {value!r:.80}"
    )


def _item(value: np.generic) -> Any:
    """Return a NumPy scalar as Python's; extended floats have no item of their own."""
    return float(value) if isinstance(value, np.longdouble) else value.item()


def _listed(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.kind in "Mm":
        return value.astype(str).tolist()
    if value.dtype.type is np.longdouble:
        value = value.astype(np.float64)
    return value.tolist()


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = _plain_enum(key, ())
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, str):
        return str(key)
    if isinstance(key, (bool, int, float, type(None))):
        return str(json.dumps(key))
    return str(key)


def _where(path: tuple[str, ...]) -> str:
    return "".join(path)
