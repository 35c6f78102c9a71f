"""`mrcz view`, pixel by pixel."""

import errno
import os

import matplotlib.image
import numpy as np
import pytest
import tifffile
from matplotlib.figure import Figure

import mrcz
from mrcz.cli import main
from mrcz.pictures import (
    Drawing,
    bin_to_fit,
    contrast_limits,
    nice_length,
    power_spectrum,
    resolution_rings,
    tile,
)

from .. import dm_writer

GREYS = 2 / 255
"""A value is one of 256 greys, once as it is drawn and once as it is stored."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(*arguments):
    """Return the picture that `mrcz view` draws, (rows, columns) of 0 black to 1 white."""
    assert main(["view", "-q", "--force", "-o", "out.png", *map(str, arguments)]) == 0
    return matplotlib.image.imread("out.png")[..., :3].mean(axis=2)


def body(image, ny, nx):
    """Return the part of a picture below the title, as (ny, nx) means, first row at the bottom."""
    height = image.shape[0] - 32
    zoom = height // ny
    assert zoom * ny == height
    left = (image.shape[1] - nx * zoom) // 2
    part = image[32:, left : left + nx * zoom]
    return part.reshape(ny, zoom, nx, zoom).mean(axis=(1, 3))[::-1]


def test_pixels_are_where_they_belong():
    pixels = np.arange(640 * 640, dtype="float32").reshape(640, 640) % 1000
    pixels[600:620, 100:140] = 1e6  # bright, at the upper left
    mrcz.writeMRC(pixels, "a.mrc", pixelsize=0.0)
    image = picture("a.mrc")
    assert image.shape == (672, 640)
    shown = body(image, 640, 640)
    low, high = contrast_limits(pixels)
    expected = np.clip((pixels - low) / (high - low), 0, 1)
    np.testing.assert_allclose(shown, expected, atol=GREYS)
    assert shown[610, 120] == 1


def test_small_images_are_enlarged_and_large_ones_binned():
    pixels = np.random.default_rng(0).normal(size=(16, 20)).astype("float32")
    mrcz.writeMRC(pixels, "small.mrc", pixelsize=0.0)
    image = picture("small.mrc")
    assert image.shape == (16 * 32 + 32, 20 * 32)
    low, high = contrast_limits(pixels)
    np.testing.assert_allclose(body(image, 16, 20), np.clip((pixels - low) / (high - low), 0, 1),
                               atol=GREYS)
    large = np.kron(pixels, np.ones((64, 64), "float32"))
    mrcz.writeMRC(large, "large.mrc", pixelsize=0.0)
    assert picture("large.mrc", "--size", "700").shape == (16 * 32 + 32, 20 * 32)


@pytest.mark.parametrize("option,number", [([], 3), (["--frame", "1"], 1), (["--frame", "-1"], 5)])
def test_the_frame_that_was_asked_for(option, number):
    movie = np.zeros((6, 64, 64), "int8")
    for frame in range(6):
        movie[frame, :, 10 * frame : 10 * frame + 10] = 100
    mrcz.writeMRC([*movie], "m.mrcz", compressor="zstd", pixelsize=0.0)
    shown = body(picture("m.mrcz", *option), 64, 64)
    bright = np.flatnonzero(shown[32] > 0.9)
    assert bright.tolist() == [*range(10 * number, 10 * number + 10)]


def test_sum_is_the_average_of_all():
    movie = np.random.default_rng(1).normal(size=(50, 64, 64)).astype("float32")
    movie[:, 20:30, 40:50] += 1.0  # not to be seen in one frame
    mrcz.writeMRC(movie, "m.mrcz", compressor="zstd", pixelsize=0.0)
    shown = body(picture("m.mrcz", "--sum"), 64, 64)
    inside = shown[20:30, 40:50].mean()
    outside = (shown.sum() - shown[20:30, 40:50].sum()) / (64 * 64 - 100)
    assert inside > outside + 0.4


def test_the_scale_bar_has_its_length():
    mrcz.writeMRC(np.zeros((640, 640), "float32"), "a.mrc", pixelsize=2.5)
    with_bar = picture("a.mrc")[32:]
    bar = np.flatnonzero(with_bar[-round(0.035 * 640) - 1] > 0.9)
    # 640 pixels of 2.5 Å are 160 nm; a quarter holds 20 nm... a round length up to 40: 20 nm.
    assert nice_length(640 * 2.5 / 4) == 200
    assert len(bar) == pytest.approx(200 / 2.5, abs=1)
    assert bar[0] == pytest.approx(0.03 * 640, abs=1)
    assert (picture("a.mrc", "--pixelsize", "0")[32:] < 0.6).all()


def test_rings_lie_at_their_resolution():
    pixels = np.random.default_rng(2).normal(size=(512, 512)).astype("float32")
    pixels += 20 * np.sin(2 * np.pi * np.arange(512) * 1.25 / 4)  # a lattice of 4 Å
    mrcz.writeMRC(pixels, "a.mrc", pixelsize=1.25)
    spectrum = power_spectrum(pixels)
    peak = np.unravel_index(np.argmax(spectrum), spectrum.shape)
    radius = abs(peak[1] - 256)
    assert peak[0] == 256 and radius == 160
    assert (160.0, 4) in resolution_rings(512, 1.25)
    assert main(["view", "-q", "--fft", "-o", "f.png", "a.mrc"]) == 0
    colours = matplotlib.image.imread("f.png")[32:, :, :3]
    yellow = (colours[..., 0] > 0.8) & (colours[..., 1] > 0.6) & (colours[..., 2] < 0.45)
    assert yellow[256, 256 + 158 : 256 + 163].any() and yellow[256, 256 - 162 : 256 - 157].any()
    assert colours.shape[:2] == (512, 512)


def test_slices_of_a_volume():
    volume = np.zeros((40, 60, 80), "float32")
    volume[20, 10, 15] = volume[5, 30, 70] = volume[33, 50, 40] = 1
    mrcz.writeMRC(volume, "v.mrc", pixelsize=0.0)
    image = picture("v.mrc")
    gap = 1
    shown = body(image, 60 + gap + 40, 80 + gap + 40)
    assert shown[10, 15] > 0.9  # x-y at z = 20
    assert shown[60 + gap + 5, 70] > 0.9  # x-z at y = 30
    assert shown[50, 80 + gap + 33] > 0.9  # y-z at x = 40, z to the right
    assert (shown[60 + gap :, 80 + gap :] == 1).all()  # blank
    assert picture("v.mrc", "--frame", "20").shape != image.shape


def test_montage_has_the_frames_in_order():
    movie = np.zeros((6, 40, 40), "float32")
    for frame in range(6):
        movie[frame] = frame
    mrcz.writeMRC(movie, "m.mrcs", pixelsize=0.0)
    whole, corners = tile([*movie], gap=1)
    assert len(corners) == 6
    shown = body(picture("m.mrcs", "--montage"), *whole.shape)
    middles = [shown[row + 25, column + 30] for row, column in corners]
    assert middles == sorted(middles) and middles[-1] - middles[0] > 0.9
    top, left = corners[0]
    assert top > 0 and left == 0  # the first one is at the upper left


def test_complex_pixels_show_their_magnitude():
    pixels = np.array([[3 + 4j, 0], [0, -10]], "complex64")
    assert bin_to_fit(pixels, 10)[0].tolist() == [[5, 0], [0, 10]]
    mrcz.writeMRC(pixels, "c.mrc")
    picture("c.mrc")


@pytest.mark.parametrize("pixels", [
    np.zeros((5, 5), "float32"), np.full((5, 5), np.nan, "float32"),
    np.array([[np.inf, 1, np.nan]], "float32"), np.zeros((1, 1), "int8"),
    np.zeros((1, 3000), "uint16"),
])
@pytest.mark.parametrize("option", [[], ["--fft"], ["--sum"], ["--montage"], ["--slices"]])
def test_odd_files_are_drawn_too(pixels, option):
    mrcz.writeMRC(pixels, "odd.mrc")
    picture("odd.mrc", *option)


@pytest.mark.parametrize("pixelsize", [[1e-20, 1e20, 1], [0, 1, 1], [-3, -2, 1], [1e5, 1, 1]])
@pytest.mark.parametrize("option", [[], ["--fft"], ["--slices"]])
def test_odd_pixel_sizes(pixelsize, option):
    mrcz.writeMRC(np.random.default_rng(0).normal(size=(9, 8, 7)).astype("float32"), "odd.mrc",
                  pixelsize=pixelsize)
    picture("odd.mrc", *option)
    for cella in (np.inf, np.nan):
        with open("odd.mrc", "r+b") as file:
            file.seek(40)
            file.write(np.full(3, cella, "<f4").tobytes())
        picture("odd.mrc", *option)


def test_what_can_not_be_drawn(folder, capsys):
    mrcz.writeMRC(np.zeros((3, 8, 8), "int8"), "a.mrc")
    assert main(["view", "a.mrc", "-o", "a.mrc"]) == 2
    assert main(["view", "a.mrc", "--fft", "--montage"]) == 2
    assert main(["view", "a.mrc", "--frame", "3"]) == 1
    assert "3 frames" in capsys.readouterr().err
    assert main(["view", "none.mrc"]) == 1
    assert main(["view", "a.mrc"]) == 0
    assert main(["view", "a.mrc"]) == 1  # there is an a.png
    assert "--force" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["a.mrc", "a.png"]


def test_other_formats_are_drawn_alike(folder):
    """What convert reads; colours as greys."""
    image = np.random.default_rng(4).integers(0, 255, (40, 50), "uint8")
    mrcz.writeMRC(image.astype("uint16"), "a.mrc", pixelsize=0.0)
    expected = picture("a.mrc")[32:]
    tifffile.imwrite("a.tif", image)
    tifffile.imwrite("rgb.tif", np.repeat(image[..., None], 3, axis=2), photometric="rgb")
    np.save("a.npy", image)
    dm_writer.write("a.dm4", dm_writer.document(dm_writer.image_of(image[::-1])))
    np.savez("several.npz", a=image[:5], b=image)
    for name in ("a.tif", "rgb.tif", "a.npy", "a.dm4"):
        np.testing.assert_allclose(picture(name)[32:], expected, atol=GREYS, err_msg=name)
    np.testing.assert_array_equal(picture("several.npz", "--item", "b")[32:], expected)
    assert main(["view", "several.npz"]) == 1


def test_labels_stay_in_their_frames():
    """Small frames too, and rings of a flat image."""
    drawing = Drawing(np.zeros((4, 8)), "a")
    drawing.add_text(-0.5, -0.5, "0", inset=3)
    (text,) = drawing.axes.texts
    assert text.xy == (-0.5, -0.5) and text.get_position() == (3, 3)
    drawing.add_rings([(2, 10.0), (4, 5.0)])
    assert len(drawing.axes.patches) == 2
    assert len(drawing.axes.texts) == 2  # the label of the wider one would be outside


@pytest.mark.parametrize("suffix", ["png", "jpg", "pdf", "svg"])
def test_formats(suffix):
    mrcz.writeMRC(np.zeros((3, 8, 8), "int8"), "a.mrc")
    assert main(["view", "-q", "a.mrc", "-o", f"a.{suffix}"]) == 0
    assert os.path.getsize(f"a.{suffix}") > 500


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, capsys):
    import sys

    mrcz.writeMRC(np.zeros((3, 8, 8), "int8"), "a.mrc")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["view", "a.mrc"]) == 1
    assert "mrcz[view]" in capsys.readouterr().err


def test_bench_draws_a_point_a_trial():
    mrcz.writeMRC(np.random.default_rng(0).poisson(1, (4, 64, 64)).astype("int8"), "a.mrc")
    drawn = []

    class Spy(Figure):
        def savefig(self, *arguments, **options):
            drawn.extend(len(axes.lines) for axes in self.axes)
            super().savefig(*arguments, **options)

    patch = pytest.MonkeyPatch()
    patch.setattr("matplotlib.figure.Figure", Spy)
    assert main(["bench", "-q", "a.mrc", "--repeats", "1", "-o", "b.png"]) == 0
    patch.undo()
    assert len(drawn) == 2 and drawn[0] == drawn[1] >= 16
    assert os.path.getsize("b.png") > 5000


@pytest.mark.parametrize("title", [
    "a very long name " * 12, "   ".join(["a name", "30 frames"] * 9),
    "   ".join(["movie.mrcz", "average of 30 frames", "Nyquist"] * 2),
])
def test_titles_fit(title):
    drawing = Drawing(np.zeros((8, 8)), title)
    text = drawing.figure.texts[0]
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    box = text.get_window_extent(FigureCanvasAgg(drawing.figure).get_renderer())
    assert box.width < drawing.figure.bbox.width
    assert box.height < 32
    assert text.get_text().split() == title.split()


@pytest.mark.parametrize(("count", "shape", "columns"), [
    (25, (60, 90), 5), (25, (64, 64), 5), (6, (40, 40), 2), (1, (5, 5), 1), (7, (4, 400), 1),
    (20, (20, 20), 4), (2, (400, 4), 2),
])
def test_montages_have_few_gaps(count, shape, columns):
    _, corners = tile([np.zeros(shape, "float32")] * count)
    assert len({column for _, column in corners}) == columns


@pytest.mark.parametrize("name", ["cost$x_{$.mrc", "a$^$.mrc", "电子显微镜.mrc"])
@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_any_name_can_be_drawn(name, suffix, capsys):
    """Dollars are no formula of matplotlib's; what its font lacks is no warning on the screen."""
    mrcz.writeMRC(np.eye(20, dtype="float32"), name)
    for arguments in (["view", name], ["bench", name, "-c", "lz4", "--repeats", "1"]):
        assert main([*arguments, "-q", "--force", "-o", f"out{suffix}"]) == 0
        assert capsys.readouterr().err == ""
        assert os.path.getsize(f"out{suffix}") > 1000


