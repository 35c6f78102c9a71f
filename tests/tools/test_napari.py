"""The plugin for napari, as npe2 finds and calls it; no display is needed."""

import shutil
import subprocess
import sys
import warnings

import dask.array as da
import numpy as np
import pytest

import mrcz
from mrcz.filenames import MRC_SUFFIXES

from .. import dm_writer as w
from ..builders import DATA

with warnings.catch_warnings():  # npe2's own, of its use of pydantic
    warnings.simplefilter("ignore")
    import npe2

FRAMES = np.arange(4 * 30 * 40, dtype="i2").reshape(4, 30, 40)


@pytest.fixture
def manager():
    """The manager as napari has it, which knows our manifest from what is installed."""
    manager = npe2.PluginManager.instance()
    manager.discover(include_npe1=False)
    assert "mrcz" in manager
    return manager


def read(manager, path):
    layers, _ = npe2.io_utils._read([str(path)], stack=False, return_reader=True, _pm=manager)
    return layers


def test_npe2_validates_the_manifest():
    done = subprocess.run([shutil.which("npe2", path=sys.exec_prefix + "/bin"), "validate", "mrcz"],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("suffix", [suffix[1:] for suffix in MRC_SUFFIXES])
def test_a_volume_is_a_lazy_layer_in_angstrom(manager, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    mrcz.writeMRC(FRAMES, path, compressor="zstd" if suffix == "mrcz" else None,
                  pixelsize=[3, 2, 1], voltage=300.0, meta={"dose": 1.5})
    [(data, keywords, kind)] = read(manager, path)
    assert kind == "image"
    assert isinstance(data, da.Array)
    np.testing.assert_array_equal(data.compute(), FRAMES)
    assert keywords["name"] == "a"
    assert keywords["scale"] == [3, 2, 1]
    assert keywords["units"] == ["angstrom"] * 3
    assert keywords["metadata"]["voltage"] == 300.0
    assert keywords["metadata"]["dose"] == 1.5


def test_there_is_no_length_between_images(manager, tmp_path):
    mrcz.writeMRC(list(FRAMES), tmp_path / "a.mrcs", pixelsize=1.5)
    [(data, keywords, _)] = read(manager, tmp_path / "a.mrcs")
    assert data.shape == FRAMES.shape
    assert keywords["scale"] == [1.0, 1.5, 1.5]
    assert keywords["units"] == ["pixel", "angstrom", "angstrom"]


def test_one_image_has_two_axes(manager, tmp_path):
    mrcz.writeMRC(FRAMES[0], tmp_path / "a.mrc", pixelsize=1.5)
    [(data, keywords, _)] = read(manager, tmp_path / "a.mrc")
    assert data.shape == (30, 40)
    assert keywords["scale"] == [1.5, 1.5]


def test_without_a_pixel_size_there_is_no_scale(manager, tmp_path):
    mrcz.writeMRC(FRAMES, tmp_path / "a.mrc", pixelsize=0.0)
    [(_, keywords, _)] = read(manager, tmp_path / "a.mrc")
    assert "scale" not in keywords


@pytest.mark.parametrize("version", [3, 4])
def test_a_gatan_file_as_digitalmicrograph_shows_it(manager, tmp_path, version):
    axes = [w.axis(0.25, 0, "s"), w.axis(0.125, 0, "nm"), w.axis(0.125, 0, "nm")]
    path = tmp_path / f"movie.dm{version}"
    w.write(path, w.document(w.image_of(FRAMES, axes=axes, name="movie")), version)
    [(data, keywords, _)] = read(manager, path)
    np.testing.assert_array_equal(data.compute(), FRAMES)
    assert keywords["scale"] == pytest.approx([1, 1.25, 1.25])
    assert keywords["units"] == ["pixel", "angstrom", "angstrom"]
    assert keywords["metadata"]["dm4"]


def test_a_real_map(manager):
    [(data, keywords, _)] = read(manager, DATA / "maps" / "EMD-3197.map")
    assert data.shape == (20, 20, 20)
    assert keywords["scale"] == pytest.approx([11.4] * 3)


def test_only_what_is_shown_is_read(manager, tmp_path):
    mrcz.writeMRC(np.ones((50, 512, 512), "f4"), tmp_path / "a.mrcz", compressor="lz4")
    [(data, _, _)] = read(manager, tmp_path / "a.mrcz")
    raw = bytearray((tmp_path / "a.mrcz").read_bytes())
    start, stop = mrcz.open(tmp_path / "a.mrcz")._reader.table.span(30)
    raw[start + 16 : stop] = bytes(stop - start - 16)
    with (tmp_path / "a.mrcz").open("r+b") as file:
        file.write(raw)
    assert data[0].compute().all()
    with pytest.raises(mrcz.MRCError):
        data[30].compute()


@pytest.mark.parametrize("suffix", ["mrc", "mrcz"])
def test_an_image_layer_is_written(manager, tmp_path, suffix):
    path = str(tmp_path / f"a.{suffix}")
    layer = (da.from_array(FRAMES.astype("f4"), chunks=(1, 30, 40)),
             {"name": "x", "scale": [0.3, 0.2, 0.1], "units": ["nanometer"] * 3,
              "metadata": {"voltage": 200.0}}, "image")
    assert npe2.io_utils._write(path, [layer], _pm=manager) == [path]
    image, header = mrcz.readMRC(path)
    np.testing.assert_array_equal(image, FRAMES)
    np.testing.assert_allclose(header["pixelsize"], [3, 2, 1], rtol=1e-6)
    assert header["voltage"] == 200.0
    assert header["compressor"] == ("zstd" if suffix == "mrcz" else None)


def test_what_was_read_is_written_alike(manager, tmp_path):
    mrcz.writeMRC(list(FRAMES), tmp_path / "a.mrc", pixelsize=1.5, voltage=300.0)
    assert npe2.io_utils._write(str(tmp_path / "b.mrc"), read(manager, tmp_path / "a.mrc"),
                                _pm=manager)
    image, header = mrcz.readMRC(tmp_path / "b.mrc")
    np.testing.assert_array_equal(image, FRAMES)
    np.testing.assert_allclose(header["pixelsize"][1:], [1.5, 1.5])


def test_colours_are_refused(manager, tmp_path):
    with pytest.raises(TypeError, match="colours"):
        npe2.io_utils._write(str(tmp_path / "a.mrc"),
                             [(np.zeros((4, 5, 3), "u1"), {"rgb": True}, "image")], _pm=manager)
