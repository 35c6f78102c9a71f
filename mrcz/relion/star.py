"""STAR text -> blocks. Blocks and labels are found here; pandas splits and types the tables.

The package `starfile` is the judge in the tests and not the reader: 0.5.13 joins an empty block
with the next one, cuts values at ``#``, turns ``'`` into ``"`` and fills short rows with NaN, all
without a word. pandas' tokenizer, which it uses too, does the work in both.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mrcz.errors import MRCFormatError
from mrcz.relion.blocks import StarBlock, is_text_column, name_of

__all__ = ["looks_numeric", "read_star"]

# From 3.1 on pandas reads every float exactly and warns of the option that asked for it.
_EXACT: dict[str, Any] = (
    {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
    else {"float_precision": "round_trip"}
)

_NAN_TEXTS = ["nan", "-nan", "+nan", "NaN", "-NaN", "NAN", "-NAN"]
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?(inf(inity)?|nan)", re.IGNORECASE
)
_LABEL_LINE = re.compile(rb"_\S+(\s+#.*)?")
# A quoted value ends at the quote that whitespace or the end of the line follows.
_OPENING = re.compile(rb"""(?<!\S)["']""")
_CLOSING = {mark: re.compile(rb"%b(?!\S)|[\r\n]|\Z" % mark) for mark in (b'"', b"'")}
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r"))
_MARK = b"\x01"  # stands for a quoted value while pandas splits the table


def looks_numeric(text: str) -> bool:
    """Tell whether a bare token would be read as a number.

    Examples
    --------
    >>> [looks_numeric(text) for text in ("1e-3", "007", "-nan", "1_000", "a")]
    [True, True, True, False, False]
    """
    return _NUMBER.fullmatch(text) is not None


def read_star(path: str | os.PathLike[str]) -> dict[str, StarBlock]:
    """Read every block of a STAR file.

    Parameters
    ----------
    path : str or os.PathLike
        The file; UTF-8 or ASCII, Unix or DOS line ends.

    Returns
    -------
    dict of str to StarBlock
        Block name, with its ``data_``, -> block, in the order of the file.

    Raises
    ------
    MRCFormatError
        If the text is not STAR; says where, in which block and row.
    OSError
        If the file cannot be read.
    """
    data = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    if len(data.translate(None, _CONTROL)) != len(data):
        raise MRCFormatError("not a STAR file: it holds control characters", path=path,
                             offset=min(i for c in _CONTROL if (i := data.find(c)) >= 0))
    starts = _block_starts(data)
    if not starts:
        raise MRCFormatError("not a STAR file", path=path, expected="a line 'data_...'",
                             found=f"none in {len(data)} bytes")
    _refuse_leading_text(data[: starts[0]], path)
    blocks: dict[str, StarBlock] = {}
    for begin, end in pairwise([*starts, len(data)]):
        text = _BlockText(data, begin, end, path)
        if text.name in blocks:
            raise MRCFormatError(f"block {text.name!r} stands twice", path=path, offset=begin)
        blocks[text.name] = text.parse()
    return blocks


def _block_starts(data: bytes) -> list[int]:
    starts = []
    position = 0 if data.startswith(b"data_") else data.find(b"\ndata_") + 1
    while position or data.startswith(b"data_", position):
        words = data[position : _line_end(data, position)].split(None, 2)
        # A row of a table may begin with data_ too (a path); a header line has one word.
        if len(words) == 1 or words[1].startswith(b"#"):
            starts.append(position)
        following = data.find(b"\ndata_", position)
        if following < 0:
            break
        position = following + 1
    return starts


def _line_end(data: bytes, position: int) -> int:
    end = data.find(b"\n", position)
    return len(data) if end < 0 else end


def _refuse_leading_text(lead: bytes, path: str | os.PathLike[str]) -> None:
    for line in lead.splitlines():
        if line.strip() and not line.lstrip().startswith(b"#"):
            raise MRCFormatError("not a STAR file", path=path, offset=0,
                                 expected="comments before the first 'data_'",
                                 found=repr(line[:40]))


