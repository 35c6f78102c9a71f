"""An open MRC or MRCZ file: its header, its metadata, its frames."""

from __future__ import annotations

import logging
import os
import threading
from binascii import crc32
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from . import metadata
from .arguments import integer
from .cache import Cache
from .checksums import hash_of
from .codec import CHUNK_HEADER_BYTES
from .decoding import FrameDecoder
from .errors import MRCError, MRCFormatError, MRCTruncatedError
from .foreign import kind_of
from .frames import FrameTable
from .header import HEAD_BYTES, HEADER_BYTES, Record, parse
from .headerdict import HeaderDict, describe
from .journal import as_changed
from .locks import ForkSafeLock
from .origins import open_source
from .overwrites import Overwrites
from .pixels import Pixels, memory_dtype
from .progress import Advance
from .recycling import empty
from .sources import FileSource, Source
from .trailer import Trailer, find_trailer

__all__ = ["MRCReader"]

logger = logging.getLogger("mrcz")

_BATCH_BYTES = 32 << 20
"""Bytes of pixels after which a bar moves."""


class MRCReader:
    """Reads one file.

    Parameters
    ----------
    file : str, os.PathLike or binary file
        What to read.
    endian : str
        Byte order to assume where the file doesn't tell.
    convention : str
        Numbering of modes: ``'ccpem'`` or ``'eman2'``.
    verify : bool, optional
        Whether checksums, where the file has them, are compared: None for whole frames,
        True for parts of frames too, False never.
    cache : Cache, optional
        Keeps the blocks that were read for rows of a single frame.

    Attributes
    ----------
    record : Record
        The record, checked.
    extended : bytes
        The extended header.
    metadata : dict
        The user's metadata.

    Raises
    ------
    OSError
        If the file can't be opened.
    MRCFormatError
        If its header is malformed.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        *,
        endian: str = "le",
        convention: str = "ccpem",
        verify: bool | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.source: Source = open_source(file)
        self.record: Record
        self._assumed = (endian, convention)
        try:
            self._read_header(endian, convention)
        except BaseException:
            self.source.close()
            raise
        self._lock = ForkSafeLock(threading.RLock)
        self._verify = verify
        self._cache = cache
        self._trailer: Trailer | None = None
        self._decoder: FrameDecoder | None = None
        self._table: FrameTable | None = None
        self._overwrites: Overwrites | None = None
        if self.record.compressor is None and isinstance(self.source, FileSource):
            end = self.record.data_offset + self.record.nz * self.record.frame_bytes
            self._overwrites = Overwrites(self.source, end)

    def _read_header(self, endian: str, convention: str) -> None:
        self.record = self._parsed(endian, convention)
        source = as_changed(self.source, self.record)
        if source is not self.source:
            self.source = source
            self.record = self._parsed(endian, convention)
        if self.record.lacks_extended:
            logger.warning("%s: the extended header that NSYMBT tells of is not there; pixels are "
                           "read from right behind the record", source.name)
        offset = self.record.data_offset
        if not source.holds(offset):
            raise MRCTruncatedError("the file ends within its extended header", path=source.name,
                                    offset=source.size, expected=f"{offset} bytes",
                                    found=source.size)
        self.extended: bytes = b""
        self.metadata: dict[str, Any] = {}
        if offset > HEADER_BYTES:
            try:
                self.extended = source.read(HEADER_BYTES, offset - HEADER_BYTES)
            except MemoryError as error:
                raise MRCError(f"{source.name}: not enough memory for an extended header of "
                               f"{offset - HEADER_BYTES} bytes") from error
        if self.extended and self.record.fields["exttyp"].lower() == b"json":
            self.metadata = metadata.decode(self.extended, source.name)

    def _parsed(self, endian: str, convention: str) -> Record:
        source = self.source
        head = source.read(0, HEAD_BYTES if source.holds(HEAD_BYTES) else source.size)
        try:
            return parse(head, path=source.name, endian=endian, convention=convention,
                         size=source.known_size)
        except MRCFormatError as error:
            if kind := kind_of(head):
                raise MRCFormatError(f"no MRC file but {kind}", path=source.name) from error
            raise

    def __enter__(self) -> MRCReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all frames: (nz, ny, nx), or (nz, ny, nx, 3) of RGB."""
        record = self.record
        channels = (record.mode.channels,) if record.mode.channels > 1 else ()
        return (record.nz, record.ny, record.nx, *channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels in memory."""
        return memory_dtype(self.record.mode)

    def slices(self, asked: int | None = None) -> int:
        """Return the slices an item of a list; 0: the file holds one array.

        Parameters
        ----------
        asked : int, optional
            What the user says; None: what the file says.

        Raises
        ------
        ValueError
            If the frames don't divide into what the user asked for.
        """
        record = self.record
        if asked is not None:
            asked = integer("slices", asked, 0, kind="an integer or None")
            if asked and record.nz % asked:
                raise ValueError(f"slices={asked} does not divide the {record.nz} frames of "
                                 f"{record.path}")
            return asked
        found = self.metadata.get("slices")
        if type(found) is not int:
            found = record.declared_slices
        if found is None:
            logger.warning("%s was written by MRCZ %d.%d (< 0.5.0), which did not store slices; "
                           "it is read as a list of 2-D images", record.path,
                           *(record.version or (0, 0)))
            return 1
        if found < 0 or (found and record.nz % found):
            logger.warning("%s: its %d frames don't divide into items of %d slices; "
                           "they are read as one array", record.path, record.nz, found)
            return 0
        return int(found)

    @property
    def table(self) -> FrameTable:
        """Where the frames lie."""
        with self._lock():
            if self._table is None:
                # A stream would be unpacked to its end for checksums that nobody asks for.
                if self._verify is not False or self.source.known_size is not None:
                    self._trailer = find_trailer(self.source, self.record)
                lengths = None if self._trailer is None else self._trailer.lengths
                self._table = FrameTable(self.source, self.record, lengths)
            return self._table

    def require_plausible(self) -> None:
        """Check that the file is not much too short for its header, before lists of its frames.

        Unlike the making of `table`, this unpacks no stream to its end.

        Raises
        ------
        MRCFormatError, MRCTruncatedError
            If a frame is too large to be stored, or the file too short for one of that size or
            for so many, however small.
        """
        if self._table is None:
            FrameTable(self.source, self.record)

    @property
    def trailer(self) -> Trailer | None:
        """Index and checksums, where the file has them and they are sound."""
        self.table  # noqa: B018  (finds it)
        return self._trailer

    @property
    def decoder(self) -> FrameDecoder:
        """Decodes the frames of this file."""
        table = self.table
        with self._lock():
            if self._decoder is None:
                checksums = None
                if self._trailer is not None and self._verify is not False:
                    self._check_head(self._trailer)
                    checksums = self._trailer.checksums
                self._decoder = FrameDecoder(self.source, self.record, table, checksums,
                                             verify_parts=bool(self._verify),
                                             cache=self._cache)
            return self._decoder

    def _check_head(self, trailer: Trailer) -> None:
        head = self.source.read(0, self.record.data_offset)
        if hash_of(head) != trailer.head_checksum:
            logger.warning("%s: the header or the metadata have changed since their checksum "
                           "was written", self.record.path)

    def read(
        self,
        frames: Sequence[int],
        *,
        threads: int,
        rows: tuple[int, int] | None = None,
        out: Pixels | None = None,
        advance: Advance | None = None,
    ) -> Pixels:
        """Return frames, or rows of them, as one array.

        Parameters
        ----------
        frames : sequence of int
            z of each, 0 to nz - 1.
        threads : int
            How many take part.
        rows : (int, int), optional
            First row and the one behind the last; None: all.
        out : (len(frames), rows, nx) array, optional
            Filled and returned.
        advance : callable, optional
            Told of every batch of frames how many bytes it has.

        Raises
        ------
        MRCFormatError
            If a frame is damaged.
        MRCError
            If there is not enough memory, or another file was written over this one.
        """
        try:
            return self._read(frames, threads, rows, out, advance)
        except MRCTruncatedError:
            raise
        except MRCFormatError as error:
            source = self.source
            if isinstance(source, FileSource) and source.state() != source.identity:
                raise self._changed() from error
            raise

    def _changed(self) -> MRCError:
        return MRCError(f"{self.record.path} has changed since it was opened; open it anew")

    def _read(
        self,
        frames: Sequence[int],
        threads: int,
        rows: tuple[int, int] | None,
        out: Pixels | None,
        advance: Advance | None,
    ) -> Pixels:
        self.table.require(frames)  # before the allocation
        first, last = rows or (0, self.record.ny)
        if out is None:
            out = self.allocate((len(frames), last - first, *self.shape[2:]))
        step = len(frames)
        if advance is not None:
            step = max(1, _BATCH_BYTES // max(1, out[:1].nbytes))
        decoder = self.decoder
        for start in range(0, len(frames), max(1, step)):
            part = out[start : start + step]
            decoder.read(frames[start : start + step], part, threads, first_row=first)
            if advance is not None:
                advance(part.nbytes)
        if self._overwrites is not None and self._overwrites.happened():
            self._read_again(frames, out, threads, first)
        return out

    def _read_again(self, frames: Sequence[int], out: Pixels, threads: int, first: int) -> None:
        """Fill `out` with frames that may have been overwritten while they were read."""
        found, record = self._parsed(*self._assumed), self.record
        if (found.data_offset, found.ny, found.disk_dtype, found.row_bytes) != (
                record.data_offset, record.ny, record.disk_dtype, record.row_bytes):
            raise self._changed()

        def read() -> None:
            self.decoder.read(frames, out, threads, first_row=first)

        def digest() -> int:
            found = 0
            for frame in out:
                found = crc32(np.ascontiguousarray(frame).data, found)
            return found

        overwrites = self._overwrites
        if overwrites is not None and overwrites.read_undisturbed(read, digest):
            return
        with self._lock():  # another thread may have done it
            changed = as_changed(self.source, self.record) if self._overwrites else self.source
            if changed is not self.source:
                self.source, self._overwrites = changed, None
                self._table = self._decoder = None
        read()

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return an array of the pixels' dtype, not filled.

        Raises
        ------
        MRCError
            If there is not enough memory.
        """
        try:
            return empty(shape, self.dtype)
        except (MemoryError, ValueError) as error:
            raise MRCError(f"{self.record.path}: not enough memory for {shape} pixels of "
                           f"{self.dtype}; read a part with idx=, or use mrcz.open") from error

    def header(self, pixelunits: str) -> HeaderDict:
        """Return the header as users get it."""
        return describe(self.record, pixelunits=pixelunits, extended=self.extended,
                        metadata=self.metadata, chunk_version=self._chunk_version())

    def _chunk_version(self) -> int | None:
        """Return the version byte of the first chunk, if there is one."""
        offset = self.record.data_offset
        if self.record.compressor is None or not self.source.holds(offset + CHUNK_HEADER_BYTES):
            return None
        return self.source.read(offset, 1)[0]
