"""Pictures of frames: binned, contrast-stretched, with scale bar, rings and slices.

What is computed needs NumPy alone; what is drawn, matplotlib (the extra ``view``).
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import MissingCodecError
from .filenames import legible
from .pixels import Pixels
from .targets import open_sink

__all__ = [
    "TILE",
    "Drawing",
    "bin_to_fit",
    "contrast_limits",
    "length_text",
    "nice_length",
    "power_spectrum",
    "resolution_rings",
    "save_figure",
    "tile",
]

PERCENTILES = (0.3, 99.7)
"""Of the pixels; what lies beyond is shown black and white."""

TILE = 512
"""Side of the pieces that a power spectrum is averaged over."""

RING_RESOLUTIONS = (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)
"""Å, and the same by thousands for pixels of other sizes."""

DPI = 100
TITLE_INCHES = 0.32
SMALLEST_WIDTH, USUAL_WIDTH = 480, 640
SMALLEST_TYPE, USUAL_TYPE = 8.0, 9.5
"""Points, of the title."""


def bin_to_fit(image: Pixels, side: int) -> tuple[Pixels, int]:
    """Return an image averaged down to at most `side` pixels a side, and by how much.

    Parameters
    ----------
    image : (ny, nx) array
        Of complex pixels the magnitude is taken. Rests that fill no bin are left out.
    side : int
        Pixels.

    Examples
    --------
    >>> bin_to_fit(np.arange(16.0).reshape(4, 4), 2)
    (array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32), 2)
    """
    if image.dtype.kind == "c":
        image = np.abs(image)
    by = max(1, math.ceil(max(image.shape) / side))
    if by == 1 or by > min(image.shape):
        return image[::by, ::by].astype(np.float32), by
    ny, nx = (size // by for size in image.shape)
    total = np.zeros((ny, nx), np.float64)
    for row in range(by):
        for column in range(by):
            total += image[row : ny * by : by, column : nx * by : by]
    return (total / by**2).astype(np.float32), by


def contrast_limits(image: Pixels) -> tuple[float, float]:
    """Return the values that are shown black and white.

    Examples
    --------
    >>> contrast_limits(np.zeros((3, 3)))
    (-0.5, 0.5)
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    if low >= high:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def power_spectrum(image: Pixels) -> Pixels:
    """Return the logarithm of the power, averaged over overlapping tiles, its origin centred.

    Parameters
    ----------
    image : (ny, nx) array
        A side of the result is `TILE` pixels, or that of a smaller image.

    Returns
    -------
    (n, n) array of float32
        Nyquist lies at the edges.
    """
    if image.dtype.kind == "c":
        image = np.abs(image)
    side = min(TILE, *image.shape)
    window = np.hanning(side + 2)[1:-1].astype(np.float32)
    power = np.zeros((side, side), np.float64)
    for top in _starts(image.shape[0], side):
        for left in _starts(image.shape[1], side):
            piece = np.nan_to_num(image[top : top + side, left : left + side].astype(np.float32))
            piece = (piece - piece.mean()) * window[:, None] * window
            power += np.abs(np.fft.fft2(piece)) ** 2
    centred = np.fft.fftshift(power)
    positive = centred[centred > 0]
    lowest = positive.min() if positive.size else 1.0
    logarithm: Pixels = np.log10(np.maximum(centred, lowest)).astype(np.float32)
    return logarithm


def _starts(size: int, side: int) -> list[int]:
    """Return where tiles start that overlap by half and cover a length."""
    count = max(1, math.ceil((size - side) / (side / 2)) + 1)
    return [round(number * (size - side) / max(1, count - 1)) for number in range(count)]


def nice_length(most: float) -> float:
    """Return the longest of 1, 2, 5, 10, ... (and tenths) up to `most`.

    Examples
    --------
    >>> nice_length(730.0), nice_length(0.3)
    (500.0, 0.2)
    """
    decade = 10.0 ** math.floor(math.log10(most))
    return max(step * decade for step in (1.0, 2.0, 5.0) if step * decade <= most * (1 + 1e-9))


