"""The bar that long calls show: bytes, rate, time left; in terminals and notebooks alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import MissingCodecError

__all__ = ["Advance", "shown", "title_of"]

Advance = Callable[[int], object]
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
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingCodecError("progress=True needs the package 'tqdm': "
                                "pip install tqdm") from error
    with tqdm(total=total, desc=title, unit="B", unit_scale=True) as bar:
        yield bar.update


def title_of(file: Any) -> str:
    """Return what a bar about a path or a file object is called."""
    if isinstance(file, (str, os.PathLike)):
        return os.path.basename(os.fspath(file))
    return str(getattr(file, "name", type(file).__name__))
