"""TIFF and EER, which is TIFF with a codec of its own, through tifffile."""

from __future__ import annotations

import importlib
import logging
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import MissingCodecError, MRCError, MRCFormatError
from ..header import IMAGE_STACK
from ..pixels import Pixels
from ..units import angstrom_per, is_length
from .frames import Frames, damage_of, item_number, three

__all__ = ["LARGEST_TIFF_PIXEL", "open_tiff"]

logger = logging.getLogger("mrcz")

LARGEST_TIFF_PIXEL = 1e6
"""Å; what is beyond comes from programs that write 72 dpi into everything."""


def _require(package: str, path: str, kind: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingCodecError(f"{path} is {kind}, which needs the package {package!r}: "
                                f"pip install mrcz[tiff]") from error


_errors: dict[int, list[str]] = {}
"""By thread, what tifffile told of the file that it reads there."""


def _collect(record: logging.LogRecord) -> bool:
    """Keep an error for the thread's file, and show nothing of it: `convert` has threads a file."""
    errors = _errors.get(threading.get_ident())
    if errors is not None and record.levelno >= logging.ERROR:
        errors.append(record.getMessage())
    return errors is None


@contextmanager
def _errors_logged_by(name: str) -> Iterator[list[str]]:
    """Collect what a package logs as errors: tifffile reads a cut file as a shorter one."""
    thread = threading.get_ident()
    before, errors = _errors.get(thread), list[str]()
    logging.getLogger(name).addFilter(_collect)  # once, whoever else has added it
    _errors[thread] = errors
    try:
        yield errors
    finally:
        if before is None:
            del _errors[thread]
        else:
            _errors[thread] = before


def _require_none(errors: list[str], path: str) -> None:
    if errors:
        raise MRCFormatError(f"damaged: {errors[0]}", path=path)


_NO_BRIGHTNESS = {0: "0 is white", 3: "numbers of colours in a palette"}
"""What TIFF's PhotometricInterpretation says."""


@contextmanager
def open_tiff(path: str, item: str | None) -> Iterator[Frames]:
    """Open an image series of a TIFF or EER file, the first or the one of that number."""
    tifffile = _require("tifffile", path, "a TIFF or EER file")
    with _errors_logged_by("tifffile") as errors:
        with damage_of(path):
            tiff = tifffile.TiffFile(path)
        with tiff:
            with damage_of(path):
                series = list(tiff.series)
            frames = _frames_of_tiff(tiff, series, path, item)
            _require_none(errors, path)

            def read(part: range) -> Pixels:
                with damage_of(path):
                    pixels = frames.read(part)
                _require_none(errors, path)
                return pixels

            yield replace(frames, read=read)


def _frames_of_tiff(tiff: Any, all_series: list[Any], path: str, item: str | None) -> Frames:
    number = item_number(item, path) or 0
    if not 0 <= number < len(all_series):
        raise ValueError(f"{path} has {len(all_series)} image series, and none of number {number}")
    series = all_series[number]
    channels = series.keyframe.samplesperpixel
    kind = int(series.keyframe.photometric)
    if kind in _NO_BRIGHTNESS:
        logger.warning("%s: its values, %s, are kept", path, _NO_BRIGHTNESS[kind])
    shape = three(tuple(size for size, axis in zip(series.shape, series.axes, strict=True)
                        if axis != "S"))
    is_eer = bool(tiff.is_eer)
    dtype = np.dtype(np.int8 if is_eer else series.dtype)
    whole = shape if channels == 1 else (*shape, channels)

    def read(frames: range) -> Pixels:
        out = np.empty((len(frames), *whole[1:]), dtype)
        for place, frame in enumerate(frames):
            out[place] = _tiff_frame(series, frame, whole, path)
        return out

    with damage_of(path):
        options = _tiff_options(tiff, series)
    is_volume = len(series.shape) > 2 + (channels > 1)
    return Frames(shape, dtype, read, options, ispg=1 if is_volume else IMAGE_STACK,
                  channels=channels)


def _tiff_frame(series: Any, frame: int, shape: tuple[int, ...], path: str) -> Pixels:
    """Return a frame of a (nz, ny, nx) or (nz, ny, nx, channels) series."""
    try:
        if len(series.pages) == shape[0]:
            pixels = np.asarray(series.pages[frame].asarray())
            # Channels may be stored as planes.
            return pixels if pixels.shape == shape[1:] else np.moveaxis(pixels, 0, -1)
        # ImageJ writes one directory for a whole stack, its frames behind one another.
        if series.dataoffset is None or (len(shape) > 3 and series.axes[-1] != "S"):
            raise MRCFormatError("a TIFF series whose pages are no frames", path=path)
        dtype = np.dtype(series.parent.byteorder + series.dtype.char)
        stack = np.memmap(path, dtype, "r", series.dataoffset, shape)
        return np.asarray(stack[frame])
    except MRCError:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        needs = "imagecodecs" in str(error)
        kind = MissingCodecError if needs else MRCFormatError
        raise kind(f"{path}: frame {frame}: {error}" if needs
                   else f"{path}: frame {frame} can't be read: {error}") from error


def _tiff_options(tiff: Any, series: Any) -> dict[str, Any]:
    """Return pixel size and text that a TIFF file has."""
    meta: dict[str, Any] = {}
    description = series.keyframe.description
    if description:
        meta["imageDescription"] = description[:65536]
    if tiff.is_eer and tiff.eer_metadata:
        meta["eer"] = tiff.eer_metadata
    options: dict[str, Any] = {"meta": meta, "pixelsize": [0.0, 0.0, 0.0]}
    sizes = [_tiff_pixel(tiff, series.keyframe, name) for name in ("YResolution", "XResolution")]
    if tiff.is_ome:
        options["pixelsize"] = _ome_pixels(tiff.ome_metadata)
    elif all(sizes):
        spacing = (tiff.imagej_metadata or {}).get("spacing")
        options["pixelsize"] = [_tiff_spacing(tiff, spacing) or sizes[0], *sizes]
    return options


def _tiff_unit(tiff: Any, page: Any) -> float | None:
    """Return the Å of the unit that resolutions are given in."""
    unit = (tiff.imagej_metadata or {}).get("unit")
    if unit:
        unit = "um" if unit == "\\u00B5m" else unit  # so ImageJ spells it
        return angstrom_per(unit) if is_length(unit) else None
    tag = page.tags.get("ResolutionUnit")
    return {2: 2.54e8, 3: 1e8}.get(0 if tag is None else int(tag.value))


def _tiff_pixel(tiff: Any, page: Any, name: str) -> float | None:
    """Return the size of a pixel in Å, None where the file doesn't tell."""
    unit, tag = _tiff_unit(tiff, page), page.tags.get(name)
    if unit is None or tag is None:
        return None
    value = tag.value
    pixels, units = value if isinstance(value, tuple) else (value, 1)
    size = unit * units / pixels if pixels else math.inf
    return size if 0 < size < LARGEST_TIFF_PIXEL else None


def _ome_pixels(xml: str) -> list[float]:
    """Return [z, y, x] in Å from the OME-XML of a file; 0 where it doesn't tell."""
    first = re.search(r"<Pixels\b[^>]*>", xml)
    facts = dict(re.findall(r'(\w+)="([^"]*)"', first[0])) if first else {}
    sizes = []
    for axis in "ZYX":
        unit = facts.get(f"PhysicalSize{axis}Unit", "µm")
        value = facts.get(f"PhysicalSize{axis}", "0")
        try:
            size = float(value) * angstrom_per(unit) if is_length(unit) else 0.0
        except ValueError:
            size = 0.0
        sizes.append(size if 0 < size < LARGEST_TIFF_PIXEL else 0.0)
    return sizes


def _tiff_spacing(tiff: Any, spacing: Any) -> float | None:
    unit = _tiff_unit(tiff, tiff.pages[0])
    return None if spacing is None or unit is None else abs(float(spacing)) * unit
