"""What notebooks show of a `Stack`: facts, a thumbnail, a plot."""

from __future__ import annotations

import base64
import html
import os
import struct
import zlib
from typing import Any, Protocol

import numpy as np

from .arguments import integer
from .errors import FrameIndexError, MissingCodecError, MRCError
from .filenames import legible
from .headerdict import HeaderDict
from .pictures import bin_to_fit, contrast_limits
from .pixels import Pixels
from .units import angstrom_per, size_text

__all__ = ["as_html", "encode_png", "plot", "preview"]

THUMBNAIL = 256
"""Pixels a side, at most, in a notebook."""

_CELL = "text-align:left;padding:1px 12px 1px 0"


class Frames(Protocol):
    """What is shown: a `Stack`, of which no more is known here."""

    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def header(self) -> HeaderDict: ...
    @property
    def meta(self) -> dict[str, Any]: ...
    @property
    def compressor(self) -> str | None: ...
    @property
    def slices(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any) -> Any: ...


def preview(stack: Frames, frame: int | None = None, size: int = 512) -> Pixels:
    """Return a frame as an image of 256 greys; see `Stack.preview`."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"size must be a positive number of pixels, not {size!r}")
    pixels = stack[_number(stack, frame)]
    if pixels.ndim == 3:  # RGB has its contrast
        channels = [bin_to_fit(pixels[..., n], size)[0] for n in range(pixels.shape[2])]
        colors: Pixels = np.stack(channels, axis=-1).round().astype(np.uint8)
        return colors
    small, _ = bin_to_fit(pixels, size)
    low, high = contrast_limits(small)
    with np.errstate(over="ignore", invalid="ignore"):
        greys = np.clip((small.astype(np.float64) - low) * (255 / (high - low)), 0, 255)
    image: Pixels = np.nan_to_num(greys.round(), nan=0.0).astype(np.uint8)
    return image


def _number(stack: Frames, frame: int | None) -> int:
    """Return the number of the frame that is meant, from 0 on."""
    count = len(stack)
    if frame is None:
        return count // 2
    number = integer("frame", frame, kind="the number of a frame")
    if not -count <= number < count:
        raise FrameIndexError(f"frame must be {-count} to {count - 1}, not {frame!r}")
    return number % count


def encode_png(image: Pixels) -> bytes:
    r"""Return an image as a PNG file (ISO/IEC 15948), rows from the top.

    Parameters
    ----------
    image : (ny, nx) or (ny, nx, 3) array of uint8
        Greys, or red, green and blue.

    Examples
    --------
    >>> encode_png(np.zeros((4, 5), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    ny, nx = image.shape[:2]
    color_type = 2 if image.ndim == 3 else 0
    rows = np.zeros((ny, 1 + image[0].size), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = image.reshape(ny, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", nx, ny, 8, color_type, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows.tobytes(), 3))
            + chunk(b"IEND", b""))


def as_html(stack: Frames) -> str:
    """Return a table of facts with a thumbnail of the middle frame.

    Whatever is wrong with the pixels, the facts are shown; of a file that is closed, what is
    still known.
    """
    try:
        facts = _facts(stack)
    except ValueError:  # it is closed, and the chunks that the header tells of were not looked at
        return f"<pre>{html.escape(repr(stack))}</pre>"
    rows = "".join(f'<tr><th style="{_CELL}">{html.escape(name)}</th>'
                   f'<td style="{_CELL}">{html.escape(text)}</td></tr>'
                   for name, text in facts)
    try:
        picture = _thumbnail(stack)
    except (MRCError, OSError, ValueError) as error:
        picture = html.escape(f"no picture: {error}")
    return ('<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">'
            f"<table>{rows}</table><figure style=\"margin:0\">{picture}</figure></div>")


def _thumbnail(stack: Frames) -> str:
    number = len(stack) // 2
    image = preview(stack, number, THUMBNAIL)
    # As in 3dmod and Chimera the first row is at the bottom.
    data = base64.b64encode(encode_png(image[::-1])).decode("ascii")
    return (f'<img src="data:image/png;base64,{data}" alt="frame {number}" '
            f'style="min-width:{THUMBNAIL // 2}px;image-rendering:pixelated">'
            f'<figcaption style="font-size:smaller">frame {number}, first row at the bottom'
            "</figcaption>")


def _facts(stack: Frames) -> list[tuple[str, str]]:
    header = stack.header
    record = header.record
    assert record is not None
    unit = angstrom_per(header["pixelunits"])
    z, y, x = (size / unit for size in record.spacing)
    size = f"{y:.4g} x {x:.4g}" + (f", slices {z:.4g}" if len(stack) > 1 else "")
    facts = [
        ("file", legible(os.path.basename(stack.path))),
        ("shape", " x ".join(map(str, stack.shape)) + f"  {stack.dtype}"),
        ("in memory", size_text(stack.nbytes)),
        ("compressor", _compression(stack)),
        ("pixel size", f"{size} {_plain_unit(header['pixelunits'])}"),
    ]
    if header["voltage"]:
        facts.append(("voltage", f"{header['voltage']:g} kV"))
    if header["C3"]:
        facts.append(("C3", f"{header['C3']:g} mm"))
    if stack.slices:
        facts.append(("list of", f"{len(stack) // stack.slices} x {stack.slices} slices"))
    if stack.meta:
        facts.append(("metadata", legible(", ".join(stack.meta))))
    return [(name, text if len(text) < 80 else text[:79] + "…") for name, text in facts]


def _compression(stack: Frames) -> str:
    packed = stack.header["packedBytes"]
    if stack.compressor is None or packed <= 0:
        return stack.compressor or "none"
    return f"{stack.compressor}, {size_text(packed)}, ratio {stack.nbytes / packed:.2f}"


def _plain_unit(unit: str) -> str:
    return {"\\AA": "Å", "\\mum": "µm"}.get(unit, unit)


def plot(stack: Frames, frame: int | None = None, ax: Any = None, size: int = 1024) -> Any:
    """Draw a frame with axes in Å or nm; see `Stack.plot`."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingCodecError("Stack.plot needs the package 'matplotlib': "
                                "pip install mrcz[view]") from error
    number = _number(stack, frame)
    image = preview(stack, number, size)
    if ax is None:
        ax = plt.subplots(layout="constrained")[1]
    _, ny, nx = stack.shape[:3]
    y, x, unit = _scale(stack, nx)
    ax.imshow(image, cmap="gray", origin="lower", extent=(0, nx * x, 0, ny * y), vmin=0, vmax=255)
    ax.set_xlabel(f"x ({unit})")
    ax.set_ylabel(f"y ({unit})")
    ax.set_title(f"{legible(os.path.basename(stack.path))}, frame {number}", parse_math=False)
    return ax


def _scale(stack: Frames, nx: int) -> tuple[float, float, str]:
    """Return the size of a pixel (y, x) in the unit for the axes, and that unit."""
    record = stack.header.record
    assert record is not None
    _, y, x = record.spacing
    if not (x > 0 and y > 0 and np.isfinite([x, y]).all()):
        return 1.0, 1.0, "pixels"
    for angstrom, unit in ((1e4, "µm"), (10.0, "nm")):
        if nx * x >= 10 * angstrom:
            return y / angstrom, x / angstrom, unit
    return y, x, "Å"
