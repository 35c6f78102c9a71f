"""Blocks -> STAR text, as RELION prints it, with as many digits as each value needs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, TextIO

import numpy as np

from mrcz.relion.blocks import atomic_text, is_text_column, label_of
from mrcz.relion.star import looks_numeric

__all__ = ["write_star"]

_PLAIN = re.compile(r"""(?!["'#_]|data_|loop_|save_|stop_|global_)[^\s\x00-\x1f]+""",
                    re.ASCII | re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f]")
_ROWS = 50_000  # formatted at once


def write_star(path: str | os.PathLike[str], blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Write blocks to a STAR file, which is replaced only when the new one is whole.

    A scalar becomes a line ``_label value``, the 1-D arrays of a block become its ``loop_``.
    Floats are printed as RELION does (``%12.6f``) where that keeps the value, else with all the
    digits they need; booleans as 1 and 0.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write.
    blocks : mapping of str to mapping
        Block name, with its ``data_``, -> column name -> values.

    Raises
    ------
    ValueError, TypeError
        If columns differ in length, or a value has no form in STAR.
    """
    plans = [(name, block, *_plan(name, block)) for name, block in blocks.items()]
    with atomic_text(path) as out:
        for name, block, items, table in plans:
            version = getattr(block, "version", None)
            out.write(f"\n# version {version}\n\n" if version else "\n")
            out.write(f"{name}\n\n")
            for label, text in items:
                out.write(f"{label:<44} {text:>12} \n")
            if table:
                _write_loop(out, name, table)
            out.write(" \n\n" if table or items else "\n")


def _plan(name: str, block: Mapping[str, Any]
          ) -> tuple[list[tuple[str, str]], dict[str, np.ndarray]]:
    if not re.fullmatch(r"data_\S*", name):
        raise ValueError(f"a block's name is 'data_' and no spaces, not {name!r}")
    if not isinstance(block, Mapping) and not hasattr(block, "items"):  # pandas has no Mapping
        raise TypeError(f"block {name!r} must be a dict of columns, not {type(block).__name__}")
    items = []
    table: dict[str, np.ndarray] = {}
    for column, values in block.items():
        label = label_of(column)
        if not re.fullmatch(r"_\S+", label):
            raise ValueError(f"block {name!r}: {column!r} is no name of a column")
        array = np.asarray(values)
        if array.ndim == 0:
            items.append((label, _scalar_text(column, values)))
        elif array.ndim == 1:
            table[column] = array
        else:
            raise ValueError(f"block {name!r}: column {column!r} must be 1-D, it has shape "
                             f"{array.shape}")
    if len({len(array) for array in table.values()}) > 1:
        lengths = ", ".join(f"{column} {len(array)}" for column, array in table.items())
        raise ValueError(f"block {name!r}: columns differ in length: {lengths}")
    return items, table


def _write_loop(out: TextIO, block: str, table: Mapping[str, np.ndarray]) -> None:
    out.write("loop_ \n")
    out.writelines(f"{label_of(name)} #{i} \n" for i, name in enumerate(table, 1))
    quote_all = {name: _must_quote_all(name, array) for name, array in table.items()}
    length = len(next(iter(table.values())))
    for begin in range(0, length, _ROWS):
        formats, columns = [], []
        for name, array in table.items():
            try:
                form, values = _formatted(array[begin : begin + _ROWS], quote_all[name])
            except (ValueError, TypeError) as error:
                raise type(error)(f"block {block!r}, column {name!r}: {error}") from error
            formats.append(form)
            columns.append(values)
        row = " ".join(formats) + " \n"
        out.writelines(map(row.__mod__, zip(*columns, strict=True)))


def _formatted(array: np.ndarray, quote_all: bool) -> tuple[str, list[Any]]:
    """Return a %-format and the values for it."""
    kind = array.dtype.kind
    if kind == "f":
        exact = _exact_in_six(array)
        if exact.all():
            return "%12.6f", array.tolist()
        return "%12s", [f"{x:.6f}" if six else repr(x)
                        for x, six in zip(array.astype(np.float64).tolist(), exact, strict=True)]
    if kind in "iub":
        return "%12d", array.tolist()
    if kind in "OUST":
        return "%s", [_quoted(str(v)) if quote_all else _bare(v) for v in array.tolist()]
    raise TypeError(f"values of type {array.dtype} have no form in a STAR file")


def _exact_in_six(array: np.ndarray) -> np.ndarray:
    """Tell for each value whether '%.6f' keeps it."""
    values = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # Below 2**53 the rounded product is exact, so the quotient is what the digits parse to.
        same = (np.rint(values * 1e6) / 1e6 == values) & (np.abs(values) < 2**53 / 1e6)
    return np.asarray(same | ~np.isfinite(values))


def _must_quote_all(name: str, array: np.ndarray) -> bool:
    """Text that would come back as numbers is quoted, if the label does not say it is text."""
    if array.dtype.kind not in "OUST" or is_text_column(name) or not len(array):
        return False
    return _all(lambda value: isinstance(value, str) and looks_numeric(value), array)


def _all(test: Callable[[Any], bool], array: Iterable[Any]) -> bool:
    values = iter(array)
    return all(map(test, islice(values, 10))) and all(map(test, values))


def _bare(value: Any) -> str:
    """Return the text of one cell of a text column."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _quoted(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int | np.integer | np.bool_):
        return str(int(value))
    raise TypeError(f"{value!r} has no form in a STAR file")


def _quoted(text: str) -> str:
    if _FORBIDDEN.search(text):
        raise ValueError(f"{text!r} has a line end or control character, STAR cannot hold it")
    for quote in "\"'":
        if not re.search(rf"{quote}\s", text, re.ASCII):
            return f"{quote}{text}{quote}"
    raise ValueError(f"{text!r} has both quotes before spaces, STAR cannot hold it")


def _scalar_text(name: str, value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str) and looks_numeric(value) and not is_text_column(name):
        return _quoted(value)
    if isinstance(value, float) and _exact_in_six(np.array(value)):
        return f"{value:.6f}"
    try:
        return _bare(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"column {name!r}: {error}") from error
