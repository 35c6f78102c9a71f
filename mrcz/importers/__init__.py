"""Reading other programs' files for ``mrcz convert``: one module a family of formats."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ..errors import MRCError, MRCFormatError
from ..filenames import MRC_SUFFIXES, split_suffix
from ..reader import MRCReader
from ..sources import is_url
from .arrays import is_npz, open_npy, open_npz
from .frames import CHANNELS, Frames, one_channel
from .hyperspy import open_with_hyperspy
from .microscopy import frames_of_mrc, header_options, open_dm
from .tiff import LARGEST_TIFF_PIXEL, open_tiff

__all__ = ["CHANNELS", "LARGEST_TIFF_PIXEL", "Frames", "header_options", "open_frames"]


@contextmanager
def open_frames(
    path: str, *, threads: int, item: str | None = None, channel: str | None = None
) -> Iterator[Frames]:
    """Open a file of any format that is known by its content.

    Parameters
    ----------
    path : str
        MRC and its kin (also .gz, .bz2, .xz), DM4 or DM3, TIFF, EER, NumPy's .npy and
        .npz; anything that HyperSpy reads, where HyperSpy is installed.
    threads : int
        How many decompress.
    item : str, optional
        Which image of a DM file (a number), array of an .npz or TIFF series; default: the
        main one.
    channel : str, optional
        What to take of colours, one of `CHANNELS`.

    Yields
    ------
    Frames
        Of one value a pixel.

    Raises
    ------
    OSError
        If the file can't be read.
    MRCFormatError
        If no reader knows it, or it is damaged.
    MissingCodecError
        If the package for its format is not installed; an ImportError.
    TypeError
        If it has colours, and no channel is chosen.
    ValueError
        If it has no such item or channel.
    """
    with _opened(path, threads, item) as frames:
        yield one_channel(frames, channel, path)


def _opened(path: str, threads: int, item: str | None) -> AbstractContextManager[Frames]:
    if is_url(path):
        return _open_one(path, threads, item)
    with open(path, "rb") as file:
        head = file.read(1024)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return open_tiff(path, item)
    if head[:4] in (b"\0\0\0\3", b"\0\0\0\4") and head[208:212] != b"MAP ":  # NX, big-endian
        return open_dm(path, item)
    if head.startswith(b"\x93NUMPY") and item is None:
        return open_npy(path)
    if head.startswith(b"PK\3\4") and zipfile.is_zipfile(path) and is_npz(path):
        return open_npz(path, item)
    return _open_one(path, threads, item)


@contextmanager
def _open_one(path: str, threads: int, item: str | None) -> Iterator[Frames]:
    """Open an MRC file or, where HyperSpy is installed, one that it reads."""
    if item is not None:
        raise ValueError(f"{path}: only DM, .npz and TIFF files have items, and {item!r} was asked")
    try:
        reader = MRCReader(path)
    except MRCError as error:
        if is_url(path) or split_suffix(path)[1].lower() in MRC_SUFFIXES:
            raise
        if importlib.util.find_spec("hyperspy") is None:
            raise MRCFormatError("no reader knows this file (HyperSpy's are asked too, where it is "
                                 "installed)", path=path) from error
        with open_with_hyperspy(path, error) as frames:
            yield frames
        return
    with reader:
        yield frames_of_mrc(reader, threads)
