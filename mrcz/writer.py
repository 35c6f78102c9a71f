"""Writing a file frame by frame, in bounded memory, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import IO, Any

from .arguments import integer
from .containers import Container, contain
from .feeding import FrameFeed
from .header import HEADER_BYTES, LARGEST_SIZE, VOLUME
from .headerdict import tell_of_keys
from .headerfields import HeaderFields
from .modes import Mode
from .options import WriteOptions, parse_write_options
from .pixels import Pixels, writable_mode
from .progress import Advance
from .sinks import Sink
from .storing import FrameFormat
from .targets import open_sink
from .trailer import make_trailer

__all__ = ["StackWriter", "create"]


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
        self._total = total
        self._options = options
        self._count = count
        self._keep_partial = keep_partial
        self._closed = False
        self._lock = threading.RLock()
        frame_format = FrameFormat(mode, *frame_shape, options.byteorder, options.codec)
        self._data_offset = HEADER_BYTES + len(options.metadata)
        self._metadata_to_write = options.metadata
        self._feed = FrameFeed(sink, self._data_offset + first * frame_format.frame_bytes,
                               frame_format, options, room=count, advance=advance)
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
        return (self._feed.count, self._feed.format.ny, self._feed.format.nx)

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
        """Write all frames of a container: `append` without its checks."""
        self._feed.write(container)

    def append_slab(self, frames: Sequence[Pixels]) -> None:
        """Write a sequence of (ny, nx) arrays, which must fit."""
        self._feed.write_slab(frames)

    def flush(self) -> None:
        """Make the file on disk a complete one of the frames so far, under its name.

        Raises
        ------
        ValueError
            If no frame was written yet, or the writer is closed.
        OSError
            If the file can't be written; or was removed, replaced or appended to by others after
            an earlier flush.
        """
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
        OSError
            If the file can't be written.
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
        encoder = self._feed.encoder
        if encoder is None or not self._feed.count:
            raise ValueError("no frame was written: an MRC file can't be empty")
        codec = self._feed.format.options
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
        record = fields.pack()
        trailer = b""
        if self._options.checksum:
            trailer = make_trailer(self._data_offset, encoder.lengths, encoder.checksums,
                                   record + self._options.metadata)
            self._sink.write_at(encoder.end, trailer)
        if encoder.extent > encoder.end + len(trailer):
            self._sink.truncate(encoder.end + len(trailer))
        if self._metadata_to_write:  # once: behind a flush they are bytes that count
            self._sink.write_at(HEADER_BYTES, self._metadata_to_write)
            self._metadata_to_write = b""
        self._sink.write_at(0, record)

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
        elif self._keep_partial and self._feed.count and not self._closed:
            self._count = None
            self.close()
        else:
            self.abort()


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
