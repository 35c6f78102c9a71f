"""MRC and DM files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..convert import describe_dm
from ..header import IMAGE_STACK, VOLUME, Record
from ..pixels import Pixels
from ..reader import MRCReader
from ..units import is_storable
from .frames import Frames, item_number, three

__all__ = ["frames_of_mrc", "header_options", "open_dm"]


def frames_of_mrc(reader: MRCReader, threads: int) -> Frames:
    """Return the frames of an open MRC or MRCZ file."""
    record = reader.record
    options = {**header_options(record), "meta": dict(reader.metadata)}
    return Frames((record.nz, record.ny, record.nx), reader.dtype,
                  lambda frames: reader.read(frames, threads=threads), options,
                  reader.slices(), record.fields["ispg"], record, record.mode.packed,
                  record.mode.channels, axes=record.axes)


def header_options(record: Record) -> dict[str, Any]:
    """Return what the record of a file says as options of `mrcz.create`."""
    fields = record.fields
    numbers = {"voltage": fields["voltage"], "C3": fields["c3"], "gain": fields["gain"]}
    return {
        # Files of other programs have anything in these words.
        **{name: value if math.isfinite(value) else 0.0 for name, value in numbers.items()},
        "pixelsize": [size if is_storable(size) else 0.0 for size in record.pixelsize],
    }


@contextmanager
def open_dm(path: str, item: str | None) -> Iterator[Frames]:
    """Open an image of a DM file, the main one or the one of that number."""
    image, options = describe_dm(path, item_number(item, path))
    shape = three(image.shape)

    def read(frames: range) -> Pixels:
        if len(image.shape) < 3:
            block: Pixels = image.read().reshape(shape)[frames.start : frames.stop : frames.step]
        elif frames.step == 1:
            block = image.read_frames(frames.start, frames.stop)
        else:  # what lies between them may be more than memory holds
            block = np.concatenate([image.read_frames(frame, frame + 1) for frame in frames])
        return _channels_last(block)

    first = image.read_frames(0, 1) if len(image.shape) > 2 else image.read()
    pixel = _channels_last(first.reshape(-1)[:1])
    yield Frames(shape, pixel.dtype, read, options,
                 ispg=VOLUME if image.is_volume else IMAGE_STACK,
                 channels=1 if pixel.ndim == 1 else pixel.shape[-1])


def _channels_last(pixels: Pixels) -> Pixels:
    """Return colours, which are records in memory, with an axis of red, green and blue."""
    if pixels.dtype.names is None:
        return pixels
    return np.stack([pixels[name] for name in "RGB"], axis=-1)