@dataclass
class _BlockText:
    """The text of one block, bytes `begin` to `end` of the file."""

    data: bytes
    begin: int
    end: int
    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        line = self.data[self.begin : _line_end(self.data, self.begin)]
        self.name = line.split()[0].decode("utf-8", "surrogateescape")

    def error(self, problem: str, offset: int, **details: Any) -> MRCFormatError:
        return MRCFormatError(f"block {self.name!r}: {problem}", path=self.path, offset=offset,
                              **details)

    def parse(self) -> StarBlock:
        block = StarBlock(version=self._version())
        position = _line_end(self.data, self.begin) + 1
        while position < self.end:
            stop = min(_line_end(self.data, position), self.end)
            line = self.data[position:stop].strip()
            if _opens_loop(line):
                names, rows = self._loop_labels(stop + 1)
                self._refuse_repeats([*block, *names], position)
                block.update(_Table(self, names, rows).parse())
                break
            if line and not line.startswith(b"#"):
                name, value = self._label_and_value(line, position)
                if name in block:
                    raise self._stands_twice(name, position)
                block[name] = value
            position = stop + 1
        return block

    def _version(self) -> str | None:
        lead = self.data[max(0, self.begin - 200) : self.begin].splitlines()
        for line in reversed(lead):
            if line.startswith(b"# version "):
                return line[10:].strip().decode("utf-8", "replace")
            if line.strip() and not line.startswith(b"#"):
                return None
        return None

    def _refuse_repeats(self, names: list[str], offset: int) -> None:
        counts = Counter(names)
        for name, count in counts.items():
            if count > 1:
                raise self._stands_twice(name, offset)

    def _stands_twice(self, name: str, offset: int) -> MRCFormatError:
        return self.error(f"column {name!r} stands twice", offset)

    def _label_and_value(self, line: bytes, offset: int) -> tuple[str, int | float | str]:
        words = line.split(None, 1)
        if not words[0].startswith(b"_"):
            raise self.error("text outside of a loop_", offset, expected="a label '_...'",
                             found=repr(line[:40]))
        rest = words[1].strip() if len(words) > 1 else b""
        start, stop = next(_quoted_values(rest), (0, 0))
        is_quoted = start == 0 < stop
        value = rest[:stop] if is_quoted else re.split(rb"\s", rest, maxsplit=1)[0]
        after = rest[len(value) :].strip()
        if not value or value.startswith(b"#") or (after and not after.startswith(b"#")):
            raise self.error(f"label {words[0].decode('utf-8', 'replace')} needs one value",
                             offset, found=repr(rest[:40]))
        name = name_of(words[0].decode("utf-8", "surrogateescape"))
        if is_quoted:
            return name, _unquote(value)
        text = value.decode("utf-8", "surrogateescape")
        return name, text if is_text_column(name) else _scalar(text)

    def _loop_labels(self, position: int) -> tuple[list[str], int]:
        """Return the names of the columns and where the rows begin."""
        names: list[str] = []
        while position < self.end:
            stop = min(_line_end(self.data, position), self.end)
            line = self.data[position:stop].strip()
            if _LABEL_LINE.fullmatch(line):
                names.append(name_of(line.split()[0].decode("utf-8", "surrogateescape")))
            elif line and not line.startswith(b"#"):
                break
            position = stop + 1
        if not names:
            raise self.error("a loop_ without labels", position)
        return names, position


def _opens_loop(line: bytes) -> bool:
    return line.split(b"#", 1)[0].strip() == b"loop_"


