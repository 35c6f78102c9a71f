"""Files of other formats as frames, each a few at a time: DM, TIFF, EER, NumPy, HyperSpy's."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .convert import describe_dm
from .errors import MissingCodecError, MRCError, MRCFormatError
from .header import IMAGE_STACK, Record
from .pixels import Pixels
from .reader import MRCReader
from .sources import is_url
from .units import angstrom_per

__all__ = ["Frames", "header_options", "open_frames"]

LARGEST_TIFF_PIXEL = 1e6
"""Å; what is beyond comes from programs that write 72 dpi into everything."""


@dataclass(frozen=True)
class Frames:
    """The frames of a file, whatever its format.

    Attributes
    ----------
    shape : (nz, ny, nx)
        All leading axes together are nz.
    dtype : dtype
        Of the pixels.
    read : callable
        Takes a range of frames, returns a (frames, ny, nx) array.
    options : dict
        What is known of the header, as options of `mrcz.create`: ``pixelsize`` in Å
        (0: unknown), ``voltage`` (kV), ``C3`` (mm), ``gain`` (counts/e-), ``meta``.
    slices : int
        Slices an item where the file holds a list; else 0.
    ispg : int
        What MRC2014 calls it.
    record : Record or None
        Of an MRC file, with what MRC alone knows.
    packed : bool
        Whether the pixels have 4 bits.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[range], Pixels]
    options: dict[str, Any] = field(default_factory=dict)
    slices: int = 0
    ispg: int = 1
    record: Record | None = None
    packed: bool = False


def open_frames(
    path: str, *, threads: int, item: str | None = None
) -> AbstractContextManager[Frames]:
    """Open a file of any format that is known by its content.

    Parameters
    ----------
    path : str
        MRC and its kin (also .gz, .bz2, .xz), DM4 or DM3, TIFF, EER, NumPy's .npy and
        .npz; anything that HyperSpy reads, where HyperSpy is installed.
    threads : int
        How many decompress.
    item : str, optional
        Which image of a DM file (a number), array of an .npz or TIFF series; default: the
        main one.

    Returns
    -------
    context manager
        Of `Frames`.

    Raises
    ------
    OSError
        If the file can't be read.
    MRCFormatError
        If no reader knows it, or it is damaged.
    MissingCodecError
        If the package for its format is not installed; an ImportError.
    """
    if is_url(path):
        return _open_mrc_or_other(path, threads)
    with open(path, "rb") as file:
        head = file.read(1024)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _open_tiff(path, item)
    if head[:4] in (b"\0\0\0\3", b"\0\0\0\4"):
        return _open_dm(path, item)
    if head.startswith(b"\x93NUMPY"):
        return _open_npy(path)
    if head.startswith(b"PK\3\4") and zipfile.is_zipfile(path) and _is_npz(path):
        return _open_npz(path, item)
    return _open_mrc_or_other(path, threads)


@contextmanager
def _open_mrc_or_other(path: str, threads: int) -> Iterator[Frames]:
    try:
        reader = MRCReader(path)
    except MRCError as error:
        if is_url(path) or importlib.util.find_spec("hyperspy") is None:
            raise
        with _open_hyperspy(path, error) as frames:
            yield frames
        return
    with reader:
        yield _frames_of_mrc(reader, threads)


def _frames_of_mrc(reader: MRCReader, threads: int) -> Frames:
    record = reader.record
    if record.mode.channels > 1:
        raise TypeError(f"{record.path}: colour images have no place in MRC but mode 16, which is "
                        f"not written")
    options = {**header_options(record), "meta": dict(reader.metadata)}
    return Frames((record.nz, record.ny, record.nx), reader.dtype,
                  lambda frames: reader.read(frames, threads=threads), options,
                  reader.slices(), record.fields["ispg"], record, record.mode.packed)


def header_options(record: Record) -> dict[str, Any]:
    """Return what the record of a file says as options of `mrcz.create`."""
    fields = record.fields
    numbers = {"voltage": fields["voltage"], "C3": fields["c3"], "gain": fields["gain"]}
    return {
        # Files of other programs have anything in these words.
        **{name: value if math.isfinite(value) else 0.0 for name, value in numbers.items()},
        "pixelsize": [size if math.isfinite(size) else 0.0 for size in record.pixelsize],
    }


