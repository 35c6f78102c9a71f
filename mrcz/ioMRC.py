"""Reading and writing MRC and MRCZ files: the public functions."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .codec import BLOSC2_PRESENT, BLOSC_PRESENT, CHUNK_HEADER_BYTES, read_chunk_header
from .containers import contain
from .errors import FrameIndexError, MRCTruncatedError
from .futures import log_failure, set_workers, submit
from .header import HEADER_BYTES, IMAGE_STACK, VOLUME, VOLUME_STACK, HeaderFields, byteorder_of
from .headerdict import HeaderDict
from .modes import (
    CCPEM_ENUM,
    COMPRESSOR_ENUM,
    EMAN2_ENUM,
    MODES,
    REVERSE_CCPEM_ENUM,
    REVERSE_COMPRESSOR_ENUM,
    WRITTEN_AS,
)
from .options import parse_write_options
from .parallel import set_default_threads as _set_default_threads
from .parallel import threads_of
from .pixels import Pixels, writable_mode
from .reader import MRCReader
from .sinks import open_sink
from .sources import FileObjectSource, FileSource
from .stack import Stack
from .units import parse_pixelsize
from .writer import StackWriter

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "BLOSC2_PRESENT",
    "BLOSC_PRESENT",
    "CAN_COMPRESS",
    "CCPEM_ENUM",
    "COMPRESSOR_ENUM",
    "EMAN2_ENUM",
    "REVERSE_CCPEM_ENUM",
    "REVERSE_COMPRESSOR_ENUM",
    "asyncReadMRC",
    "asyncWriteMRC",
    "async_read_mrc",
    "async_write_mrc",
    "defaultHeader",
    "default_header",
    "readBloscHeader",
    "readMRC",
    "readMRCHeader",
    "read_blosc_header",
    "read_mrc",
    "read_mrc_header",
    "setDefaultThreads",
    "set_default_threads",
    "writeMRC",
    "writeMRCHeader",
    "write_mrc",
    "write_mrc_header",
]

logger = logging.getLogger("mrcz")

CAN_COMPRESS = BLOSC_PRESENT or BLOSC2_PRESENT

File = str | os.PathLike[str] | IO[bytes]

_warned_casts: set[str] = set()


def readMRC(  # noqa: N802
    MRCfilename: File,  # noqa: N803
    idx: int | tuple[int, int] | None = None,
    endian: str = "le",
    pixelunits: str = "\\AA",
    fileConvention: str = "ccpem",  # noqa: N803
    useMemmap: bool = False,  # noqa: N803
    n_threads: int | None = None,
    slices: int | None = None,
    *,
    out: Pixels | None = None,
    verify: bool | None = None,
) -> tuple[Any, HeaderDict]:
    r"""Read an MRC or MRCZ file.

    Parameters
    ----------
    MRCfilename : str, os.PathLike or binary file
        The file; gzip, bzip2 and xz streams are read as they are. Of a URL
        (``https://``, ``s3://`` …, with the extra ``remote``) no more is fetched than
        is asked for.
    idx : int or (int, int), optional
        One frame, or the frames from the first to the second, which is excluded.
        Negative numbers count from the end.
    endian : {'le', 'be'}
        Byte order to assume where the file itself does not tell.
    pixelunits : str
        Unit of ``header['pixelsize']``: ``'\\AA'``, ``'nm'``, ``'pm'``, ``'\\mum'``, ``'m'``.
    fileConvention : {'ccpem', 'eman2'}
        Numbering of pixel types.
    useMemmap : bool
        Return a `numpy.memmap` (copy on write) of an uncompressed file; of any other a
        `Stack`, which reads what is asked of it, with 3 dimensions always.
    n_threads : int, optional
        Threads that decompress; None: what `setDefaultThreads` says.
    slices : int, optional
        Slices an item of the returned list, 0 for one array; None: what the file says.
    out : ndarray, optional
        Array of the frames' shape and dtype to read into; it is what is returned.
    verify : bool, optional
        False: don't compare the checksums that a file may have.

    Returns
    -------
    image : ndarray or list of ndarray
        (nz, ny, nx), or (ny, nx) of a single frame, in the machine's byte order; of RGB
        files with a last axis of 3. A list where the file was written from one.
    header : dict
        ``dimensions`` (nz, ny, nx), ``MRCtype``, ``dtype``, ``compressor``, ``pixelsize``
        [z, y, x] in `pixelunits`, ``pixelunits``, ``minImage``, ``maxImage``,
        ``meanImage``, ``extendedBytes``, ``metaId``, ``voltage`` (kV), ``C3`` (mm),
        ``gain`` (counts/e-), ``packedBytes``, then the metadata.

    Raises
    ------
    OSError
        If the file can't be read.
    MRCFormatError
        If it is malformed, `MRCTruncatedError` if it ends early, `MRCChecksumError` if a
        frame is not what was written.
    FrameIndexError
        If it has no frame `idx`; an IndexError and a ValueError.
    ValueError, TypeError
        For arguments that make no sense.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> writeMRC(np.arange(24, dtype="int16").reshape(2, 3, 4), file, compressor="zstd")
    >>> _ = file.seek(0)
    >>> image, header = readMRC(file)
    >>> image.shape, header["compressor"]
    ((2, 3, 4), 'zstd')
    """
    if useMemmap and out is not None:
        raise ValueError("out and useMemmap=True exclude each other")
    with MRCReader(
        MRCfilename, endian=endian, convention=fileConvention, verify=verify
    ) as reader:
        header = reader.header(pixelunits)
        per_item = reader.slices(slices)
        frames = _frames_asked(idx, reader)
        if useMemmap:
            if not _can_map(reader, MRCfilename):
                if isinstance(reader.source, FileObjectSource):
                    reader.source.rewind()
                stack = Stack(MRCfilename, endian=endian, pixelunits=pixelunits,
                              fileConvention=fileConvention, n_threads=n_threads,
                              verify=verify)
                return (stack if idx is None else stack[_key(idx, frames)]), header
            image = _map(reader, MRCfilename)[frames.start : frames.stop]
        else:
            target = None if out is None else _checked_out(out, reader, frames, idx)
            image = reader.read(frames, threads=threads_of(n_threads), out=target)
        if out is not None:
            return out, header
        return _arranged(image, idx, per_item, reader.record.items_are_volumes), header


def _frames_asked(idx: int | tuple[int, int] | None, reader: MRCReader) -> range:
    """Return the frames that `idx` means."""
    nz, path = reader.record.nz, reader.record.path
    if idx is None:
        return range(nz)
    try:
        bounds = [int(edge) for edge in idx] if isinstance(idx, Sequence) else [int(idx)]
        exact = np.array_equal(bounds, np.ravel(idx))
    except (TypeError, ValueError):
        bounds, exact = [], False
    if not exact or len(bounds) > 2 or not bounds or (
        isinstance(idx, Sequence) and len(bounds) != 2
    ):
        raise TypeError(f"idx must be an int or (first, last) with last excluded, not {idx!r}")
    if len(bounds) == 1:
        first = bounds[0] + nz if bounds[0] < 0 else bounds[0]
        last = first + 1
    else:
        first, last = (edge + nz if edge < 0 else edge for edge in bounds)
    if not 0 <= first < last <= nz:
        raise FrameIndexError(f"{path} has {nz} frames: idx={idx!r} is not among them")
    return range(first, last)


def _checked_out(
    out: Pixels, reader: MRCReader, frames: range, idx: int | tuple[int, int] | None
) -> Pixels:
    """Return `out` as (frames, ny, nx)."""
    shape = (len(frames), *reader.shape[1:])
    allowed = [shape]
    if len(frames) == 1 and (idx is None or not isinstance(idx, Sequence)):
        allowed.append(shape[1:])
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, not {type(out).__name__}")
    if out.shape not in allowed or out.dtype != reader.dtype:
        raise ValueError(f"out must have shape {shape} and dtype {reader.dtype}, "
                         f"not {out.shape} and {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable")
    return out if out.ndim == len(shape) else out[None]


def _can_map(reader: MRCReader, file: File) -> bool:
    """Return whether the pixels lie in a file on disk as they would in memory."""
    return (
        reader.record.compressor is None
        and not reader.record.mode.converted
        and isinstance(file, (str, os.PathLike))
        and isinstance(reader.source, FileSource)
    )


def _map(reader: MRCReader, file: File) -> Pixels:
    """Return all frames as a memory map."""
    reader.table.span(reader.record.nz, 0)  # checks the file's length
    return np.memmap(file, reader.record.disk_dtype, "c", reader.record.data_offset, reader.shape)


def _key(idx: int | tuple[int, int], frames: range) -> Any:
    return slice(frames.start, frames.stop) if isinstance(idx, Sequence) else frames.start


def _arranged(
    image: Pixels, idx: int | tuple[int, int] | None, slices: int, volumes: bool
) -> Pixels | list[Pixels]:
    """Return frames as one array or as the list that was written."""
    if idx is not None:
        if not isinstance(idx, Sequence):
            frame: Pixels = image[0]
            return frame
        return list(image) if slices == 1 and not volumes else image
    if slices == 0:
        return image[0] if len(image) == 1 else image
    if slices == 1 and not volumes:
        return list(image)
    return [image[first : first + slices] for first in range(0, len(image), slices)]


def writeMRC(  # noqa: N802
    input_image: Any,
    MRCfilename: File,  # noqa: N803
    meta: dict[Any, Any] | None = None,
    endian: str = "le",
    dtype: Any = None,
    pixelsize: Any = (0.1, 0.1, 0.1),
    pixelunits: str = "\\AA",
    shape: tuple[int, ...] | None = None,
    voltage: float | None = 0.0,
    C3: float | None = 0.0,  # noqa: N803
    gain: float | None = 1.0,
    compressor: str | None = None,
    clevel: int = 1,
    n_threads: int | None = None,
    quickStats: bool = True,  # noqa: N803
    idx: int | None = None,
    *,
    backend: str | None = None,
    shuffle: str | None = None,
    blocksize: int | None = None,
    fsync: bool = False,
    checksum: bool = False,
) -> None:
    r"""Write an MRC file, or with a `compressor` an MRCZ file.

    The file appears when it is whole: whatever happens before, one of that name stays.

    Parameters
    ----------
    input_image : ndarray, list of ndarray, lazy array or iterable of frames
        1 to 3 dimensions, or a list of equal 2-D or 3-D arrays; a 4-D array is written
        as the list of its 3-D items. Never changed.
    MRCfilename : str, os.PathLike or binary file
        Where to; a URL too, with the extra ``remote``.
    meta : dict, optional
        Metadata; see `mrcz.metadata` for what it may hold.
    endian : {'le', 'be'}
        Byte order of the file.
    dtype : dtype-like or 'uint4', optional
        What to store the pixels as; None: as they are, but uint8 as uint16, bool as
        int8, float64 as float32 and complex128 as complex64.
    pixelsize : float or sequence
        One value, ``[y, x]`` (then z is 10 Å) or ``[z, y, x]``, in `pixelunits`.
    pixelunits : str
        ``'\\AA'``, ``'nm'``, ``'pm'``, ``'\\mum'`` or ``'m'``, and their usual spellings.
    shape : (nz, ny, nx), optional
        Final size of an uncompressed file that later calls with `idx` fill.
    voltage, C3, gain : float
        kV, mm, counts/e-; None is the default.
    compressor : str, optional
        ``'zstd'``, ``'lz4'``, ``'lz4hc'``, ``'zlib'`` or ``'blosclz'``; ``'auto'`` tries
        several on a sample and takes the best. None: uncompressed.
    clevel : int
        0 to 9; for 'auto' a hint.
    n_threads : int, optional
        Threads that compress; None: what `setDefaultThreads` says.
    quickStats : bool
        True: minimum, maximum and mean of the first frame; False: of all, and the RMS.
    idx : int, optional
        Write into an existing file, from this frame on; NZ appends.
    backend : {'blosc1', 'blosc2'}, optional
        Version of the chunks; those of blosc2 are not read by c-blosc 1.
    shuffle : {'bitshuffle', 'shuffle', 'noshuffle', 'auto'}, optional
        Filter before compression; None: bitshuffle, as the specification says.
    blocksize : int, optional
        Bytes a block; None: what suits the codec.
    checksum : bool
        Add a trailer with an index and a checksum a frame, which readers compare; other
        programs ignore it.
    fsync : bool
        Whether to return only when the file is on the disk, not in a cache.

    Raises
    ------
    OSError
        If the file can't be written.
    ValueError, TypeError
        For arguments that make no sense, and pixels that `dtype` can't hold.
    MissingCodecError
        If a package for the codec is not installed; an ImportError.

    Examples
    --------
    >>> import io
    >>> movie = np.zeros((3, 64, 64), "int8")
    >>> writeMRC(movie, io.BytesIO(), meta={"dose": 1.5}, pixelsize=1.06, voltage=300.0,
    ...          compressor="zstd")
    """
    options = parse_write_options(
        meta=meta, endian=endian, pixelsize=pixelsize, pixelunits=pixelunits, voltage=voltage,
        C3=C3, gain=gain, compressor=compressor, clevel=clevel, n_threads=n_threads,
        quickStats=quickStats, backend=backend, shuffle=shuffle, blocksize=blocksize,
        fsync=fsync, checksum=checksum,
    )  # fmt: skip
    container = contain(input_image)
    if idx is not None or shape is not None:
        from . import update

        update.write_frames(container, MRCfilename, idx, shape, dtype, options)
        return
    mode, _ = writable_mode(container.dtype if dtype is None else dtype,
                            what="input_image" if dtype is None else "dtype")
    if dtype is None:
        _tell_cast(container.dtype)
    sink = open_sink(MRCfilename, fsync=options.fsync)
    writer = StackWriter(sink, mode, container.shape[1:], options, slices=container.slices,
                         ispg=container.ispg)
    with writer:
        writer.append_container(container)


def _tell_cast(dtype: np.dtype[Any]) -> None:
    """Log, once a type, that pixels are stored as another type."""
    code = f"{dtype.kind}{dtype.itemsize}"
    if code in WRITTEN_AS and code not in _warned_casts:
        _warned_casts.add(code)
        logger.warning("%s has no MRC mode and is written as %s (said once)",
                       dtype.name, np.dtype(WRITTEN_AS[code]).name)


def asyncReadMRC(*args: Any, **kwargs: Any) -> Future[tuple[Any, HeaderDict]]:  # noqa: N802
    """Call `readMRC` in the background.

    Returns
    -------
    concurrent.futures.Future
        Its ``result()`` is that of `readMRC`.
    """
    return submit(readMRC, *args, **kwargs)


def asyncWriteMRC(*args: Any, **kwargs: Any) -> Future[None]:  # noqa: N802
    """Call `writeMRC` in the background; the arrays must not change until it is done.

    A failure is also logged as an error, and jobs that are waiting are finished before
    the interpreter exits.

    Returns
    -------
    concurrent.futures.Future
        Of None.
    """
    future = submit(writeMRC, *args, **kwargs)
    name = kwargs.get("MRCfilename", args[1] if len(args) > 1 else "?")
    future.add_done_callback(log_failure(f"writing {name}"))
    return future


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


def setDefaultThreads(n_threads: int | None) -> None:  # noqa: N802
    """Set the number of threads where ``n_threads`` is None.

    Parameters
    ----------
    n_threads : int or None
        None: one a core that the process may use, as at the start.
    """
    _set_default_threads(n_threads)


def _setAsyncWorkers(N_workers: int) -> None:  # noqa: N802, N803
    """Set how many background jobs run at a time (1 at the start)."""
    set_workers(N_workers)


read_mrc = readMRC
write_mrc = writeMRC
async_read_mrc = asyncReadMRC
async_write_mrc = asyncWriteMRC
read_mrc_header = readMRCHeader
write_mrc_header = writeMRCHeader
read_blosc_header = readBloscHeader
default_header = defaultHeader
set_default_threads = setDefaultThreads
