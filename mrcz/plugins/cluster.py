"""Clusters of dask: the workers compute and compress, one process writes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..codec import CodecOptions
from ..containers import SLAB_BYTES, Container, slab_edges
from ..encoding import EncodedFrames, encode_frames
from ..storing import FrameFormat

__all__ = ["client_in_use", "encoded_by_workers", "require_client"]


def client_in_use() -> Any:
    """Return the ``distributed.Client`` that dask would compute with; None if there is none."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    from dask.base import get_scheduler

    owner = getattr(get_scheduler(), "__self__", None)
    return owner if isinstance(owner, distributed.Client) else None


def require_client(client: Any) -> None:
    """Check an argument that is to be a ``distributed.Client``.

    Raises
    ------
    TypeError
        If it is anything else: the address of a scheduler, say.
    """
    distributed = sys.modules.get("distributed")  # imported, if there is a client
    if distributed is None or not isinstance(client, distributed.Client):
        raise TypeError(f"client must be a distributed.Client or None, not {client!r}")


def encoded_by_workers(
    container: Container,
    client: Any,
    settle: Callable[[Callable[..., CodecOptions | None]], FrameFormat],
    *,
    number: int,
    exact: bool,
) -> Generator[EncodedFrames, None, None]:
    """Yield the frames of dask arrays, in order, as the workers of `client` encode them.

    At most two parts a thread of the cluster are under way between dask and the file.

    Parameters
    ----------
    container : Container
        Of dask arrays alone.
    client : distributed.Client
        Whose workers compute and encode.
    settle : callable
        Returns how frames are stored, by what it is given: `mrcz.auto.choose` without its
        first argument, run by a worker on the first frames.
    number : int
        Of the first frame in the file.
    exact : bool
        Whether the statistics are of all frames.
    """
    parts = _parts(container, number)
    first = next(parts)

    def choose_codec(
        frame_format: FrameFormat, wanted: tuple[str, ...], **kwargs: Any
    ) -> CodecOptions | None:
        if not wanted:  # nothing that is worth computing the first slab twice
            return frame_format.options
        chosen: CodecOptions | None = client.compute(
            _delayed(_choose)(first.frames, frame_format, wanted, **kwargs)).result()
        return chosen

    frame_format = settle(choose_codec)
    window = 2 * max(1, sum(client.nthreads().values()))
    waiting: deque[Any] = deque()
    try:
        for part in chain([first], parts):
            if len(waiting) >= window:
                yield waiting.popleft().result()
            waiting.append(client.compute(_delayed(_encode)(
                part.frames, frame_format, part.number, exact)))
        while waiting:
            yield waiting.popleft().result()
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
