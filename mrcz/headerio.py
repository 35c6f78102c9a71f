"""Reading and writing headers alone."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from .arguments import integer
from .byteorder import byteorder_of
from .codec import CHUNK_HEADER_BYTES, read_chunk_header
from .errors import MRCError, MRCTruncatedError
from .header import (
    HEAD_BYTES,
    IMAGE_STACK,
    LARGEST_SIZE,
    VOLUME,
    VOLUME_STACK,
    Record,
    amend,
    parse,
)
from .headerdict import HeaderDict
from .headerfields import HeaderFields
from .modes import COMPRESSOR_FACTOR, MODES, PACKED_BYTES, REVERSE_COMPRESSOR_ENUM, Mode
from .parallel import threads_of
from .pixels import writable_mode
from .reader import MRCReader
from .reading import File
from .sources import can_seek
from .units import parse_pixelsize

__all__ = ["defaultHeader", "readBloscHeader", "readMRCHeader", "writeMRCHeader"]

_KEPT = ("nxstart", "nystart", "nzstart", "cellb", "mapc", "mapr", "maps", "extra1", "origin",
         "imod_stamp", "imod_flags")
"""Fields that header dicts don't have."""

_LARGEST = (1 << 63) - 1
"""Of the word that counts packed bytes."""


def readMRCHeader(  # noqa: N802
    MRCfilename: File,  # noqa: N803
    slices: int | None = None,
    endian: str = "le",
    fileConvention: str = "ccpem",  # noqa: N803
    pixelunits: str = "\\AA",
) -> tuple[HeaderDict, int]:
    """Read the header and the metadata alone.

    Parameters
    ----------
    MRCfilename : str, os.PathLike or binary file
        As of `readMRC`.
    slices : int, optional
        Slices an item of a list, where the file is not to be believed.
    endian : {'le', 'be'}
        Byte order to assume where the file itself does not tell.
    fileConvention : {'ccpem', 'eman2'}
        Numbering of pixel types.
    pixelunits : str
        Unit of ``header['pixelsize']``, as of `readMRC`.

    Returns
    -------
    header : dict
        As of `readMRC`.
    slices : int
        Slices an item of the list that `readMRC` would return; 0: an array.

    Raises
    ------
    OSError
        If the file can't be read.
    MRCFormatError
        If its header is malformed.
    ValueError, TypeError
        For arguments that make no sense.

    Examples
    --------
    >>> import io, mrcz
    >>> file = io.BytesIO()
    >>> mrcz.writeMRC(np.zeros((3, 64, 64), "int8"), file, pixelsize=1.5, compressor="lz4")
    >>> _ = file.seek(0)
    >>> header, slices = readMRCHeader(file)
    >>> header["dimensions"].tolist(), header["compressor"], slices
    ([3, 64, 64], 'lz4', 0)
    """
    with MRCReader(MRCfilename, endian=endian, convention=fileConvention) as reader:
        return reader.header(pixelunits), reader.slices(slices)


