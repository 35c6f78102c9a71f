"""Writing is atomic: whatever fails, the old file stays, and nothing else does."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import cli, disk, replacing

from .processes import run_script

IMAGE = np.random.default_rng(0).poisson(3, (6, 64, 80)).astype("int16")
OLD = b"what was there before"
needs_posix = pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")


def only(path: Path) -> bool:
    """Whether nothing but this file is in its folder."""
    return [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.mrcz"
    path.write_bytes(OLD)
    return path


class Boom(Exception):
    pass


def failing(error: BaseException) -> Iterator[np.ndarray]:
    for number in range(40):
        if number == 30:
            raise error
        yield IMAGE[number % 6]


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("error", [Boom("x"), KeyboardInterrupt(), MemoryError(), SystemExit()])
def test_exceptions_leave_the_old_file_alone(
    path: Path, compressor: str | None, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        mrcz.writeMRC(failing(error), path, compressor=compressor)
    assert path.read_bytes() == OLD
    assert only(path)
    with pytest.raises(type(error)), mrcz.create(path, (None, 64, 80), "int16") as writer:
        writer.append(IMAGE)
        raise error
    assert path.read_bytes() == OLD
    assert only(path)


@pytest.mark.parametrize("options", [{}, {"compressor": "zstd"},
                                     {"compressor": "zstd", "checksum": True}])
@pytest.mark.parametrize("error", [Boom("x"), KeyboardInterrupt()])
def test_an_append_that_fails_is_undone(
    tmp_path: Path, options: dict[str, Any], error: BaseException
) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(IMAGE, path, **options)
    before = path.read_bytes()
    with pytest.raises(type(error)):
        mrcz.writeMRC(failing(error), path, idx=6, **options)
    assert path.read_bytes() == before
    assert only(path)


def test_an_overwrite_that_fails_leaves_the_compressed_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(IMAGE, path, compressor="zstd", checksum=True)
    before = path.read_bytes()
    with pytest.raises(Boom):
        mrcz.writeMRC(failing(Boom("x")), path, idx=2)
    assert path.read_bytes() == before
    assert only(path)


def test_a_disk_that_fails_to_tell_of_a_file_is_not_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be made anew, of the one frame that is written."""
    mrcz.writeMRC(IMAGE, path)
    before, real, failures = path.read_bytes(), os.stat, [OSError(errno.ESTALE, "Stale handle")]

    def once(*arguments: Any, **options: Any) -> os.stat_result:
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Stale"):
        patch.setattr(os, "stat", once)
        mrcz.writeMRC(IMAGE[:1], path, idx=0)
    assert path.read_bytes() == before


def test_checksums_can_be_added_with_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    for first in (6, 2):
        mrcz.writeMRC(IMAGE, path, compressor="zstd")
        size = path.stat().st_size
        mrcz.writeMRC(IMAGE[:2], path, idx=first, compressor="zstd", checksum=True)
        frames = 6 if first == 2 else 8
        packed = mrcz.readMRCHeader(path)[0]["packedBytes"]
        assert path.stat().st_size == 1024 + packed + 32 + 24 * frames + 16 > size
        assert mrcz.verify(path) == []
        expected = IMAGE.copy() if first == 2 else np.concatenate([IMAGE, IMAGE[:2]])
        expected[first : first + 2] = IMAGE[:2]
        assert np.array_equal(mrcz.readMRC(path)[0], expected)


def test_an_append_that_was_cut_is_noticed_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    with path.open("ab") as file:
        file.write(b"half a chunk")
    assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    finding, = mrcz.verify(path)
    assert "12 bytes behind the last frame" in str(finding)
    mrcz.writeMRC(IMAGE[:1], path, idx=6)
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([IMAGE, IMAGE[:1]]))
    assert mrcz.verify(path) == []