def length_text(angstrom: float) -> str:
    """Return a length with the unit that suits it.

    Examples
    --------
    >>> length_text(5.0), length_text(200.0), length_text(5e4)
    ('5 Å', '20 nm', '5 µm')
    """
    for factor, unit in ((1e4, "µm"), (10.0, "nm"), (1.0, "Å")):
        if angstrom >= factor and (unit != "nm" or angstrom >= 100):
            return f"{angstrom / factor:g} {unit}"
    return f"{angstrom:g} Å"


def resolution_rings(side: int, pixel: float) -> list[tuple[float, float]]:
    """Return radius (pixels) and resolution (Å) of rings for a power spectrum.

    Parameters
    ----------
    side : int
        Of the spectrum.
    pixel : float
        Å of the image's pixels.

    Examples
    --------
    >>> resolution_rings(512, 1.0)
    [(256.0, 2.0), (170.7, 3.0), (102.4, 5.0), (51.2, 10.0)]
    """
    rings: list[tuple[float, float]] = []
    scale = 1000.0 ** max(0, math.floor(math.log10(max(pixel, 1e-9) * 2) / 3))
    for resolution in (value * scale for value in RING_RESOLUTIONS):
        radius = side * pixel / resolution
        if radius > side / 2 + 1e-6 or radius < side / 16:
            continue
        if not rings or rings[-1][0] - radius >= side / 11:
            rings.append((round(radius, 1), resolution))
    return rings


def tile(images: Sequence[Pixels], *, gap: int = 2) -> tuple[Pixels, list[tuple[int, int]]]:
    """Return images of one shape side by side, and where each one starts (row, column).

    Parameters
    ----------
    images : sequence of (ny, nx) arrays
        In the order of reading: the first one at the upper left of a picture whose first
        row is at the bottom.
    gap : int
        Pixels between them; NaN.
    """
    ny, nx = images[0].shape
    columns = _columns(len(images), math.sqrt(len(images) * ny / nx))
    rows = math.ceil(len(images) / columns)
    whole = np.full((rows * (ny + gap) - gap, columns * (nx + gap) - gap), np.nan, np.float32)
    corners = []
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = (rows - 1 - row) * (ny + gap), column * (nx + gap)
        whole[top : top + ny, left : left + nx] = image
        corners.append((top, left))
    return whole, corners


def _columns(count: int, ideal: float) -> int:
    """Return how many columns make a table about `ideal` columns wide that has few gaps."""
    candidates = range(max(1, math.floor(ideal)), max(1, math.ceil(ideal)) + 2)
    return min((columns for columns in candidates if columns <= max(1, count)), default=count,
               key=lambda columns: (-count % columns, abs(columns - ideal)))