@contextmanager
def _open_dm(path: str, item: str | None) -> Iterator[Frames]:
    image, options = describe_dm(path, None if item is None else int(item))
    shape = _three(image.shape)

    def read(frames: range) -> Pixels:
        if len(image.shape) < 3:
            return image.read().reshape(shape)[frames.start : frames.stop : frames.step]
        block: Pixels = image.read_frames(frames.start, frames[-1] + 1)
        return block[:: frames.step]

    dtype = image.read_frames(0, 1).dtype if len(image.shape) > 2 else image.read().dtype
    yield Frames(shape, dtype, read, options)


@contextmanager
def _damage_of(path: str) -> Iterator[None]:
    """Tell as damage what a package raises on a file: it may be anything."""
    try:
        yield
    except (MemoryError, MRCError, OSError):
        raise
    except Exception as error:
        raise MRCFormatError(f"can't be read: {error or type(error).__name__}",
                             path=path) from error


@contextmanager
def _open_npy(path: str) -> Iterator[Frames]:
    with _damage_of(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    yield _frames_of_array(array, path)


def _is_npz(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


@contextmanager
def _open_npz(path: str, item: str | None) -> Iterator[Frames]:
    with _damage_of(path):
        archive = np.load(path, allow_pickle=False)
    with archive:
        names = archive.files
        if item is None and len(names) > 1:
            raise ValueError(f"{path} has several arrays: name one of {', '.join(names)}")
        name = names[0] if item is None else item
        if name not in names:
            raise ValueError(f"{path} has no array {name!r}, only {', '.join(names)}")
        with _damage_of(path):
            array = archive[name]
    yield _frames_of_array(array, path)


def _frames_of_array(array: Pixels, path: str, options: dict[str, Any] | None = None) -> Frames:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{path} holds {array.dtype}, which is no pixel")
    shape = _three(array.shape)
    if 0 in shape:
        raise ValueError(f"{path} has no pixels: its shape is {array.shape}")
    stack = array.reshape(shape)
    slices = array.shape[-3] if array.ndim > 3 else 0

    def read(frames: range) -> Pixels:
        return np.asarray(stack[frames.start : frames.stop : frames.step])

    return Frames(shape, array.dtype, read, options or {}, slices,
                  ispg=IMAGE_STACK if array.ndim == 2 else 1)


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (nz, ny, nx), all leading axes taken together."""
    full = (1,) * (2 - len(shape)) + tuple(shape)
    return math.prod(full[:-2]), full[-2], full[-1]


def _require(package: str, path: str, kind: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingCodecError(f"{path} is {kind}, which needs the package {package!r}: "
                                f"pip install mrcz[tiff]") from error


@contextmanager
def _errors_logged_by(name: str) -> Iterator[list[str]]:
    """Collect what a package logs as errors: tifffile reads a cut file as a shorter one."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    package = logging.getLogger(name)
    propagates, package.propagate = package.propagate, False
    package.addHandler(handler)
    try:
        yield errors
    finally:
        package.removeHandler(handler)
        package.propagate = propagates


def _require_none(errors: list[str], path: str) -> None:
    if errors:
        raise MRCFormatError(f"damaged: {errors[0]}", path=path)


@contextmanager
def _open_tiff(path: str, item: str | None) -> Iterator[Frames]:
    tifffile = _require("tifffile", path, "a TIFF or EER file")
    with _errors_logged_by("tifffile") as errors:
        with _damage_of(path):
            tiff = tifffile.TiffFile(path)
        with tiff:
            with _damage_of(path):
                series = list(tiff.series)
            frames = _frames_of_tiff(tiff, series, path, item)
            _require_none(errors, path)

            def read(part: range) -> Pixels:
                with _damage_of(path):
                    pixels = frames.read(part)
                _require_none(errors, path)
                return pixels

            yield replace(frames, read=read)


def _frames_of_tiff(tiff: Any, all_series: list[Any], path: str, item: str | None) -> Frames:
    number = 0 if item is None else int(item)
    if not 0 <= number < len(all_series):
        raise ValueError(f"{path} has {len(all_series)} image series, and none of number {number}")
    series = all_series[number]
    if series.keyframe.samplesperpixel > 1:
        raise TypeError(f"{path}: colour images can't be written as MRC; convert them to grey")
    shape, is_eer = _three(series.shape), bool(tiff.is_eer)
    dtype = np.dtype(np.int8 if is_eer else series.dtype)

    def read(frames: range) -> Pixels:
        out = np.empty((len(frames), *shape[1:]), dtype)
        for place, frame in enumerate(frames):
            out[place] = _tiff_frame(series, frame, shape, path)
        return out

    with _damage_of(path):
        options = _tiff_options(tiff, series)
    return Frames(shape, dtype, read, options,
                  ispg=1 if len(series.shape) > 2 else IMAGE_STACK)


def _tiff_frame(series: Any, frame: int, shape: tuple[int, int, int], path: str) -> Pixels:
    try:
        if len(series.pages) == shape[0]:
            return np.asarray(series.pages[frame].asarray())
        # ImageJ writes one directory for a whole stack, its frames behind one another.
        if series.dataoffset is None:
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
    if all(sizes):
        spacing = (tiff.imagej_metadata or {}).get("spacing")
        options["pixelsize"] = [_tiff_spacing(tiff, spacing) or sizes[0], *sizes]
    return options


def _tiff_unit(tiff: Any, page: Any) -> float | None:
    """Return the Å of the unit that resolutions are given in."""
    unit = (tiff.imagej_metadata or {}).get("unit")
    if unit:
        known = {"micron", "um", "\\u00B5m", "µm", "nm", "mm", "A", "Å", "angstrom", "pm"}
        return angstrom_per("um" if unit == "\\u00B5m" else unit) if unit in known else None
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


def _tiff_spacing(tiff: Any, spacing: Any) -> float | None:
    unit = _tiff_unit(tiff, tiff.pages[0])
    return None if spacing is None or unit is None else abs(float(spacing)) * unit


@contextmanager
def _open_hyperspy(path: str, error: MRCError) -> Iterator[Frames]:
    hyperspy = importlib.import_module("hyperspy.api")
    try:
        signal = hyperspy.load(path, lazy=True)
    except Exception as reason:  # whatever a plugin of HyperSpy raises
        raise MRCFormatError(f"no reader knows this file; as MRC: {error}; HyperSpy: {reason}",
                             path=path) from error
    if isinstance(signal, list):
        signal = max(signal, key=lambda one: one.data.size)
    options = {"pixelsize": _hyperspy_pixelsize(signal),
               "meta": {"hyperspy": _without_private(signal.metadata.as_dictionary())}}
    with closing(_Lazy(signal.data)) as lazy:
        yield _frames_of_array(lazy, path, options)  # type: ignore[arg-type]


def _without_private(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if not key.startswith("_")}


class _Lazy:
    """A dask array that is computed where it is indexed."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def reshape(self, shape: tuple[int, ...]) -> _Lazy:
        return _Lazy(self._data.reshape(shape))

    def __getitem__(self, key: Any) -> Pixels:
        part = self._data[key]
        return np.asarray(part.compute() if hasattr(part, "compute") else part)

    def close(self) -> None:
        """Let go of the data."""
        self._data = None


def _hyperspy_pixelsize(signal: Any) -> list[float]:
    manager = signal.axes_manager
    axes = sorted((*manager.navigation_axes, *manager.signal_axes),
                  key=lambda axis: axis.index_in_array)
    sizes = []
    for axis in axes[-3:]:
        unit = str(axis.units) if axis.units is not None else ""
        known = unit in ("m", "mm", "um", "µm", "nm", "pm", "A", "Å", "angstrom")
        sizes.append(abs(float(axis.scale)) * angstrom_per(unit) if known else 0.0)
    return [0.0] * (3 - len(sizes)) + sizes
