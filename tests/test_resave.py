"""Files of MRCZ below 0.5.0, saved anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import resave

GOLDEN = Path(__file__).parent / "data" / "golden"
OLD = sorted(path for version in ("0.3.8", "0.4.1") for path in GOLDEN.glob(f"{version}_*.mrc*")
             if path.stat().st_size > 1024)  # fmt: skip


@pytest.mark.parametrize("source", OLD, ids=lambda path: path.name)
@pytest.mark.parametrize("slices", [0, 1])
def test_every_old_file(source: Path, slices: int, tmp_path: Path) -> None:
    path = tmp_path / source.name
    shutil.copy(source, path)
    before, old_header = mrcz.readMRC(path)
    assert resave.resave(path, slices=slices, dry_run=True).changed
    assert [item.name for item in tmp_path.iterdir()] == [source.name]
    result = resave.resave(path, slices=slices)
    assert result.changed
    assert result.backup is not None
    assert Path(result.backup).read_bytes() == source.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
    after, header = mrcz.readMRC(path)
    assert isinstance(after, list) == (slices == 1)
    assert np.array_equal(np.stack(after), np.stack(before))
    for key, value in old_header.items():
        if key not in ("extendedBytes", "packedBytes", "pixelsize", "minImage", "maxImage",
                       "meanImage"):  # fmt: skip
            assert np.array_equal(header[key], value), key
    assert np.allclose(header["pixelsize"], old_header["pixelsize"], rtol=1e-6)
    assert not resave.resave(path).changed


def test_lists_of_volumes(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    frames = np.stack(mrcz.readMRC(path)[0])
    resave.resave(path, slices=2)
    found = mrcz.readMRC(path)[0]
    assert [item.shape for item in found] == [(2, 33, 40)] * 2
    assert np.array_equal(np.concatenate(found), frames)


@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupt_leaves_the_file_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    before, real, calls = path.read_bytes(), resave.os.rename, []

    def rename(old: str, new: str) -> None:
        calls.append(new)
        real(old, new)
        if len(calls) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(resave.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        resave.resave(path, slices=0)
    if number == 1:
        assert path.read_bytes() == before
        assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]
    else:
        assert len(list(tmp_path.iterdir())) == 2
        assert path.exists()


def test_nothing_is_lost_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="slices=3"):
        resave.resave(path, slices=3)

    def differ(old: mrcz.Stack, new: mrcz.Stack) -> None:
        raise mrcz.MRCError("differs")

    with monkeypatch.context() as patch:
        patch.setattr(resave, "_compare", differ)
        with pytest.raises(mrcz.MRCError, match="differs"):
            resave.resave(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]
    (tmp_path / f"a.mrcz{resave.BACKUP_SUFFIX}").write_bytes(b"older")
    with pytest.raises(FileExistsError):
        resave.resave(path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.6.0_i2_zstd.mrcz", path)
    assert not resave.resave(path).changed
    assert path.read_bytes() == (GOLDEN / "0.6.0_i2_zstd.mrcz").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "a.mrcz", tmp_path / "link.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    path.chmod(0o640)
    link.symlink_to("a.mrcz")
    backup = resave.resave(link).backup
    assert link.is_symlink()
    assert not path.is_symlink()
    assert backup == f"{path}{resave.BACKUP_SUFFIX}"
    assert Path(backup).read_bytes() == (GOLDEN / "0.4.1_i2_zstd.mrcz").read_bytes()
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("slices,error", [(-1, ValueError), (1.0, TypeError), ("1", TypeError),
                                          (True, TypeError)])
def test_slices_that_are_none(slices: object, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    for dry_run in (True, False):
        with pytest.raises(error, match="slices must be"):
            resave.resave(path, slices=slices, dry_run=dry_run)  # type: ignore[arg-type]