def writeMRCHeader(  # noqa: N802
    f: IO[bytes], header: Mapping[str, Any], slices: int, endchar: str = "<"
) -> int:
    """Write the record and the metadata of a header dict to a file object.

    Parameters
    ----------
    f : binary file
        The header goes to its beginning, wherever it is positioned, as python-mrcz has it;
        where that can't be changed, to where it is.
    header : dict
        As `readMRC` returns it, or `defaultHeader`; ``meta``, if there, is the metadata. Where
        the file, if it can be read, has a record there already, what this dict doesn't tell
        stays, the extended header too unless there is ``meta``; which takes its place, where
        pixels follow, and spaces behind it fill that.
    slices : int
        0 for one array, else slices an item of a list.
    endchar : {'<', '>'}
        Byte order.

    Returns
    -------
    int
        Bytes of the metadata, which follow the 1024 of the record; 0 without.

    Raises
    ------
    TypeError, ValueError
        If an entry makes no sense, or ``meta`` would take the place of pixels.

    Examples
    --------
    >>> import io
    >>> header = defaultHeader()
    >>> header.update(dimensions=(2, 4, 5), dtype="i2", voltage=200.0)
    >>> file = io.BytesIO()
    >>> writeMRCHeader(file, header, 0)
    0
    >>> _ = file.write(bytes(80)), file.seek(0)
    >>> readMRCHeader(file)[0]["voltage"]
    200.0
    """
    from .metadata import encode

    if not hasattr(f, "write"):
        raise TypeError(f"f must be a binary file object, not {type(f).__name__}")
    if not isinstance(header, Mapping):
        raise TypeError(f"header must be a dict, not {type(header).__name__}")
    for key in ("dimensions", "dtype"):
        if key not in header:
            raise ValueError(f"header must have the key {key!r}")
    text = encode(header.get("meta"))
    if can_seek(f):
        f.seek(0)
    there = _record_in(f)
    if text and there is not None and f.seek(0, os.SEEK_END) > there.data_offset:
        text = _fitted(text, there)
    fields = _fields_of(header, slices, byteorder_of(endchar), len(text), there)
    data = fields.pack()
    if there is not None:
        kept = _KEPT if text else (*_KEPT, "nsymbt", "exttyp")
        changes = {name: there.fields[name] for name in kept} | there.mark_of_bytes
        data = amend(data, fields.byteorder, **changes)
        f.seek(0)
    f.write(data + text)
    return len(text)


def _fields_of(
    header: Mapping[str, Any], slices: int, byteorder: str, metadata_bytes: int,
    there: Record | None,
) -> HeaderFields:
    """Return what a header dict says, checked; `there` is the record that the file has, if any."""
    nz, ny, nx = _dimensions(header["dimensions"])
    mode = _mode_of(header, there)
    if mode == PACKED_BYTES:  # whose NX counts bytes
        if nx % 2:
            raise ValueError(f"header['dimensions']: nx must be even where bytes are two pixels, "
                             f"not {nx}")
        nx //= 2
    compressor = header.get("compressor")
    if compressor is not None and (not isinstance(compressor, str)
                                   or compressor not in REVERSE_COMPRESSOR_ENUM):
        raise ValueError(f"header['compressor']: Unknown compressor {compressor!r}; one of "
                         f"{', '.join(map(repr, REVERSE_COMPRESSOR_ENUM))}")
    slices = integer("slices", slices, 0, LARGEST_SIZE)
    return HeaderFields(
        shape=(nz, ny, nx),
        mode=mode,
        compressor=compressor,
        slices=slices,
        ispg=VOLUME if not slices and nz > 1 else VOLUME_STACK if slices > 1 else IMAGE_STACK,
        pixelsize=parse_pixelsize(header.get("pixelsize", 1.0), header.get("pixelunits", "\\AA")),
        voltage=_number(header, "voltage", 0.0),
        c3=_number(header, "C3", 0.0),
        gain=_number(header, "gain", 1.0),
        minimum=_number(header, "minImage", 0.0),
        maximum=_number(header, "maxImage", 0.0),
        mean=_number(header, "meanImage", 0.0),
        metadata_bytes=metadata_bytes,
        packed_bytes=integer("header['packedBytes']", header.get("packedBytes", 0), 0, _LARGEST),
        byteorder=byteorder,
        axes=(0, 1, 2) if there is None else there.axes,
    )


def _record_in(f: IO[bytes]) -> Record | None:
    """Return the record at the beginning of a file; None if there is none, as in a new one.

    Pixels lie behind its extended header: a record that tells nothing of that would move them.
    """
    try:
        if not (f.readable() and can_seek(f)):
            return None
        data, size = f.read(HEAD_BYTES), f.seek(0, os.SEEK_END)
        f.seek(0)
        return parse(data, path=str(getattr(f, "name", "")), size=size)
    except (MRCError, io.UnsupportedOperation, AttributeError):
        return None


def _fitted(text: bytes, there: Record) -> bytes:
    """Return metadata that leave the pixels behind them where they are."""
    room = there.fields["nsymbt"]
    if len(text) > room:
        raise ValueError(f"header['meta'] takes {len(text)} bytes, and {there.path or 'the file'} "
                         f"has {room} before its pixels: write it anew with writeMRC")
    return text.ljust(room)


