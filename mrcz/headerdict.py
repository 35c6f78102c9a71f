"""The header as users get it: a dict with the documented keys, and more as attributes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from .header import Record
from .modes import COMPRESSOR_FACTOR
from .units import angstrom_per

__all__ = ["HEADER_KEYS", "HeaderDict", "describe", "tell_of_keys"]

logger = logging.getLogger("mrcz")

HEADER_KEYS: tuple[str, ...] = (
    "dimensions", "MRCtype", "dtype", "compressor", "pixelsize", "pixelunits", "minImage",
    "maxImage", "meanImage", "extendedBytes", "metaId", "voltage", "C3", "gain", "packedBytes",
)  # fmt: skip


class HeaderDict(dict[str, Any]):
    """A file's header: `HEADER_KEYS`, then the user's metadata.

    HyperSpy copies every other key into its metadata, so what else is known is in
    attributes; ``header['bloscFormat']`` and ``header['backend']`` answer all the same.

    Attributes
    ----------
    record : Record
        The full record, with every field of MRC2014.
    extended : bytes
        The extended header as it is in the file.
    chunk_version : int or None
        Version of the first blosc chunk.
    meta : dict
        The user's metadata as they were written, also under keys that the header itself has.
    """

    record: Record | None = None
    extended: bytes = b""
    chunk_version: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.meta: dict[str, Any] = {}

    @property
    def labels(self) -> list[str]:
        """The text labels of the file."""
        return self.record.labels if self.record is not None else []

    @property
    def bloscFormat(self) -> int | None:  # noqa: N802  (python-mrcz's name of the key)
        """1 or 2, the generation of blosc that wrote the chunks; None if uncompressed."""
        if self.chunk_version is None:
            return None
        return 1 if self.chunk_version <= 2 else 2

    @property
    def backend(self) -> str | None:
        """``'blosc1'`` or ``'blosc2'``; None if uncompressed."""
        return None if self.bloscFormat is None else f"blosc{self.bloscFormat}"

    def __missing__(self, key: str) -> Any:
        if key in ("bloscFormat", "backend") and self.chunk_version is not None:
            return getattr(self, key)
        raise KeyError(key)


def describe(
    record: Record,
    *,
    pixelunits: str,
    extended: bytes,
    metadata: Mapping[str, Any],
    chunk_version: int | None,
) -> HeaderDict:
    """Return the header of a file as users get it.

    Parameters
    ----------
    record : Record
        What the file's record says.
    pixelunits : str
        Unit of ``header['pixelsize']``.
    extended : bytes
        The extended header.
    metadata : mapping
        The user's; where keys are the header's own too, its values stand, and the user's are
        in ``header.meta`` alone.
    chunk_version : int or None
        Of the first chunk.
    """
    fields = record.fields
    mode = record.mode
    unit = angstrom_per(pixelunits)
    header = HeaderDict(
        dimensions=np.array((record.nz, record.ny, record.nx), np.int32),
        MRCtype=fields["mode"] % COMPRESSOR_FACTOR,
        dtype=record.byteorder + mode.memory,
        compressor=record.compressor,
        pixelsize=np.array([length / unit for length in record.pixelsize]),
        pixelunits=pixelunits,
        minImage=fields["dmin"],
        maxImage=fields["dmax"],
        meanImage=fields["dmean"],
        extendedBytes=fields["nsymbt"],
        metaId=fields["exttyp"] if fields["nsymbt"] else b"",
        voltage=fields["voltage"],
        C3=fields["c3"],
        gain=fields["gain"],
        packedBytes=fields["packed_bytes"] if record.compressor else 0,
    )
    for key, value in metadata.items():
        if key not in HEADER_KEYS:
            header[key] = value
    header.record = record
    header.extended = extended
    header.chunk_version = chunk_version
    header.meta = dict(metadata)
    return header


_told_of_header = False


def tell_of_keys(meta: Mapping[Any, Any] | None, slices: int) -> None:
    """Log which keys of metadata that are to be written mean something to readers.

    Parameters
    ----------
    meta : mapping or None
        The user's.
    slices : int
        Slices an item of the list that is written; 0: an array.
    """
    if not meta:
        return
    said = meta.get("slices")
    if type(said) is int and said != slices:
        logger.warning("meta['slices'] is %d: readers will return %s, unless they are told "
                       "slices=%d", said, "one array" if said == 0 else "a list", slices)
    taken = [key for key in HEADER_KEYS if key in meta]
    if len(taken) < len(HEADER_KEYS):
        if taken:
            logger.warning("meta has keys that the header has too: header[...] of %s will be the "
                           "header's, what is in meta is header.meta[...]", ", ".join(taken))
        return
    global _told_of_header
    if not _told_of_header:
        _told_of_header = True
        logger.warning("meta is a whole header: pixelsize, voltage, C3 and gain of the new file "
                       "are what is given under these names, not what meta has (said once)")
