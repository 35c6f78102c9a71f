"""Pixel sizes: how many, of which unit, there and back; and the other facts of the optics."""

from __future__ import annotations

import io

import numpy as np
import pytest

import mrcz

from .builders import fields_of, mrc, ramp
from .checks import read, written

IMAGE = ramp((3, 5, 7), "f4")
# Å in one of each unit.
ANGSTROM_IN = {"\\AA": 1, "AA": 1, "A": 1, "Å": 1, "angstrom": 1,
               "Ångström": 1, "ångstroms": 1, "nm": 10, "pm": 0.01,
               "\\mum": 1e4, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "m": 1e10,
               "nanometers": 10, "micrometer": 1e4, "Micrometres": 1e4, "cm": 1e8}


def size_read(data: bytes, **options):
    return read(data, **options)[1]["pixelsize"]


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("given,expected", [
    (2.0, [2, 2, 2]), ([2.0], [2, 2, 2]), ([2.0, 3.0], [10, 2, 3]), ([2.0, 3.0, 4.0], [2, 3, 4]),
    ((2, 3, 4), [2, 3, 4]), (np.array([2, 3, 4]), [2, 3, 4]), (np.float32(2), [2, 2, 2]),
    (np.array(2.0), [2, 2, 2])])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[0], list(IMAGE), list(ramp((3, 4, 5, 7), "f4"))],
                         ids=["volume", "image", "stack", "volumes"])
def test_one_two_or_three_values(given, expected, compressor, image):
    found = size_read(written(image, pixelsize=given, compressor=compressor))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(found) == 3


def test_text_is_one_value():
    assert size_read(written(ramp((2, 3, 4), "i2"), pixelsize="12")) == pytest.approx([12.0] * 3)


def test_two_values_of_a_unit_keep_z_at_ten_angstrom():
    data = written(IMAGE, pixelsize=[2.0, 3.0], pixelunits="nm")
    np.testing.assert_allclose(size_read(data), [10, 20, 30], rtol=1e-6)


@pytest.mark.parametrize("given", [[1, 2, 3, 4], [], np.ones((2, 2))])
def test_too_many_values_or_none_are_refused(given):
    with pytest.raises(ValueError, match="pixelsize must have 1, 2 or 3 elements"):
        written(IMAGE, pixelsize=given)


def test_the_callers_list_is_not_changed():
    given = [2.0, 3.0]
    written(IMAGE, pixelsize=given, pixelunits="nm")
    assert given == [2.0, 3.0]


def test_the_default_is_a_tenth_of_an_angstrom():
    np.testing.assert_allclose(size_read(written(IMAGE)), [0.1] * 3, rtol=1e-6)


@pytest.mark.parametrize("one", [np.array([1.5]), np.array([[1.5]]), np.array(1.5)])
def test_numbers_in_arrays_as_hdf5_and_matlab_files_have_them(one):
    header = read(written(IMAGE, pixelsize=[one, one, one], voltage=one, C3=one, gain=one))[1]
    assert header["pixelsize"].tolist() == [1.5] * 3
    assert (header["voltage"], header["C3"], header["gain"]) == (1.5, 1.5, 1.5)
    assert read(written(IMAGE, pixelsize=one))[1]["pixelsize"].tolist() == [1.5] * 3


@pytest.mark.parametrize("two", [np.array([1.5, 2]), np.array([]), np.array([None])])
@pytest.mark.parametrize("name", ["voltage", "C3", "gain"])
def test_no_number(name, two):
    with pytest.raises(TypeError, match=name):
        written(IMAGE, **{name: two})


@pytest.mark.parametrize("unit,factor", ANGSTROM_IN.items())
def test_every_unit_there_and_back(unit, factor):
    size = np.array([1.2, 2.6, 3.4])
    data = written(IMAGE, pixelsize=size, pixelunits=unit)
    np.testing.assert_allclose(size_read(data), size * factor, rtol=1e-6)
    _, head = read(data, pixelunits=unit)
    np.testing.assert_allclose(head["pixelsize"], size, rtol=1e-6)
    assert head["pixelunits"] == unit
    head, _ = mrcz.readMRCHeader(io.BytesIO(data), pixelunits=unit)
    np.testing.assert_allclose(head["pixelsize"], size, rtol=1e-6)


