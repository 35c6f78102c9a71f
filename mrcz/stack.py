"""A file as an array: lazy, sliceable, picklable."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np

from .arguments import integer
from .cache import Cache
from .errors import MissingCodecError, MRCError
from .headerdict import HeaderDict
from .indexing import Selection, select
from .locks import ForkSafeLock
from .parallel import threads_of
from .pixels import Pixels
from .reader import MRCReader
from .sources import is_url
from .streams import StreamSource

__all__ = ["Stack", "open"]

logger = logging.getLogger("mrcz")

DEFAULT_CACHE_BYTES = 64 << 20
_SLAB_BYTES = 64 << 20
_AHEAD_BYTES = 8 << 20
"""Of small frames, what is read at once for who iterates."""
_CHUNK_BYTES = 64 << 20
"""Size of dask's chunks, in bytes."""


class Stack:
    """The frames of a file, read when they are asked for.

    Made by `mrcz.open`, whose parameters are those of this class. Indexing is NumPy's, and
    reads only the frames, and of these only the blocks of rows, that it needs. Safe to use
    from several threads. Pickles as the file's path: the file is opened again when something
    is asked of the copy, and has to be the same then.

    Attributes
    ----------
    path : str
        The file's name.

    Examples
    --------
    >>> import io, mrcz
    >>> file = io.BytesIO()
    >>> mrcz.writeMRC(np.arange(60, dtype="int16").reshape(3, 4, 5), file, pixelsize=1.5)
    >>> _ = file.seek(0)
    >>> stack = mrcz.open(file)
    >>> len(stack), stack.dtype, stack.header["pixelsize"].tolist()
    (3, dtype('int16'), [1.5, 1.5, 1.5])
    >>> stack[-1, :2, ::2]
    array([[40, 42, 44],
           [45, 47, 49]], dtype=int16)
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        *,
        endian: str = "le",
        pixelunits: str = "\\AA",
        fileConvention: str = "ccpem",  # noqa: N803
        n_threads: int | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        verify: bool | None = None,
    ) -> None:
        self._is_path = isinstance(file, (str, bytes, os.PathLike))
        if isinstance(file, (str, bytes, os.PathLike)):
            file = os.fsdecode(file)
            file = file if is_url(file) else os.path.abspath(file)
        threads_of(n_threads)  # refuses here what every read would
        self._file = file
        self._options: dict[str, Any] = {
            "endian": endian, "convention": fileConvention, "verify": verify,
        }  # fmt: skip
        self._pixelunits = pixelunits
        self._n_threads = n_threads
        self._cache = Cache(integer("cache_bytes", cache_bytes, 0))
        self._opening = ForkSafeLock()
        self._opened: MRCReader | None = MRCReader(file, **self._options, cache=self._cache)
        self._identity = self._opened.source.identity
        if isinstance(self._opened.source, StreamSource):
            logger.warning("%s can only be read from its start on: what is asked for, and all "
                           "before it, is decompressed once and kept", self.path)

    def __getstate__(self) -> dict[str, Any]:
        if not self._is_path:
            raise TypeError("a Stack of a file object can't be pickled, only one of a path")
        state = self.__dict__ | {"_cache": self._cache.limit}
        del state["_opening"], state["_opened"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Nothing is opened yet: a cluster's scheduler unpickles too, and needs no files. Nor can
        # this fail: a worker that can't unpickle what it gets leaves others waiting for ever.
        self.__dict__.update(state, _cache=Cache(state["_cache"]), _opening=ForkSafeLock(),
                             _opened=None)

    @property
    def _reader(self) -> MRCReader:
        if self._opened is None:
            with self._opening():
                if self._opened is None:
                    self._opened = self._open_again()
        return self._opened

    def _open_again(self) -> MRCReader:
        reader = MRCReader(self._file, **self._options, cache=self._cache)
        if reader.source.identity != self._identity:
            reader.close()
            raise MRCError(f"{self._file} has changed since the Stack was made; open it anew")
        return reader

    @property
    def path(self) -> str:
        """The file's name."""
        return self._reader.record.path

    @property
    def shape(self) -> tuple[int, ...]:
        """(nz, ny, nx), also of one frame; (nz, ny, nx, 3) of RGB."""
        return self._reader.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels, in the machine's byte order."""
        return self._reader.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels in memory."""
        return self.size * self.dtype.itemsize

    @property
    def header(self) -> HeaderDict:
        """The header as `readMRC` returns it."""
        return self._reader.header(self._pixelunits)

    @property
    def meta(self) -> dict[str, Any]:
        """The user's metadata as they were written, also under keys that the header has."""
        return dict(self._reader.metadata)

    @property
    def compressor(self) -> str | None:
        """Codec; None of an uncompressed file."""
        return self._reader.record.compressor

    @property
    def slices(self) -> int:
        """Slices an item, where the file was written from a list; else 0."""
        return self._reader.slices()

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of what is stored as a unit: one frame."""
        return (1, *self.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Pixels]:
        number, count = 0, 1  # who stops soon has not read much ahead
        most = max(1, _AHEAD_BYTES // max(1, self.shape[1] * self._row_bytes))
        while number < len(self):
            frames = range(number, min(number + count, len(self)))
            yield from self._some(frames)
            number, count = frames.stop, min(2 * count, most)

    def _some(self, frames: range) -> Iterator[Pixels]:
        """Yield frames that are read together, but one by one where some are kept or damaged."""
        block = None
        if len(frames) > 1 and self._cache.get(("frame", frames[0])) is None:
            with suppress(MRCError, OSError):
                block = self._read(frames, (0, self.shape[1]))
        for number in frames:
            if block is None:
                yield self[number]
                continue
            frame = block[number - frames.start]
            self._keep(number, frame[np.newaxis])
            yield frame.copy()  # which holds no other

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[2:]) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> Any:
        selection = select(key, self.shape)
        rows = selection.rows[1] - selection.rows[0]
        if (len(selection.frames) * rows * self._row_bytes > _SLAB_BYTES
                and selection.by_frame and selection.narrows):
            return self._read_narrow(selection)
        block = self._read(selection.frames, selection.rows)
        return block[selection.key] if selection.key else block

    def _read(self, frames: Any, rows: tuple[int, int]) -> Pixels:
        threads = threads_of(self._n_threads)
        if len(frames) != 1:
            return self._reader.read(frames, rows=rows, threads=threads)
        name = ("frame", int(frames[0]))
        whole = self._cache.get(name)
        if whole is not None:
            part: Pixels = whole[:, slice(*rows)].copy()
            return part
        block = self._reader.read(frames, rows=rows, threads=threads)
        if block.shape[1] == self.shape[1]:
            self._keep(int(frames[0]), block)
        return block

    def _keep(self, number: int, block: Pixels) -> None:
        """Keep a frame, (1, ny, nx), for the next access."""
        if block.nbytes <= self._cache.limit // 16:
            self._cache.put(("frame", number), block.copy(), block.nbytes)

    def _read_narrow(self, selection: Selection) -> Pixels:
        """Read frames slab by slab where only some of each is wanted."""
        key = selection.key
        place = next(n for n, part in enumerate(key) if part is not None)
        if isinstance(key[place], int):  # one frame
            block: Pixels = self._read(selection.frames, selection.rows)[key].copy()
            return block
        frame_key = key[place + 1 :]
        rows = selection.rows[1] - selection.rows[0]
        step = max(1, _SLAB_BYTES // (rows * self._row_bytes))
        parts = []
        for start in range(0, len(selection.frames), step):
            slab = self._read(selection.frames[start : start + step], selection.rows)
            parts.append(slab[(slice(None),) + frame_key].copy())  # noqa: RUF005  (3.10)
        whole = np.concatenate(parts)
        return whole[key[:place] + (slice(None),)]  # noqa: RUF005  (3.10)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        if copy is False:
            raise ValueError("a Stack has to be read: it can't become an array without a copy")
        array: Pixels = self._reader.read(range(len(self)), threads=threads_of(self._n_threads))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if args and args[0] is self and len(args) == 1 and not kwargs:
            if function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
                return self  # HyperSpy asks, and anything else would read the whole file
            if function in (np.shape, np.ndim, np.size):
                return getattr(self, function.__name__)
        return function(*_as_arrays(args), **{k: _as_arrays(v) for k, v in kwargs.items()})

    def to_dask(self, chunks: Any = "auto") -> Any:
        """Return a dask array of the frames.

        Parameters
        ----------
        chunks : 'auto' or as in `dask.array.from_array`
            'auto': whole frames, about 64 MiB together.

        Returns
        -------
        dask.array.Array
            Of this shape and dtype. Its tasks, in whatever process, open the file anew; it has
            to be there, and the same.

        Raises
        ------
        MissingCodecError
            Without dask; an ImportError.
        MRCTruncatedError
            If the file is much too short for as many chunks.

        Examples
        --------
        >>> import mrcz, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "a.mrcz")
        >>> mrcz.writeMRC(np.ones((6, 64, 64), "int16"), path, compressor="zstd")
        >>> with mrcz.open(path) as stack:
        ...     int(stack.to_dask(chunks=(2, 64, 64)).sum().compute(scheduler="threads"))
        24576
        """
        try:
            import dask.array as da
        except ImportError as error:
            raise MissingCodecError("to_dask needs the package 'dask': pip install mrcz[dask]"
                                    ) from error

        self._reader.require_plausible()
        if isinstance(chunks, str) and chunks == "auto":
            frame_bytes = max(1, self.nbytes // len(self))
            chunks = (max(1, min(len(self), _CHUNK_BYTES // frame_bytes)), *self.shape[1:])
        return da.from_array(self, chunks=chunks, name=None, asarray=False, fancy=True)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        if not self._is_path:
            return ("mrcz.Stack", id(self))
        return ("mrcz.Stack", self.path, self._identity, tuple(self._options.items()))

    def preview(self, frame: int | None = None, size: int = 512) -> Pixels:
        """Return a small picture of a frame, in greys of full contrast.

        Parameters
        ----------
        frame : int, optional
            Which; default: the middle one.
        size : int
            Pixels a side, at most. Larger frames are averaged down.

        Returns
        -------
        (ny, nx) array of uint8
            The darkest and the brightest 0.3 % of the pixels are 0 and 255. Of complex
            pixels the magnitude is shown; colours stay colours, (ny, nx, 3).

        Raises
        ------
        FrameIndexError
            If there is no such frame.

        Examples
        --------
        >>> import io, mrcz
        >>> file = io.BytesIO()
        >>> mrcz.writeMRC(np.arange(4096, dtype="int16").reshape(64, 64), file)
        >>> _ = file.seek(0)
        >>> mrcz.open(file).preview(size=16).shape
        (16, 16)
        """
        from . import preview

        return preview.preview(self, frame, size)

    def plot(self, frame: int | None = None, *, ax: Any = None, size: int = 1024) -> Any:
        """Draw a frame with matplotlib, its first row at the bottom, its axes in nm.

        Parameters
        ----------
        frame : int, optional
            Which; default: the middle one.
        ax : matplotlib.axes.Axes, optional
            Where to; default: a new figure.
        size : int
            Pixels a side, at most.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        MissingCodecError
            Without matplotlib (the extra ``view``); an ImportError.
        """
        from . import preview

        return preview.plot(self, frame, ax, size)

    def _repr_html_(self) -> str:
        from . import preview

        return preview.as_html(self)

    def __repr__(self) -> str:
        kind = self.compressor or "uncompressed"
        return f"<mrcz.Stack {self.path!r}: {self.shape} {self.dtype}, {kind}>"

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()


def _as_arrays(value: Any) -> Any:
    """Return arguments of a NumPy function with arrays for stacks."""
    if isinstance(value, Stack):
        return np.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_as_arrays(item) for item in value)
    return value


def open(
    path: str | os.PathLike[str] | IO[bytes],
    *,
    endian: str = "le",
    pixelunits: str = "\\AA",
    fileConvention: str = "ccpem",  # noqa: N803
    n_threads: int | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    verify: bool | None = None,
) -> Stack:
    r"""Open a file as a lazy array.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        MRC or MRCZ; gzip, bzip2 and xz streams are decompressed once. Of a URL
        (``s3://``, ``https://`` and what else fsspec knows; the extra ``remote``), only
        what is asked for is fetched.
    endian : {'le', 'be'}
        Byte order to assume where the file itself does not tell.
    pixelunits : str
        Unit of ``header['pixelsize']``, as in `readMRC`.
    fileConvention : {'ccpem', 'eman2'}
        Numbering of pixel types.
    n_threads : int, optional
        Threads that decompress; None: what `setDefaultThreads` says.
    cache_bytes : int
        Decoded rows and frames that are kept for the next access; 0: none.
    verify : bool, optional
        Whether checksums, where the file has them, are compared: None for whole frames,
        True for parts of frames too, False never.

    Returns
    -------
    Stack
        To be used in a ``with`` block, or closed.

    Raises
    ------
    OSError
        If the file can't be opened.
    MRCFormatError
        If its header is malformed.
    ValueError, TypeError
        For arguments that make no sense.

    Examples
    --------
    >>> import io, mrcz
    >>> file = io.BytesIO()
    >>> mrcz.writeMRC(np.arange(60, dtype="int16").reshape(3, 4, 5), file, compressor="lz4")
    >>> _ = file.seek(0)
    >>> with mrcz.open(file) as stack:
    ...     stack.shape, stack[1, 2:, 0]
    ((3, 4, 5), array([30, 35], dtype=int16))
    """
    return Stack(path, endian=endian, pixelunits=pixelunits, fileConvention=fileConvention,
                 n_threads=n_threads, cache_bytes=cache_bytes, verify=verify)
