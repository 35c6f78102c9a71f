"""Reading and writing MRC and MRCZ files: the public functions."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from . import futures
from .codec import BLOSC2_PRESENT, BLOSC_PRESENT
from .containers import Container, contain
from .header import HEADER_BYTES
from .headerdict import HeaderDict, tell_of_keys
from .headerio import defaultHeader, readBloscHeader, readMRCHeader, writeMRCHeader
from .modes import (
    BLOSC1_COMPRESSORS,
    CCPEM_ENUM,
    COMPRESSOR_ENUM,
    COMPRESSOR_FACTOR,
    EMAN2_ENUM,
    REVERSE_CCPEM_ENUM,
    REVERSE_COMPRESSOR_ENUM,
)
from .options import parse_write_options
from .parallel import set_default_threads as _set_default_threads
from .parallel import threads_of
from .pixels import Pixels, tell_cast, writable_mode
from .progress import shown, title_of
from .reader import MRCReader
from .reading import File, arranged, checked_out, frames_asked, mapped_or_lazy
from .targets import open_sink
from .writer import StackWriter

__all__ = [
    "BLOSC1_CODECS",
    "BLOSC2_ONLY_CODECS",
    "BLOSC2_PRESENT",
    "BLOSC_PRESENT",
    "CAN_COMPRESS",
    "CCPEM_ENUM",
    "COMPRESSOR_ENUM",
    "DEFAULT_HEADER_LEN",
    "EMAN2_ENUM",
    "MRC_COMP_RATIO",
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

CAN_COMPRESS = BLOSC_PRESENT or BLOSC2_PRESENT

# python-mrcz's names of facts that stand elsewhere here.
logger = logging.getLogger("mrcz")
DEFAULT_HEADER_LEN = HEADER_BYTES
MRC_COMP_RATIO = COMPRESSOR_FACTOR
BLOSC1_CODECS = frozenset(BLOSC1_COMPRESSORS) - {"snappy"}
BLOSC2_ONLY_CODECS = frozenset(filter(None, COMPRESSOR_ENUM.values())) - {*BLOSC1_COMPRESSORS}


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
    progress: bool = False,
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
        Return a `numpy.memmap` (copy on write) of an uncompressed file; of any other, and of
        one that is cut, a `Stack`, which reads what is asked of it, with 3 dimensions always.
    n_threads : int, optional
        Threads that decompress; None: what `setDefaultThreads` says.
    slices : int, optional
        Slices an item of the returned list, 0 for one array; None: what the file says.
    out : ndarray, optional
        Array of the frames' shape and dtype to read into; it is what is returned.
    verify : bool, optional
        False: don't compare the checksums that a file may have.
    progress : bool
        Show a bar of what is read, in a terminal or a notebook; not with `useMemmap`.

    Returns
    -------
    image : ndarray or list of ndarray
        (nz, ny, nx), or (ny, nx) of a single frame, in the machine's byte order; of RGB
        files with a last axis of 3. A list where the file was written from one.
    header : dict
        ``dimensions`` (nz, ny, nx), ``MRCtype``, ``dtype``, ``compressor``, ``pixelsize``
        [z, y, x] in `pixelunits`, ``pixelunits``, ``minImage``, ``maxImage``,
        ``meanImage``, ``extendedBytes``, ``metaId``, ``voltage`` (kV), ``C3`` (mm),
        ``gain`` (counts/e-), ``packedBytes``, then the metadata; ``header.meta`` is the
        metadata alone.

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
    >>> import io, numpy as np
    >>> file = io.BytesIO()
    >>> writeMRC(np.arange(24, dtype="int16").reshape(2, 3, 4), file, compressor="zstd")
    >>> _ = file.seek(0)
    >>> image, header = readMRC(file)
    >>> image.shape, header["compressor"]
    ((2, 3, 4), 'zstd')
    """
    if useMemmap:
        if out is not None:
            raise ValueError("out and useMemmap=True exclude each other")
        return mapped_or_lazy(MRCfilename, idx, slices, endian=endian, pixelunits=pixelunits,
                              fileConvention=fileConvention, n_threads=n_threads, verify=verify)
    with MRCReader(
        MRCfilename, endian=endian, convention=fileConvention, verify=verify
    ) as reader:
        header = reader.header(pixelunits)
        per_item = reader.slices(slices)
        frames = frames_asked(idx, reader)
        target = None if out is None else checked_out(out, reader, frames, idx)
        nbytes = len(frames) * math.prod(reader.shape[1:]) * reader.dtype.itemsize
        with shown(progress, nbytes, title_of(MRCfilename)) as advance:
            image = reader.read(frames, threads=threads_of(n_threads), out=target,
                                advance=advance)
        if out is not None:
            return out, header
        return arranged(image, idx, per_item, reader.record.items_are_volumes), header


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
    progress: bool = False,
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
        Metadata; see `mrcz.metadata` for what it may hold. What has a key of the header,
        such as ``'voltage'``, comes back as ``header.meta['voltage']`` alone.
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
        Final size of an uncompressed file that later calls with `idx` fill. A file that
        exists keeps its own, unless `idx` is 0 or None.
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
        Filter before compression; None: bitshuffle, as the specification says, or what
        ``compressor='auto'`` finds best.
    blocksize : int, optional
        Bytes a block; None: what suits the codec.
    fsync : bool
        Whether to return only when the file is on the disk, not in a cache.
    checksum : bool
        Add a trailer with an index and a checksum a frame, which readers compare; other
        programs ignore it.
    progress : bool
        Show a bar of what is written, in a terminal or a notebook; not with `idx` or `shape`.

    Raises
    ------
    OSError
        If the file can't be written.
    FrameIndexError
        If an existing file ends before `idx`; an IndexError and a ValueError.
    MRCError
        If an existing file is malformed, cut, or of a kind that is only read.
    ValueError, TypeError
        For arguments that make no sense, and pixels that `dtype` can't hold.
    MissingCodecError
        If a package for the codec is not installed; an ImportError.

    Examples
    --------
    >>> import io, numpy as np
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
    tell_of_keys(meta, container.slices)
    if idx is None and _is_all(shape, container, input_image):
        shape = None
    if idx is not None or shape is not None:
        from . import update

        update.write_frames(container, MRCfilename, idx, shape, dtype, options)
        return
    mode, _ = writable_mode(container.dtype if dtype is None else dtype,
                            what="input_image" if dtype is None else "dtype")
    if dtype is None:
        tell_cast(container.dtype)
    nz, ny, nx = container.shape
    with shown(progress, nz * ny * mode.row_bytes(nx) or None, title_of(MRCfilename)) as advance:
        sink = open_sink(MRCfilename, fsync=options.fsync)
        with StackWriter(sink, mode, (ny, nx), options, slices=container.slices,
                         ispg=container.ispg, advance=advance) as writer:
            writer.append_container(container)


