"""What tests share: arrays compared to the last bit, files written to and read from memory."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

import mrcz

# Every header that is returned has these, in this order, then the user's metadata.
HEADER_KEYS = ("dimensions", "MRCtype", "dtype", "compressor", "pixelsize", "pixelunits",
               "minImage", "maxImage", "meanImage", "extendedBytes", "metaId", "voltage", "C3",
               "gain", "packedBytes")


def bits(image: np.ndarray) -> bytes:
    """The pixels in C order and little-endian: equal only if NaN payloads and -0.0 are too."""
    image = np.asarray(image)
    return image.astype(image.dtype.newbyteorder("<")).tobytes()


def sha256(image: Any) -> str:
    """Of an array, or of a list of arrays behind one another."""
    return hashlib.sha256(bits(np.asarray(image))).hexdigest()


def assert_identical(found: Any, expected: Any) -> None:
    """Same kind of container, length, shape, kind of number, and every bit."""
    if isinstance(expected, list):
        assert isinstance(found, list), f"a list was expected, not {type(found).__name__}"
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_identical(one, other)
        return
    assert isinstance(found, np.ndarray), f"an array was expected, not {type(found).__name__}"
    assert found.shape == expected.shape
    assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    assert bits(found) == bits(expected)


def reads_back_as(container: Any) -> Any:
    """What readMRC returns for what was given to writeMRC, as the specification says."""
    if isinstance(container, (list, tuple)) or container.ndim == 4:
        return [np.asarray(item) for item in container]
    if container.ndim == 1:
        return container[None]
    if container.ndim == 3 and len(container) == 1:
        return container[0]
    return container


def written(image: Any, **options: Any) -> bytes:
    """The file that writeMRC makes."""
    file = io.BytesIO()
    mrcz.writeMRC(image, file, **options)
    return file.getvalue()


def read(data: bytes, **options: Any) -> tuple[Any, dict[str, Any]]:
    """What readMRC makes of a file."""
    return mrcz.readMRC(io.BytesIO(data), **options)


def round_trip(image: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Write and read back."""
    return read(written(image, **options))
