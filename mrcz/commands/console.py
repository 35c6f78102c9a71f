"""What all subcommands say, and how: errors, numbers, tables, JSON, progress."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..filenames import legible
from ..progress import make_bar

__all__ = ["UsageError", "complain", "describe", "plain", "print_json", "print_table",
           "progress_bar", "say", "say_as_it_is", "seven_digits"]  # fmt: skip


class UsageError(Exception):
    """Arguments that make no sense together."""


def say(text: str = "") -> None:
    """Print a line of output; what no terminal shows, or this one's encoding lacks, is escaped.

    Names, labels and metadata are anybody's: they can neither break the line nor send commands
    to the terminal.
    """
    text = legible(text)
    if not _can_show(text):
        encoding = sys.stdout.encoding
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    say_as_it_is(text)


def say_as_it_is(text: str) -> None:
    """Print lines of ours that are for programs."""
    print(text)  # noqa: T201


def _can_show(text: str) -> bool:
    """Return whether text goes through as it is, and not by way of bytes that are no text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def complain(command: str, problem: object) -> None:
    """Print an error as one line on stderr."""
    print(f"mrcz {command}: {describe(problem)}", file=sys.stderr)  # noqa: T201


def describe(problem: object) -> str:
    """Return an error in one line.

    Examples
    --------
    >>> describe(FileNotFoundError(2, "No such file or directory", "a.mrc"))
    'a.mrc: No such file or directory'
    """
    if isinstance(problem, OSError) and problem.filename is not None and problem.strerror:
        return f"{legible(os.fsdecode(problem.filename))}: {problem.strerror}"
    if isinstance(problem, MemoryError) and not str(problem):
        return "not enough memory"
    return " ".join(str(problem).split()) or type(problem).__name__


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NumPy unwrapped, bytes as text, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode("latin-1").rstrip("\0 ")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def seven_digits(value: Any) -> Any:
    """Return numbers of a header, which are float32, without the digits that mean nothing.

    Examples
    --------
    >>> seven_digits([2.700000047683716, 300.0])
    [2.7, 300.0]
    """
    if isinstance(value, (list, tuple)):
        return [seven_digits(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    say_as_it_is(text if _can_show(text) else json.dumps(plain(value), indent=2))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under titles, numbers to the right."""
    lines = [list(titles), *([legible(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) if number == 0 else cell.rjust(width)
                 for number, (cell, width) in enumerate(zip(line, widths, strict=True))]
        say("  ".join(cells).rstrip())


def progress_bar(total: int, *, quiet: bool, title: str) -> Any:
    """Return a bar of bytes, rate and time left; nothing is seen of it off a terminal.

    Parameters
    ----------
    total : int
        Bytes to come.
    quiet : bool
        Whether to stay silent on terminals too.
    title : str
        What it is about.
    """
    return make_bar(total, title, disable=True if quiet else None, leave=False, file=sys.stderr)