def _is_all(shape: Any, container: Container, image: Any) -> bool:
    """Tell whether `shape` is that of what is written: nothing comes later."""
    return any(np.array_equal(shape, own) for own in (container.shape, getattr(image, "shape", ())))


def asyncReadMRC(  # noqa: N802
    *args: Any, **kwargs: Any
) -> futures.Future[tuple[Any, HeaderDict]]:
    """Call `readMRC` in the background.

    Parameters
    ----------
    *args, **kwargs
        As of `readMRC`.

    Returns
    -------
    concurrent.futures.Future
        Its ``result()`` is that of `readMRC`, or raises what that raises.

    Examples
    --------
    >>> import io, numpy as np
    >>> file = io.BytesIO()
    >>> writeMRC(np.arange(6, dtype="int16").reshape(2, 3), file)
    >>> _ = file.seek(0)
    >>> image, header = asyncReadMRC(file).result()
    >>> image
    array([[0, 1, 2],
           [3, 4, 5]], dtype=int16)
    """
    return futures.submit_on_file(readMRC, 0, "MRCfilename", args, kwargs)


def asyncWriteMRC(*args: Any, **kwargs: Any) -> futures.Future[None]:  # noqa: N802
    """Call `writeMRC` in the background; the arrays must not change until it is done.

    A failure is also logged as an error, and jobs that are waiting are finished before
    the interpreter exits.

    Parameters
    ----------
    *args, **kwargs
        As of `writeMRC`.

    Returns
    -------
    concurrent.futures.Future
        Of None; its ``result()`` raises what `writeMRC` raises.

    Examples
    --------
    >>> import io, numpy as np
    >>> writing = asyncWriteMRC(np.zeros((2, 3), "int16"), io.BytesIO(), compressor="zstd")
    >>> writing.result()
    """
    future = futures.submit_on_file(writeMRC, 1, "MRCfilename", args, kwargs)
    name = kwargs.get("MRCfilename", args[1] if len(args) > 1 else "?")
    future.add_done_callback(futures.log_failure(f"writing {name}"))
    return future


def setDefaultThreads(n_threads: int | None) -> None:  # noqa: N802
    """Set the number of threads where ``n_threads`` is None.

    Parameters
    ----------
    n_threads : int or None
        1 to 4096; None: one a core that the process may use, as at the start.

    Raises
    ------
    ValueError, TypeError
        For anything else.

    Examples
    --------
    >>> setDefaultThreads(2)
    >>> setDefaultThreads(None)
    """
    _set_default_threads(n_threads)


def _setAsyncWorkers(N_workers: int) -> None:  # noqa: N802, N803
    """Set how many background jobs run at a time (1 at the start)."""
    futures.set_workers(N_workers)


read_mrc = readMRC
write_mrc = writeMRC
async_read_mrc = asyncReadMRC
async_write_mrc = asyncWriteMRC
read_mrc_header = readMRCHeader
write_mrc_header = writeMRCHeader
read_blosc_header = readBloscHeader
default_header = defaultHeader
set_default_threads = setDefaultThreads