class Drawing:
    """One picture: an image at one or more screen pixels a pixel, and what is drawn on it.

    As in 3dmod and Chimera the first row is at the bottom.

    Parameters
    ----------
    image : (ny, nx) array of float
        What is shown; NaN is left blank.
    title : str
        One line above.
    limits : (float, float), optional
        Values shown black and white; default: `contrast_limits`.
    """

    def __init__(
        self, image: Pixels, title: str, limits: tuple[float, float] | None = None
    ) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingCodecError("pictures need the package 'matplotlib': "
                                    "pip install mrcz[view]") from error
        ny, nx = image.shape
        self.zoom = max(1, round(USUAL_WIDTH / max(ny, nx)))
        width = max(nx * self.zoom, SMALLEST_WIDTH) / DPI
        height = ny * self.zoom / DPI
        total = height + TITLE_INCHES
        figure: Any = Figure(figsize=(width, total), dpi=DPI, facecolor="white")
        margin = round((width * DPI - nx * self.zoom) / 2)
        low, high = limits or contrast_limits(image)
        # Not imshow, which resamples: a pixel is to be so many pixels of the screen exactly.
        figure.figimage(np.kron(image, np.ones((self.zoom, self.zoom), np.float32)), margin, 0,
                        cmap="gray", vmin=low, vmax=high, origin="lower")
        self.axes: Any = figure.add_axes(
            (margin / DPI / width, 0, nx * self.zoom / DPI / width, height / total),
            xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), zorder=1)  # fmt: skip
        self.axes.set_axis_off()
        lines = _wrapped(legible(title), width)
        figure.text(6 / DPI / width, 1 - TITLE_INCHES / total / 2, "\n".join(lines), va="center",
                    fontsize=min(USUAL_TYPE / len(lines) ** 0.25,
                                 _fitting(max(lines, key=len), width)), family="DejaVu Sans",
                    parse_math=False)  # a name may have dollar signs
        self.figure = figure
        self.shape = image.shape

    def add_scale_bar(self, pixel: float) -> None:
        """Draw a bar of a round length at the lower left.

        Parameters
        ----------
        pixel : float
            Å of a pixel of the image; nothing is drawn if it isn't known.
        """
        ny, nx = self.shape
        if not (pixel > 0 and math.isfinite(pixel)):
            return
        length = nice_length(nx * pixel / 4)
        left, bottom = 0.03 * nx - 0.5, 0.035 * ny - 0.5  # where pixel 0 begins
        self.axes.plot([left, left + length / pixel], [bottom, bottom], color="white",
                       linewidth=4, solid_capstyle="butt", path_effects=_outlined(6))
        self.add_text(left, bottom + 0.02 * ny, length_text(length))

    def add_text(
        self, x: float, y: float, text: str, *, inset: float = 0, centred: bool = False
    ) -> None:
        """Write something at a pixel: its middle, or its lower left `inset` points from there."""
        self.axes.annotate(
            text, (x, y), (inset, inset), textcoords="offset points", color="white", fontsize=9,
            va="center" if centred else "bottom", ha="center" if centred else "left",
            path_effects=_outlined(2.5), annotation_clip=True)

    def add_rings(self, rings: Iterable[tuple[float, float]]) -> None:
        """Draw circles about the middle, each with its resolution in Å."""
        from matplotlib.patches import Circle

        ny, nx = self.shape
        for radius, resolution in rings:
            centre = (nx // 2, ny // 2)
            self.axes.add_patch(Circle(centre, radius, fill=False, edgecolor="#ffcc33",
                                       linewidth=0.9))
            # At 40 degrees, where even the ring at Nyquist has room, unless the image is flat.
            x, y = centre[0] + 0.766 * radius, centre[1] + 0.643 * radius
            if x < 0.95 * nx and y < 0.97 * ny:
                self.add_text(x, y, length_text(resolution), centred=True)

    def save(self, path: str) -> None:
        """Write the picture in the format that the name ends with."""
        save_figure(self.figure, path, DPI)


def save_figure(figure: Any, path: str, dpi: int) -> None:
    """Write a figure of matplotlib, whole or not at all, in the format that the name ends with.

    Letters of a name that its font lacks are boxes.
    """
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(picture, format=os.path.splitext(path)[1][1:].lower(), dpi=dpi)
    sink = open_sink(path)
    try:
        sink.write_at(0, picture.getvalue())
        sink.commit()
    finally:
        sink.abort()


def _fitting(title: str, width: float) -> float:
    """Return the size of type at which a title fits: a letter is about 0.6 of it wide."""
    return min(USUAL_TYPE, 72 * (width - 0.15) / (0.6 * max(1, len(title))))


def _wrapped(title: str, width: float) -> list[str]:
    """Return a title as one line, or as two at one of its gaps where it would be too small."""
    parts = title.split("   ")
    if _fitting(title, width) >= SMALLEST_TYPE or len(parts) < 2:
        return [title]
    halves = [["   ".join(parts[:place]), "   ".join(parts[place:])]
              for place in range(1, len(parts))]
    return min(halves, key=lambda lines: max(map(len, lines)))


def _outlined(width: float) -> list[Any]:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground="black")]