def _mode_of(header: Mapping[str, Any], there: Record | None) -> Mode:
    """Return the mode that a header dict means, which may be one that is only read."""
    if there is not None and (
        header.get("MRCtype") == there.fields["mode"] % COMPRESSOR_FACTOR
        and header["dtype"] == there.byteorder + there.mode.memory
    ):
        return there.mode
    return writable_mode(_mode_dtype(header), what="header['dtype']")[0]


def _dimensions(sizes: Any) -> tuple[int, int, int]:
    try:
        nz, ny, nx = sizes
    except (TypeError, ValueError):
        raise ValueError(f"header['dimensions'] must be (nz, ny, nx), not {sizes!r}") from None
    what = "header['dimensions']"
    return (integer(f"nz of {what}", nz, 0, LARGEST_SIZE),
            integer(f"ny of {what}", ny, 0, LARGEST_SIZE),
            integer(f"nx of {what}", nx, 0, LARGEST_SIZE))


def _number(header: Mapping[str, Any], key: str, default: float) -> float:
    """Return a number of a header, which may be one that was read: infinite, or no number."""
    value = header.get(key, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"header[{key!r}] must be a number, not {value!r}") from None
    except OverflowError:
        raise ValueError(f"header[{key!r}] must be a number that float32 holds, "
                         f"not {value!r}") from None


def _mode_dtype(header: Mapping[str, Any]) -> Any:
    """Return the dtype of a header dict; MRCtype tells packed pixels apart."""
    number = header.get("MRCtype")
    if isinstance(number, int) and number in MODES and MODES[number].packed:
        return "uint4"
    return header["dtype"]


def defaultHeader() -> HeaderDict:  # noqa: N802
    """Return a header with a value for everything that `writeMRCHeader` needs.

    Returns
    -------
    dict
        Of python-mrcz's keys and values: a pixel size of 0.1 nm, 300 kV, a C3 of 2.7 mm.

    Examples
    --------
    >>> header = defaultHeader()
    >>> header["voltage"], header["pixelsize"], header["pixelunits"]
    (300.0, 0.1, 'nm')
    """
    return HeaderDict(
        fileConvention="ccpem",
        endian="le",
        MRCtype=0,
        dimensions=np.array([0, 0, 0]),
        dtype="u1",
        compressor=None,
        backend=None,
        packedBytes=0,
        clevel=1,
        maxImage=1.0,
        minImage=0.0,
        meanImage=0.0,
        pixelsize=0.1,
        pixelunits="nm",
        voltage=300.0,
        C3=2.7,
        gain=1.0,
        n_threads=threads_of(None),
    )


def readBloscHeader(filehandle: IO[bytes]) -> tuple[list[int], list[int]]:  # noqa: N802
    """Read the 16 bytes at the head of a blosc chunk.

    Parameters
    ----------
    filehandle : binary file
        Positioned at the chunk; left behind its header.

    Returns
    -------
    sizes : list of int
        [nbytes, blocksize, cbytes] in bytes.
    facts : list of int
        [version, version of the codec's format, flags, typesize].

    Raises
    ------
    MRCTruncatedError
        If there are fewer bytes.
    TypeError
        If it is no binary file.

    Examples
    --------
    >>> import io, mrcz
    >>> file = io.BytesIO()
    >>> mrcz.writeMRC(np.zeros((3, 64, 64), "int8"), file, compressor="lz4")
    >>> _ = file.seek(1024)
    >>> (nbytes, blocksize, cbytes), facts = readBloscHeader(file)
    >>> nbytes, facts[0]
    (4096, 2)
    """
    if not hasattr(filehandle, "read"):
        raise TypeError(f"filehandle must be a binary file, not {type(filehandle).__name__}")
    data = filehandle.read(CHUNK_HEADER_BYTES)
    if len(data) < CHUNK_HEADER_BYTES:
        raise MRCTruncatedError("the file ends within a chunk's header",
                                path=str(getattr(filehandle, "name", "")) or None,
                                expected="16 bytes", found=len(data))
    header = read_chunk_header(data)
    return ([header.nbytes, header.blocksize, header.cbytes],
            [header.version, header.codec_version, header.flags, header.typesize])
