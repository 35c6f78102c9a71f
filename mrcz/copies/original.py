"""The file that was compressed, as its compressed copy remembers it: to the last byte.

MRC files of other programs carry what MRCZ's own header does not: origin, labels,
extended headers of detectors, crystal symmetry. ``mrcz compress`` keeps all of it, packed,
under one key of the metadata, so that ``mrcz decompress`` gives back the same file.
"""

from __future__ import annotations

import base64
import binascii
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import metadata
from ..errors import MRCError, MRCFormatError
from ..header import HEADER_BYTES, Record, parse
from ..pixels import Pixels, pack_nibbles
from ..reader import MRCReader
from .slabs import read_slabs

__all__ = ["KEY", "Original", "user_metadata"]

KEY = "mrczOriginal"
"""Of the metadata of a compressed file."""

LONGEST_TAIL = 1 << 20
LONGEST_HEAD = 1 << 28
"""Bytes; more than any header is, and a limit for what a hostile file unpacks to."""


@dataclass(frozen=True)
class Original:
    """All of a file but its pixels.

    Attributes
    ----------
    name : str
        Of the file, without its folder.
    size : int
        Its bytes; of a .gz, .bz2 or .xz, those on disk.
    mtime_ns : int
        When it was changed, in nanoseconds since 1970.
    head : bytes
        Record and extended header.
    tail : bytes
        What stands behind the pixels, mostly nothing.
    """

    name: str
    size: int
    mtime_ns: int
    head: bytes
    tail: bytes

    @classmethod
    def of(cls, reader: MRCReader, status: os.stat_result) -> Original:
        """Return what is to be remembered of an open file.

        Raises
        ------
        MRCError
            If more stands behind its pixels than can be kept.
        """
        _, end = reader.table.span(0, reader.record.nz)
        size = reader.source.size
        if size - end > LONGEST_TAIL:
            raise MRCError(f"{reader.record.path}: {size - end} bytes stand behind the pixels, "
                           f"which would be lost (at most {LONGEST_TAIL} are kept)")
        return cls(os.path.basename(reader.record.path), status.st_size, status.st_mtime_ns,
                   reader.source.read(0, reader.record.data_offset),
                   reader.source.read(end, size - end))

    @classmethod
    def remembered_by(cls, reader: MRCReader) -> Original | None:
        """Return what a compressed file remembers; None if nothing, or nothing that fits.

        It doesn't where pixels or metadata were changed since.
        """
        found = reader.metadata.get(KEY)
        if not isinstance(found, dict):
            return None
        try:
            original = cls(str(found["name"]), int(found["size"]), int(found["mtime_ns"]),
                           _unpacked(found["head"]), _unpacked(found["tail"]))
            return original if original._fits(reader) else None
        except (KeyError, TypeError, ValueError, OverflowError, zlib.error, binascii.Error):
            return None

    def as_metadata(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"name": self.name, "size": self.size, "mtime_ns": self.mtime_ns,
                "head": _packed(self.head), "tail": _packed(self.tail)}

    @property
    def record(self) -> Record:
        """The record of the original."""
        return parse(self.head, path=self.name, size=self.size)

    def _fits(self, reader: MRCReader) -> bool:
        mine, its = self.record, reader.record
        if not -1 << 63 <= self.mtime_ns < 1 << 63:  # which no file system has
            return False
        if (mine.nz, mine.ny, mine.nx) != (its.nz, its.ny, its.nx):
            return False
        if len(self.head) != mine.data_offset:
            return False
        before: dict[str, Any] = {}
        if mine.fields["exttyp"].lower() == b"json":
            before = metadata.decode(self.head[HEADER_BYTES:], self.name)
        # As text: NaN is not equal to itself.
        return metadata.encode(user_metadata(before)) == metadata.encode(
            user_metadata(reader.metadata))

    def pieces(self, reader: MRCReader, *, threads: int) -> Iterator[memoryview]:
        """Yield the bytes of the original, uncompressed, in order.

        Parameters
        ----------
        reader : MRCReader
            The compressed file.
        threads : int
            How many decompress.
        """
        yield memoryview(self.head)
        record = self.record
        for _, frames in read_slabs(reader, threads=threads):
            for frame in frames:
                yield _as_stored(frame, record).reshape(-1).view(np.uint8).data
        yield memoryview(self.tail)


def user_metadata(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a file without what `Original` keeps there."""
    return {key: value for key, value in meta.items() if key != KEY}


def _as_stored(frame: Pixels, record: Record) -> Pixels:
    """Return a frame as the original has it on disk."""
    if record.mode.packed:
        return pack_nibbles(frame)
    if record.mode.paired:
        frame = frame.view(np.float32)
    return np.ascontiguousarray(frame, record.disk_dtype)


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii") if data else ""


def _unpacked(text: str) -> bytes:
    if not text:
        return b""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text, validate=True), LONGEST_HEAD)
    if not unpacker.eof:
        raise MRCFormatError("what the file remembers of its original is damaged")
    return data
