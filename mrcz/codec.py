"""One frame and its blosc chunk: compressing, decompressing, cutting and joining.

A c-blosc version-2 chunk is a 16-byte header (version, codec version, flags, typesize,
then the int32 nbytes, blocksize and cbytes), a table of int32 block offsets counted
from the chunk's first byte, and the blocks, which `mrcz.blocks` takes out of it.
"""

from __future__ import annotations

import importlib.util
import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from .arguments import integer
from .errors import MissingCodecError, MRCFormatError, MRCTruncatedError
from .modes import BLOSC1_COMPRESSORS, REVERSE_COMPRESSOR_ENUM

try:
    from blosc import blosc_extension  # blosc's wrappers cost more than a small frame
except ImportError as error:
    blosc_extension = None
    _REMEDY = ("pip install blosc" if getattr(error, "name", None) == "blosc"
               else f"it is installed, but can't be imported: {error}")

__all__ = [
    "BLOSC2_OVERHEAD",
    "BLOSC2_PRESENT",
    "BLOSC_PRESENT",
    "CHUNK_HEADER_BYTES",
    "FLAG_BITSHUFFLE",
    "FLAG_MEMCPY",
    "FLAG_NO_SPLIT",
    "FLAG_SHUFFLE",
    "MAX_CHUNK_BYTES",
    "MAX_OVERHEAD",
    "SHUFFLES",
    "VERSION_BLOSC1",
    "WIDE_TYPESIZE",
    "ChunkHeader",
    "CodecOptions",
    "available_compressors",
    "blosc_extension",
    "chunk_compressor",
    "compress",
    "decompress",
    "is_installed",
    "join_headers",
    "parse_chunk_header",
    "parse_options",
    "read_chunk_header",
]


logger = logging.getLogger("mrcz")


def is_installed(package: str) -> bool:
    """Return whether a package can be found; not, where somebody forbids importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


BLOSC_PRESENT = blosc_extension is not None
BLOSC2_PRESENT = is_installed("blosc2")

CHUNK_HEADER_BYTES = 16
MAX_CHUNK_BYTES = 2**31 - 1
"""Sizes in a chunk's header are int32."""

MAX_OVERHEAD = 16
"""Bytes by which a version-2 chunk may exceed its content (BLOSC_MAX_OVERHEAD)."""

BLOSC2_OVERHEAD = 1024
"""Allowance for the longer headers of version 3 and above."""

FLAG_SHUFFLE = 0x1
FLAG_MEMCPY = 0x2
FLAG_BITSHUFFLE = 0x4
FLAG_NO_SPLIT = 0x10
VERSION_BLOSC1 = 2
"""Highest chunk version that c-blosc 1 reads; blosc2 writes 5."""

SHUFFLES: dict[str, int] = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
FILTER_FLAGS = {FLAG_SHUFFLE: "shuffle", FLAG_BITSHUFFLE: "bitshuffle"}

_FAST_BLOCKSIZE = 1 << 18
_SLOW_BLOCKSIZE = 1 << 20
_ZSTD_16_BIT_BLOCKSIZE = 1 << 21
"""Makes a plane of bits one block of zstd's own 128 KiB, with a Huffman table to itself, as
1 MiB does for 8 bits: 4 % smaller. For 32 bits 4 MiB would gain 0.8 %, and cost more in rows."""

WIDE_TYPESIZE = 4
"""Item size for which c-blosc undoes bitshuffle with AVX2; it has SSE2 for 2, and for 1 a loop."""
_BLOSC2_PLUGINS = {
    "openhtj2k": "blosc2-openhtj2k",
    "grok": "blosc2-grok",
    "openzl": "blosc2-openzl",
    "j2k": "blosc2-grok",
    "htj2k": "blosc2-openhtj2k",
}

_HEADER = struct.Struct("<4B3i")


