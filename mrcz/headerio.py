"""Reading and writing headers alone."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from .codec import CHUNK_HEADER_BYTES, read_chunk_header
from .errors import MRCTruncatedError
from .header import HEADER_BYTES, IMAGE_STACK, VOLUME, VOLUME_STACK, HeaderFields, byteorder_of
from .headerdict import HeaderDict
from .modes import MODES, REVERSE_COMPRESSOR_ENUM
from .parallel import threads_of
from .pixels import writable_mode
from .reader import MRCReader
from .reading import File
from .units import parse_pixelsize

__all__ = ["defaultHeader", "readBloscHeader", "readMRCHeader", "writeMRCHeader"]


def readMRCHeader(  # noqa: N802
    MRCfilename: File,  # noqa: N803
    slices: int | None = None,
    endian: str = "le",
    fileConvention: str = "ccpem",  # noqa: N803
    pixelunits: str = "\\AA",
) -> tuple[HeaderDict, int]:
    """Read the header and the metadata alone.

    Parameters and the header are those of `readMRC`.

    Returns
    -------
    header : dict
        See `readMRC`.
    slices : int
        Slices an item of the list that `readMRC` would return; 0: an array.
    """
    with MRCReader(MRCfilename, endian=endian, convention=fileConvention) as reader:
        return reader.header(pixelunits), reader.slices(slices)


def writeMRCHeader(  # noqa: N802
    f: IO[bytes], header: dict[str, Any], slices: int, endchar: str = "<"
) -> int:
    """Write the record and the metadata of a header dict to a file object.

    Parameters
    ----------
    f : binary file
        Positioned where the header goes.
    header : dict
        As `readMRC` returns it, or `defaultHeader`; ``meta``, if there, is the metadata.
    slices : int
        0 for one array, else slices an item of a list.
    endchar : {'<', '>'}
        Byte order.

    Returns
    -------
    int
        Bytes written: the offset of the pixels.

    Raises
    ------
    TypeError, ValueError
        If an entry makes no sense.
    """
    from .metadata import encode

    text = encode(header.get("meta"))
    nz, ny, nx = (int(size) for size in np.ravel(header["dimensions"]))
    mode, _ = writable_mode(_mode_dtype(header), what="header['dtype']")
    compressor = header.get("compressor")
    if compressor not in REVERSE_COMPRESSOR_ENUM:
        raise ValueError(f"Unknown compressor {compressor!r}")
    fields = HeaderFields(
        shape=(nz, ny, nx),
        mode=mode,
        compressor=compressor,
        slices=int(slices),
        ispg=VOLUME if not slices and nz > 1 else VOLUME_STACK if slices > 1 else IMAGE_STACK,
        pixelsize=parse_pixelsize(header.get("pixelsize", 1.0), header.get("pixelunits", "\\AA")),
        voltage=float(header.get("voltage", 0.0)),
        c3=float(header.get("C3", 0.0)),
        gain=float(header.get("gain", 1.0)),
        minimum=float(header.get("minImage", 0.0)),
        maximum=float(header.get("maxImage", 0.0)),
        mean=float(header.get("meanImage", 0.0)),
        metadata_bytes=len(text),
        packed_bytes=int(header.get("packedBytes", 0)),
        byteorder=byteorder_of(endchar),
    )
    f.write(fields.pack() + text)
    return HEADER_BYTES + len(text)


def _mode_dtype(header: dict[str, Any]) -> Any:
    """Return the dtype of a header dict; MRCtype tells packed pixels apart."""
    if header.get("MRCtype") in MODES and MODES[header["MRCtype"]].packed:
        return "uint4"
    return header["dtype"]


def defaultHeader() -> HeaderDict:  # noqa: N802
    """Return a header with a value for everything that `writeMRCHeader` needs."""
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
    """
    data = filehandle.read(CHUNK_HEADER_BYTES)
    if len(data) < CHUNK_HEADER_BYTES:
        raise MRCTruncatedError("the file ends within a chunk's header",
                                path=str(getattr(filehandle, "name", "")) or None,
                                expected="16 bytes", found=len(data))
    header = read_chunk_header(data)
    return ([header.nbytes, header.blocksize, header.cbytes],
            [header.version, header.codec_version, header.flags, header.typesize])
