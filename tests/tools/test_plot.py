"""`Stack.plot`."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import mrcz

mpl.use("agg")


@pytest.fixture
def stack(tmp_path):
    frames = np.zeros((3, 60, 40), "f4")
    frames[2, 50:, :10] = 1
    mrcz.writeMRC(frames, tmp_path / "a.mrc", pixelsize=[1, 4, 2])
    with mrcz.open(tmp_path / "a.mrc") as opened:
        yield opened
    plt.close("all")


def test_axes_are_lengths(stack):
    axes = stack.plot(2)
    assert axes.images[0].get_extent() == pytest.approx([0, 80, 0, 240])
    assert axes.get_xlabel() == "x (Å)"
    assert axes.get_title() == "a.mrc, frame 2"
    assert axes.images[0].origin == "lower"
    np.testing.assert_array_equal(axes.images[0].get_array(), stack.preview(2))


def test_axes_of_large_images_are_nanometres(tmp_path):
    mrcz.writeMRC(np.ones((50, 50), "f4"), tmp_path / "b.mrc", pixelsize=10.0)
    with mrcz.open(tmp_path / "b.mrc") as stack:
        axes = stack.plot()
    assert axes.get_ylabel() == "y (nm)"
    assert axes.images[0].get_extent() == pytest.approx([0, 50, 0, 50])


def test_without_a_pixel_size_axes_are_pixels(tmp_path):
    mrcz.writeMRC(np.ones((50, 60), "f4"), tmp_path / "b.mrc", pixelsize=0.0)
    with mrcz.open(tmp_path / "b.mrc") as stack:
        assert stack.plot().get_xlabel() == "x (pixels)"


def test_into_axes_that_exist(stack):
    _, axes = plt.subplots(1, 2)
    assert stack.plot(-1, ax=axes[1]) is axes[1]
    assert axes[1].get_title() == "a.mrc, frame 2"
    assert not axes[0].images


def test_matplotlib_is_named_where_it_is_missing(stack, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"mrcz\[view\]"):
        stack.plot()