@pytest.mark.parametrize("lie", [0, 16, 1000, -5, 1 << 40])
def test_an_append_does_not_trust_packed_bytes(tmp_path: Path, lie: int) -> None:
    """One wrong bit in the header must not cost frames."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    data = bytearray(path.read_bytes())
    data[144:152] = lie.to_bytes(8, "little", signed=True)
    path.write_bytes(data)
    mrcz.writeMRC(IMAGE[:1], path, idx=6)
    assert np.array_equal(mrcz.readMRC(path)[0], np.concatenate([IMAGE, IMAGE[:1]]))
    assert mrcz.verify(path) == []


def test_a_folder_as_target(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="folder") as caught:
        mrcz.writeMRC(IMAGE, folder)
    assert caught.value.filename == str(folder)
    with pytest.raises(IsADirectoryError):
        mrcz.readMRC(folder)
    assert list(folder.iterdir()) == []
    assert only(folder)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a.mrcz"
    with pytest.raises(FileNotFoundError) as caught:
        mrcz.writeMRC(IMAGE, path)
    assert caught.value.filename == str(path)


AS_NOBODY = """
import errno, os, sys
import numpy as np, mrcz
path, kind = sys.argv[1:]
mrcz.writeMRC(np.zeros((2, 8, 8), "i2"), "/dev/null", compressor="zstd")
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    mrcz.writeMRC(np.zeros((2, 8, 8), "i2"), path, compressor="zstd")
except OSError as error:
    count = len(os.listdir(os.path.dirname(path)))
    print(error.errno == errno.EACCES, error.filename == path, count)
"""


@needs_posix
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_read_only_place(kind: str) -> None:
    """As a user whom permissions bind, which they don't root."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp())  # where nobody may go, unlike pytest's folders
    try:
        path = folder / "a.mrcz"
        if kind == "file":
            path.write_bytes(OLD)
            path.chmod(0o444)
        folder.chmod(0o555 if kind == "folder" else 0o777)
        done = run_script(AS_NOBODY, path, kind)
        assert done.stdout.split() == ["True", "True", "0" if kind == "folder" else "1"], (
            done.stdout + done.stderr)
        assert kind == "folder" or path.read_bytes() == OLD
    finally:
        folder.chmod(0o777)
        shutil.rmtree(folder)


FULL = """
import errno, os, resource, sys
import numpy as np, mrcz
folder, how = sys.argv[1:]
noise = np.random.default_rng(0).integers(0, 2**16, (40, 100, 100)).astype("u2")
path = os.path.join(folder, "a.mrcz")
kinds = [{}, {"compressor": "zstd"}, {"compressor": "lz4", "checksum": True, "n_threads": 3}]
for options in kinds:
    mrcz.writeMRC(noise[:4], path, **options)
    before = open(path, "rb").read()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        if how == "write":
            mrcz.writeMRC(noise, path, **options)
        elif how == "append":
            mrcz.writeMRC(noise, path, idx=4, **options)
        elif how == "overwrite":
            mrcz.writeMRC(np.concatenate([noise] * 2), path, idx=2, **options)
        elif how == "room":
            mrcz.writeMRC(noise[:1], path, idx=0, shape=(1000, 100, 100))
    except OSError as error:
        assert error.errno == errno.EFBIG and error.filename == path, error
    else:
        raise SystemExit("it was written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert open(path, "rb").read() == before
    assert os.listdir(folder) == ["a.mrcz"]
print("fine")
"""


@needs_posix
@pytest.mark.parametrize("how", ["write", "append", "overwrite", "room"])
def test_a_full_disk(tmp_path: Path, how: str) -> None:
    done = run_script(FULL, tmp_path, how)
    assert done.stdout == "fine\n", done.stdout + done.stderr


@needs_posix
def test_errors_of_the_disk_name_the_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("pwrite", "fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match=r"a\.mrcz") as caught:
            patch.setattr(os, name, full)
            mrcz.writeMRC(IMAGE, path, compressor="zstd", fsync=True)
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == OLD
        assert only(path)


@needs_posix
def test_a_device_that_is_full() -> None:
    for compressor in (None, "zstd"):
        with pytest.raises(OSError, match="/dev/full") as caught:
            mrcz.writeMRC(IMAGE, "/dev/full", compressor=compressor)
        assert caught.value.errno == errno.ENOSPC


@needs_posix
def test_a_pipe_that_breaks(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDONLY)))
    reader.start()
    with pytest.raises(BrokenPipeError, match="pipe"):
        mrcz.writeMRC(np.concatenate([IMAGE] * 20), path)
    reader.join()


