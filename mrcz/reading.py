"""What a caller of `readMRC` asks for: which frames, into which array, arranged how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from .arguments import frame_number
from .errors import FrameIndexError
from .headerdict import HeaderDict
from .pixels import Pixels
from .reader import MRCReader
from .sources import FileSource
from .stack import Stack

__all__ = ["File", "arranged", "checked_out", "frames_asked", "mapped_or_lazy"]

File = str | os.PathLike[str] | IO[bytes]


def frames_asked(idx: int | tuple[int, int] | None, reader: MRCReader) -> range:
    """Return the frames that `idx` means."""
    nz, path = reader.record.nz, reader.record.path
    if idx is None:
        return range(nz)
    allowed = "an int or (first, last) with last excluded"
    if not isinstance(idx, Sequence):
        first = frame_number(idx, allowed)
        first += nz if first < 0 else 0
        last = first + 1
    elif len(idx) == 2 and not isinstance(idx, range):  # whose two numbers are not its ends
        bounds = [frame_number(edge, allowed) for edge in idx]
        first, last = (edge + nz if edge < 0 else edge for edge in bounds)
    else:
        raise TypeError(f"idx must be {allowed}, not {idx!r}")
    if not 0 <= first < last <= nz:
        raise FrameIndexError(f"{path} has {nz} frames: idx={idx!r} is not among them")
    return range(first, last)


def checked_out(
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


def mapped_or_lazy(
    file: File, idx: int | tuple[int, int] | None, slices: int | None, **options: Any
) -> tuple[Any, HeaderDict]:
    """Return what `readMRC` does with ``useMemmap=True``.

    Parameters
    ----------
    file, idx, slices
        As of `readMRC`.
    **options
        As of `Stack`.
    """
    stack = Stack(file, **options)  # opens a file object once: its position is the user's
    try:
        reader, header = stack._reader, stack.header
        per_item = reader.slices(slices)
        frames = frames_asked(idx, reader)
        reader.require_plausible()
        if _can_map(reader, file, frames):
            image = _map_frames(reader, frames)
            found: Any = arranged(image, idx, per_item, reader.record.items_are_volumes)
        elif idx is None:
            return stack, header
        else:
            found = stack[_key_of(idx, frames)]
    except BaseException:
        stack.close()
        raise
    stack.close()
    return found, header


def _can_map(reader: MRCReader, file: File, frames: range) -> bool:
    """Return whether pixels lie in a file on disk, all of them, as they would in memory."""
    return (
        reader.record.compressor is None
        and not reader.record.mode.converted
        and isinstance(file, (str, bytes, os.PathLike))
        and isinstance(reader.source, FileSource)
        and reader.table.holds(frames)
    )


def _map_frames(reader: MRCReader, frames: range) -> Pixels:
    """Return frames as a memory map."""
    start, _ = reader.table.span(frames.start, len(frames))
    shape = (len(frames), *reader.shape[1:])
    return np.memmap(reader.source.name, reader.record.disk_dtype, "c", start, shape)


def _key_of(idx: int | tuple[int, int], frames: range) -> Any:
    """Return the index into a `Stack` that gives the frames as `idx` means them."""
    return slice(frames.start, frames.stop) if isinstance(idx, Sequence) else frames.start


def arranged(
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
