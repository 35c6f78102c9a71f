"""Converting Gatan DM files to MRC and MRCZ."""

from __future__ import annotations

import logging
import math
import os
from itertools import chain
from typing import IO, Any

import numpy as np

from .dm.image import DMImage
from .dm.info import find_tag
from .dm.tags import DMArray
from .ioDM4 import readDM4
from .ioMRC import writeMRC
from .progress import shown, title_of
from .units import angstrom_per
from .writer import create

__all__ = ["describe_dm", "dm_to_mrcz"]

logger = logging.getLogger("mrcz")

BATCH_PIXELS = 8 << 20
"""Pixels of frames that are read at once, for the threads to compress."""
MAX_TAG_ITEMS = 1024
"""Longer arrays are not copied into the metadata."""
LENGTHS = frozenset(("pm", "A", "\u00c5", "\u212b", "nm", "um", "\u00b5m", "\u03bcm", "mm", "m"))
ELECTRONS = frozenset(("e", "e-", "electrons"))


def dm_to_mrcz(
    source: str | os.PathLike[str] | readDM4,
    target: str | os.PathLike[str] | IO[bytes],
    *,
    image: int | None = None,
    meta: dict[str, Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> None:
    r"""Write an image of a Gatan DM4 or DM3 file to an MRC or MRCZ file.

    Frames are read and written a few at a time, so a movie may be larger than memory.
    What the tags tell goes into the header: pixel size, voltage, spherical aberration and
    gain; and into the metadata: ``'exposure'`` (s), ``'imageInfo'`` as of `DMImage`, and
    ``'dm4'``, all tags but long arrays.

    Parameters
    ----------
    source : str, os.PathLike or readDM4
        The file, or one that has been read, be it with ``flip=False``.
    target : str, os.PathLike or binary file
        The new file.
    image : int, optional
        Number of the image in ``readDM4(source).im``; default: the one that the file
        displays, which is not the thumbnail.
    meta : dict, optional
        More metadata; where keys are the same, this counts.
    progress : bool
        Show a bar of what is written, in a terminal or a notebook.
    **options
        As of `mrcz.create`; what is given here counts more than the tags.  ``compressor``
        is ``'zstd'`` if not given and the target's name ends with ``mrcz``.

    Raises
    ------
    MRCFormatError, MRCTruncatedError
        If the source is damaged.
    ValueError
        If there is no such image.
    TypeError
        If MRC can't hold its pixels: colours and integers of 64 bits.
    OSError
        If a file can't be read or written.

    Notes
    -----
    Pixel sizes are those of lengths: of an image in 1/nm (a diffraction pattern) or
    without units they are written as 0, unknown, and a third axis that is no length
    has the spacing of y.  Spectra become images of one row, and of 4-D data all frames
    stand behind one another: ``meta['dm4']`` has the dimensions.
    """
    picked, known = describe_dm(source, image)
    if _is_mrcz(target):
        options.setdefault("compressor", "zstd")
    options = {**known, **options, "meta": {**known["meta"], **(meta or {})}}
    if len(picked.shape) > 2:
        _write_frames(picked, target, progress, **options)
    else:
        writeMRC(np.atleast_2d(picked.read()), target, progress=progress, **options)


def describe_dm(
    source: str | os.PathLike[str] | readDM4, image: int | None = None
) -> tuple[DMImage, dict[str, Any]]:
    """Return an image of a DM file, and what the tags tell as options of `mrcz.create`.

    Parameters
    ----------
    source, image
        As of `dm_to_mrcz`.

    Returns
    -------
    image : DMImage
        Its pixels, lazily.
    options : dict
        ``pixelsize``, ``meta`` and what else is known.

    Raises
    ------
    ValueError
        If there is no such image, or it has no pixels.
    """
    dm = source if isinstance(source, readDM4) else readDM4(source)
    picked = _pick(dm, image)
    if 0 in picked.shape:
        raise ValueError(f"{dm.filename}: an image of shape {picked.shape} has no pixels to write")
    return picked, {**_header_of(picked), "meta": _metadata_of(dm, picked)}


def _write_frames(image: DMImage, target: Any, progress: bool, **options: Any) -> None:
    *counts, ny, nx = image.shape
    frames = math.prod(counts)
    step = max(1, BATCH_PIXELS // max(1, ny * nx))
    batches = (image.read_frames(first, min(first + step, frames))
               for first in range(0, frames, step))
    batch = next(batches)
    nbytes = frames * batch[0].nbytes
    with (shown(progress, nbytes, title_of(target)) as advance,
          create(target, (frames, ny, nx), batch.dtype, **options) as writer):
        for part in chain([batch], batches):
            writer.append(part)
            if advance is not None:
                advance(part.nbytes)


def _pick(dm: readDM4, number: int | None) -> DMImage:
    if number is None:
        displayed = find_tag(dm.tags, "ImageSourceList:0:ImageRef")
        number = displayed if displayed in range(len(dm.im)) else -1
    try:
        return dm.im[number]
    except IndexError:
        raise ValueError(f"{dm.filename} has {len(dm.im)} images, and none of number {number}"
                         ) from None


def _is_mrcz(target: Any) -> bool:
    return isinstance(target, (str, os.PathLike)) and os.fsdecode(target).lower().endswith("mrcz")


def _header_of(image: DMImage) -> dict[str, Any]:
    """Return what the tags tell in the units of MRC, as options of `create`."""
    info = image.imageInfo
    voltage = _number(info.get("Voltage"))
    facts = {"voltage": None if voltage is None else voltage / 1000,
             "C3": _number(info.get("C3")), "gain": _gain_of(info)}
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {"pixelsize": _pixelsize_of(info), "pixelunits": "\\AA", **known}


def _pixelsize_of(info: dict[str, Any]) -> tuple[float, float, float]:
    """Return (z, y, x) in Å; 0 where it isn't known."""
    z, y, x = (_spacing(info, axis) for axis in "ZYX")
    return (z or y, y, x)


def _spacing(info: dict[str, Any], axis: str) -> float:
    scale = _number(info.get(f"Dim{axis}Scale"))
    unit = info.get(f"Dim{axis}Units")
    if unit in LENGTHS and scale is not None:
        return abs(scale) * angstrom_per(unit)
    if unit and axis != "Z":
        logger.warning("the pixel size along %s is in %s, not a length: written as unknown",
                       axis.lower(), unit)
    return 0.0


def _gain_of(info: dict[str, Any]) -> float | None:
    """Return counts per electron, from the dose calibration or that of the intensities."""
    rate = _number(info.get("DoseRateCalibration"))
    if rate is not None and rate > 0:
        return rate
    scale = _number(info.get("IntensityScale"))
    if info.get("IntensityUnits") in ELECTRONS and scale is not None and scale > 0:
        return 1 / scale
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _metadata_of(dm: readDM4, image: DMImage) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if "Exposure" in image.imageInfo:
        meta["exposure"] = image.imageInfo["Exposure"]
    meta["imageInfo"] = image.imageInfo
    meta["dm4"] = _without_arrays(dm.tags)
    return meta


def _without_arrays(value: Any) -> Any:
    """Return a copy of the tags without long arrays."""
    if isinstance(value, dict):
        return {key: _without_arrays(item) for key, item in value.items() if not _is_long(item)}
    if isinstance(value, list):
        return [None if _is_long(item) else _without_arrays(item) for item in value]
    return value


def _is_long(value: Any) -> bool:
    if isinstance(value, DMArray):
        return True
    is_array = isinstance(value, list) and not isinstance(value[0] if value else None, dict)
    return is_array and len(value) > MAX_TAG_ITEMS
