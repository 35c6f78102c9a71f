"""Files of MRCZ below 0.5.0, saved anew."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import resave
from mrcz.errors import MRCError

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


STEPS = ["link", "rename", "replace"]


def stop_after(monkeypatch: pytest.MonkeyPatch, step: str, stop: Callable[[], None]) -> None:
    """Have `stop` called behind a step that gives the files their names."""
    def stepping(name: str, real: Callable[[str, str], None]) -> Callable[[str, str], None]:
        def call(old: str, new: str) -> None:
            if name == "link" and step == "rename":
                raise PermissionError(errno.EPERM, "no second names here")
            real(old, new)
            if name == step and "mrcz-tmp" not in old:
                stop()

        return call

    for name in STEPS:
        monkeypatch.setattr(resave.os, name, stepping(name, getattr(os, name)))


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_leaves_the_file_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    before = path.read_bytes()

    def stop() -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    stop_after(monkeypatch, step, stop)
    with pytest.raises(KeyboardInterrupt):
        resave.resave(path, slices=0)
    if step == "replace":
        assert len(list(tmp_path.iterdir())) == 2
        assert path.exists()
    else:
        assert path.read_bytes() == before
        assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("step", ["link", "replace"])
def test_a_kill_leaves_the_file_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path, backup = tmp_path / "a.mrcz", tmp_path / ("a.mrcz" + resave.BACKUP_SUFFIX)
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    before, image = path.read_bytes(), mrcz.readMRC(path, slices=0)[0]
    pid = os.fork()
    if not pid:
        stop_after(monkeypatch, step, lambda: os._exit(9))
        resave.resave(path, slices=0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert np.array_equal(mrcz.readMRC(path, slices=0)[0], image)
    assert backup.read_bytes() == before
    resave.resave(path, slices=0)  # again, if it was not done
    assert backup.read_bytes() == before != path.read_bytes()
    assert np.array_equal(mrcz.readMRC(path, slices=0)[0], image)


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


def test_frames_that_are_added_meanwhile_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mrcz"
    shutil.copy(GOLDEN / "0.4.1_i2_zstd.mrcz", path)
    image, compare = mrcz.readMRC(path, slices=0)[0], resave._compare

    def add(old: mrcz.Stack, new: mrcz.Stack) -> None:
        compare(old, new)
        mrcz.writeMRC(image[:1], path, idx=len(image))

    monkeypatch.setattr(resave, "_compare", add)
    with pytest.raises(mrcz.MRCError, match="changed after it was read"):
        resave.resave(path)
    assert len(mrcz.readMRC(path, slices=0)[0]) == len(image) + 1
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]


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


def test_files_that_are_packed_as_a_whole_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(OLD[0].read_bytes())
    content = path.read_bytes()
    with pytest.raises(MRCError, match=r"a\.mrc\.gz: .*unpack it first"):
        resave.resave(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