@needs_posix
def test_a_pipe_gets_everything(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    movie = np.concatenate([IMAGE] * 20)
    mrcz.writeMRC(movie, path)
    reader.join()
    (tmp_path / "copy.mrc").write_bytes(got[0])
    assert np.array_equal(mrcz.readMRC(tmp_path / "copy.mrc")[0], movie)


def test_an_unbuffered_file_that_takes_a_part_at_a_time(tmp_path: Path) -> None:
    class Slow:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, data: Any) -> int:
            return int(self._file.write(data[:100]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    with (tmp_path / "a.mrc").open("wb") as file:
        mrcz.writeMRC(IMAGE, Slow(file))  # type: ignore[arg-type]
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrc")[0], IMAGE)


@needs_posix
@pytest.mark.parametrize("dangling", [False, True])
def test_symbolic_links_are_followed(tmp_path: Path, dangling: bool) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    target, link = folder / "a.mrcz", tmp_path / "link"
    if not dangling:
        target.write_bytes(OLD)
    link.symlink_to(Path("real") / "a.mrcz")
    mrcz.writeMRC(IMAGE, link, compressor="zstd")
    assert link.is_symlink()
    assert only(target)
    assert np.array_equal(mrcz.readMRC(target)[0], IMAGE)
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(OSError, match="link"):
        mrcz.writeMRC(IMAGE, link)


@needs_posix
def test_the_system_says_what_two_dots_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a link they are the parent of where it leads."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(Path("a") / "b")
    monkeypatch.chdir(tmp_path)
    mrcz.writeMRC(IMAGE, "link/../x.mrc")
    mrcz.asyncWriteMRC(IMAGE, "link/../y.mrc").result(timeout=60)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "x.mrc", "y.mrc"]


@needs_posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_permissions(tmp_path: Path, mask: int) -> None:
    old_mask = os.umask(mask)
    try:
        path = tmp_path / "new.mrcz"
        mrcz.writeMRC(IMAGE, path, compressor="zstd")
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        for mode in (0o600, 0o644, 0o660, 0o755):
            path.chmod(mode)
            mrcz.writeMRC(IMAGE, path, compressor="zstd")
            assert stat.S_IMODE(path.stat().st_mode) == mode
            mrcz.writeMRC(IMAGE[:1], path, idx=1)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(old_mask)


@needs_posix
@pytest.mark.parametrize("may", [True, False])
def test_a_replaced_file_keeps_its_owner_where_that_may_be(path, may, monkeypatch):
    path.touch()
    status = list(path.stat())
    status[4] += 1  # another's
    given = []

    def change_owner(fd, owner, group):
        given.append((owner, group))
        if not may:
            raise PermissionError

    monkeypatch.setattr(os, "fchown", change_owner)
    with path.open("r+b") as file:
        replacing.keep_access(file.fileno(), str(path), os.stat_result(status))
    assert given == [(status[4], status[5])]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes on this system")
def test_attributes_are_kept(path: Path) -> None:
    """Among them are access lists, by which facilities share their disks."""
    os.setxattr(path, "user.note", b"of a user")
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    mrcz.writeMRC(IMAGE[:1], path, idx=2)
    assert os.getxattr(path, "user.note") == b"of a user"


@needs_posix
def test_what_is_no_regular_file_has_no_frames_to_change(tmp_path: Path) -> None:
    """An error; opening a pipe would wait for its other end for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, Path("/dev/null")):
        with pytest.raises(OSError, match=f"idx.*{target.name}"):
            mrcz.writeMRC(IMAGE, target, idx=0)
    with pytest.raises(IsADirectoryError):
        mrcz.writeMRC(IMAGE, tmp_path, idx=0)


@needs_posix
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, these made a file of /dev/null, to which the whole machine then wrote."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrcz", compressor="zstd")
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc")
    with pytest.raises(OSError, match=r"pipe.*pipe"):
        mrcz.writeMRC(IMAGE, pipe, shape=(9, *IMAGE.shape[1:]))
    for name in ("a.mrcz", "a.mrc"):
        with pytest.raises(OSError, match=r"pipe.*pipe"):
            mrcz.repair(tmp_path / name, pipe)
    for command in ("compress", "decompress"):
        source = tmp_path / ("a.mrc" if command == "compress" else "a.mrcz")
        assert cli.main([command, str(source), "--force", "--output", str(pipe)]) != 0
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mrc", "a.mrcz", "pipe"]


@needs_posix
def test_fsync_before_the_name_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(fd: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        calls.append(kind)
        fsync(fd)

    def watched_replace(source: str, target: str) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(IMAGE, path, compressor="zstd", fsync=True)
    assert calls == ["file", "replace", "folder"]
    calls.clear()
    mrcz.writeMRC(IMAGE, path, idx=6, fsync=True)
    assert calls == ["file", "file"]  # frames, then the header
    calls.clear()
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    assert calls == ["replace"]


@needs_posix
@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_refuse_to_be_synced(
    tmp_path: Path, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of some network file systems do: decompress failed there."""
    fsync = os.fsync

    def of_files_only(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(refusal, os.strerror(refusal))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", of_files_only)
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", fsync=True)
    for command, name in (("compress", "a.mrc"), ("decompress", "a.mrcz")):
        assert cli.main([command, "-q", "--delete-original", str(tmp_path / name)]) == 0
    assert os.listdir(tmp_path) == ["a.mrc"]
    assert np.array_equal(mrcz.readMRC(tmp_path / "a.mrc")[0], IMAGE)


@needs_posix
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_what_fails_after_the_renaming_leaves_the_new_file_whole(
    path: Path, error: BaseException, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk fails; Ctrl-C comes at any time."""
    real = getattr(os, where)

    def done_and_failed(*arguments: Any) -> None:
        real(*arguments)
        if where == "replace" or stat.S_ISDIR(os.fstat(arguments[0]).st_mode):
            raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(os, where, done_and_failed)
        mrcz.writeMRC(IMAGE, path, compressor="zstd", fsync=True)
    assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    assert only(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_that_leaves_does_not_undo_its_parents_work(path: Path) -> None:
    with mrcz.create(path, (None, 64, 80), "int16", compressor="zstd") as writer:
        writer.append(IMAGE)
        child = os.fork()
        if child == 0:
            try:
                writer.__exit__(SystemExit, SystemExit(), None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        writer.append(IMAGE)
    assert len(mrcz.readMRC(path)[0]) == 12
    assert only(path)


@pytest.mark.parametrize("name", ["x" * 250, "ä" * 100, "with space", "new\nline", "-rf", "a'b\"c",
                                  "..mrc", "$(id)", "\udc80undecodable"])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    assert only(path)
    assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    mrcz.writeMRC(IMAGE[:1], path, idx=6)
    assert len(mrcz.readMRC(path)[0]) == 7


@needs_posix
def test_names_that_no_system_takes(tmp_path: Path) -> None:
    for name in ("x" * 300, "y/" * 3000 + "z"):
        path = f"{tmp_path}/{name}"
        with pytest.raises(OSError, match=r"[xy]") as caught:
            mrcz.writeMRC(IMAGE, path)
        assert caught.value.filename == path
    with pytest.raises(ValueError, match="null"):
        mrcz.writeMRC(IMAGE, f"{tmp_path}/a\0b")
    assert list(tmp_path.iterdir()) == []


def test_no_sink_outlives_its_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors are closed whether a write succeeds or fails."""
    opened: list[disk.AtomicFile] = []
    make = disk.AtomicFile.__init__

    def watched(self: disk.AtomicFile, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        opened.append(self)

    monkeypatch.setattr(disk.AtomicFile, "__init__", watched)
    mrcz.writeMRC(IMAGE, path, compressor="zstd")
    with pytest.raises(Boom):
        mrcz.writeMRC(failing(Boom("x")), path, compressor="zstd")
    assert [sink.fd for sink in opened] == [-1, -1]


@pytest.mark.skipif(os.name != "posix", reason="an open file can't be replaced on Windows")
@pytest.mark.parametrize("threads_left", [True, False])
def test_a_large_old_file_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads_left: bool
) -> None:
    path = tmp_path / "a.mrc"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    inode = path.stat().st_ino
    held: list[int] = []
    opened = os.open
    monkeypatch.setattr(replacing.os, "open", lambda *args: held.append(opened(*args)) or held[-1])
    if not threads_left:
        monkeypatch.setattr(replacing.threading.Thread, "start", _no_thread)
    mrcz.writeMRC(np.ones((2, 8, 8), "f4"), path, n_threads=1)
    assert path.stat().st_ino != inode
    assert _closed_soon(held[-1], inode)
    np.testing.assert_array_equal(mrcz.readMRC(path)[0], 1)


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _closed_soon(fd: int, inode: int) -> bool:
    for _ in range(500):
        try:
            if os.fstat(fd).st_ino != inode:
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False
