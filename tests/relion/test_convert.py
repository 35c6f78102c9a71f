"""RELION particles to Frealign .par files."""

import numpy as np
import pytest

from mrcz.ReliablePy import ReliablePy
from mrcz.relion.blocks import MissingColumnError
from mrcz.relion.par import read_par

from .samples import MODEL, RELION_30, RELION_31


@pytest.fixture
def load(tmp_path):
    def of(*texts):
        names = []
        for number, text in enumerate(texts):
            names.append(tmp_path / f"in{number}.star")
            names[-1].write_text(text)
        return ReliablePy(*names)
    return of


def saved(rln, tmp_path, **options):
    return [read_par(name) for name in rln.saveDataAsPar(tmp_path / "out", **options)]


def test_relion_30(load, tmp_path):
    rln = load(RELION_30)
    assert rln.saveDataAsPar(tmp_path / "out") == [str(tmp_path / "out_1_r1.par")]
    assert (tmp_path / "out_1_r1.par").read_text().splitlines()[0] == (
        "      1  -30.75   20.25   10.50     -2.03      3.04   37037     1  11000.5  10800.2"
        "   40.12  100.00      -500     1.0000   20.00    0.00")
    [table] = saved(rln, tmp_path)
    source = rln.star["data_"]
    angstrom = 5.0 / 37037 * 1e4
    np.testing.assert_allclose(table["SHX"], -source["OriginX"] * angstrom, atol=0.0051)
    np.testing.assert_allclose(table["SHY"], -source["OriginY"] * angstrom, atol=0.0051)
    np.testing.assert_allclose(table["PSI"], source["AnglePsi"], atol=0.0051)
    np.testing.assert_allclose(table["THETA"], source["AngleTilt"], atol=0.0051)
    np.testing.assert_allclose(table["PHI"], source["AngleRot"], atol=0.0051)
    assert table["N"].tolist() == [1, 2, 3]
    assert table["FILM"].tolist() == [1, 1, 2]
    assert table["MAG"].tolist() == 3 * [37037]


def test_relion_31_shifts_are_angstrom_already(load, tmp_path):
    rln = load(RELION_31)
    [table] = saved(rln, tmp_path, particleKey="data_particles")
    assert table["SHX"].tolist() == [11.70, -9.54, 0.0]
    assert table["SHY"].tolist() == [4.62, 1.08, -0.5]
    assert table["FILM"].tolist() == [1, 1, 2]
    # 50000 / pixel size of each optics group: DSTEP 5 micrometre
    assert table["MAG"].tolist() == [28249, 14124, 28249]
    [same] = saved(rln, tmp_path)  # the default 'data_' finds data_particles
    assert same.equals(table)
    text = (tmp_path / "out_1_r1.par").read_text()
    assert "-0.00 " not in text


def test_magnification_and_pixel_size_given(load, tmp_path):
    rln = load(RELION_30)
    [table] = saved(rln, tmp_path, mag=10000, pixelsize=2.0)
    assert table["MAG"].tolist() == 3 * [10000]
    assert table["SHX"].tolist() == [-3.0, 0.0, -24.69]
    [table] = saved(rln, tmp_path, pixelsize=2.0)
    assert table["MAG"].tolist() == 3 * [37037]  # as python-mrcz


def test_pixel_size_from_the_model(load, tmp_path):
    text = RELION_30.replace("_rlnMagnification #", "_rlnOther #")
    [table] = saved(load(text, MODEL), tmp_path)
    assert table["SHX"].tolist() == [-2.03, 0.0, -16.67]
    assert table["MAG"].tolist() == 3 * [37037]


def test_occupancies_of_classes_add_up(load, tmp_path):
    rln = load(RELION_30)
    tables = saved(rln, tmp_path, N_classes=3, seed=1)
    assert len(tables) == 3
    total = sum((100 * table["OCC"]).round().astype(int) for table in tables)
    assert total.tolist() == 3 * [10000]
    assert tables[0]["OCC"].nunique() > 1
    again = saved(rln, tmp_path, N_classes=3, seed=1)
    assert all(a.equals(b) for a, b in zip(tables, again, strict=True))


def test_phase_shifts_are_not_lost(load, tmp_path):
    rln = load(RELION_31)
    rln.star["data_particles"]["PhaseShift"][1] = 90.0
    with pytest.raises(ValueError, match="layout='FrealignX'"):
        rln.saveDataAsPar(tmp_path / "out")
    [table] = saved(rln, tmp_path, layout="FrealignX")
    assert table["PSHIFT"].tolist() == [0.0, 90.0, 0.0]


def test_films_without_micrographs(load, tmp_path):
    rln = load(RELION_30)
    del rln.star["data_"]["MicrographName"]
    assert saved(rln, tmp_path)[0]["FILM"].tolist() == [1, 1, 2]


@pytest.mark.parametrize("column", ["AngleRot", "AngleTilt", "AnglePsi", "OriginX", "DefocusU",
                                    "DefocusV", "DefocusAngle"])
def test_missing_columns_are_named(load, tmp_path, column):
    rln = load(RELION_30)
    del rln.star["data_"][column]
    with pytest.raises(MissingColumnError) as caught:
        rln.saveDataAsPar(tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("block 'data_' has no column ")
    assert f"{column!r} (_rln{column})" in message
    assert "it has MicrographName, CoordinateX" in message
    assert isinstance(caught.value, KeyError)
    assert not list(tmp_path.glob("*.par"))


def test_unknown_pixel_size_and_blocks(load, tmp_path):
    rln = load(RELION_30)
    del rln.star["data_"]["Magnification"]
    with pytest.raises(MissingColumnError, match="PixelSize"):
        rln.saveDataAsPar(tmp_path / "out")
    with pytest.raises(MissingColumnError, match="no block 'data_x' is loaded; loaded is data_"):
        rln.saveDataAsPar(tmp_path / "out", particleKey="data_x")
    with pytest.raises(MissingColumnError, match="load a STAR file first"):
        ReliablePy().saveDataAsPar(tmp_path / "out")


def test_unknown_optics_group(load, tmp_path):
    rln = load(RELION_31)
    rln.star["data_particles"]["OpticsGroup"][2] = 7
    with pytest.raises(MissingColumnError, match="optics group 7, data_optics has 1, 3"):
        rln.saveDataAsPar(tmp_path / "out")


@pytest.mark.parametrize(("options", "error"), [
    ({"N_classes": 0}, ValueError), ({"N_classes": 1.5}, TypeError), ({"mag": -1}, ValueError),
    ({"mag": float("nan")}, ValueError), ({"pixelsize": 0}, ValueError),
    ({"layout": "Relion"}, ValueError)])
def test_arguments_out_of_range(load, tmp_path, options, error):
    with pytest.raises(error):
        load(RELION_30).saveDataAsPar(tmp_path / "out", **options)


def test_text_where_numbers_should_be(load, tmp_path):
    rln = load(RELION_30.replace("-170.000000", "none"))
    with pytest.raises(ValueError, match="'AngleRot' of block 'data_' must be numbers"):
        rln.saveDataAsPar(tmp_path / "out")
