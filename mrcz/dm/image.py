"""The images of a Gatan DM file, picked out of its tags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import MRCFormatError
from ..units import is_length
from .array import DMArray
from .info import entries_of, find_tag, image_info
from .pixels import Pixels, locate, type_of
from .types import Order

__all__ = ["DMImage", "find_images"]


class DMImage:
    """One image: its pixels, its shape, and what its tags tell.

    Parameters
    ----------
    imageInfo : dict, optional
        Facts from the tags.
    shape : tuple of int
        Slowest axis first: (z, y, x).
    imageData : numpy.ndarray, optional
        The pixels.
    pixels : Pixels or MRCFormatError, optional
        Where they are in the file, or why there are none.
    kind : str, optional
        What DigitalMicrograph calls it: ``'Image'``, ``'Image stack'``, ``'Spectrum image'``.
    place : int, optional
        Number of its entry in the file's ImageList.

    Attributes
    ----------
    imageInfo : dict
        Calibrations, in the units that the file names, as ``DimXScale``, ``DimXOrigin``,
        ``DimXUnits`` and so on for the axes X, Y, Z, T, ...; ``IntensityScale``, ``Voltage``
        (V), ``C3`` (mm), ``Exposure`` (s), ``DetectorPixelSize`` (µm) and what else the
        file tells.  What it doesn't is not there.
    shape : tuple of int
        Slowest axis first.
    kind : str
        As above; empty where the file doesn't tell.
    place : int
        Its entry in the file's ImageList, by which other tags mean it.

    Examples
    --------
    >>> image = DMImage(shape=(2, 3), imageData=np.zeros((2, 3)), imageInfo={"C3": 2.7})
    >>> image.read_frames(0, 1).shape
    (1, 2, 3)
    """

    def __init__(self, *, imageInfo: dict[str, Any] | None = None,  # noqa: N803
                 shape: tuple[int, ...] = (),
                 imageData: NDArray[Any] | None = None,  # noqa: N803
                 pixels: Pixels | MRCFormatError | None = None, kind: str = "",
                 place: int = 0) -> None:
        self.imageInfo = {} if imageInfo is None else imageInfo
        self.shape = tuple(shape)
        self.kind = kind
        self.place = place
        self._pixels = pixels
        self._data = imageData

    @property
    def is_volume(self) -> bool:
        """Whether all three axes are in space: neither a movie nor a spectrum image."""
        units = [self.imageInfo.get(f"Dim{axis}Units") for axis in "XYZ"]
        return len(self.shape) == 3 and all(map(is_length, units)) and (
            "spectrum" not in self.kind.lower())

    @property
    def imageData(self) -> NDArray[Any]:  # noqa: N802
        """The pixels, as an array of `shape`.

        Most types are mapped into memory: only what is touched is read, and what is
        written to the array never reaches the file (where the system can't promise the
        memory to write all of it, the array is read-only).  Booleans, colours (with the
        fields R, G, B and A) and packed Fourier transforms are read when this is first
        asked for.

        A program that cuts a file short while it is mapped ends the process that touches
        the missing pixels, as with every memory map; `read` raises an error instead.

        Raises
        ------
        MRCFormatError
            If the pixels are of an unknown type, or not as many as the tags say.
        """
        if self._data is None:
            data = self._located().get()
            # Threads that come here together all get the first one's array.
            data = self.__dict__.setdefault("_shared", data)
            self._data = data
        return self._data

    @imageData.setter
    def imageData(self, data: NDArray[Any]) -> None:  # noqa: N802
        self._data = data

    def read(self) -> NDArray[Any]:
        """Return a new array of the pixels in memory, read with all processors.

        This is the fastest way to have the whole of a large image.

        Returns
        -------
        ndarray
            Of `shape`, in the machine's byte order.

        Raises
        ------
        MRCFormatError
            As `imageData`.
        MRCTruncatedError
            If the file has become shorter than it was when its tags were read.
        """
        if self._pixels is None:
            return np.array(self.imageData)
        return self._located().read()

    def read_frames(self, first: int, last: int) -> NDArray[Any]:
        """Return frames `first` up to `last`, exclusive, as `read` would.

        Parameters
        ----------
        first, last : int
            Of the frames (y, x) of all further axes, behind one another.

        Returns
        -------
        (last - first, ny, nx) ndarray
            In the machine's byte order.

        Raises
        ------
        IndexError
            If there are no such frames.
        MRCFormatError, MRCTruncatedError
            As `read`.
        """
        pixels = None if self._pixels is None else self._located()
        frames = math.prod(self.shape[:-2]) if len(self.shape) > 1 else 0
        if not 0 <= first < last <= frames:
            raise IndexError(f"no frames {first} to {last} in an image of shape {self.shape}")
        frame_shape = self.shape[-2:]
        if pixels is None:
            return np.array(self.imageData.reshape(-1, *frame_shape)[first:last])
        return pixels.read_frames(first, last).reshape(-1, *frame_shape)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the pixels for `numpy.asarray`, from `read`; without a copy `imageData`."""
        if copy is False:
            if dtype is not None and np.dtype(dtype) != self.imageData.dtype:
                raise ValueError(f"pixels of {self.imageData.dtype} can't be had as "
                                 f"{np.dtype(dtype)} without a copy")
            return self.imageData
        return self.read() if dtype is None else self.read().astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"DMImage(shape={self.shape}, imageInfo={self.imageInfo})"

    def _located(self) -> Pixels:
        if isinstance(self._pixels, Pixels):
            return self._pixels
        raise self._pixels or ValueError("the image has no pixels")


def find_images(tags: dict[str, Any], *, order: Order, flip: bool,
                permissive: bool) -> list[DMImage]:
    """Return the images of a file, in the file's order.

    Parameters
    ----------
    tags : dict
        The root directory.
    order : str
        ``'<'`` or ``'>'``, the byte order of the file.
    flip : bool
        Whether rows are turned, so that the first is the lowest.
    permissive : bool
        Take of an image with too few pixels the slices that are whole.
    """
    images = []
    for place, entry in enumerate(entries_of(tags.get("ImageList"))):
        data = find_tag(entry, "ImageData:Data")
        if isinstance(data, DMArray):
            images.append(_make_image(entry, data, place, order, flip, permissive))
    return images


def _make_image(entry: dict[str, Any], data: DMArray, place: int, order: Order, flip: bool,
                permissive: bool) -> DMImage:
    dimensions = find_tag(entry, "ImageData:Dimensions")
    sizes = entries_of(dimensions)
    shape = tuple(n for n in reversed(sizes) if type(n) is int and n >= 0)
    data_type = find_tag(entry, "ImageData:DataType")
    if data_type is None:
        data_type = type_of(data)
    pixels: Pixels | MRCFormatError
    try:
        if len(shape) != len(sizes) or type(data_type) is not int:
            raise MRCFormatError("an image without a valid type and dimensions", path=data.path,
                                 offset=data.offset, found=f"{data_type} and {dimensions}")
        pixels = locate(data, data_type, shape, order=order, flip=flip, permissive=permissive)
        shape = pixels.shape
    except MRCFormatError as error:
        pixels = error  # the tags and the other images are still of use
    kind = find_tag(entry, "ImageTags:Meta Data:Format")
    return DMImage(imageInfo=image_info(entry), shape=shape, pixels=pixels,
                   kind=kind if isinstance(kind, str) else "", place=place)
