"""Images of DM files: pixels of every type, their orientation, and their facts."""

import pickle
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mrcz import ioDM, ioDM4
from mrcz.dm import pixels as dm_pixels
from mrcz.errors import MRCFormatError, MRCTruncatedError
from mrcz.ioDM4 import asyncReadDM4, readDM4

from . import dm_writer as w

SHAPES = [(5,), (3, 4), (2, 3, 4), (2, 2, 3, 4)]


def turned(data):
    return data[..., ::-1, :] if data.ndim > 1 else data


def sample(dtype, shape):
    data = np.arange(1, np.prod(shape) + 1).reshape(shape)
    if dtype == "b1":
        return data % 3 == 0
    return (data * (1 + 2j) if dtype[0] == "c" else data).astype(dtype)


def read(tmp_path, *images, version=4, order="<", **options):
    path = w.write(tmp_path / "file.dm", w.document(*images), version, order)
    return readDM4(path, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", w.PIXELS.values())
@pytest.mark.parametrize(("version", "order"), [(4, "<"), (4, ">"), (3, "<"), (3, ">")])
def test_every_type_and_shape(tmp_path, dtype, shape, version, order):
    data = sample(dtype, shape)
    dm = read(tmp_path, w.image_of(data), version=version, order=order)
    image = dm.im[1]
    assert image.shape == shape
    assert image.imageData.dtype == data.dtype.newbyteorder(order)
    np.testing.assert_array_equal(image.imageData, turned(data))
    np.testing.assert_array_equal(image.read(), turned(data))
    np.testing.assert_array_equal(np.asarray(image), turned(data))
    as_stored = read(tmp_path, w.image_of(data), version=version, order=order, flip=False)
    np.testing.assert_array_equal(as_stored.im[1].imageData, data)
    np.testing.assert_array_equal(as_stored.im[1].read(), data)
    if len(shape) > 1:
        frames = turned(data).reshape(-1, 3, 4)
        for first, last in ((0, 1), (len(frames) - 1, len(frames)), (0, len(frames))):
            np.testing.assert_array_equal(image.read_frames(first, last), frames[first:last])


def test_thumbnail_and_image(tmp_path):
    dm = read(tmp_path, w.image_of(np.zeros((2, 3), "i2")))
    assert dm.f is None
    assert [image.shape for image in dm.im] == [(8, 8), (2, 3)]
    thumbnail = dm.im[0].imageData
    assert thumbnail.dtype.names == ("R", "G", "B", "A")
    np.testing.assert_array_equal(thumbnail["B"][-1], np.arange(8))
    assert "2 images" in repr(dm)


@pytest.mark.parametrize("data_type", [8, 23])
@pytest.mark.parametrize("order", "<>")
def test_colours_are_stored_blue_first(tmp_path, data_type, order):
    raw = np.arange(2 * 3 * 4, dtype="u1").reshape(2, 3, 4)
    leaf = w.Leaf((20, 3, 6), raw.tobytes())
    image = read(tmp_path, w.image(data_type, (2, 3), leaf), order=order).im[1].imageData
    assert image.shape == (2, 3)
    for name, place in zip("RGBA", (2, 1, 0, 3), strict=True):
        np.testing.assert_array_equal(image[name], raw[::-1, :, place])


def test_int64(tmp_path):
    for data_type, dtype in ((39, "i8"), (40, "u8")):
        data = sample(dtype, (2, 3))
        image = read(tmp_path, w.image(data_type, (2, 3), w.pixels(data))).im[1]
        assert image.imageData.dtype == data.dtype
        np.testing.assert_array_equal(image.imageData, data[::-1])


# --- packed transforms ------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 4, 6, 16])
def test_packed_transform_of_type_5(tmp_path, n):
    """Pack a real image's transform by the description of the format, and get it back."""
    full = np.fft.fftshift(np.fft.fft2(np.random.default_rng(n).normal(size=(n, n))))
    full = full.astype("c8")
    half = n // 2
    packed = np.empty((n, half), "c8")
    packed[:, 1:] = full[:, half + 1:]
    packed[1:half, 0] = full[half + 1:, 0]
    packed[half + 1:, 0] = full[half + 1:, half]
    packed[0, 0] = full[half, 0].real + 1j * full[0, 0].real
    packed[half, 0] = full[half, half].real + 1j * full[0, half].real
    leaf = w.pixels(packed.view("f4"))
    image = read(tmp_path, w.image(5, (n, n), leaf), flip=False).im[1].imageData
    np.testing.assert_allclose(image, full, rtol=1e-5, atol=1e-5)
    image = read(tmp_path, w.image(5, (n, n), leaf)).im[1]
    np.testing.assert_allclose(image.imageData, full[::-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(image.read_frames(0, 1)[0], full[::-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("data_type", "dtype"), [(27, "c8"), (28, "c16")])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("ny", "nx"), [(3, 8), (2, 2), (1, 6), (8, 4)])
def test_packed_transform_of_one_half(tmp_path, data_type, dtype, order, ny, nx):
    half = nx // 2
    packed = sample(dtype, (ny, half + 1))
    for leaf in (w.pixels(packed), w.pixels(packed.view(packed.real.dtype))):
        image = w.image(data_type, (ny, nx), leaf)
        full = read(tmp_path, image, flip=False, order=order).im[1].imageData
        assert full.shape == (ny, nx)
        np.testing.assert_array_equal(full[:, half::-1], packed)
        np.testing.assert_array_equal(full[:, half + 1:], packed[:, 1:half].conj())


@pytest.mark.parametrize("data_type", [5, 27])
def test_transform_that_is_not_packed(tmp_path, data_type):
    data = sample("c8", (4, 4))
    image = read(tmp_path, w.image(data_type, (4, 4), w.pixels(data))).im[1]
    np.testing.assert_array_equal(image.imageData, data[::-1])


@pytest.mark.parametrize(("shape", "count"), [((4, 8), 32), ((5, 5), 25), ((2, 4, 4), 32)])
def test_transforms_of_unknown_packing_are_refused(tmp_path, shape, count):
    image = read(tmp_path, w.image(5, shape, w.pixels(np.zeros(count, "f4")))).im[1]
    with pytest.raises(MRCFormatError, match="does not fit"):
        _ = image.imageData


# --- what users do with it --------------------------------------------------------------


def test_image_data_is_a_map_of_its_own(tmp_path):
    data = sample("i2", (4, 50, 60))
    dm = read(tmp_path, w.image_of(data))
    image = dm.im[1].imageData
    assert type(image) is np.ndarray
    assert image is dm.im[1].imageData
    assert not image.flags.owndata
    image[0] = 0  # never reaches the file
    again = readDM4(dm.filename).im[1].imageData
    np.testing.assert_array_equal(again, turned(data))
    dm.im[1].imageData = data
    assert dm.im[1].imageData is data


def test_as_an_array_with_and_without_a_copy(tmp_path):
    image = read(tmp_path, w.image_of(sample("i2", (4, 5)))).im[1]
    assert np.asarray(image, "f8").dtype == "f8"
    assert image.__array__(copy=False) is image.imageData
    assert image.__array__("i2", copy=False) is image.imageData
    with pytest.raises(ValueError, match="without a copy"):
        image.__array__("f8", copy=False)


def test_a_map_larger_than_memory(tmp_path, monkeypatch):
    class OnlyReadable(dm_pixels.mmap.mmap):
        def __new__(cls, *args, access, **options):
            if access == dm_pixels.mmap.ACCESS_COPY:
                raise OSError(12, "Cannot allocate memory")
            return super().__new__(cls, *args, access=access, **options)

    monkeypatch.setattr(dm_pixels.mmap, "mmap", OnlyReadable)
    data = sample("i2", (4, 5))
    image = read(tmp_path, w.image_of(data)).im[1].imageData
    np.testing.assert_array_equal(image, data[::-1])
    assert not image.flags.writeable


def test_file_systems_that_map_nothing(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(19, "No such device")

    data = sample("i2", (4, 5))
    image = read(tmp_path, w.image_of(data)).im[1]
    monkeypatch.setattr(dm_pixels.mmap, "mmap", refuse)
    np.testing.assert_array_equal(image.imageData, data[::-1])
    assert image.imageData is image.imageData


def test_frames_that_are_not_there(tmp_path):
    image = read(tmp_path, w.image_of(sample("i2", (4, 5, 6)))).im[1]
    for first, last in ((-1, 1), (3, 3), (2, 5)):
        with pytest.raises(IndexError, match="no frames"):
            image.read_frames(first, last)
    with pytest.raises(IndexError, match="no frames"):
        read(tmp_path, w.image_of(sample("i2", (4,)))).im[1].read_frames(0, 1)


def test_large_images_in_bands_and_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(dm_pixels, "BAND_SIZE", 1 << 14)
    monkeypatch.setattr(dm_pixels, "default_threads", lambda: 3)
    for shape in ((3, 301, 600), (3, 1000, 17), (5_000, 1), (1, 70_000), (100_001,)):
        data = np.random.default_rng(1).integers(0, 99, shape, "i2")
        dm = read(tmp_path, w.image_of(data))
        np.testing.assert_array_equal(dm.im[1].read(), turned(data))
        as_stored = readDM4(dm.filename, flip=False)
        np.testing.assert_array_equal(as_stored.im[1].read(), data)


def test_large_images_without_scattered_reads(tmp_path, monkeypatch):
    data = np.random.default_rng(1).integers(0, 99, (3, 301, 600), "i2")
    dm = read(tmp_path, w.image_of(data))
    monkeypatch.setattr(dm_pixels, "_HAS_PREADV", False)
    np.testing.assert_array_equal(dm.im[1].read(), turned(data))


def test_images_can_be_pickled_and_shared(tmp_path):
    data = sample("i2", (4, 5))
    dm = read(tmp_path, w.image_of(data))
    copy = pickle.loads(pickle.dumps(dm))
    np.testing.assert_array_equal(copy.im[1].imageData, data[::-1])
    found = []
    threads = [threading.Thread(target=lambda: found.append(dm.im[1].imageData))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(array is found[0] for array in found)


def test_empty_images(tmp_path):
    image = read(tmp_path, w.image_of(np.zeros((0, 5), "i2"))).im[1]
    assert image.imageData.shape == (0, 5)


def test_image_list_with_names_or_without_images(tmp_path):
    entry = w.image_of(sample("i2", (2, 2)))
    tree = {"ImageList": [("named", entry), {"ImageData": {}}, w.int32(3)]}
    assert len(readDM4(w.write(tmp_path / "a", tree)).im) == 1
    for tree in ({"ImageList": w.int32(3)}, {}, {"ImageList": {}}):
        assert readDM4(w.write(tmp_path / "a", tree)).im == []


@pytest.mark.parametrize("version", [3, 4])
def test_dimensions_and_axes_with_names(tmp_path, version):
    image = sample("i2", (2, 3))
    entry = w.image_of(image, axes=[w.axis(0.5, units="nm"), w.axis(0.25, units="nm")])
    data = entry["ImageData"]
    data["Dimensions"] = dict(zip("01", data["Dimensions"], strict=True))
    axes = data["Calibrations"]["Dimension"]
    data["Calibrations"]["Dimension"] = dict(zip("01", axes, strict=True))
    found = readDM4(w.write(tmp_path / "a", {"ImageList": [entry]}, version), flip=False).im[0]
    np.testing.assert_array_equal(found.imageData, image)
    assert (found.imageInfo["DimXScale"], found.imageInfo["DimYScale"]) == (0.25, 0.5)


@pytest.mark.parametrize(("change", "problem"), [
    ({"DataType": w.uint32(4)}, "type 4"), ({"DataType": w.text("x")}, "valid type"),
    ({"DataType": w.boolean(True)}, "valid type"),
    ({"Dimensions": [w.uint32(2)] * 3}, "does not fit"), ({"Dimensions": {}}, "does not fit"),
    ({"Dimensions": [w.int32(-2), w.int32(-2)]}, "valid"), ({"Dimensions": w.int32(4)}, "fit"),
    ({"DataType": w.uint32(2)}, "does not fit"),
    ({"Dimensions": [w.uint32(2**32 - 1)] * 4}, "does not fit")])
def test_images_that_make_no_sense_do_not_hide_the_rest(tmp_path, change, problem):
    entry = w.image_of(sample("i2", (2, 2)))
    entry["ImageData"].update(change)
    dm = read(tmp_path, entry)
    assert dm.im[0].imageData.shape == (8, 8)
    for touch in (lambda: dm.im[1].imageData, dm.im[1].read, lambda: dm.im[1].read_frames(0, 1)):
        with pytest.raises(MRCFormatError, match=problem):
            touch()


def test_a_file_that_has_become_shorter(tmp_path):
    dm = read(tmp_path, w.image_of(sample("i2", (40, 50))))
    with Path(dm.filename).open("r+b") as file:
        file.truncate(4000)
    for touch in (lambda: dm.im[1].imageData, dm.im[1].read):
        with pytest.raises(MRCTruncatedError):
            touch()


@settings(max_examples=50)
@given(data=npst.arrays(st.sampled_from([np.dtype(d) for d in w.PIXELS.values()]),
                        npst.array_shapes(max_dims=4, max_side=7)),
       version=st.sampled_from([3, 4]), order=st.sampled_from("<>"))
def test_any_array(tmp_path, data, version, order):
    dm = read(tmp_path, w.image_of(data), version=version, order=order)
    np.testing.assert_array_equal(dm.im[1].imageData, turned(data))
    np.testing.assert_array_equal(dm.im[1].read(), turned(data))


# --- facts ------------------------------------------------------------------------------


def test_image_info(tmp_path):
    flips = {"Diagonal Flip": w.boolean(False), "Horizontal Flip": w.boolean(True),
             "Vertical Flip": w.boolean(False)}
    tags = {
        "Acquisition": {
            "Device": {"CCD": {"Pixel Size (um)": w.struct_of([6, 6], [5, 5])},
                       "Configuration": {"Transpose": flips}},
            "Parameters": {"Detector": {"exposure (s)": w.float64(0.25),
                                        "hbin": w.uint32(2), "vbin": w.uint32(4)}}},
        "Calibration": {"Dose Rate": {"Calibration": w.float64(1.5)}},
        "EELS Spectrometer": {"Aperture label": w.text("5 mm"),
                              "Energy loss (eV)": w.float64(100),
                              "Slit inserted": w.boolean(True), "Slit width (eV)": w.float64(20)},
        "Latitude-S": {"Grid Square": w.int32(3), "more": {}},
        "Microscope Info": {"Actual Magnification": w.float64(39000),
                            "Cs(mm)": w.float64(2.7), "Indicated Magnification": w.float64(22500),
                            "Mode": w.text("TEM"), "Voltage": w.float64(300000)}}
    axes = [w.axis(0.5, 0, "s"), w.axis(2, -1, ""), w.axis(0.125, 3, "nm"), w.axis(0.25, 4, "µm")]
    entry = w.image_of(np.zeros((2, 2, 3, 4), "i2"), axes=axes, tags=tags,
                       brightness=w.axis(2, 1, "e-"))
    assert read(tmp_path, entry).im[1].imageInfo == {
        "IntensityOrigin": 1.0, "IntensityScale": 2.0, "IntensityUnits": "e-",
        "DimXOrigin": 4.0, "DimXScale": 0.25, "DimXUnits": "µm",
        "DimYOrigin": 3.0, "DimYScale": 0.125, "DimYUnits": "nm",
        "DimZOrigin": -1.0, "DimZScale": 2.0, "DimZUnits": "",
        "DimTOrigin": 0.0, "DimTScale": 0.5, "DimTUnits": "s",
        "HorzFlip": True, "VertFlip": False, "DiagFlip": False,
        "DetectorPixelSize": [5.0, 5.0], "Exposure": 0.25, "HorzBin": 2, "VertBin": 4,
        "DoseRateCalibration": 1.5, "ActualMag": 39000.0, "NominalMag": 22500.0, "C3": 2.7,
        "Voltage": 300000.0, "MicroscopeMode": "TEM", "EELSSlitIn": True,
        "EELSSlitWidth": 20.0, "EELSEnergyLoss": 100.0, "EELSApertureLabel": "5 mm",
        "LatSGridSquare": 3}


# What each key is read from: measured on python-mrcz 0.6.0, where a star is any directory,
# and on files of K2, K3 and Monarc cameras.
PLACES = {
    "Acquisition:Device:Configuration:Transpose:Horizontal Flip": ("HorzFlip", True),
    "Acquisition:Device:Camera:Orientation:Horizontal Flip": ("HorzFlip", True),
    "Acquisition:Device:Configuration:Transpose:Vertical Flip": ("VertFlip", True),
    "Acquisition:Device:Camera:Orientation:Vertical Flip": ("VertFlip", True),
    "Acquisition:Device:Configuration:Transpose:Diagonal Flip": ("DiagFlip", True),
    "Acquisition:Device:Camera:Orientation:Diagonal Flip": ("DiagFlip", True),
    "Acquisition:Device:CCD:Pixel Size (um)": ("DetectorPixelSize", [5.0, 7.0]),
    "Acquisition:Device:Camera:Pixel Size (um)": ("DetectorPixelSize", [5.0, 7.0]),
    "Acquisition:Parameters:High Level:Exposure (s)": ("Exposure", 1.5),
    "Acquisition:Parameters:Detector:exposure (s)": ("Exposure", 1.5),
    "Acquisition:Parameters:Detector:Exposure (s)": ("Exposure", 1.5),
    "Acquisition:Parameters:Detector:Exposure": ("Exposure", 1.5),
    "DataBar:Exposure Time (s)": ("Exposure", 1.5),
    "Acquisition:Parameters:Detector:hbin": ("HorzBin", 2),
    "Acquisition:Parameters:Detector:vbin": ("VertBin", 2),
    "Calibration:Dose Rate:Calibration": ("DoseRateCalibration", 1.5),
    "Microscope Info:Actual Magnification": ("ActualMag", 1.5),
    "Microscope Info:Indicated Magnification": ("NominalMag", 1.5),
    "Microscope Info:Cs(mm)": ("C3", 1.5),
    "Microscope Info:Voltage": ("Voltage", 1.5),
    "Microscope Info:Mode": ("MicroscopeMode", "µ"),
    "Microscope Info:Operation Mode": ("MicroscopeMode", "µ"),
    "EELS Spectrometer:Slit inserted": ("EELSSlitIn", True),
    "EELS Spectrometer:Slit width (eV)": ("EELSSlitWidth", 1.5),
    "EELS Spectrometer:Energy loss (eV)": ("EELSEnergyLoss", 1.5),
    "EELS Spectrometer:Aperture label": ("EELSApertureLabel", "µ"),
    "Latitude-S:Grid Square": ("LatSGridSquare", 2),
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("place", "expected"), PLACES.items())
def test_each_key_and_its_tag(tmp_path, version, place, expected):
    key, value = expected
    leaf = {bool: w.boolean, int: w.uint32, float: w.float64, str: w.text,
            list: lambda sizes: w.struct_of([6, 6], sizes)}[type(value)](value)
    tags = leaf
    for name in reversed(place.split(":")):
        tags = {name: tags}
    info = read(tmp_path, w.image_of(np.zeros((2, 2), "i2"), tags=tags), version=version).im[1]
    found = {name: fact for name, fact in info.imageInfo.items()
             if not name.startswith(("Dim", "Intensity"))}
    assert found == {key: value}
    assert type(found[key]) is type(value)


def test_calibrations_that_are_none(tmp_path):
    odd = {"Origin": w.text("x"), "Scale": w.array(3, [1, 2]), "Units": w.array(4, [0xD800])}
    entry = w.image_of(np.zeros((2, 2), "i2"), axes=[odd, odd], brightness=odd)
    assert read(tmp_path, entry).im[1].imageInfo == {}


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "i4", "u4", "f4", "f8", "c8", "c16", "b1"])
def test_images_that_do_not_tell_their_type(tmp_path, dtype):
    data = sample(dtype, (3, 4))
    entry = w.image_of(data)
    del entry["ImageData"]["DataType"]
    image = read(tmp_path, entry).im[1].imageData
    assert image.dtype == data.dtype
    np.testing.assert_array_equal(image, data[::-1])


def test_image_info_of_an_image_without_tags(tmp_path):
    image = {"ImageList": [{"ImageData": {
        "Data": w.pixels(np.zeros(4, "i2")), "DataType": w.uint32(1),
        "Dimensions": [w.uint32(4)]}}]}
    assert readDM4(w.write(tmp_path / "a", image)).im[0].imageInfo == {}


def test_read_in_the_background(tmp_path):
    data = sample("i2", (4, 5))
    path = w.write(tmp_path / "a.dm4", w.document(w.image_of(data)))
    future = asyncReadDM4(path, flip=False)
    assert isinstance(future, Future)
    np.testing.assert_array_equal(future.result(10).im[1].imageData, data)
    with pytest.raises(FileNotFoundError):
        asyncReadDM4(tmp_path / "none").result(10)


def test_names_of_python_mrcz():
    assert ioDM.readDM4 is ioDM4.readDM4
    assert ioDM.DMImage is ioDM4.DMImage
    data = np.zeros((2, 2))
    image = ioDM4.DMImage(imageInfo={"a": 1}, shape=(2, 2), imageData=data)
    assert image.imageData is data
    assert image.read() is not data
    assert image.read_frames(0, 1).shape == (1, 2, 2)
    assert "imageInfo={'a': 1}" in repr(image)
    with pytest.raises(ValueError, match="no pixels"):
        _ = ioDM4.DMImage().imageData
