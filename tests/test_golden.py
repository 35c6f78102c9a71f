"""Every file that python-mrcz 0.3.8 to 0.6.0 and c-mrcz 0.1.3 wrote reads to its manifest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import mrcz

from .builders import DATA, fields_of
from .checks import HEADER_KEYS, assert_identical, sha256

GOLDEN = DATA / "golden"
ENTRIES: dict[str, dict[str, Any]] = {
    name: entry
    for manifest in sorted(GOLDEN.glob("manifest_*.json"))
    for name, entry in json.loads(manifest.read_text(encoding="utf-8")).items()
}
OLD_LABELS = ("0.3.", "0.4.")  # wrote no MZ that could be believed: always a list of frames


def test_every_file_is_in_a_manifest():
    files = {path.name for path in GOLDEN.glob("*.mrc*")}
    assert len(ENTRIES) == 118
    assert files - set(ENTRIES) == {"0.3.8_list2d_raw.mrc"}  # its writer crashed


@pytest.mark.parametrize("name", ENTRIES)
def test_pixels(name):
    entry = ENTRIES[name]
    image, header = mrcz.readMRC(GOLDEN / name)
    assert sha256(image) == entry["sha256"]
    as_list = entry["list"] or name.startswith(OLD_LABELS)
    assert isinstance(image, list) == as_list
    dtype = "uint8" if "uint4" in name else entry["dtype"]  # as python-mrcz reads them
    assert {np.dtype(frame.dtype).name for frame in image} == {dtype}
    if name.startswith(OLD_LABELS):
        assert all(frame.ndim == 2 for frame in image)
    assert list(np.shape(image)) == entry["shape"]
    frames = int(np.prod(entry["shape"][:-2]))
    assert list(header["dimensions"]) == [frames, *entry["shape"][-2:]]


@pytest.mark.parametrize("name", ENTRIES)
def test_header(name):
    entry = ENTRIES[name]
    _, header = mrcz.readMRC(GOLDEN / name)
    assert set(header) == {*HEADER_KEYS, *(entry.get("meta") or {})}
    assert {key: header[key] for key in entry.get("meta") or {}} == (entry.get("meta") or {})
    assert header["metaId"] == (b"json" if entry.get("meta") else b"")
    assert header["compressor"] == entry["compressor"]
    default_size = "_be_" in name or "uint4" in name
    np.testing.assert_allclose(header["pixelsize"], [0.1] * 3 if default_size else
                               [1.2, 2.6, 3.4], rtol=1e-6)
    assert header["pixelunits"] == "\\AA"
    record = fields_of((GOLDEN / name).read_bytes(), ">" if "_be_" in name else "<")
    assert header["MRCtype"] == ((2 if "_be_" in name else record["mode"]) % 1000)
    assert header["packedBytes"] == record["packed_bytes"]
    assert header["extendedBytes"] == record["nsymbt"]
    optics = ((300.0, 2.7, 1.05) if name[0] == "0" and not default_size and "list" not in name
              else (0.0, 0.0, 1.0))
    np.testing.assert_allclose([header["voltage"], header["C3"], header["gain"]], optics,
                               rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in ENTRIES if n.startswith(OLD_LABELS)])
def test_old_label_is_a_list_with_a_notice(name, notices):
    with notices() as said:
        image, _ = mrcz.readMRC(GOLDEN / name)
    assert isinstance(image, list)
    assert any("slices" in text for text in said)
    with notices() as said:
        volume, _ = mrcz.readMRC(GOLDEN / name, slices=0)
    assert_identical(volume, np.stack(image))
    assert not any("slices" in text for text in said)


@pytest.mark.parametrize("name", ENTRIES)
def test_round_trip_compressed(name, tmp_path):
    image, header = mrcz.readMRC(GOLDEN / name)
    meta = {key: header[key] for key in set(header) - set(HEADER_KEYS)}
    mrcz.writeMRC(image, tmp_path / "again.mrcz", compressor="zstd", meta=meta,
                  dtype="uint4" if "uint4" in name else None, pixelsize=header["pixelsize"],
                  voltage=header["voltage"])
    again, again_header = mrcz.readMRC(tmp_path / "again.mrcz")
    assert_identical(again, image)
    assert {key: again_header[key] for key in meta} == meta
    assert again_header["voltage"] == header["voltage"]
    np.testing.assert_allclose(again_header["pixelsize"], header["pixelsize"], rtol=1e-6)


@pytest.mark.parametrize("slices", [2, 3, 4, 6])
@pytest.mark.parametrize("name", ["0.6.0_list3d_raw.mrc", "0.6.0_list3d_zstd.mrcz"])
def test_other_slices(name, slices):
    volume, _ = mrcz.readMRC(GOLDEN / name, slices=0)
    assert volume.shape == (12, 33, 40)
    image, _ = mrcz.readMRC(GOLDEN / name, slices=slices)
    assert_identical(image, list(volume.reshape(-1, slices, 33, 40)))


def test_file_cut_in_its_header():
    with pytest.raises(EOFError, match=r"0\.3\.8_list2d_raw\.mrc"):
        mrcz.readMRC(GOLDEN / "0.3.8_list2d_raw.mrc")


@pytest.mark.parametrize("name", ENTRIES)
def test_files_that_are_appended_to_stay_what_they_are(name, tmp_path):
    path = tmp_path / name
    path.write_bytes((GOLDEN / name).read_bytes())
    image, before = mrcz.readMRC(path)
    count = image[0].shape[0] if isinstance(image, list) and image[0].ndim == 3 else 1
    frames = np.reshape(image, (-1, *np.shape(image)[-2:]))
    mrcz.writeMRC(frames[:count], path, idx=len(frames),
                  dtype="uint4" if "uint4" in name else None)
    found, after = mrcz.readMRC(path)
    assert type(found) is type(image)
    assert_identical(np.reshape(found, (-1, *frames.shape[1:])),
                     np.concatenate([frames, frames[:count]]))
    np.testing.assert_allclose(after["pixelsize"], before["pixelsize"], rtol=1e-6)
    changed = {"dimensions", "pixelsize", "packedBytes"}
    assert {k: v for k, v in after.items() if k not in changed} == \
        {k: v for k, v in before.items() if k not in changed}
