"""Saving files of MRCZ below 0.5.0 anew, since they don't say whether they hold a list.

Those versions stored the dimensions in MX, MY and MZ, where later ones store the slices
of an item of a list.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arguments import integer
from .copies.copying import held_as_read, keep_status
from .errors import MRCError
from .ioMRC import writeMRC
from .pixels import Pixels
from .reader import MRCReader
from .sources import is_url
from .stack import Stack
from .streams import StreamSource

__all__ = ["Resaved", "needs_resave", "resave"]

BACKUP_SUFFIX = ".before-0.5.0"
_FIRST_CLEAR = (0, 5)
_KEPT = ("dimensions", "dtype", "compressor", "voltage", "C3", "gain")


@dataclass(frozen=True)
class Resaved:
    """What became of one file.

    Attributes
    ----------
    path : str
        The file.
    changed : bool
        Whether it was, or in a dry run would be, saved anew.
    reason : str
        Why, or why not.
    backup : str or None
        Name of the old file.
    """

    path: str
    changed: bool
    reason: str
    backup: str | None = None


def needs_resave(path: str | os.PathLike[str]) -> bool:
    """Return whether a file was written by MRCZ below 0.5.0.

    Raises
    ------
    MRCFormatError
        If it is no MRC file.
    """
    with MRCReader(path) as reader:
        version = reader.record.version
        return version is not None and version < _FIRST_CLEAR


def resave(
    path: str | os.PathLike[str], *, slices: int = 1, dry_run: bool = False
) -> Resaved:
    """Save a file of MRCZ below 0.5.0 anew, keeping the old one beside it.

    Pixels, metadata, pixel size, codec and byte order stay; both files are read and
    compared before the names change.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    slices : int
        1: it holds a list of 2-D images, which is how it is read; 0: one array; more: a
        list of volumes of as many slices.
    dry_run : bool
        Say what would be done.

    Returns
    -------
    Resaved
        What was done.

    Raises
    ------
    MRCError
        If the file is a .gz or its kin, or on a server; or the new file differs from the old
        one, which is then left as it was; or that was changed meanwhile.
    FileExistsError
        If there is a backup already.

    Examples
    --------
    A file of this version needs it not:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.mrc")
    >>> writeMRC(np.zeros((2, 3), "int16"), path)
    >>> resave(path).reason
    'not written by MRCZ below 0.5.0'
    """
    slices = integer("slices", slices, 0)
    path = os.fsdecode(path)
    if os.path.islink(path):  # the file is saved anew, the link stays one
        path = os.path.realpath(path)
    if not needs_resave(path):
        return Resaved(path, False, "not written by MRCZ below 0.5.0")
    _require_plain(path)
    backup, new = path + BACKUP_SUFFIX, path + ".mrcz-new"
    if os.path.lexists(backup) and not _is_same(path, backup):
        raise FileExistsError(errno.EEXIST, "there is a backup already", backup)
    if dry_run:
        return Resaved(path, True, "would be saved anew", backup)
    try:
        status = os.stat(path)
        with Stack(path) as old:
            _write(old, new, slices)
            with Stack(new) as again:
                _compare(old, again)
        keep_status(new, path, status, status.st_mtime_ns)
        with held_as_read(path, status):
            _take_over(new, path, backup)
    finally:
        if os.path.exists(new):
            os.unlink(new)
    return Resaved(path, True, "saved anew", backup)


def _require_plain(path: str) -> None:
    """Check that the new file is of the kind that the old one's name says.

    Raises
    ------
    MRCError
        If it is packed as a whole, or on a server.
    """
    with MRCReader(path) as reader:
        if is_url(path) or isinstance(reader.source, StreamSource):
            raise MRCError(f"{path}: only files on disk that are not packed as a whole are saved "
                           f"anew; unpack it first")


def _is_same(path: str, backup: str) -> bool:
    """Return whether both names are of one file, as those are left by a process that is killed."""
    return os.path.samestat(os.stat(path), os.lstat(backup))


def _take_over(new: str, path: str, backup: str) -> None:
    """Give a new file the name of the old one, which a second name keeps.

    There is a file of that name at any moment, where the file system knows second names.
    """
    try:
        if not os.path.lexists(backup):
            try:
                os.link(path, backup)
            except OSError:
                os.rename(path, backup)
        os.replace(new, path)
    except BaseException:  # an interrupt, too
        if not os.path.exists(path):
            os.rename(backup, path)
        elif os.path.lexists(backup) and _is_same(path, backup):
            os.unlink(backup)
        raise


def _write(old: Stack, path: str, slices: int) -> None:
    header = old.header
    record = header.record
    assert record is not None
    writeMRC(
        _items(old, slices),
        path,
        meta=old.meta,
        endian=record.byteorder,
        dtype="uint4" if record.mode.packed else None,
        pixelsize=record.pixelsize,
        voltage=header["voltage"],
        C3=header["C3"],
        gain=header["gain"],
        compressor=old.compressor,
    )


def _items(stack: Stack, slices: int) -> Any:
    """Return what is written: the stack, or the items of a list, read one by one."""
    if slices == 0:
        return stack
    if slices == 1:
        return iter(stack)
    if len(stack) % slices:
        raise ValueError(f"slices={slices} does not divide the {len(stack)} frames of "
                         f"{stack.path}")
    return [_Part(stack, first, slices) for first in range(0, len(stack), slices)]


class _Part:
    """Some frames of a stack as a lazy array."""

    def __init__(self, stack: Stack, first: int, count: int) -> None:
        self._stack = stack
        self._first = first
        self.shape = (count, *stack.shape[1:])
        self.dtype = stack.dtype
        self.ndim = 3

    def __getitem__(self, key: slice) -> Pixels:
        start, stop, _ = key.indices(self.shape[0])
        part: Pixels = self._stack[self._first + start : self._first + stop]
        return part


def _compare(old: Stack, new: Stack) -> None:
    """Compare the frames and the facts of two files.

    Raises
    ------
    MRCError
        If they differ.
    """
    for number, (before, after) in enumerate(_pairs(old, new)):
        if before.tobytes() != after.tobytes():
            raise MRCError(f"{new.path}: frame {number} differs from the old file")
    before_header, after_header = old.header, new.header
    for key in _KEPT:
        if not np.array_equal(before_header[key], after_header[key]):
            raise MRCError(f"{new.path}: {key} is {after_header[key]}, "
                           f"but was {before_header[key]}")
    # The cell is stored in float32: its product with the counts rounds once more.
    if not np.allclose(before_header["pixelsize"], after_header["pixelsize"], rtol=1e-6):
        raise MRCError(f"{new.path}: the pixel size differs from the old file's")
    if old.meta != new.meta:
        raise MRCError(f"{new.path}: the metadata differ from the old file's")


def _pairs(old: Stack, new: Stack) -> Iterator[tuple[Pixels, Pixels]]:
    if old.shape != new.shape:
        raise MRCError(f"{new.path} is {new.shape}, but was {old.shape}")
    return zip(old, new, strict=True)
