"""The bar that long calls show: bytes, rate, time left; in terminals and notebooks alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import MissingCodecError

__all__ = ["Advance", "make_bar", "scaled", "shown", "title_of", "unseen"]

Advance = Callable[[float], object]
"""Told how many more bytes of pixels are done."""


@contextmanager
def shown(wanted: bool, total: int | None, title: str) -> Iterator[Advance | None]:
    """Show a bar while the block runs, and yield what moves it; None if it isn't wanted.

    Parameters
    ----------
    wanted : bool
        Whether to show it.
    total : int or None
        Bytes to come, where that is known.
    title : str
        What it is about.

    Raises
    ------
    MissingCodecError
        Without the package tqdm; an ImportError.
    """
    if not wanted:
        yield None
        return
    with make_bar(total, title) as bar:
        yield bar.update


def make_bar(total: int | None, title: str, **options: Any) -> Any:
    """Return the bar, for terminals and notebooks alike.

    Parameters
    ----------
    total : int or None
        Bytes to come, where that is known.
    title : str
        What it is about.
    **options
        Of `tqdm.tqdm`: whether and where it is seen.

    Raises
    ------
    MissingCodecError
        Without the package tqdm; an ImportError.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingCodecError("progress needs the package 'tqdm': pip install tqdm") from error
    if sys.stderr is None:  # in a program without a console, as of pythonw
        options["disable"] = True
    return tqdm(total=total, desc=title, unit="B", unit_scale=True, **options)


def unseen(nbytes: float) -> None:
    """Tell nobody, where nobody watches."""


def scaled(advance: Advance, whole: int, parts: int) -> Advance:
    """Return what moves a bar of `whole` bytes, told `parts` bytes in all."""
    share = whole / max(1, parts)
    return lambda nbytes: advance(nbytes * share)


def title_of(file: Any) -> str:
    """Return what a bar about a path or a file object is called."""
    if isinstance(file, (str, bytes, os.PathLike)):
        return os.path.basename(os.fsdecode(file))
    return str(getattr(file, "name", type(file).__name__))
