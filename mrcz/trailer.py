"""The optional trailer behind the last chunk: an index of the frames and their checksums.

Little-endian, directly behind the chunks (at data offset + packed bytes)::

    0       8 bytes  magic "MRCZTRLR"
    8       u32      version of this layout: 2 (1 was never released)
    12      u32      bytes of an entry: 24
    16      u64      number of frames n
    24      u64      checksum of all bytes before the first chunk: record and metadata
    32      n entries of u64 offset, u64 length, u64 checksum of a chunk, see `checksums`
    32+24n  u64      checksum of the trailer's bytes before this word
    40+24n  8 bytes  magic "MRCZTEND"

Other checksums are XXH3-64 with seed 0. Readers that don't know the trailer ignore it, since
nothing points at it: packed bytes counts the chunks alone.
"""

from __future__ import annotations

import logging
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .checksums import can_hash, hash_of
from .codec import BLOSC2_OVERHEAD, CHUNK_HEADER_BYTES, MAX_CHUNK_BYTES
from .errors import MRCChecksumError, MRCError, MRCFormatError, MRCTruncatedError
from .header import Record
from .pixels import Pixels
from .sources import Source

__all__ = ["Trailer", "find_trailer", "has_trailer", "make_trailer", "read_trailer",
           "trailer_bytes", "trailer_start"]  # fmt: skip

logger = logging.getLogger("mrcz")

MAGIC, END_MAGIC = b"MRCZTRLR", b"MRCZTEND"
VERSION = 2
_HEAD = struct.Struct("<8sIIQQ")
_TAIL = struct.Struct("<Q8s")
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8"), ("checksum", "<u8")])


@dataclass(frozen=True)
class Trailer:
    """Index and checksums of a file.

    Attributes
    ----------
    offsets, lengths : sequence of int
        Of the chunks, in bytes.
    checksums : sequence of int
        Of their bytes.
    head_checksum : int
        Of everything before the first chunk.
    """

    offsets: Sequence[int]
    lengths: Sequence[int]
    checksums: Sequence[int]
    head_checksum: int

    def pack(self) -> bytes:
        """Return the trailer's bytes."""
        entries = np.empty(len(self.lengths), _ENTRY)
        entries["offset"] = np.array(self.offsets, np.uint64)
        entries["length"] = np.array(self.lengths, np.uint64)
        entries["checksum"] = np.array(self.checksums, np.uint64)
        body = _HEAD.pack(MAGIC, VERSION, _ENTRY.itemsize, len(entries), self.head_checksum)
        body += entries.tobytes()
        return body + _TAIL.pack(hash_of(body), END_MAGIC)


def make_trailer(start: int, lengths: Sequence[int], checksums: Sequence[int],
                 head: bytes) -> bytes:  # fmt: skip
    """Return the trailer of chunks that lie one behind the other.

    Parameters
    ----------
    start : int
        Offset of the first chunk.
    lengths, checksums : sequence of int
        Of the chunks.
    head : bytes
        Everything before the first chunk.
    """
    sizes = np.array(lengths, np.int64)
    offsets = start + np.cumsum(sizes) - sizes
    return Trailer(_packed("q", offsets), lengths, checksums, hash_of(head)).pack()


def trailer_bytes(count: int) -> int:
    """Return the length of the trailer of `count` frames."""
    return _HEAD.size + count * _ENTRY.itemsize + _TAIL.size


def trailer_start(source: Source, record: Record) -> int | None:
    """Return where a file's trailer starts; None without one.

    Sizes in the header that can't be are no reason to unpack a stream to its end.
    """
    packed = record.fields["packed_bytes"]
    if record.compressor is None or not (
        0 < packed <= record.nz * (record.frame_bytes + BLOSC2_OVERHEAD)
    ):
        return None
    start = record.data_offset + int(packed)
    return start if has_trailer(source, start, record.nz) else None


def read_trailer(source: Source, record: Record, start: int) -> Trailer:
    """Return the trailer at `start`.

    Raises
    ------
    MRCFormatError
        If it is of a later version, or contradicts the header.
    MRCChecksumError
        If it is damaged.
    """
    path = record.path
    head = source.read(start, _HEAD.size)
    magic, version, entry, count, head_checksum = _HEAD.unpack(head)
    if magic != MAGIC:
        raise MRCChecksumError("the trailer is damaged", path=path, offset=start,
                               expected=repr(MAGIC), found=repr(magic))
    if version != VERSION or entry != _ENTRY.itemsize:
        raise MRCFormatError("no trailer of a known version", path=path, offset=start)
    if count != record.nz:
        raise MRCChecksumError("the trailer is damaged", path=path, offset=start,
                               expected=f"{record.nz} entries", found=count)
    if not source.holds(start + trailer_bytes(count)):
        raise MRCChecksumError("the trailer is cut", path=path, offset=start,
                               expected=f"{trailer_bytes(count)} bytes",
                               found=f"{source.size - start} bytes")
    body = head + source.read(start + _HEAD.size, count * _ENTRY.itemsize)
    checksum, end = _TAIL.unpack(source.read(start + len(body), _TAIL.size))
    if end != END_MAGIC or checksum != hash_of(body):
        raise MRCChecksumError("the trailer is damaged", path=path, offset=start)
    entries = np.frombuffer(body, _ENTRY, count, _HEAD.size)
    trailer = Trailer(_packed("q", entries["offset"]), _packed("q", entries["length"]),
                      _packed("Q", entries["checksum"]), head_checksum)
    _check_index(trailer, record, start)
    return trailer


def has_trailer(source: Source, start: int, count: int) -> bool:
    """Return whether the trailer of `count` frames lies at `start`, sound or not.

    It is known by its first bytes or, where those are damaged, by its last.
    """
    if not source.holds(start + _HEAD.size):
        return False
    end = start + trailer_bytes(count)
    try:
        return (source.read(start, len(MAGIC)) == MAGIC
                or (source.holds(end)
                    and source.read(end - len(END_MAGIC), len(END_MAGIC)) == END_MAGIC))
    except MRCTruncatedError:  # it was longer when it was opened
        return False


def find_trailer(source: Source, record: Record) -> Trailer | None:
    """Return a file's trailer; None without one, or (logged) with one that is no use."""
    start = trailer_start(source, record)
    if start is None:
        return None
    if not can_hash():
        logger.warning("%s has checksums that can't be verified without the package 'xxhash'",
                       record.path)
        return None
    try:
        return read_trailer(source, record, start)
    except MRCError as error:
        logger.warning("%s: its checksums are not used: %s", record.path, error)
        return None


def _packed(typecode: str, values: Pixels) -> array[int]:
    """Return numbers of 8 bytes as a sequence that is soon made, whatever its length."""
    numbers: array[int] = array(typecode)
    numbers.frombytes(np.ascontiguousarray(values).tobytes())
    return numbers


def _check_index(trailer: Trailer, record: Record, end: int) -> None:
    """Check that the index describes chunks that lie one behind the other."""
    lengths = np.array(trailer.lengths, np.int64)
    right = bool(np.all((lengths >= CHUNK_HEADER_BYTES) & (lengths <= MAX_CHUNK_BYTES)))
    edges = record.data_offset + np.cumsum(lengths)
    if not right or edges[-1] != end or not np.array_equal(edges - lengths, trailer.offsets):
        raise MRCFormatError("the trailer's index contradicts the header", path=record.path,
                             offset=end, expected=f"{record.nz} chunks up to byte {end}")
