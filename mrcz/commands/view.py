"""``mrcz view``: a picture of a file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..copies.copying import require_absent
from ..copies.slabs import slab_ranges
from ..errors import FrameIndexError
from ..header import VOLUME
from ..importers import Frames, open_frames
from ..parallel import threads_of
from ..pictures import (
    TILE,
    Drawing,
    bin_to_fit,
    contrast_limits,
    length_text,
    power_spectrum,
    resolution_rings,
    tile,
)
from ..pixels import Pixels
from .console import UsageError, progress_bar, say
from .files import pixel_size, positive_int, require_file, thread_count

__all__ = [
    "FORMATS",
    "add_parser",
    "run",
]

FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
MOST_THUMBNAILS = 25
SMALLEST_PIXEL, LARGEST_PIXEL = 1e-4, 1e9
"""Å; what lies beyond is no pixel of a microscope but garbage in a header."""
MOST_STRETCHED = 20
"""Ratio of pixel sizes up to which slices are drawn to scale."""

EPILOG = """\
examples:
  mrcz view movie.mrcz                      the middle frame, as movie.png
  mrcz view movie.mrcz --frame 0 -o a.png
  mrcz view movie.mrcz --sum --fft          Thon rings of the whole movie
  mrcz view stack.mrcs --montage
  mrcz view map.mrc                         three slices through a volume
  mrcz view search.dm4                      also TIFF, EER, .npy; colours as greys

The first row of an image is at the bottom, as in 3dmod and Chimera. The darkest and the
brightest 0.3 % of the pixels are black and white.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "view", help="draw a picture of a file",
        description="Draw a frame, a montage, the average or the power spectrum, with a scale bar "
                    "or rings of resolution; of a volume three slices.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="MRC, MRCZ, and what else mrcz convert reads")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--frame", type=int, metavar="N", help="one frame; -1 is the last")
    what.add_argument("--montage", action="store_true",
                      help=f"up to {MOST_THUMBNAILS} frames from all over the file")
    what.add_argument("--sum", action="store_true", help="the average of all frames")
    what.add_argument("--slices", action="store_true", help="x-y, x-z and y-z through the middle")
    parser.add_argument("--fft", action="store_true",
                        help="the power spectrum, of the frame or with --sum")
    parser.add_argument("-o", "--output", metavar="PICTURE",
                        help=f"{', '.join(FORMATS)}; default: FILE's name with .png, here")
    parser.add_argument("--size", type=positive_int, default=1024, metavar="N",
                        help="pixels a side at most (default %(default)s)")
    parser.add_argument("--pixelsize", type=pixel_size, metavar="A",
                        help="Angstrom, where the file does not tell or is wrong")
    parser.add_argument("--item", metavar="NAME",
                        help="image number in a DM file, array in an .npz, series in a TIFF")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="default: one a core")
    parser.add_argument("--force", action="store_true", help="replace a picture that exists")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    require_file(args.file, args.command)
    output = args.output or os.path.splitext(os.path.basename(args.file))[0] + ".png"
    if os.path.splitext(output)[1].lower() not in FORMATS:
        raise UsageError(f"{output}: the name of a picture must end with {', '.join(FORMATS)}")
    if args.fft and (args.montage or args.slices):
        raise UsageError("--fft goes with --frame or --sum")
    require_absent(output, args.force)
    with open_frames(args.file, threads=threads_of(args.threads), item=args.item,
                     channel="grey") as frames:
        draw(frames, args).save(output)
    if not args.quiet:
        say(output)
    return 0


def draw(frames: Frames, args: argparse.Namespace) -> Drawing:
    """Return the picture that was asked for."""
    name = os.path.basename(args.file)
    if args.montage:
        return _draw_montage(frames, name, args)
    if args.slices or (not (args.sum or args.fft) and args.frame is None and _is_volume(frames)):
        return _draw_slices(frames, name, args)
    image, what = _image(frames, args)
    pixel = _pixel(frames, args)[2]
    title = f"{name}   {what}   {' x '.join(map(str, frames.shape))} {frames.dtype}"
    if args.fft:
        return _draw_spectrum(image, title, pixel)
    shown, by = bin_to_fit(image, args.size)
    drawing = Drawing(shown, f"{title}{f', binned {by}' if by > 1 else ''}")
    drawing.add_scale_bar(pixel * by)
    return drawing


def _is_volume(frames: Frames) -> bool:
    """Return whether slices say more of an MRC file than one of its frames."""
    nz, ny, nx = frames.shape
    return (frames.record is not None and frames.ispg >= VOLUME and not frames.slices
            and 4 * nz >= min(ny, nx) and nz > 1)


def _pixel(frames: Frames, args: argparse.Namespace) -> list[float]:
    """Return the distance of sections, rows and columns in Å; 0 where it is not known."""
    if args.pixelsize is not None:
        sizes = [args.pixelsize] * 3
    else:
        sizes = [abs(size) for size in frames.spacing]
    return [size if SMALLEST_PIXEL < size < LARGEST_PIXEL else 0.0 for size in sizes]


def _frame(frames: Frames, number: int) -> Pixels:
    block = frames.read(range(number, number + 1))
    frame: Pixels = block[0]
    return frame


def _image(frames: Frames, args: argparse.Namespace) -> tuple[Pixels, str]:
    """Return the frame or the average that was asked for, and what to call it."""
    nz = frames.shape[0]
    if args.sum:
        return average(frames, quiet=args.quiet), f"average of {nz} frames"
    number = nz // 2 if args.frame is None else args.frame
    if not -nz <= number < nz:
        raise FrameIndexError(f"{args.file} has {nz} frames: there is no frame {number}")
    return _frame(frames, number % nz), f"frame {number % nz}"


