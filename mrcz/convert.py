"""Converting Gatan DM files to MRC and MRCZ."""

from __future__ import annotations

import logging
import math
import os
from itertools import chain
from typing import IO, Any

import numpy as np

from .arguments import LARGEST_FLOAT, integer
from .dm.array import DMArray
from .dm.image import DMImage
from .dm.info import find_tag
from .dm.pixels import COLOURS
from .header import IMAGE_STACK, VOLUME
from .ioDM4 import readDM4
from .ioMRC import writeMRC
from .options import parse_write_options
from .pixels import writable_mode
from .progress import shown, title_of
from .replacing import is_same_file
from .targets import open_sink
from .units import angstrom_per, is_length, is_storable
from .writer import StackWriter

__all__ = ["describe_dm", "dm_to_mrcz"]

logger = logging.getLogger("mrcz")

BATCH_PIXELS = 8 << 20
"""Pixels of frames that are read at once, for the threads to compress."""
MAX_TAG_ITEMS = 1024
"""Longer arrays are not copied into the metadata."""
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
    gain; and into the metadata: ``'exposure'`` (s), ``'imageInfo'`` as of `mrcz.ioDM4.DMImage`, and
    ``'dm4'``, all tags but long arrays.

    Parameters
    ----------
    source : str, os.PathLike or readDM4
        The file, or one that has been read, be it with ``flip=False``.
    target : str, os.PathLike or binary file
        The new file.
    image : int, optional
        Number of the image in ``readDM4(source).im``; default: the one that the file
        displays, which is not the thumbnail; a logged warning names others.
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
        If there is no such image, or the target is the source.
    TypeError
        If MRC can't hold its pixels: colours and integers of 64 bits.
    OSError
        If a file can't be read or written.

    Notes
    -----
    Pixel sizes are those of lengths: of an image in 1/nm (a diffraction pattern) or
    without units they are written as 0, unknown.  An image whose three axes are lengths is
    written as a volume (ISPG 1); movies, spectrum images and other stacks as a stack of
    images (ISPG 0), which have the spacing of y along z.  Spectra become images of one row,
    and of 4-D data all frames stand behind one another: ``meta['dm4']`` has the dimensions.

    Examples
    --------
    A file with an image of 2 x 2 pixels, as DigitalMicrograph 3 has them, made by hand:

    >>> import os, struct, tempfile
    >>> def entry(name, kind, content):
    ...     return struct.pack(">BH", kind, len(name)) + name + content
    >>> def directory(*entries):
    ...     return struct.pack(">HI", 0x100, len(entries)) + b"".join(entries)
    >>> def value(number):
    ...     return b"%%%%" + struct.pack(">II", 1, 3) + struct.pack("<i", number)
    >>> pixels = b"%%%%" + struct.pack(">4I", 3, 20, 2, 4) + struct.pack("<4h", 1, 2, 3, 4)
    >>> data = directory(
    ...     entry(b"Data", 21, pixels), entry(b"DataType", 21, value(1)),
    ...     entry(b"Dimensions", 20, directory(entry(b"", 21, value(2)), entry(b"", 21, value(2)))))
    >>> root = directory(entry(b"ImageList", 20, directory(
    ...     entry(b"", 20, directory(entry(b"ImageData", 20, data))))))
    >>> folder = tempfile.mkdtemp()
    >>> source, target = os.path.join(folder, "image.dm3"), os.path.join(folder, "image.mrcz")
    >>> with open(source, "wb") as file:
    ...     _ = file.write(struct.pack(">III", 3, len(root), 1) + root + bytes(8))

    Its rows are turned, since MRC begins with the lowest:

    >>> import mrcz
    >>> dm_to_mrcz(source, target, voltage=300)
    >>> image, header = mrcz.readMRC(target)
    >>> image
    array([[3, 4],
           [1, 2]], dtype=int16)
    >>> header["voltage"], header["compressor"], header["dm4"]["ImageList"][0]["ImageData"]
    (300.0, 'zstd', {'DataType': 1, 'Dimensions': [2, 2]})
    """
    name = source.filename if isinstance(source, readDM4) else source
    if isinstance(target, (str, bytes, os.PathLike)) and (
            is_same_file(os.fspath(name), os.fspath(target))):
        raise ValueError(f"{os.fsdecode(target)!r} can't be converted into itself")
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
    source : str, os.PathLike or readDM4
        A DM3 or DM4 file, or one that was parsed.
    image : int, optional
        Number of the image in the file; None: as of `dm_to_mrcz`.

    Returns
    -------
    image : DMImage
        Its pixels, lazily.
    options : dict
        ``pixelsize`` (z, y, x) in ``pixelunits``, ``voltage`` (kV), ``meta`` and what else the
        tags tell.

    Raises
    ------
    ValueError
        If there is no such image, or it has no pixels.
    MRCFormatError
        If the file is malformed.
    OSError
        If it can't be read.
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
    mode, _ = writable_mode(batch.dtype, what="the image")
    parsed = parse_write_options(**options)
    with (shown(progress, nbytes, title_of(target)) as advance,
          StackWriter(open_sink(target, fsync=parsed.fsync), mode, (ny, nx), parsed, count=frames,
                      ispg=VOLUME if image.is_volume else IMAGE_STACK) as writer):
        for part in chain([batch], batches):
            writer.append(part)
            if advance is not None:
                advance(part.nbytes)


def _pick(dm: readDM4, number: int | None) -> DMImage:
    if number is None:
        number = _displayed(dm)
    else:
        number = integer("image", number, kind="an integer or None")
    try:
        return dm.im[number]
    except IndexError:
        raise ValueError(f"{dm.filename} has {len(dm.im)} images, and none of number {number}"
                         ) from None


def _displayed(dm: readDM4) -> int:
    """Return the number of the image that the file displays, and tell of others."""
    # The tags count entries of the ImageList, of which some may have no pixels.
    reference = _integer(find_tag(dm.tags, "ImageSourceList:0:ImageRef"))
    numbers = [number for number, image in enumerate(dm.im)
               if image.place not in _thumbnail_places(dm)]
    last = numbers[-1] if numbers else -1
    number = next((number for number, image in enumerate(dm.im) if image.place == reference), last)
    others = [str(other) for other in numbers if other != number
              and find_tag(dm.tags, f"ImageList:{dm.im[other].place}:ImageData:DataType")
              not in COLOURS]  # thumbnails, not always marked as such
    if others:
        logger.warning("%s: of its images the one displayed is taken, number %d; others: %s",
                       dm.filename, number, ", ".join(others))
    return number


def _thumbnail_places(dm: readDM4) -> list[Any]:
    thumbnails = dm.tags.get("Thumbnails")
    entries = thumbnails if isinstance(thumbnails, list) else []
    return [find_tag(entry, "ImageIndex") for entry in entries]


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _is_mrcz(target: Any) -> bool:
    return (isinstance(target, (str, bytes, os.PathLike))
            and os.fsdecode(target).lower().endswith("mrcz"))


def _header_of(image: DMImage) -> dict[str, Any]:
    """Return what the tags tell in the units of MRC, as options of `create`."""
    info = image.imageInfo
    voltage = _number(info.get("Voltage"))
    facts = {"voltage": None if voltage is None else voltage / 1000,
             "C3": _number(info.get("C3")), "gain": _gain_of(info)}
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {"pixelsize": _pixelsize_of(image), "pixelunits": "\\AA", **known}


def _pixelsize_of(image: DMImage) -> tuple[float, float, float]:
    """Return (z, y, x) in Å; 0 where it isn't known."""
    y, x = (_spacing(image.imageInfo, axis) for axis in "YX")
    return (_spacing(image.imageInfo, "Z") if image.is_volume else y, y, x)


def _spacing(info: dict[str, Any], axis: str) -> float:
    scale = _number(info.get(f"Dim{axis}Scale"))
    unit = info.get(f"Dim{axis}Units")
    if is_length(unit):
        size = 0.0 if scale is None else abs(scale) * angstrom_per(unit)
        return size if is_storable(size) else 0.0
    if unit:
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
    """Return a number that the header can hold, else None."""
    is_number = isinstance(value, (int, float)) and abs(value) <= LARGEST_FLOAT  # and not NaN
    return float(value) if is_number else None


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
