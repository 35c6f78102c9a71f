"""Dask arrays to files; on a cluster, the workers compress and one process writes."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..containers import SLAB_BYTES, Container, is_dask, slab_edges
from ..encoding import EncodedFrames, FrameFormat, encode_frames
from ..ioMRC import writeMRC

if TYPE_CHECKING:
    from ..codec import CodecOptions
    from ..writer import StackWriter

__all__ = ["append_from_cluster", "client_in_use", "from_dask"]


def from_dask(
    array: Any,
    path: str | os.PathLike[str] | IO[bytes],
    client: Any = None,
    **options: Any,
) -> None:
    """Write a dask array, each of its chunks computed once and few of them at a time.

    With a client of ``dask.distributed``, the workers compute and compress: compressed
    bytes alone travel to this process, which writes them in order. A worker that dies is
    replaced as dask does it. The workers need this package, not the file system.

    Parameters
    ----------
    array : dask.array.Array
        Of 1 to 4 dimensions, as in `writeMRC`.
    path : str, os.PathLike or binary file
        Where to.
    client : distributed.Client, optional
        Whose workers compress; None: those of the client in use, if there is one.
    **options
        As in `writeMRC`, which does the same with the client in use; ``n_threads`` has
        no meaning on a cluster, where dask decides what runs at a time.

    Raises
    ------
    TypeError
        If `array` is no dask array.
    OSError, ValueError, TypeError
        As `writeMRC`.

    Examples
    --------
    >>> import io, dask.array, mrcz
    >>> movie = dask.array.zeros((100, 64, 64), dtype="int16", chunks=(10, 64, 64))
    >>> file = io.BytesIO()
    >>> mrcz.from_dask(movie + 1, file, compressor="zstd", pixelsize=1.2)
    >>> _ = file.seek(0)
    >>> mrcz.readMRC(file)[0].shape
    (100, 64, 64)
    """
    if not is_dask(array):
        raise TypeError(f"array must be a dask array, not {type(array).__name__}; "
                        f"writeMRC takes all other kinds")
    if client is None:
        writeMRC(array, path, **options)
        return
    with client.as_current():
        writeMRC(array, path, **options)


def client_in_use() -> Any:
    """Return the ``distributed.Client`` that dask would compute with; None if there is none."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    from dask.base import get_scheduler

    owner = getattr(get_scheduler(), "__self__", None)
    return owner if isinstance(owner, distributed.Client) else None


def append_from_cluster(container: Container, writer: StackWriter, client: Any) -> None:
    """Append dask arrays to a file, compressed by the workers of `client`.

    At most two parts a thread of the cluster are under way between dask and the file.

    Parameters
    ----------
    container : Container
        Of dask arrays alone.
    writer : StackWriter
        The file.
    client : distributed.Client
        Whose workers compress.
    """
    parts = _parts(container, writer.shape[0])
    first = next(parts)

    def choose_codec(
        frame_format: FrameFormat, wanted: tuple[str, ...], **kwargs: Any
    ) -> CodecOptions | None:
        if not wanted:  # nothing that is worth computing the first slab twice
            return frame_format.options
        chosen: CodecOptions | None = client.compute(
            _delayed(_choose)(first.frames, frame_format, wanted, **kwargs)).result()
        return chosen

    frame_format = writer.start(choose_codec)
    window = 2 * max(1, sum(client.nthreads().values()))
    waiting: deque[Any] = deque()

    def submit(part: _Part) -> None:
        waiting.append(client.compute(_delayed(_encode)(
            part.frames, frame_format, part.number, writer.exact)))

    try:
        submit(first)
        for part in parts:
            if len(waiting) >= window:
                writer.append_encoded(waiting.popleft().result())
            submit(part)
        while waiting:
            writer.append_encoded(waiting.popleft().result())
    finally:
        client.cancel(list(waiting))


class _Part(NamedTuple):
    """Some frames: a ``dask.delayed`` of their array, and the number of the first one."""

    frames: Any
    number: int


def _parts(container: Container, number: int) -> Iterator[_Part]:
    frame_bytes = container.shape[1] * container.shape[2] * container.dtype.itemsize
    for item in container.items:
        frames = item[None] if item.ndim == 2 else item
        edges = slab_edges(frames, max(1, SLAB_BYTES // frame_bytes))
        heights = tuple(stop - start for start, stop in edges)
        # Whole frames a block; where that is so already, rechunk changes nothing.
        blocks = frames.rechunk((heights, -1, -1)).to_delayed().ravel()
        for block, height in zip(blocks, heights, strict=True):
            yield _Part(block, number)
            number += height


def _delayed(function: Any) -> Any:
    from dask import delayed

    return delayed(function, pure=False)


# What runs on the workers.


def _encode(
    frames: Any, frame_format: FrameFormat, number: int, exact: bool
) -> EncodedFrames:
    # One thread: dask runs as many of these at a time as the worker has threads.
    return encode_frames(list(np.asarray(frames)), frame_format, number=number, threads=1,
                         exact=exact)


def _choose(
    frames: Sequence[Any], frame_format: FrameFormat, wanted: tuple[str, ...], **kwargs: Any
) -> CodecOptions | None:
    from ..auto import choose

    return choose(list(np.asarray(frames)), frame_format, wanted, **kwargs)