def _slabs(frames: Frames, *, quiet: bool, title: str) -> Iterator[tuple[range, Pixels]]:
    """Yield all frames, some at a time, while a bar moves."""
    nz, ny, nx = frames.shape
    frame_bytes = ny * nx * frames.dtype.itemsize
    with progress_bar(nz * frame_bytes, quiet=quiet, title=title) as bar:
        for part in slab_ranges(range(nz), frame_bytes):
            yield part, frames.read(part)
            bar.update(len(part) * frame_bytes)


def average(frames: Frames, *, quiet: bool) -> Pixels:
    """Return the mean of all frames, as (ny, nx) float64 or complex128."""
    kind = np.complex128 if frames.dtype.kind == "c" else np.float64
    total = np.zeros(frames.shape[1:], kind)
    for _, block in _slabs(frames, quiet=quiet, title="sum"):
        total += block.sum(axis=0, dtype=kind)
    return total / frames.shape[0]


def _draw_montage(frames: Frames, name: str, args: argparse.Namespace) -> Drawing:
    nz = frames.shape[0]
    count = min(nz, MOST_THUMBNAILS)
    numbers = sorted({round(place) for place in np.linspace(0, nz - 1, count)})
    side = max(8, args.size // max(1, round(len(numbers) ** 0.5)))
    binned = [bin_to_fit(_frame(frames, number), side) for number in numbers]
    thumbnails, by = [image for image, _ in binned], binned[0][1]
    # Wide enough to be seen between large frames, and not to be taken for one of small ones.
    whole, corners = tile(thumbnails, gap=max(1, min(thumbnails[0].shape) // 50))
    drawing = Drawing(whole, f"{name}   {len(numbers)} of {nz} frames"
                             f"{f', binned {by}' if by > 1 else ''}",
                      contrast_limits(np.stack(thumbnails)))
    for number, (row, column) in zip(numbers, corners, strict=True):
        drawing.add_text(column - 0.5, row - 0.5, str(number), inset=3)
    return drawing


def _cross_sections(
    frames: Frames, y: int, x: int, *, quiet: bool
) -> tuple[Pixels, Pixels]:
    """Return the sections x-z at `y` and y-z at `x`, (nz, nx) and (nz, ny)."""
    nz, ny, nx = frames.shape
    xz, yz = np.empty((nz, nx), frames.dtype), np.empty((nz, ny), frames.dtype)
    for part, block in _slabs(frames, quiet=quiet, title="slices"):
        xz[part.start : part.stop] = block[:, y]
        yz[part.start : part.stop] = block[:, :, x]
    return xz, yz


def _draw_slices(frames: Frames, name: str, args: argparse.Namespace) -> Drawing:
    """Draw x-y, with x-z above and y-z to the right, all to one scale."""
    nz, ny, nx = frames.shape
    z, y, x = nz // 2, ny // 2, nx // 2
    sizes = _pixel(frames, args)
    scales = [1.0] * 3
    if min(sizes) > 0 and max(sizes) < MOST_STRETCHED * min(sizes):
        scales = [size / sizes[2] for size in sizes]
    across_y, across_x = _cross_sections(frames, y, x, quiet=args.quiet)
    xy = _stretched(_frame(frames, z), scales[1], scales[2])
    xz = _stretched(across_y, scales[0], scales[2])
    yz = _stretched(across_x, scales[0], scales[1]).T
    gap = max(1, max(xy.shape) // 100)
    whole = np.full((xy.shape[0] + gap + xz.shape[0], xy.shape[1] + gap + yz.shape[1]), np.nan,
                    np.float32)
    whole[: xy.shape[0], : xy.shape[1]] = xy
    whole[xy.shape[0] + gap :, : xy.shape[1]] = xz
    whole[: xy.shape[0], xy.shape[1] + gap :] = yz
    shown, by = bin_to_fit(whole, args.size)
    pieces = np.concatenate([piece.ravel() for piece in (xy, xz, yz)])
    drawing = Drawing(shown, f"{name}   slices x-y at z={z}, x-z at y={y}, y-z at x={x}",
                      contrast_limits(pieces))
    drawing.add_scale_bar(sizes[2] * by)
    return drawing


def _stretched(image: Pixels, across_rows: float, across_columns: float) -> Pixels:
    """Return an image with rows and columns repeated or left out, for unequal pixels."""
    if image.dtype.kind == "c":
        image = np.abs(image)
    ny, nx = (max(1, round(size * scale)) for size, scale
              in zip(image.shape, (across_rows, across_columns), strict=True))
    rows = np.minimum((np.arange(ny) + 0.5) * image.shape[0] / ny, image.shape[0] - 1)
    columns = np.minimum((np.arange(nx) + 0.5) * image.shape[1] / nx, image.shape[1] - 1)
    stretched: Pixels = image[rows.astype(int)][:, columns.astype(int)].astype(np.float32)
    return stretched


def _draw_spectrum(image: Pixels, title: str, pixel: float) -> Drawing:
    spectrum = power_spectrum(image)
    side = len(spectrum)
    nyquist = f"   Nyquist {length_text(2 * pixel)}" if pixel > 0 else ""
    pieces = f", tiles of {side}" if side == TILE else ""
    drawing = Drawing(spectrum, f"{title}   power spectrum{pieces}{nyquist}")
    if pixel > 0:
        drawing.add_rings(resolution_rings(side, pixel))
    return drawing
