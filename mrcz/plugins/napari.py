"""The plugin for napari: files as lazy image layers, layers to files.

What it contributes is declared in ``mrcz/napari.yaml``; napari itself is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..convert import describe_dm
from ..header import VOLUME
from ..ioDM4 import readDM4
from ..ioMRC import writeMRC
from ..stack import Stack
from ..units import angstrom_per, is_length

__all__ = ["get_reader", "write_image"]

Layer = tuple[Any, dict[str, Any], str]

_DM_SUFFIXES = (".dm3", ".dm4")


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Layer]] | None:
    """Return what reads `path`; None for a list of files, which napari then opens singly."""
    return None if isinstance(path, list) and len(path) != 1 else read_layers


def read_layers(path: str | list[str]) -> list[Layer]:
    """Return the layers of a file, as napari wants them: (data, keywords, type).

    Parameters
    ----------
    path : str or list of str
        One file.

    Returns
    -------
    list of tuple
        The pixels as a dask array, of which napari reads what it shows. The first row is
        at the top, as napari draws arrays; Gatan's files look as in DigitalMicrograph.
    """
    name = path[0] if isinstance(path, list) else path
    read = _read_dm if os.path.splitext(name)[1].lower() in _DM_SUFFIXES else _read_mrc
    data, keywords = read(name)
    return [(data, {"name": os.path.splitext(os.path.basename(name))[0], **keywords}, "image")]


def _read_mrc(path: str) -> tuple[Any, dict[str, Any]]:
    stack = Stack(path)
    record = stack.header.record
    assert record is not None
    data, is_colored = stack.to_dask(stack.chunks), stack.ndim == 4
    sizes = list(record.spacing)
    if len(stack) == 1:
        data, sizes = data[0], sizes[1:]
    elif record.fields["ispg"] < VOLUME or stack.slices == 1:
        sizes[0] = 0.0  # a series of images: there is no length between them
    return data, {"rgb": is_colored, "metadata": dict(stack.header), **_scale(sizes)}


def _read_dm(path: str) -> tuple[Any, dict[str, Any]]:
    import dask.array as da

    image, options = describe_dm(readDM4(path, flip=False))
    pixels = image.imageData
    is_colored = pixels.dtype.names is not None
    if is_colored:
        pixels = np.stack([pixels[channel] for channel in "RGB"], axis=-1)
    chunks = (1,) * (image.imageData.ndim - 2) + image.imageData.shape[-2:] + (3,) * is_colored
    sizes = [0.0] * image.imageData.ndim
    sizes[-3:] = options["pixelsize"][-len(sizes):]
    if image.imageInfo.get("DimZUnits") != image.imageInfo.get("DimXUnits"):
        sizes[:-2] = [0.0] * len(sizes[:-2])
    return (da.from_array(pixels, chunks=chunks, name=False),
            {"rgb": is_colored, "metadata": options["meta"], **_scale(sizes)})


def _scale(sizes: list[float]) -> dict[str, Any]:
    """Return the keywords of pixel sizes in Å; 0 along an axis that has no length."""
    known = [np.isfinite(size) and size > 0 for size in sizes]
    if not any(known[-2:]):
        return {}
    return {"scale": [size if good else 1.0 for size, good in zip(sizes, known, strict=True)],
            "units": ["angstrom" if good else "pixel" for good in known]}


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write the data of an image layer.

    Parameters
    ----------
    path : str
        Compressed with zstd, and with checksums, if it ends with ``.mrcz``.
    data : array-like
        Of 2 to 4 dimensions; lazy ones are written slab by slab.
    meta : dict
        As napari hands it over: ``scale``, ``units``, ``metadata``.

    Returns
    -------
    list of str
        The file.

    Raises
    ------
    TypeError, ValueError
        If MRC can't hold the pixels: colours, say.
    """
    if meta.get("rgb"):
        raise TypeError("MRC files of colours are not written: convert the layer to grey first")
    header = meta.get("metadata") or {}
    options: dict[str, Any] = {key: header[key] for key in ("voltage", "C3", "gain")
                               if key in header}
    if path.lower().endswith(".mrcz"):
        options.update(compressor="zstd", checksum=True)
    if isinstance(data, (list, tuple)):  # a multiscale layer: the first is the largest
        data = data[0]
    writeMRC(data, path, pixelsize=_pixelsize(meta), **options)
    return [path]


def _pixelsize(meta: dict[str, Any]) -> list[float]:
    """Return [z, y, x] in Å; 0, unknown, where the layer has no lengths."""
    scale = [float(size) for size in meta.get("scale") or ()]
    units = [str(unit) for unit in meta.get("units") or ()]
    units += ["pixel"] * (len(scale) - len(units))
    sizes = [size * angstrom_per(unit) if is_length(unit) else 0.0
             for size, unit in zip(scale, units, strict=True)]
    return ([0.0] * 3 + sizes)[-3:]