def test_an_unknown_unit_is_taken_as_nanometres(notices):
    with notices() as said:
        data = written(IMAGE, pixelsize=2.0, pixelunits="furlong")
    np.testing.assert_allclose(size_read(data), [20] * 3, rtol=1e-6)
    assert any("furlong" in text for text in said)
    assert any(text.endswith(": m, cm, mm, um, nm, pm, A") for text in said)


@pytest.mark.parametrize("m,cella,label,expected", [
    ((7, 5, 3), (14.0, 15.0, 12.0), b"", [4, 3, 2]),
    ((14, 10, 6), (14.0, 15.0, 12.0), b"", [2, 1.5, 1]),  # a cell of more than the map
    ((7, 5, 1), (14.0, 15.0, 4.0), b"", [4, 3, 2]),  # an image stack
    ((0, 0, 0), (14.0, 15.0, 12.0), b"", [4, 3, 2]),  # no sampling given
    ((14, 10, 1), (14.0, 15.0, 12.0), b"MRCZ0.6.0", [4, 3, 2]),  # M means something else there
    ((14, 10, 6), (14.0, 15.0, 12.0), b"MRCZ1.0.0", [2, 1.5, 1])])
def test_reading_the_cell(m, cella, label, expected):
    data = mrc(IMAGE, m=m, cella=cella, label=label, nlabl=int(bool(label)))
    np.testing.assert_allclose(size_read(data, slices=0), expected, rtol=1e-6)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("endian", ["le", "be"])
def test_voltage_c3_and_gain_come_back(compressor, endian):
    data = written(IMAGE, voltage=300.0, C3=2.7, gain=1.05, compressor=compressor, endian=endian)
    record = fields_of(data, "<" if endian == "le" else ">")
    head = read(data)[1]
    for facts in (record, head):
        np.testing.assert_allclose([facts["voltage"], facts["C3"], facts["gain"]],
                                   [300.0, 2.7, 1.05], rtol=1e-6)


def test_optics_by_default():
    head = read(written(IMAGE))[1]
    assert (head["voltage"], head["C3"], head["gain"]) == (0.0, 0.0, 1.0)


def test_unknown_units_are_told_once_and_none_is_no_mistake(notices, monkeypatch):
    """HyperSpy hands over None of axes without units, at each save."""
    monkeypatch.setattr("mrcz.units._told", set())
    with notices() as said:
        for _ in range(3):
            written(IMAGE, pixelsize=1.0, pixelunits=None)
            written(IMAGE, pixelsize=1.0, pixelunits="furlong")
            written(IMAGE, pixelsize=1.0, pixelunits="1/nm")
    assert [word for text in said for word in ("furlong", "1/nm", "None")
            if repr(word) in text] == ["furlong", "1/nm"]
    assert len(said) == 2


@pytest.mark.parametrize("size,unit", [(1e30, "\\AA"), (1e20, "m"), ([1.0, -1e31], "nm"),
                                       (1e300, "pm")])
def test_a_cell_that_the_record_can_not_hold(size, unit):
    """It would be stored as infinity."""
    with pytest.raises(ValueError, match="pixelsize"):
        written(IMAGE, pixelsize=size, pixelunits=unit)


@pytest.mark.parametrize("m", [(0, 0, 0), (7, 5, 0), (7, 5, 1), (7, 5, 3)])
@pytest.mark.parametrize("label", ["", "MRCZ0.5.10", "MRCZ1.0.0"])
def test_frames_more_leave_the_size_of_a_pixel(m, label, tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(ramp((3, 5, 7), "f4"), m=m, cella=(7.0, 10.0, 9.0), ispg=0,
                         nlabl=1, label=label.encode()))
    before = mrcz.readMRC(path)[1]["pixelsize"]
    mrcz.writeMRC(ramp((3, 5, 7), "f4"), path, idx=3)
    np.testing.assert_allclose(mrcz.readMRC(path, slices=1)[1]["pixelsize"], before, rtol=1e-6)