def _quoted_values(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield where quoted values start and stop, the quotes included.

    A line may be all quotes that nothing closes: what closes one is searched once for all.
    """
    found: dict[bytes, re.Match[bytes]] = {}
    position = 0
    while opening := _OPENING.search(text, position):
        mark, position = opening.group(), opening.end()
        closing = found.get(mark)
        if closing is None or closing.start() < position:
            closing = _CLOSING[mark].search(text, position)
            assert closing is not None  # the end of the text at the latest
            found[mark] = closing
        if closing.group() == mark:
            yield opening.start(), closing.end()
            position = closing.end()


def _unquote(value: bytes) -> str:
    return value[1:-1].decode("utf-8", "surrogateescape")


def _scalar(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text) and len(text) < 4000:  # int() refuses more digits than 4300
        return int(text)
    if looks_numeric(text) and not re.fullmatch(r"[-+]?[0-9]+", text):
        return float(text)
    return text


class _Table:
    """The rows of one loop_, from `begin` to the end of the block's text."""

    def __init__(self, text: _BlockText, names: list[str], begin: int) -> None:
        self.text = text
        self.names = names
        self.begin = begin
        self.quoted: list[str] = []
        body = text.data[begin : text.end]
        if b"\r" in body:
            body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b'"' in body or b"'" in body:
            body = self._marked(body)
        self.body = _without_comments(body)
        # pandas may keep text in Arrow, which refuses what is not UTF-8: Latin-1 takes any byte.
        self.encoding = "utf-8" if self.body.isascii() else "latin-1"

    def _marked(self, body: bytes) -> bytes:
        """Return rows with marks in place of quoted values, which are remembered."""
        parts, kept = [], 0
        for start, stop in _quoted_values(body):
            parts += [body[kept:start], b"%b%d" % (_MARK, len(self.quoted))]
            self.quoted.append(_unquote(body[start:stop]))
            kept = stop
        return b"".join([*parts, body[kept:]])

    def parse(self) -> dict[str, np.ndarray]:
        begin = re.search(rb"\S", self.body)
        if begin is None:
            return {name: np.empty(0, object if is_text_column(name) else np.float64)
                    for name in self.names}
        second = self.body.find(b"\nloop_")
        if second >= 0 and _opens_loop(self.body[second:_line_end(self.body, second + 1)]):
            raise self.text.error("a second loop_ in one block", self.begin)
        first = self.body[begin.start() : _line_end(self.body, begin.start())].split()
        if len(first) != len(self.names):
            raise self._ragged()
        # Asking for text here would take half as long again; see _column for text of digits.
        frame = self._read(na_values={i: [] if is_text_column(name) else _NAN_TEXTS
                                      for i, name in enumerate(self.names)})
        # A short row always lacks its last value, and pandas makes that an empty text.
        last = frame.iloc[:, -1]
        if last.dtype.kind not in "iufb" and (last == "").any():
            raise self._ragged()
        numbers = [self._is_number(frame.iloc[:, i], name, first[i].decode("utf-8", "replace"))
                   for i, name in enumerate(self.names)]
        texts = self._texts(frame, [i for i, number in enumerate(numbers) if not number])
        return {name: np.array(frame.iloc[:, i].to_numpy())  # own, writable memory
                if numbers[i] else self._unmark(texts[i]) for i, name in enumerate(self.names)}

    def _read(self, **options: Any) -> pd.DataFrame:
        try:
            return pd.read_csv(
                io.BytesIO(self.body), sep=r"\s+", header=None, engine="c",
                quoting=csv.QUOTE_NONE, keep_default_na=False, low_memory=False,
                encoding=self.encoding, **_EXACT, **options,
            )
        except pd.errors.ParserError as error:
            raise self._ragged() from error

    def _ragged(self) -> MRCFormatError:
        number = 0
        for row in self.body.split(b"\n"):
            words = row.split()
            number += bool(words)
            if words and len(words) != len(self.names):
                return self.text.error(f"row {number} does not fit the labels", self.begin,
                                       expected=f"{len(self.names)} values",
                                       found=f"{len(words)}: {row.strip()[:60]!r}")
        return self.text.error("the table cannot be split into columns", self.begin)

    def _is_number(self, column: pd.Series[Any], name: str, first: str) -> bool:
        kind = column.dtype.kind
        number = kind == "f" or (kind in "iu" and _INTEGER.fullmatch(first))  # 007 is a name
        return bool(number) and not is_text_column(name)

    def _texts(self, frame: pd.DataFrame, places: list[int]) -> dict[int, pd.Series[Any]]:
        """Return the columns at `places` as text."""
        columns = {i: frame.iloc[:, i] for i in places}
        # STAR knows no booleans; NaN in text was the text nan; the rest are huge integers.
        anew = [i for i, column in columns.items() if column.dtype.kind in "iufb"
                or column.isna().any() or not isinstance(column.iloc[0], str)]
        if anew:  # all at once: each would split the table again
            again = self._read(usecols=anew, dtype=str, na_values=[])
            columns.update((i, again.iloc[:, place]) for place, i in enumerate(anew))
        return columns

    def _unmark(self, column: pd.Series[Any]) -> np.ndarray:
        values: np.ndarray = np.array(column.to_numpy(dtype=object))
        if self.encoding == "latin-1":
            values[:] = [v.encode("latin-1").decode("utf-8", "surrogateescape") for v in values]
        if self.quoted:
            mark = _MARK.decode()
            for row, text in enumerate(values):
                if text.startswith(mark):
                    values[row] = self.quoted[int(text[1:])]
        return values


def _without_comments(body: bytes) -> bytes:
    """Drop from every ``#`` that begins a word to the end of its line."""
    parts = []
    kept = 0
    position = body.find(b"#")
    while position >= 0:
        if position == 0 or body[position - 1 : position].isspace():
            parts.append(body[kept:position])
            kept = _line_end(body, position)
            position = body.find(b"#", kept)
        else:
            position = body.find(b"#", position + 1)
    return b"".join([*parts, body[kept:]]) if parts else body