class ChunkHeader(NamedTuple):
    """The 16 bytes that every chunk starts with; sizes in bytes."""

    version: int
    codec_version: int
    flags: int
    typesize: int
    nbytes: int
    blocksize: int
    cbytes: int

    @property
    def is_memcpy(self) -> bool:
        """Whether the content is stored as it is."""
        return bool(self.flags & FLAG_MEMCPY)

    @property
    def is_blosc1(self) -> bool:
        """Whether c-blosc 1 reads it."""
        return self.version <= VERSION_BLOSC1

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return -(-self.nbytes // self.blocksize)

    @property
    def prefix_bytes(self) -> int:
        """Bytes of header and block table."""
        return CHUNK_HEADER_BYTES + (0 if self.is_memcpy else 4 * self.block_count)

    @property
    def filter(self) -> str:
        """Name of the filter, as in ``shuffle=``."""
        return next((name for bit, name in FILTER_FLAGS.items() if self.flags & bit), "noshuffle")

    def pack(self) -> bytes:
        """Return the 16 bytes."""
        return _HEADER.pack(*self)


def parse_chunk_header(
    data: Any, position: int, *, nbytes: int, room: int, path: str, offset: int, frame: int
) -> ChunkHeader:
    """Return the chunk header at ``data[position:]``, every field checked.

    blosc trusts the header: it writes `nbytes` bytes wherever it is pointed. So a chunk
    is never handed over before this has looked at the very bytes that are.

    Parameters
    ----------
    data : buffer
        Holds the 16 bytes.
    position : int
        Where in `data`.
    nbytes : int
        What the chunk must decompress to.
    room : int
        Bytes from the chunk's start to the end of file.
    path, offset, frame
        For messages: the file, the chunk's offset in it, the number of the frame.

    Raises
    ------
    MRCFormatError
        If a field contradicts the frame, the file or the others.
    MRCTruncatedError
        If the chunk reaches beyond the end of the file.
    """
    header = ChunkHeader._make(_HEADER.unpack_from(data, position))
    version, _, _, typesize, found_bytes, blocksize, cbytes = header
    overhead = MAX_OVERHEAD if version <= VERSION_BLOSC1 else BLOSC2_OVERHEAD
    kind = MRCFormatError
    if not 1 <= version <= 8:
        problem, expected, found = "version", "1 to 8", version
    elif found_bytes != nbytes:
        problem, expected, found = "nbytes", str(nbytes), found_bytes
    elif not CHUNK_HEADER_BYTES <= cbytes <= nbytes + overhead:
        problem, expected, found = "cbytes", f"16 to {nbytes + overhead}", cbytes
    elif cbytes > room:
        kind = MRCTruncatedError
        problem, expected, found = "cbytes", f"at most the {room} bytes left in the file", cbytes
    elif typesize < 1:
        problem, expected, found = "typesize", ">= 1", typesize
    elif not 1 <= blocksize <= max(nbytes, 1) and version <= VERSION_BLOSC1:
        problem, expected, found = "blocksize", f"1 to {nbytes}", blocksize
    elif version <= VERSION_BLOSC1 and header.prefix_bytes > cbytes:
        problem, expected, found = "block table", f"within {cbytes} bytes", header.prefix_bytes
    else:
        return header
    raise kind(f"frame {frame} is not a valid blosc chunk: bad {problem}", path=path,
               offset=offset, expected=expected, found=found)


def read_chunk_header(chunk: bytes) -> ChunkHeader:
    """Return the header of a chunk that this process has just made."""
    return ChunkHeader._make(_HEADER.unpack_from(chunk))


@dataclass(frozen=True)
class CodecOptions:
    """How frames are compressed; made by `parse_options`.

    Attributes
    ----------
    compressor : str
        One of `COMPRESSOR_ENUM`.
    clevel : int
        0 (store) to 9.
    shuffle : int
        blosc's number of the filter.
    blocksize : int or None
        Bytes; None: what suits the codec and the pixels.
    backend : str
        ``'blosc1'`` or ``'blosc2'``: the version of the chunks that are written.
    typesize : int or None
        Bytes of what the filter takes for an item; None: a pixel's.
    """

    compressor: str
    clevel: int
    shuffle: int
    blocksize: int | None
    backend: str = "blosc1"
    typesize: int | None = None

    def block_bytes(self, itemsize: int) -> int:
        """Return the block size for pixels of `itemsize` bytes.

        c-blosc multiplies it by the item size for codecs whose blocks it splits.
        """
        if self.blocksize is not None:
            return self.blocksize
        if self.compressor == "zstd" and itemsize == 2:
            return _ZSTD_16_BIT_BLOCKSIZE
        return _SLOW_BLOCKSIZE if self.compressor in ("zstd", "zlib") else _FAST_BLOCKSIZE


def parse_options(
    compressor: str,
    clevel: int = 1,
    *,
    shuffle: str | None = None,
    blocksize: int | None = None,
    backend: str | None = None,
) -> CodecOptions:
    """Check what a user asked for.

    Raises
    ------
    ValueError, TypeError
        For unknown names, a level outside 0..9, or a combination that does not exist.
    MissingCodecError
        If the package it needs is not installed.
    """
    if not isinstance(compressor, str) or compressor not in REVERSE_COMPRESSOR_ENUM:
        known = ", ".join(repr(name) for name in REVERSE_COMPRESSOR_ENUM)
        raise ValueError(f"Unknown compressor {compressor!r}; one of 'auto', {known}")
    clevel = integer("clevel", clevel, 0, 9)
    if shuffle is not None and (not isinstance(shuffle, str) or shuffle not in SHUFFLES):
        raise ValueError(f"shuffle must be one of {[*SHUFFLES, 'auto']}, not {shuffle!r}")
    if blocksize is not None:
        blocksize = integer("blocksize", blocksize, 128, 1 << 29, kind="an integer or None")
    return CodecOptions(
        compressor,
        clevel,
        SHUFFLES[shuffle or "bitshuffle"],
        blocksize,
        _parse_backend(compressor, backend),
    )


def _parse_backend(compressor: str, backend: str | None) -> str:
    if backend is not None and (not isinstance(backend, str)
                                or backend not in ("blosc1", "blosc2")):
        raise ValueError(f"backend must be None, 'blosc1' or 'blosc2', not {backend!r}")
    if compressor not in BLOSC1_COMPRESSORS and backend == "blosc1":
        raise ValueError(f"compressor {compressor!r} needs backend='blosc2', not {backend!r}")
    if backend is None and not BLOSC_PRESENT and BLOSC2_PRESENT:
        backend = "blosc2"
        if compressor in BLOSC1_COMPRESSORS:  # the others have no older kind of chunk
            _tell_of_blosc2()
    if backend == "blosc2" or compressor not in BLOSC1_COMPRESSORS:
        from . import codec2

        codec2.require(compressor, _BLOSC2_PLUGINS.get(compressor))
        return "blosc2"
    if not BLOSC_PRESENT:
        raise MissingCodecError(f"compression needs the package 'blosc': {_REMEDY}")
    if compressor not in available_compressors():
        raise MissingCodecError(f"the installed blosc was built without {compressor!r}; "
                                f"it has {', '.join(available_compressors())}")
    return "blosc1"


@lru_cache(maxsize=1)  # once is enough
def _tell_of_blosc2() -> None:
    logger.warning("without the package 'blosc' chunks are blosc2's, which python-mrcz before 0.6 "
                   "and c-mrcz can't read: %s", _REMEDY)


@lru_cache(maxsize=1)
def available_compressors() -> tuple[str, ...]:
    """Return the codecs that the installed blosc has; empty without blosc."""
    return tuple(blosc_extension.compressor_list().split(",")) if blosc_extension else ()


def compress(address: int, nbytes: int, typesize: int, options: CodecOptions) -> bytes:
    """Return the chunk of `nbytes` bytes at `address`.

    Must be called under a `lease.blosc_settings` lease, which sets the block size.
    """
    typesize = options.typesize or typesize
    if options.backend == "blosc2":
        from . import codec2

        return codec2.compress(address, nbytes, typesize, compressor=options.compressor,
                               clevel=options.clevel, shuffle=options.shuffle)
    if nbytes > MAX_CHUNK_BYTES - MAX_OVERHEAD:
        raise ValueError(f"a compressed frame must be smaller than 2**31 bytes, not {nbytes}")
    chunk: bytes = blosc_extension.compress_ptr(
        address, nbytes, typesize, options.clevel, options.shuffle, options.compressor
    )
    return chunk


def decompress(chunk: memoryview, header: ChunkHeader, address: int, *, path: str, offset: int,
               frame: int) -> None:  # fmt: skip
    """Decompress `chunk`, whose checked header is `header`, to `address`.

    Raises
    ------
    MRCFormatError
        If blosc finds it damaged.
    MissingCodecError
        If a package or codec for it is missing.
    """
    if not header.is_blosc1 or blosc_extension is None:
        if header.is_blosc1 and not BLOSC2_PRESENT:
            raise MissingCodecError(f"{path}: frame {frame} needs the package 'blosc': {_REMEDY}")
        from . import codec2

        codec2.decompress(chunk, header.nbytes, address, path=path, offset=offset, frame=frame)
        return
    try:
        written = blosc_extension.decompress_ptr(chunk, address)
    except blosc_extension.error as error:
        _require_codec(header, path)
        raise MRCFormatError(f"frame {frame} is damaged: blosc says {error}", path=path,
                             offset=offset) from error
    if written != header.nbytes:
        raise MRCFormatError(f"frame {frame} is damaged: it ends early", path=path, offset=offset,
                             expected=f"{header.nbytes} bytes", found=written)


_FORMAT_NAMES = {0: "blosclz", 1: "lz4", 2: "snappy", 3: "zlib", 4: "zstd"}
"""Codec formats in the top bits of a chunk's flags; lz4hc writes lz4's."""


def chunk_compressor(header: ChunkHeader) -> str | None:
    """Return the codec that a chunk names itself; None where its number is unknown."""
    return _FORMAT_NAMES.get(header.flags >> 5)


def _require_codec(header: ChunkHeader, path: str) -> None:
    name = chunk_compressor(header)
    if name not in available_compressors():
        raise MissingCodecError(f"{path}: the installed blosc was built without "
                                f"{name or f'codec format {header.flags >> 5}'}")


def join_headers(headers: Sequence[ChunkHeader]) -> ChunkHeader | None:
    """Return the header of the chunk made of whole chunks of consecutive pieces.

    None if they don't fit together: one stored, another compressed, say. The pieces
    but the last must be multiples of the block size.
    """
    first = headers[0]
    for header in headers:
        if header[:4] != first[:4] or header.blocksize != first.blocksize:
            return None
    nbytes = sum(header.nbytes for header in headers)
    if any(header.nbytes % first.blocksize for header in headers[:-1]):
        return None
    whole = first._replace(nbytes=nbytes)
    payload = sum(header.cbytes - header.prefix_bytes for header in headers)
    return whole._replace(cbytes=whole.prefix_bytes + payload)
