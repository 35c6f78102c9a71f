"""Writing a file frame by frame, in bounded memory, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import IO, Any

from .arguments import integer
from .codec import CodecOptions
from .containers import SLAB_BYTES, Container, contain
from .encoding import EncodedFrames, FrameEncoder
from .header import HEADER_BYTES, LARGEST_SIZE, VOLUME
from .headerdict import tell_of_keys
from .headerfields import HeaderFields
from .modes import Mode
from .options import WriteOptions, parse_write_options
from .parallel import run_behind
from .pixels import Pixels, writable_mode
from .progress import Advance
from .sinks import Sink
from .storing import FrameFormat
from .targets import open_sink
from .trailer import make_trailer

__all__ = ["StackWriter", "create", "write_slabs"]


class StackWriter:
    """Writes frames one behind the other into a new file; made by `mrcz.create`.

    Several threads may append: what each hands over stays together.

    The file takes its name when it is closed, or flushed for the first time. Leaving a
    ``with`` block by an exception removes what was not flushed.

    Parameters
    ----------
    sink : Sink
        Where the file goes.
    mode : Mode
        Pixel type.
    frame_shape : tuple of int
        (ny, nx).
    options : WriteOptions
        All else.
    slices : int
        0 for one array, else slices an item of a list.
    ispg : int
        What MRC2014 calls it.
    count : int, optional
        Frames that there must be at the end; None: any number.
    keep_partial : bool
        Whether an exception keeps the frames before it.
    first : int
        Number of the first frame that is written; those before are left out.
    total : int, optional
        NZ of the header, where it is not the number of frames that are written.
    advance : callable, optional
        Told how many bytes of pixels are written, piece by piece.
    axes : tuple of int
        The cell's axes that sections, rows and columns go along: 0 for z, 1 for y, 2 for x.

    Attributes
    ----------
    shape : tuple of int
        (frames so far, ny, nx).

    Examples
    --------
    >>> import io, mrcz
    >>> import numpy as np
    >>> with mrcz.create(io.BytesIO(), (None, 4, 5), "float32") as writer:
    ...     writer.append(np.ones((4, 5)))
    ...     writer.append(np.ones((2, 4, 5)))
    ...     writer.shape
    (3, 4, 5)
    """

    def __init__(
        self,
        sink: Sink,
        mode: Mode,
        frame_shape: tuple[int, int],
        options: WriteOptions,
        *,
        slices: int = 0,
        ispg: int = VOLUME,
        count: int | None = None,
        keep_partial: bool = False,
        first: int = 0,
        total: int | None = None,
        advance: Advance | None = None,
        axes: tuple[int, int, int] = (0, 1, 2),
    ) -> None:
        self._sink = sink
        self._advance = advance
        self._first = first
        self._total = total
        self._options = options
        self._count = count
        self._keep_partial = keep_partial
        self._closed = False
        self._lock = threading.RLock()
        self._encoder: FrameEncoder | None = None
        self._format = FrameFormat(mode, *frame_shape, options.byteorder, options.codec)
        self._fields = HeaderFields(
            shape=(0, *frame_shape),
            mode=mode,
            slices=slices,
            ispg=ispg,
            pixelsize=options.pixelsize,
            voltage=options.voltage,
            c3=options.c3,
            gain=options.gain,
            metadata_bytes=len(options.metadata),
            byteorder=options.byteorder,
            axes=axes,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Frames so far, ny, nx)."""
        frames = 0 if self._encoder is None else len(self._encoder.lengths)
        return (frames, self._format.ny, self._format.nx)

    def append(self, frames: Any) -> None:
        """Write one frame or several behind those before.

        Parameters
        ----------
        frames : (ny, nx) or (n, ny, nx) array, or sequence of (ny, nx) arrays
            Lazy arrays are read slab by slab.

        Raises
        ------
        ValueError, TypeError
            If the shape does not fit, there are more frames than announced, or a pixel
            can't be stored.
        OSError
            If the file can't be written.
        """
        container = contain(frames)
        if container.shape[1:] != self.shape[1:]:
            raise ValueError(f"frames must be {self.shape[1:]} (ny, nx), "
                             f"not {container.shape[1:]}")
        with self._lock:
            self._require_open()
            self.append_container(container)

    def append_container(self, container: Container) -> None:
        """Write all frames of a container: `append` without its checks.

        Dask arrays are compressed on the cluster, where one is in use; else dask computes
        the next part of them while one is written.
        """
        client = None
        if container.is_dask:
            from .plugins.cluster import append_from_cluster, client_in_use

            client = client_in_use()
        if client is not None:
            append_from_cluster(container, self, client)
        else:
            write_slabs(container, self.append_slab)

    def append_slab(self, frames: Sequence[Pixels]) -> None:
        """Write a sequence of (ny, nx) arrays, which must fit."""
        def choose_codec(*args: Any, **kwargs: Any) -> CodecOptions | None:
            from .auto import choose

            return choose(frames, *args, **kwargs)

        self.start(choose_codec)
        self._require_room(len(frames))
        assert self._encoder is not None
        self._encoder.write(frames)

    def append_encoded(self, encoded: EncodedFrames) -> None:
        """Write frames that were encoded elsewhere, in the format that `start` returned."""
        self._require_room(len(encoded.chunks))
        assert self._encoder is not None
        self._encoder.write_encoded(encoded)

    def _require_room(self, count: int) -> None:
        if self._count is not None and self.shape[0] + count > self._count:
            raise ValueError(f"{self._count} frames were announced, and here come "
                             f"{self.shape[0] + count}")

    @property
    def exact(self) -> bool:
        """Whether the statistics are of all frames."""
        return self._options.exact

    def start(self, choose_codec: Callable[..., CodecOptions | None]) -> FrameFormat:
        """Return how frames are stored; settle it first if that is still to be done.

        Parameters
        ----------
        choose_codec : callable
            What decides: `mrcz.auto.choose` without its first argument, the frames.
        """
        if self._encoder is None:
            asked = self._format.options
            if asked is not None:
                chosen = choose_codec(self._format, self._options.auto,
                                      may_store=not self._options.checksum)
                if chosen is not asked:
                    self._format = replace(self._format, options=chosen)
            self._encoder = self._open_encoder()
        return self._format

    def _open_encoder(self) -> FrameEncoder:
        if self._options.metadata:
            self._sink.write_at(HEADER_BYTES, self._options.metadata)
        return FrameEncoder(
            self._sink,
            HEADER_BYTES + len(self._options.metadata) + self._first * self._format.frame_bytes,
            self._format,
            threads=self._options.threads,
            exact=self._options.exact,
            checksum=self._options.checksum,
            advance=self._advance,
        )

    def flush(self) -> None:
        """Make the file on disk a complete one of the frames so far, under its name."""
        with self._lock:
            self._require_open()
            self._write_header()
            self._sink.publish()

    def close(self) -> None:
        """Complete the file and give it its name.

        Raises
        ------
        ValueError
            If no frame was written, or fewer than announced.
        """
        with self._lock:
            if not self._closed:
                self._close()

    def _close(self) -> None:
        try:
            if self._count is not None and self.shape[0] < self._count:
                raise ValueError(f"{self._count} frames were announced, but "
                                 f"{self.shape[0]} were written")
            self._write_header()
            self._sink.commit()
        except BaseException:
            self.abort()
            raise
        self._closed = True

    def abort(self) -> None:
        """Give up: remove what was not flushed."""
        self._closed = True
        self._sink.abort()

    def _write_header(self) -> None:
        encoder = self._encoder
        if encoder is None:
            raise ValueError("no frame was written: an MRC file can't be empty")
        codec = self._format.options
        statistics = encoder.statistics
        fields = replace(
            self._fields,
            shape=(self._total or self.shape[0], *self.shape[1:]),
            compressor=None if codec is None else codec.compressor,
            minimum=statistics.minimum,
            maximum=statistics.maximum,
            mean=statistics.mean,
            rms=statistics.rms,
            packed_bytes=0 if codec is None else sum(encoder.lengths),
            lengths=() if codec is None else encoder.lengths,
        )
        head = fields.pack()
        trailer = b""
        if self._options.checksum:
            start = HEADER_BYTES + len(self._options.metadata)
            trailer = make_trailer(start, encoder.lengths, encoder.checksums,
                                   head + self._options.metadata)
            self._sink.write_at(encoder.end, trailer)
        if encoder.extent > encoder.end + len(trailer):
            self._sink.truncate(encoder.end + len(trailer))
        self._sink.write_at(0, head)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._sink.name} is closed")

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._keep_partial and self._encoder is not None and not self._closed:
            self._count = None
            self.close()
        else:
            self.abort()


