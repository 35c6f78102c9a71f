"""``xarray.open_dataset(engine="mrcz")``."""

import io
import pickle
import tracemalloc

import numpy as np
import pytest
import xarray as xr

import mrcz

from ..builders import header, mrc

FRAMES = np.random.default_rng(0).normal(size=(6, 30, 40)).astype("f4")


@pytest.fixture(params=["a.mrc", "a.mrcz"])
def path(request, tmp_path):
    mrcz.writeMRC(FRAMES, tmp_path / request.param, pixelsize=[3, 2, 1], voltage=300.0,
                  compressor="zstd" if request.param.endswith("z") else None,
                  meta={"sample": "apoferritin"})
    return tmp_path / request.param


def test_pixels_coordinates_and_facts(path):
    with xr.open_dataset(path, engine="mrcz") as dataset:
        image = dataset["image"]
        assert image.dims == ("z", "y", "x")
        np.testing.assert_array_equal(image.values, FRAMES)
        np.testing.assert_allclose(image.z, np.arange(6) * 3)
        np.testing.assert_allclose(image.x, np.arange(40))
        assert image.y.attrs == {"units": "angstrom"}
        assert image.attrs["voltage"] == 300.0
        assert image.attrs["sample"] == "apoferritin"


def test_the_engine_is_found_by_the_name(path):
    with xr.open_dataarray(path) as image:
        np.testing.assert_array_equal(image.sel(y=20.0, method="nearest"), FRAMES[:, 10])


@pytest.mark.parametrize("key", [
    {"z": 3}, {"z": -1, "x": slice(None, None, -3)}, {"z": [4, 1, 1]}, {"z": 2, "x": [3, 1]},
    {"y": [5, 2], "x": [0, 9, 3]}, {"z": slice(4, 1, -2), "y": np.arange(30) % 3 == 0},
    {"z": xr.DataArray([1, 2], dims="p"), "y": xr.DataArray([3, 4], dims="p")}])
def test_indexing_is_that_of_an_array_in_memory(path, key):
    expected = xr.DataArray(FRAMES, dims=("z", "y", "x")).isel(key)
    with xr.open_dataarray(path, engine="mrcz") as image:
        found = image.isel(key)
        assert found.dims == expected.dims
        np.testing.assert_array_equal(found.values, expected.values)


def test_pixels_are_read_when_they_are_needed(path, monkeypatch):
    read = []
    original = mrcz.Stack.__getitem__

    def counted(self, key):
        pixels = original(self, key)
        read.append(pixels.size)
        return pixels

    monkeypatch.setattr(mrcz.Stack, "__getitem__", counted)
    with xr.open_dataset(path, engine="mrcz") as dataset:
        part = dataset["image"].isel(z=2, y=slice(5, 9))
        assert not any(read)
        part.load()
    assert [size for size in read if size] == [4 * 40]


def test_with_dask_and_pickled(path):
    with xr.open_dataset(path, engine="mrcz", chunks={}) as dataset:
        assert dataset["image"].chunks[0] == (1,) * 6
        assert float(dataset["image"].mean()) == pytest.approx(float(FRAMES.mean()), abs=1e-6)
        again = pickle.loads(pickle.dumps(dataset))
        np.testing.assert_array_equal(again["image"].isel(z=0).values, FRAMES[0])


def test_a_series_of_images_has_no_length_along_z(tmp_path):
    mrcz.writeMRC(list(FRAMES), tmp_path / "a.mrcs", pixelsize=1.5)
    with xr.open_dataset(tmp_path / "a.mrcs", engine="mrcz") as dataset:
        assert set(dataset.coords) == {"y", "x"}


def test_variables_can_be_dropped(path):
    with xr.open_dataset(path, engine="mrcz", drop_variables=["z"]) as dataset:
        assert set(dataset.coords) == {"y", "x"}
    with xr.open_dataset(path, engine="mrcz", drop_variables="image") as dataset:
        assert not dataset.data_vars


@pytest.mark.parametrize("mode", [0, 6002])
def test_sizes_that_lie_are_refused_at_once(tmp_path, mode):
    """Before there are coordinates of 2**31 frames."""
    path = tmp_path / "a.mrc"
    path.write_bytes(header((2**31 - 1, 1, 1), mode) + bytes(2000))
    tracemalloc.start()
    try:
        with pytest.raises(mrcz.MRCTruncatedError):
            xr.open_dataset(path, engine="mrcz")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_whole_frames_of_a_cut_file(tmp_path):
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(FRAMES, path)
    path.write_bytes(path.read_bytes()[:-100])
    with xr.open_dataset(path, engine="mrcz") as dataset:
        np.testing.assert_array_equal(dataset["image"][4], FRAMES[4])
        with pytest.raises(mrcz.MRCTruncatedError, match="frame 5 of 6 is cut"):
            dataset["image"][5].load()


def test_coordinates_of_permuted_axes(tmp_path):
    """Columns along z, rows along x, sections along y."""
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(FRAMES, map_axes=(3, 1, 2), m=(30, 6, 40), cella=(60.0, 18.0, 40.0)))
    with xr.open_dataset(path, engine="mrcz") as dataset:
        for axis, size in {"z": 3, "y": 2, "x": 1}.items():
            assert float(dataset[axis][1]) == pytest.approx(size)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_lazy_arrays_are_written(compressor):
    """As they are: the dask arrays in them, in parts."""
    pixels = np.arange(5 * 12 * 14, dtype="float32").reshape(5, 12, 14)
    array = xr.DataArray(pixels, dims=("z", "y", "x")).chunk({"z": 2, "y": 5})
    for given, expected in ((array, pixels), (array[0], pixels[0]), ([array[0], array[1]],
                                                                     list(pixels[:2]))):
        file = io.BytesIO()
        mrcz.writeMRC(given, file, compressor=compressor)
        file.seek(0)
        found, _ = mrcz.readMRC(file)
        assert np.array_equal(found, expected)
