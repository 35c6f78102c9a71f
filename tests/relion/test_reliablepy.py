"""The public class: loading, saving, choosing, masks and the import itself."""

import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mrcz
import mrcz.ReliablePy
from mrcz.errors import MRCFormatError
from mrcz.ReliablePy import ReliablePy
from mrcz.relion.blocks import MissingColumnError
from mrcz.relion.box import read_box

from .samples import FREALIGN_9, MODEL, RELION_5, RELION_30, RELION_31, STARS, ZORRO


@pytest.fixture
def put(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write


def python(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                          text=True, check=False)


# -- import -----------------------------------------------------------------------------


def test_import_mrcz_imports_nothing_of_this():
    done = python("import sys, mrcz; print([m for m in sys.modules if m.split('.')[0] in "
                  "('pandas', 'scipy', 'sklearn', 'matplotlib', 'starfile') "
                  "or m.startswith(('mrcz.relion', 'mrcz.ReliablePy'))])")
    assert done.stdout == "[]\n", done.stderr


def test_import_of_the_module_and_the_class():
    done = python("from mrcz import ReliablePy; print(ReliablePy.ReliablePy())")
    assert "0 STAR blocks" in done.stdout, done.stderr


@pytest.mark.parametrize("package", ["pandas", "scipy", "sklearn", "matplotlib"])
def test_missing_packages_name_the_extra(package):
    done = python(f"import sys; sys.modules[{package!r}] = None; import mrcz.ReliablePy")
    assert done.returncode
    assert "ImportError: mrcz.ReliablePy needs" in done.stderr
    assert "mrcz[relion]" in done.stderr


def test_names_and_arguments_of_python_mrcz():
    """The signatures of python-mrcz 0.5.10 and 0.6.0; new options are keyword-only."""
    expected = {
        "load": ["*patterns"],
        "saveDataStar": ["outputName", "particleKey='data_'"],
        "saveDataAsPar": ["outputPrefix", "N_classes=1", "mag=None", "pixelsize=None",
                          "particleKey='data_'"],
        "saveCtfImagesStar": ["outputName", "zorroList='*.dm4.log'", "physicalPixelSize=5.0",
                              "amplitudeContrast=0.08"],
        "pruneParticlesNearImageEdge": ["box=None", "shapeImage=(3838, 3710)"],
        "box2star": ["directory='.'"],
        "regroupKmeans": ["partPerGroup=100", "miniBatch=True"],
        "gctfHistogramFilter": [
            "defocusThreshold=40000", "astigThreshold=800", "fomThreshold=0.0",
            "resThreshold=6.0", "starName='micrographs_all_gctf.star'",
            "outName='micrographs_pruned_gctf.star'"],
        "permissiveMask": ["volumeThres", "gaussSigma=5.0", "gaussRethres=0.07",
                           "smoothSigma=1.5"],
        "plotFSC": [], "plotSSNR": [],
    }
    for name, arguments in expected.items():
        found = [str(p.replace(annotation=inspect.Parameter.empty))
                 for p in inspect.signature(getattr(ReliablePy, name)).parameters.values()
                 if p.kind is not p.KEYWORD_ONLY]
        assert found[1:] == arguments, name
    assert mrcz.ReliablePy.__all__ == sorted(mrcz.ReliablePy.__all__)


# -- load and save ------------------------------------------------------------------------


def test_load_by_suffix_and_pattern(put, tmp_path):
    put("p2.par", FREALIGN_9)
    put("p1.par", FREALIGN_9.replace("-1234.56", "-1234.57"))
    put("a.box", "100\t200\t64\t64\n")
    put("a_model.star", MODEL)
    put("a_data.star", RELION_31)
    rln = ReliablePy(tmp_path / "a_*.star", str(tmp_path / "p?.par"))
    rln.load(tmp_path / "a.box")
    assert len(rln.star) == 8
    assert [table["SHX"][1] for table in rln.par] == [-1234.57, -1234.56]
    assert [boxes.tolist() for boxes in rln.box] == [[[100.0, 200.0, 64.0, 64.0]]]
    assert [name.rpartition("/")[2] for name in rln.inputs] == [
        "a_data.star", "a_model.star", "p1.par", "p2.par", "a.box"]
    assert repr(rln) == "<ReliablePy: 8 STAR blocks, 2 .par, 0 MRC, 1 .box>"


def test_load_a_name_with_brackets(put, tmp_path):
    put("a[1].star", RELION_30)
    assert list(ReliablePy(tmp_path / "a[1].star").star) == ["data_"]


def test_load_refuses(put, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        ReliablePy(tmp_path / "nothing*.star")
    with pytest.raises(ValueError, match=r"suffix must be one of \.star, \.par"):
        ReliablePy(put("a.txt", "x"))


def test_a_block_loaded_again_replaces_with_a_warning(put, caplog):
    ReliablePy(put("a.star", RELION_30), put("b.star", RELION_30))
    assert "block data_ of" in caplog.text
    assert "replaces" in caplog.text


@pytest.mark.parametrize("suffix", ["mrc", "mrcs", "mrcz", "map"])
def test_load_maps(tmp_path, suffix):
    volume = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    compressor = "zstd" if suffix == "mrcz" else None
    mrcz.writeMRC(volume, str(tmp_path / "a.mrc"), pixelsize=1.5, compressor=compressor)
    (tmp_path / "a.mrc").rename(tmp_path / f"a.{suffix}")
    rln = ReliablePy(tmp_path / f"a.{suffix}")
    assert np.array_equal(rln.mrc[0], volume)
    assert rln.mrc_header[0]["pixelsize"][0] == pytest.approx(1.5)


@pytest.mark.parametrize(("kind", "key"), [
    ("relion30", "data_"), ("relion31", "data_"), ("relion31", "data_particles"),
    ("relion31", b"data_particles"), ("relion31", "particles"), ("relion5", "data_")])
def test_save_data_star_keeps_all_of_the_file(put, tmp_path, kind, key):
    rln = ReliablePy(put("m.star", MODEL), put("p.star", STARS[kind]))
    rln.saveDataStar(tmp_path / "out.star", key)
    again = ReliablePy(tmp_path / "out.star")
    assert repr(again.star) == repr(
        {name: rln.star[name] for name in rln.star if "model" not in name})


def test_save_data_star_of_blocks_made_by_hand(tmp_path):
    rln = ReliablePy()
    rln.star["data_optics"] = {"OpticsGroup": [1], "ImagePixelSize": [1.5]}
    rln.star["data_particles"] = {"OpticsGroup": [1, 1], "AnglePsi": [0.0, 1.0]}
    rln.star["data_other"] = {"X": [1]}
    rln.saveDataStar(tmp_path / "out.star")
    assert list(ReliablePy(tmp_path / "out.star").star) == ["data_optics", "data_particles"]


# -- particles ------------------------------------------------------------------------------


def test_prune_near_the_edge(put):
    rln = ReliablePy(put("p.star", RELION_30))
    rln.pruneParticlesNearImageEdge(box=128)
    assert rln.star["data_"]["CoordinateX"].tolist() == [3500.0, 1900.0]
    assert all(len(column) == 2 for column in rln.star["data_"].values())
    rln.pruneParticlesNearImageEdge(box=128, shapeImage=(3763, 3710))  # 3700 + 64 > 3763
    assert rln.star["data_"]["CoordinateX"].tolist() == [1900.0]


@pytest.mark.parametrize(("shape", "kept"), [((3764, 3564), 1), ((3763, 3564), 0),
                                             ((3764, 3563), 0), ((3764, 9999), 1)])
def test_prune_shape_is_y_x(put, shape, kept):
    rln = ReliablePy(put("p.star", RELION_30))
    rln.pruneParticlesNearImageEdge(128, shape)
    assert (3500.0 in rln.star["data_"]["CoordinateX"]) == bool(kept)


def test_prune_takes_the_box_from_the_model_or_the_optics(put):
    rln = ReliablePy(put("p.star", RELION_30), put("m.star", MODEL))  # 256
    rln.pruneParticlesNearImageEdge()
    assert rln.star["data_"]["CoordinateX"].tolist() == [3500.0, 1900.0]
    rln.pruneParticlesNearImageEdge(shapeImage=(3838, 3627))  # 3500 + 128 > 3627
    assert rln.star["data_"]["CoordinateX"].tolist() == [1900.0]
    rln = ReliablePy(put("q.star", RELION_31))
    # 128 * 1.77 / 0.885 = 256 and 64 * 3.54 / 0.885 = 256 pixels of the micrograph
    rln.star["data_particles"]["CoordinateX"][:] = [128, 3582, 127.9]
    rln.pruneParticlesNearImageEdge()
    assert rln.star["data_particles"]["CoordinateX"].tolist() == [128, 3582]
    with pytest.raises(MissingColumnError, match="box size is unknown"):
        ReliablePy(put("p.star", RELION_30)).pruneParticlesNearImageEdge()
    with pytest.raises(ValueError, match="box"):
        rln.pruneParticlesNearImageEdge(-5)


def test_prune_needs_coordinates(put):
    rln = ReliablePy(put("p.star", RELION_5))
    with pytest.raises(MissingColumnError, match=r"'data_particles' has no column 'CoordinateX'"):
        rln.pruneParticlesNearImageEdge(10)


def grouped(n=600):
    """Three clouds in defocus, the third split in two by the scale correction."""
    random = np.random.default_rng(0)
    cloud = np.arange(n) % 4
    rln = ReliablePy()
    u = np.array([10000.0, 20000.0, 30000.0, 30000.0])[cloud] + random.normal(0, 50, n)
    rln.star["data_"] = {
        "DefocusU": u, "DefocusV": u - 200,
        "GroupScaleCorrection": np.array([1.0, 1.0, 0.6, 1.4])[cloud] + random.normal(0, 0.01, n),
        "ImageName": np.array([f"{i:06d}@a.mrcs" for i in range(n)], object)}
    return rln, cloud


@pytest.mark.parametrize("mini_batch", [True, False])
def test_regroup_finds_the_groups(mini_batch):
    rln, cloud = grouped()
    rln.regroupKmeans(partPerGroup=150, miniBatch=mini_batch)
    block = rln.star["data_"]
    assert sorted(set(block["GroupNumber"])) == [1, 2, 3, 4]
    pairs = set(zip(cloud.tolist(), block["GroupNumber"].tolist(), strict=True))
    assert len(pairs) == 4
    assert set(zip(block["GroupNumber"], block["GroupName"], strict=True)) == {
        (n, f"group_{n}") for n in (1, 2, 3, 4)}
    first = block["GroupNumber"].tolist()
    rln.regroupKmeans(150, mini_batch)
    assert rln.star["data_"]["GroupNumber"].tolist() == first


def test_regroup_takes_the_scale_from_the_model(put):
    rln = ReliablePy(put("p.star", RELION_30), put("m.star", MODEL))
    rln.regroupKmeans(1)
    # two particles of one micrograph are the same point: two groups at most
    assert rln.star["data_"]["GroupNumber"].tolist() in ([1, 1, 2], [2, 2, 1])
    with pytest.raises(MissingColumnError, match="'GroupScaleCorrection'"):
        ReliablePy(put("p.star", RELION_30)).regroupKmeans()
    with pytest.raises(ValueError, match="partPerGroup"):
        rln.regroupKmeans(0)


def test_regroup_all_alike():
    rln, _ = grouped(50)
    rln.regroupKmeans(100)
    assert set(rln.star["data_"]["GroupNumber"]) == {1}


# -- EMAN boxes ---------------------------------------------------------------------------


def test_rows_of_a_box(put):
    """With tabs between them, as EMAN writes them."""
    for rows in ([[1, 2, 64, 64]], [[1.5, -2, 64, 64, -3], [100, 200, 64, 64, -3]]):
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        assert read_box(put("a.box", text)).tolist() == rows
    assert read_box(put("empty.box", "\n")).shape == (0, 4)


@pytest.mark.parametrize(("text", "message"), [
    ("1 2 3\n", "line 1 .*expected 4 numbers; found 3"),
    ("1 2 3 4\n1 2 3 4 5\n", "line 2 .*expected 4 numbers; found 5"),
    ("1 2 x 4\n", "line 1 is not numbers")])
def test_malformed_box(put, text, message):
    with pytest.raises(MRCFormatError, match=message):
        read_box(put("a.box", text))


def test_box2star(put, tmp_path):
    put("a.box", "100\t200\t64\t64\n3690\t20\t64\t64\n-1\t5\t64\t64\n")
    put("b.box", "0\t0\t100\t50\n")
    rln = ReliablePy()
    assert rln.box2star(tmp_path) == [str(tmp_path / "a.star"), str(tmp_path / "b.star")]
    star = ReliablePy(tmp_path / "a.star").star["data_"]
    assert star["CoordinateX"].tolist() == [132.0, 3722.0]  # only what begins below 0 is dropped
    assert star["CoordinateY"].tolist() == [232.0, 52.0]
    assert ReliablePy(tmp_path / "b.star").star["data_"]["CoordinateY"].tolist() == [25.0]
    rln.box2star(tmp_path, shapeImage=(3838, 3710))
    assert ReliablePy(tmp_path / "a.star").star["data_"]["CoordinateX"].tolist() == [132.0]
    with pytest.raises(FileNotFoundError, match=r"no \.box file"):
        rln.box2star(tmp_path / "nowhere")


def test_box2star_reads_the_shape_of_the_micrograph(put, tmp_path):
    put("a.box", "100\t0\t28\t64\n100\t1\t28\t64\n101\t0\t28\t64\n")
    mrcz.writeMRC(np.zeros((64, 128), np.float32), str(tmp_path / "a.mrc"))
    ReliablePy().box2star(tmp_path)
    star = ReliablePy(tmp_path / "a.star").star["data_"]
    assert star["CoordinateX"].tolist() == [114.0]
    assert star["CoordinateY"].tolist() == [32.0]


# -- zorro logs -----------------------------------------------------------------------------


def test_ctf_star_from_zorro_logs(put, tmp_path):
    put("a.dm4.log", ZORRO % "0.07")
    put("b.dm4.log", ZORRO % "null")
    ReliablePy().saveCtfImagesStar(tmp_path / "ctf.star", str(tmp_path / "*.dm4.log"))
    star = ReliablePy(tmp_path / "ctf.star").star["data_"]
    assert star["MicrographName"].tolist() == 2 * ["filt/a_filt.mrc"]
    assert star["DefocusU"].tolist() == [13500.5, 13500.5]
    assert star["AmplitudeContrast"].tolist() == [0.07, 0.08]
    assert star["SphericalAberration"].tolist() == [2.7, 2.7]
    pixel = 1e4 * star["DetectorPixelSize"] / star["Magnification"]
    np.testing.assert_allclose(pixel, 1.326)
    with pytest.raises(FileNotFoundError):
        ReliablePy().saveCtfImagesStar(tmp_path / "ctf.star", str(tmp_path / "*.none"))
    for bad in ("[ctf]\n", ZORRO % '"much"'):
        with pytest.raises(MRCFormatError, match="not a zorro log"):
            ReliablePy().saveCtfImagesStar(tmp_path / "ctf.star", [put("c.log", bad)])


# -- masks ------------------------------------------------------------------------------------


def sphere(radius, n=48):
    grid = np.indices((n, n, n)) - n // 2
    return (np.sqrt((grid**2).sum(axis=0)) < radius).astype(np.float32)


def test_permissive_mask():
    rln = ReliablePy()
    rln.mrc.append(3.0 * sphere(8))
    mask = rln.permissiveMask(1.5)
    assert mask is rln.mask
    assert mask.dtype == np.float32
    assert mask.shape == (48, 48, 48)
    assert mask.min() == 0.0
    assert mask.max() <= 1.0
    assert mask[sphere(8) > 0].min() > 0.99  # it holds the particle
    assert 8 < np.cbrt(3 * mask.sum() / (4 * np.pi)) < 8 + 3 * 5.0  # and has grown
    assert np.abs(np.diff(mask, axis=0)).max() < 0.35  # with a soft edge
    assert rln.permissiveMask(1.5, gaussRethres=0.5).sum() < mask.sum()


@pytest.mark.parametrize(("arguments", "message"), [
    ((10.0,), "volumeThres = 10.0; the largest is"), ((1.5, 5.0, 2.0), "gaussRethres = 2.0"),
    ((1.5, -1.0), "gaussSigma must be a number of pixels of at least 0")])
def test_mask_of_nothing(arguments, message):
    rln = ReliablePy()
    with pytest.raises(ValueError, match="load a map"):
        rln.permissiveMask(1.0)
    rln.mrc.append(3.0 * sphere(8))
    with pytest.raises(ValueError, match=message):
        rln.permissiveMask(*arguments)


@pytest.mark.parametrize("kind", [list, tuple, pd.Series])
def test_columns_that_are_no_arrays_lose_the_same_rows(kind):
    """They were left whole, without a word."""
    rln = ReliablePy()
    rln.star["data_"] = {"CoordinateX": kind([10.0, 900.0]), "CoordinateY": kind([10.0, 800.0]),
                         "ImageName": kind(["a", "b"]), "Voltage": 300.0}
    rln.pruneParticlesNearImageEdge(box=256)
    assert {name: np.asarray(values).tolist() for name, values in rln.star["data_"].items()} == {
        "CoordinateX": [900.0], "CoordinateY": [800.0], "ImageName": ["b"], "Voltage": 300.0}
    rln.star["data_"] = pd.DataFrame({"CoordinateX": [10.0, 900.0], "CoordinateY": [10.0, 800.0]})
    rln.pruneParticlesNearImageEdge(box=256)
    assert np.asarray(rln.star["data_"]["CoordinateX"]).tolist() == [900.0]


def test_a_column_of_another_length_is_named(tmp_path):
    rln = ReliablePy()
    rln.star["data_"] = {"CoordinateX": np.array([10.0, 900.0]),
                         "CoordinateY": np.array([10.0, 800.0]), "ImageName": np.array(["a"])}
    with pytest.raises(ValueError, match="ImageName 1"):
        rln.pruneParticlesNearImageEdge(box=256)


def test_an_optics_group_that_stands_twice():
    rln = ReliablePy()
    rln.star["data_optics"] = {"OpticsGroup": np.array([1, 1]), "ImageSize": np.array([64, 128])}
    rln.star["data_particles"] = {"CoordinateX": np.array([900.0]), "OpticsGroup": np.array([1]),
                                  "CoordinateY": np.array([800.0])}
    with pytest.raises(ValueError, match="data_optics has optics group 1 twice"):
        rln.pruneParticlesNearImageEdge(particleKey="data_particles")


@pytest.mark.parametrize("wrong", [None, 5, "text", [1], np.arange(3)], ids=repr)
def test_a_block_that_is_no_dict(wrong, tmp_path):
    rln = ReliablePy()
    rln.star["data_"] = wrong
    with pytest.raises(TypeError, match="must be a dict"):
        rln.saveDataStar(tmp_path / "a.star")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gaussSigma", "smoothSigma"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_widths_that_no_mask_can_have(name, value):
    rln = ReliablePy()
    rln.mrc.append(np.ones((4, 4, 4), "float32"))
    with pytest.raises(ValueError, match=name):
        rln.permissiveMask(0.5, **{name: value})
