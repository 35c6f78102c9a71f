"""What a user asks of a file to be written, checked once and then immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import metadata
from .arguments import number
from .byteorder import byteorder_of
from .checksums import require_hash
from .codec import CodecOptions, parse_options
from .parallel import threads_of
from .units import parse_pixelsize

__all__ = ["AUTO", "WriteOptions", "parse_write_options"]

AUTO = "auto"
"""Value of ``compressor=`` and ``shuffle=`` that lets a sample of the pixels decide."""

DEFAULT_PIXELSIZE = (0.1, 0.1, 0.1)


@dataclass(frozen=True)
class WriteOptions:
    """Everything about a new file but its pixels; made by `parse_write_options`.

    Attributes
    ----------
    metadata : bytes
        JSON, or empty.
    byteorder : str
        ``'<'`` or ``'>'``.
    pixelsize : tuple of float
        (z, y, x) in Å.
    voltage, c3, gain : float
        kV, mm, counts/e-.
    codec : CodecOptions or None
        None: uncompressed, or still to be chosen.
    auto : tuple of str
        What a sample has to decide: any of ``'compressor'``, ``'shuffle'``.
    threads : int
        How many take part.
    exact : bool
        Whether statistics are of all frames, with RMS, or of the first.
    fsync : bool
        Whether to wait until the file is on the disk.
    checksum : bool
        Whether the file gets a trailer.
    """

    metadata: bytes
    byteorder: str
    pixelsize: tuple[float, float, float]
    voltage: float
    c3: float
    gain: float
    codec: CodecOptions | None
    auto: tuple[str, ...]
    threads: int
    exact: bool
    fsync: bool
    checksum: bool


def parse_write_options(
    *,
    meta: Any = None,
    endian: str = "le",
    pixelsize: Any = None,
    pixelunits: str = "\\AA",
    voltage: float | None = 0.0,
    C3: float | None = 0.0,  # noqa: N803
    gain: float | None = 1.0,
    compressor: str | None = None,
    clevel: int = 1,
    n_threads: int | None = None,
    quickStats: bool = True,  # noqa: N803
    backend: str | None = None,
    shuffle: str | None = None,
    blocksize: int | None = None,
    fsync: bool = False,
    checksum: bool = False,
) -> WriteOptions:
    """Check the arguments that `writeMRC` and `create` share; see there.

    Raises
    ------
    ValueError, TypeError
        For one that makes no sense; the message names it, what is allowed and what came.
    MissingCodecError
        If a package for the codec is not installed.
    """
    auto = tuple(name for name, value in (("compressor", compressor), ("shuffle", shuffle))
                 if isinstance(value, str) and value == AUTO)
    if auto == ("compressor",) and shuffle is None:
        auto = ("compressor", "shuffle")
    codec = None
    if compressor is not None:
        codec = parse_options(
            "zstd" if "compressor" in auto else compressor,
            clevel,
            shuffle=None if "shuffle" in auto else shuffle,
            blocksize=blocksize,
            backend=backend,
        )
    elif backend is not None or shuffle is not None or blocksize is not None:
        raise ValueError("backend, shuffle and blocksize need a compressor")
    if checksum:
        if compressor is None:
            raise ValueError("checksum=True needs a compressor")
        require_hash()
    return WriteOptions(
        metadata=metadata.in_words(metadata.encode(meta)),
        byteorder=byteorder_of(endian),
        pixelsize=parse_pixelsize(DEFAULT_PIXELSIZE if pixelsize is None else pixelsize,
                                  pixelunits),
        voltage=number("voltage", 0.0 if voltage is None else voltage),  # HyperSpy says None
        c3=number("C3", 0.0 if C3 is None else C3),
        gain=number("gain", 1.0 if gain is None else gain),
        codec=codec,
        auto=auto,
        threads=threads_of(n_threads),
        exact=not quickStats,
        fsync=bool(fsync),
        checksum=bool(checksum),
    )
