"""Chunks of blosc2 (version 3 and above): an optional second codec."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any

from .errors import MissingCodecError, MRCFormatError
from .locks import ForkSafeLock

__all__ = ["compress", "decompress", "require"]

_CODEC_NAMES = {
    "blosclz": "BLOSCLZ", "lz4": "LZ4", "lz4hc": "LZ4HC", "zlib": "ZLIB", "zstd": "ZSTD",
    "ndlz": "NDLZ", "zfp_acc": "ZFP_ACC", "zfp_prec": "ZFP_PREC", "zfp_rate": "ZFP_RATE",
    "openhtj2k": "OPENHTJ2K", "grok": "GROK", "openzl": "OPENZL", "j2k": "J2K", "htj2k": "HTJ2K",
}  # fmt: skip

_lock = ForkSafeLock()
"""blosc2's parameters for a call live in a global context."""


class MissingPluginError(MissingCodecError, RuntimeError):
    """A codec's plugin is not installed; a RuntimeError too, since blosc2's users expect that."""


def _import_blosc2(purpose: str) -> Any:
    try:
        import blosc2
    except ImportError as error:
        raise MissingCodecError(
            f"{purpose} needs the package 'blosc2': pip install mrcz[blosc2]"
        ) from error
    return blosc2


def require(compressor: str, plugin: str | None) -> None:
    """Check that blosc2 can compress with `compressor`.

    Raises
    ------
    MissingCodecError
        Without blosc2.
    ValueError
        If blosc2 doesn't know the codec.
    MissingPluginError
        If the codec's plugin package is not installed.
    """
    blosc2 = _import_blosc2("backend='blosc2'")
    if not hasattr(blosc2.Codec, _CODEC_NAMES.get(compressor, compressor)):
        if plugin is not None:
            raise MissingPluginError(f"compressor {compressor!r} needs a blosc2 that knows it "
                                     f"and the package {plugin!r}")
        raise ValueError(f"Unknown compressor {compressor!r} for backend='blosc2'")
    if plugin is not None and importlib.util.find_spec(plugin.replace("-", "_")) is None:
        raise MissingPluginError(f"compressor {compressor!r} needs the package {plugin!r}")


def compress(
    address: int, nbytes: int, typesize: int, *, compressor: str, clevel: int, shuffle: int
) -> bytes:
    """Return the version-5 chunk of `nbytes` bytes at `address`.

    Parameters
    ----------
    address, nbytes, typesize : int
        The pixels.
    compressor, clevel, shuffle
        As in `codec.CodecOptions`.
    """
    blosc2 = _import_blosc2("backend='blosc2'")
    filters = (blosc2.Filter.NOFILTER, blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE)
    data = (ctypes.c_char * nbytes).from_address(address)
    with _lock():
        chunk: bytes = blosc2.compress2(
            memoryview(data),
            codec=getattr(blosc2.Codec, _CODEC_NAMES[compressor]),
            clevel=clevel,
            typesize=typesize,
            filters=[filters[shuffle]],
            filters_meta=[0],
            blocksize=0,
        )
    return chunk


def decompress(
    chunk: memoryview, nbytes: int, address: int, *, path: str, offset: int, frame: int
) -> None:
    """Decompress a chunk of any version to `address`.

    Through a buffer of blosc2's own: it does not check a destination that it is given.

    Raises
    ------
    MRCFormatError
        If the chunk is damaged.
    """
    blosc2 = _import_blosc2(f"{path}: frame {frame}")
    try:
        with _lock():
            data = blosc2.decompress2(bytes(chunk))
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise MRCFormatError(f"frame {frame} is damaged: blosc2 says {error}", path=path,
                             offset=offset) from error
    if len(data) != nbytes:
        raise MRCFormatError(f"frame {frame} is damaged: wrong size", path=path, offset=offset,
                             expected=f"{nbytes} bytes", found=len(data))
    ctypes.memmove(address, data, nbytes)
