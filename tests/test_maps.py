"""EMDB maps, plain and as EMDB ships them, against what mrcfile reads of them."""

from __future__ import annotations

import numpy as np
import pytest

import mrcz

from .builders import DATA
from .checks import assert_identical, sha256

MAPS = DATA / "maps"
# SHA-256 of the pixels, and voxel size z, y, x in Å, as mrcfile 1.5.4 gives them.
EXPECTED = {
    "EMD-3001.map": ("9f839d63902c1b25385c80d58d61b61f492865b722ea9a5a3123fbc53c7202d9",
                     (25, 43, 73), (0.45874998, 0.3925, 0.44825)),
    "EMD-3197.map": ("0afd5034165f979bde1933138b667ab61b60a0867fd989473287eb3a4fa9a5b4",
                     (20, 20, 20), (11.4, 11.4, 11.4)),
}
PACKED = {"EMD-3001.map.bz2": "EMD-3001.map", "emd_3197.map.gz": "EMD-3197.map"}


@pytest.mark.parametrize("name", [*EXPECTED, *PACKED])
def test_reads_as_one_volume(name):
    pixels, shape, voxel = EXPECTED[PACKED.get(name, name)]
    image, header = mrcz.readMRC(MAPS / name)
    assert isinstance(image, np.ndarray)  # python-mrcz gave a list of one volume
    assert image.shape == shape
    assert image.dtype == np.float32
    assert sha256(image) == pixels
    np.testing.assert_allclose(header["pixelsize"], voxel, rtol=1e-6)
    assert header["metaId"] == b""


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_round_trip(name, compressor, tmp_path):
    image, header = mrcz.readMRC(MAPS / name)
    mrcz.writeMRC(image, tmp_path / "map.mrcz", compressor=compressor,
                  pixelsize=header["pixelsize"])
    again, again_header = mrcz.readMRC(tmp_path / "map.mrcz")
    assert_identical(again, image)
    np.testing.assert_allclose(again_header["pixelsize"], header["pixelsize"], rtol=1e-6)


def test_symmetry_records_are_counted_and_skipped():
    _, header = mrcz.readMRC(MAPS / "EMD-3001.map")
    assert header["extendedBytes"] == 160
