"""What files are called: the suffixes of MRC, and the names of copies."""

from __future__ import annotations

import os

__all__ = ["MRC_SUFFIXES", "OTHER_SUFFIXES", "STREAM_MODULES", "compressed_name",
           "decompressed_name", "legible", "split_suffix"]  # fmt: skip

MRC_SUFFIXES = (".mrc", ".mrcs", ".map", ".rec", ".st", ".ali", ".ccp4", ".mrcz")
"""What is taken from a folder; a file that is named itself may be called anything."""

OTHER_SUFFIXES = (".dm3", ".dm4", ".tif", ".tiff", ".eer", ".npy", ".npz")
"""What a folder is searched for besides, where other programs' files are read."""

STREAM_MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
"""Suffixes of files that are compressed as a whole, and the modules whose `open` opens them."""


def split_suffix(name: str) -> tuple[str, str]:
    """Return a name without suffix, and the suffix, .gz and its kin left out.

    Examples
    --------
    >>> split_suffix("emd_3197.map.gz")
    ('emd_3197', '.map')
    """
    stem, suffix = os.path.splitext(name)
    return os.path.splitext(stem) if suffix.lower() in STREAM_MODULES else (stem, suffix)


def legible(name: str) -> str:
    r"""Return a name on one line, with escapes for what no screen or font can show.

    Names of files may have any byte but ``/`` and NUL, and those that are not UTF-8 come
    as lone surrogates.

    Examples
    --------
    >>> legible("grid 4 µm.mrc"), legible("two\nlines.mrc"), legible("\udcff.mrc")
    ('grid 4 µm.mrc', 'two\\nlines.mrc', '\\udcff.mrc')
    """
    return "".join(letter if letter.isprintable() else
                   letter.encode("unicode_escape").decode("ascii") for letter in name)


def compressed_name(name: str) -> str:
    """Return the name of the compressed copy of a file.

    Examples
    --------
    >>> compressed_name("movie.mrc"), compressed_name("emd_1.map.gz")
    ('movie.mrcz', 'emd_1.map.mrcz')
    >>> compressed_name("MOVIE.MRC"), compressed_name("tilts.rec.mrc")
    ('MOVIE.MRC.mrcz', 'tilts.rec.mrc.mrcz')
    """
    stem, suffix = split_suffix(name)
    inner = os.path.splitext(stem)[1].lower()  # the copy would be taken for one of a .rec, say
    return (stem if suffix == ".mrc" and inner not in MRC_SUFFIXES else stem + suffix) + ".mrcz"


def decompressed_name(name: str) -> str:
    """Return the name of the decompressed copy of a file: `compressed_name` undone.

    Examples
    --------
    >>> decompressed_name("movie.mrcz"), decompressed_name("emd_1.map.mrcz")
    ('movie.mrc', 'emd_1.map')
    """
    stem, suffix = split_suffix(name)
    if suffix.lower() != ".mrcz":
        return f"{stem}-decompressed{suffix or '.mrc'}"
    inner = os.path.splitext(stem)[1].lower()
    return stem if inner in MRC_SUFFIXES and inner != ".mrcz" else f"{stem}.mrc"