@pytest.mark.parametrize("name,shown", [("dose$_{3}$.mrc", "dose$_{3}$.mrc"),
                                        ("two\nlines.mrc", "two\\nlines.mrc"),
                                        ("tab\t.mrc", "tab\\t.mrc"),
                                        ("latin\udcff.mrc", "latin\\udcff.mrc")])
def test_a_name_is_drawn_as_it_is(name, shown):
    drawing = Drawing(np.eye(20, dtype="float32"), name)
    drawing.save("out.png")
    assert drawing.figure.texts[0].get_text() == shown
    assert not drawing.figure.texts[0].get_parse_math()


@pytest.mark.parametrize("size", ["nan", "-3", "inf", "x"])
def test_pixel_sizes_that_are_none(size, capsys):
    mrcz.writeMRC(np.eye(20, dtype="float32"), "a.mrc")
    assert main(["view", "a.mrc", f"--pixelsize={size}"]) == 2
    assert "--pixelsize" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".svg", ".webp"])
@pytest.mark.parametrize("existed", [False, True])
def test_a_picture_is_whole_or_as_before(suffix, existed, monkeypatch, capsys):
    """On a full disk, say: matplotlib writes as it draws."""
    mrcz.writeMRC(np.eye(20, dtype="float32"), "a.mrc")
    os.mkdir("out")
    path = os.path.join("out", f"a{suffix}")
    if existed:
        with open(path, "wb") as file:
            file.write(b"old")

    def full(file, offset, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    monkeypatch.setattr("mrcz.disk.AtomicFile.write_at", full)
    for command in (["view"], ["bench", "-c", "lz4", "--repeats", "1"]):
        assert main([*command, "-q", "--force", "a.mrc", "-o", path]) == 1
        assert f"{path}: {os.strerror(errno.ENOSPC)}" in capsys.readouterr().err
    assert os.listdir("out") == [f"a{suffix}"] * existed
    if existed:
        with open(path, "rb") as file:
            assert file.read() == b"old"