def write_slabs(container: Container, write: Callable[[Sequence[Pixels]], None]) -> None:
    """Write the frames of a container slab by slab; dask computes the next while one is written.

    Parameters
    ----------
    container : Container
        The frames.
    write : callable
        Takes (n, ny, nx) arrays, or lists of (ny, nx) arrays; runs in one thread at a time.
    """
    if container.is_computed_in_parts:
        # Half as much at a time, for there are two.
        run_behind(map(list, container.slabs(SLAB_BYTES // 2)), write)
    else:
        for slab in container.slabs():
            write(slab)


def create(
    path: str | os.PathLike[str] | IO[bytes],
    shape: tuple[int | None, int, int],
    dtype: Any,
    *,
    keep_partial: bool = False,
    **options: Any,
) -> StackWriter:
    r"""Open a new file to write frames into, one behind the other.

    Parameters
    ----------
    path : str, os.PathLike or binary file
        The file; one of that name is replaced when this one is whole.
    shape : tuple
        (nz, ny, nx); nz may be None: as many as come.
    dtype : dtype-like
        What is stored, as in `writeMRC`.
    keep_partial : bool
        Whether an exception in the ``with`` block keeps the frames before it.
    **options
        ``meta``, ``endian``, ``pixelsize``, ``pixelunits``, ``voltage`` (kV), ``C3`` (mm),
        ``gain`` (counts/e-), ``compressor``, ``clevel``, ``n_threads``, ``quickStats``,
        ``backend``, ``shuffle``, ``blocksize``, ``fsync``, ``checksum`` as in `writeMRC`.

    Returns
    -------
    StackWriter
        To be used in a ``with`` block, or closed.

    Raises
    ------
    OSError
        If the place can't be written to.
    ValueError, TypeError
        For arguments that make no sense.
    MissingCodecError
        If a package for the codec is not installed; an ImportError.

    Examples
    --------
    >>> import io, mrcz
    >>> import numpy as np
    >>> file = io.BytesIO()
    >>> with mrcz.create(file, (None, 4, 5), "int16", compressor="zstd") as writer:
    ...     for number in range(3):
    ...         writer.append(np.full((4, 5), number))
    >>> _ = file.seek(0)
    >>> mrcz.readMRC(file)[0][:, 0, 0]
    array([0, 1, 2], dtype=int16)
    """
    if not isinstance(shape, Sequence) or len(shape) != 3:
        raise ValueError(f"shape must be (nz or None, ny, nx), not {shape!r}")
    count = None if shape[0] is None else integer("shape[0]", shape[0], 1, LARGEST_SIZE)
    ny, nx = (integer(f"shape[{axis}]", shape[axis], 1, LARGEST_SIZE) for axis in (1, 2))
    mode, _ = writable_mode(dtype, what="dtype")
    parsed = parse_write_options(**options)
    tell_of_keys(options.get("meta"), 0)
    return StackWriter(open_sink(path, fsync=parsed.fsync), mode, (ny, nx), parsed,
                       count=count, keep_partial=keep_partial)
