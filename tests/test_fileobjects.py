"""Where a file may be: names, paths, open files, memory, and packed by gzip, bzip2 or xz."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import socket
import stat
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import pytest

import mrcz
from mrcz import scratch

from .builders import DATA, ramp
from .checks import assert_identical, written

IMAGE = ramp((3, 5, 7), "f4")
SUFFIXES = {"bz2": ".bz2", "lzma": ".xz"}


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("make", [str, os.fsencode, lambda path: path])
def test_paths_of_every_kind_and_name(make, compressor, tmp_path):
    name = make(tmp_path / "ångström 電子.mrc")
    mrcz.writeMRC(IMAGE, name, compressor=compressor)
    assert_identical(mrcz.readMRC(name)[0], IMAGE)
    assert mrcz.readMRCHeader(name)[0]["compressor"] == compressor
    mapped, _ = mrcz.readMRC(name, useMemmap=True)
    assert isinstance(mapped, mrcz.Stack if compressor else np.memmap)
    assert_identical(np.asarray(mapped), IMAGE)
    with mrcz.open(name) as stack, pickle.loads(pickle.dumps(stack)) as other:
        assert_identical(other[1], IMAGE[1])
    del mapped
    mrcz.writeMRC(IMAGE[:1], name, idx=3)
    assert mrcz.readMRC(name, progress=True)[0].shape == (4, 5, 7)
    assert mrcz.verify(name) == []
    assert [path.name for path in tmp_path.iterdir()] == ["ångström 電子.mrc"]


@pytest.mark.skipif(os.name == "nt", reason="sockets have no place in the file system")
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_what_is_no_file_is_not_replaced(compressor, tmp_path):
    """If a device, pipe or socket can't be opened, that is an error, whoever runs it."""
    name = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(name))
    with pytest.raises(OSError, match="socket"):
        mrcz.writeMRC(IMAGE, name, compressor=compressor)
    assert stat.S_ISSOCK(name.stat().st_mode)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_memory_and_disk_hold_the_same_bytes(compressor, tmp_path):
    options = {"compressor": compressor, "meta": {"a": 1}, "pixelsize": 2.0}
    file = io.BytesIO()
    mrcz.writeMRC(IMAGE, file, **options)
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", **options)
    assert (tmp_path / "a.mrc").read_bytes() == file.getvalue()


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_open_files_stay_open(compressor, tmp_path):
    with (tmp_path / "a.mrc").open("wb") as file:
        mrcz.writeMRC(IMAGE, file, compressor=compressor)
        assert not file.closed
    with (tmp_path / "a.mrc").open("rb") as file:
        assert_identical(mrcz.readMRC(file)[0], IMAGE)
        assert not file.closed
        file.seek(0)
        assert_identical(mrcz.readMRC(file)[0], IMAGE)


def members(archive):
    """Write both kinds of file into an open archive, as its members give themselves out."""
    for name, compressor in (("a.mrc", None), ("a.mrcz", "zstd")):
        with archive.open(name, "w") as file:
            mrcz.writeMRC(IMAGE, file, compressor=compressor, meta={"a": 1})


def test_members_of_an_archive_are_read():
    """Written without seeking, read without a file descriptor."""
    store = io.BytesIO()
    with zipfile.ZipFile(store, "w") as archive:
        members(archive)
    with zipfile.ZipFile(store) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                assert_identical(mrcz.readMRC(file)[0], IMAGE)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_a_pipe_is_read_and_written(compressor, tmp_path):
    """What can't seek at all is read to its end."""
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", compressor=compressor)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as file:
        file.write((tmp_path / "a.mrc").read_bytes())
    with os.fdopen(read_end, "rb") as file:
        assert_identical(mrcz.readMRC(file)[0], IMAGE)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.SpooledTemporaryFile])
def test_temporary_files_are_read_and_written(make, compressor):
    with make() as file:
        mrcz.writeMRC(IMAGE, file, compressor=compressor)
        file.seek(0)
        assert_identical(mrcz.readMRC(file)[0], IMAGE)


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_from_where_the_file_stands(compressor):
    file = io.BytesIO(b"before")
    file.seek(6)
    mrcz.writeMRC(IMAGE, file, compressor=compressor)
    file.seek(6)
    assert_identical(mrcz.readMRC(file)[0], IMAGE)
    assert file.getvalue()[:6] == b"before"


def test_a_gzip_file_that_the_caller_opened():
    with gzip.open(DATA / "maps" / "emd_3197.map.gz") as file:
        found, _ = mrcz.readMRC(file)
    assert_identical(found, mrcz.readMRC(DATA / "maps" / "EMD-3197.map")[0])


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open])
def test_into_a_stream_that_the_caller_opened(opener, compressor, tmp_path):
    """The record comes last, and such a stream can't go back, whatever it says of seeking."""
    with opener(tmp_path / "a.mrc.xz", "wb") as file:
        mrcz.writeMRC(IMAGE, file, compressor=compressor)
    assert_identical(mrcz.readMRC(tmp_path / "a.mrc.xz")[0], IMAGE)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("mode", ["ab", "a+b"])
def test_into_a_file_opened_to_append(mode, compressor, tmp_path):
    path = tmp_path / "a.mrc"
    with path.open(mode) as file:
        mrcz.writeMRC(IMAGE, file, compressor=compressor)
    assert_identical(mrcz.readMRC(path)[0], IMAGE)
    size = path.stat().st_size
    with path.open(mode) as file:
        mrcz.writeMRC(IMAGE[::-1], file, compressor=compressor)
    with path.open("rb") as file:
        file.seek(size)
        assert_identical(mrcz.readMRC(file)[0], IMAGE[::-1])


def test_into_an_object_that_only_writes():
    class Writer:
        data = b""

        def write(self, data):
            self.data += bytes(data)

    writer = Writer()
    mrcz.writeMRC(IMAGE, writer, compressor="zstd")
    assert_identical(mrcz.readMRC(io.BytesIO(writer.data))[0], IMAGE)


def test_names_as_bytes(tmp_path):
    name = os.fsencode(tmp_path / "a.mrc")
    mrcz.writeMRC(IMAGE, name)
    assert_identical(mrcz.readMRC(name)[0], IMAGE)


def test_through_a_symbolic_link(tmp_path):
    mrcz.writeMRC(IMAGE + 1, tmp_path / "real.mrc")
    (tmp_path / "link.mrc").symlink_to(tmp_path / "real.mrc")
    mrcz.writeMRC(IMAGE, tmp_path / "link.mrc")
    assert (tmp_path / "link.mrc").is_symlink()
    assert_identical(mrcz.readMRC(tmp_path / "real.mrc")[0], IMAGE)


def test_a_text_file_is_refused(tmp_path):
    with (tmp_path / "a.mrc").open("w") as file, pytest.raises((TypeError, ValueError)):
        mrcz.writeMRC(IMAGE, file)


@pytest.mark.parametrize("name", [None, 3.5, object()])
def test_no_file_at_all(name):
    with pytest.raises(TypeError):
        mrcz.readMRC(name)
    with pytest.raises(TypeError):
        mrcz.writeMRC(IMAGE, name)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("name", ["a.mrc", "a.mrc.gz", "a.mrc.bz2", "a.mrc.xz"])
def test_packed_files_by_content(name, compressor, pack, tmp_path):
    file = io.BytesIO()
    mrcz.writeMRC(IMAGE, file, compressor=compressor, meta={"a": 1})
    (tmp_path / name).write_bytes(pack(file.getvalue()))
    image, header = mrcz.readMRC(tmp_path / name)
    assert_identical(image, IMAGE)
    assert header["a"] == 1
    assert mrcz.readMRCHeader(tmp_path / name)[0]["a"] == 1
    (tmp_path / name).write_bytes(file.getvalue())  # a name alone packs nothing
    assert_identical(mrcz.readMRC(tmp_path / name)[0], IMAGE)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_in_memory_are_read(pack):
    file = io.BytesIO()
    mrcz.writeMRC(IMAGE, file)
    assert_identical(mrcz.readMRC(io.BytesIO(pack(file.getvalue())))[0], IMAGE)


@pytest.mark.parametrize("has_pread", [True, False])
@pytest.mark.parametrize("most", [0, 1000, 1 << 20])
def test_what_was_unpacked_is_kept_in_memory_or_on_disk(most, has_pread, monkeypatch):
    monkeypatch.setattr(scratch, "_MOST_IN_MEMORY", most)
    monkeypatch.setattr(scratch, "_HAS_PREAD", has_pread and scratch._HAS_PREAD)
    image = ramp((9, 200, 300), "i2")
    with mrcz.open(io.BytesIO(gzip.compress(written(image)))) as stack:
        for number in (4, 8, 0, 8, 5):
            assert_identical(stack[number], image[number])


def test_idx_of_a_packed_file():
    whole, _ = mrcz.readMRC(DATA / "maps" / "EMD-3197.map")
    assert_identical(mrcz.readMRC(DATA / "maps" / "emd_3197.map.gz", idx=7)[0], whole[7])


@pytest.mark.parametrize("read", [mrcz.readMRC, mrcz.readMRCHeader])
def test_a_missing_file_is_named(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.mrc"):
        read(tmp_path / "missing.mrc")


def test_directories_are_refused(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        mrcz.readMRC(tmp_path)
    with pytest.raises(OSError, match=tmp_path.name):
        mrcz.writeMRC(IMAGE, tmp_path)
    with pytest.raises(OSError, match="nowhere"):
        mrcz.writeMRC(IMAGE, tmp_path / "nowhere" / "a.mrc")


def test_a_file_is_replaced(tmp_path):
    mrcz.writeMRC(ramp((9, 50, 70), "f4"), tmp_path / "a.mrc", meta={"a": 1})
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc")
    assert (tmp_path / "a.mrc").stat().st_size == 1024 + IMAGE.nbytes
    assert_identical(mrcz.readMRC(tmp_path / "a.mrc")[0], IMAGE)


def lowest_free_handle() -> int:
    """The system gives new files the lowest number that is free."""
    handle = os.dup(0)
    os.close(handle)
    return handle


def test_no_handle_is_left_open(tmp_path):
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", compressor="zstd")
    before = lowest_free_handle()
    for _ in range(20):
        mrcz.readMRC(tmp_path / "a.mrc")
        mrcz.writeMRC(IMAGE, tmp_path / "a.mrc")
    assert lowest_free_handle() == before


class OneWay(io.RawIOBase):
    """Bytes that come once, as a server's answer."""

    def __init__(self, data: bytes) -> None:
        self._bytes = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._bytes.readinto(buffer)


@pytest.mark.parametrize("memmap", [False, True])
@pytest.mark.parametrize("open_as", [io.BytesIO, OneWay])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_file_objects_are_read_once(pack, open_as, memmap, tmp_path):
    """Wherever they are positioned then, and whether they can go back or not."""
    stack = np.random.default_rng(0).integers(-9999, 9999, (20, 256, 256), "i2")
    mrcz.writeMRC(stack, tmp_path / "a.mrc")
    data = pack((tmp_path / "a.mrc").read_bytes())
    found, header = mrcz.readMRC(open_as(data), useMemmap=memmap)
    assert header["dimensions"].tolist() == [20, 256, 256]
    assert_identical(np.asarray(found), stack)
    found, _ = mrcz.readMRC(open_as(data), idx=(3, 5), useMemmap=memmap)
    assert_identical(np.asarray(found), stack[3:5])


@pytest.mark.parametrize("module", ["bz2", "lzma", "gzip"])
def test_streams_that_this_python_can_not_read(module, tmp_path, monkeypatch):
    """Pythons that are built where a header is missing come without one of these."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path)
    path.write_bytes(__import__(module).compress(path.read_bytes()))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mrcz.MissingCodecError, match=rf"a\.mrc: .*'{module}'"):
        mrcz.readMRC(path)
    with path.open("rb") as file, pytest.raises(mrcz.MissingCodecError, match=f"'{module}'"):
        mrcz.readMRC(file)


@pytest.mark.parametrize("missing", ["bz2", "lzma"])
def test_commands_of_a_python_that_was_built_without_a_stream(missing, tmp_path):
    script = f"""
import sys
sys.modules[{missing!r}] = None
import gzip, mrcz, numpy as np
from mrcz import cli
mrcz.writeMRC(np.ones((2, 30, 40), "int16"), "a.mrc")
assert cli.main(["info", "a.mrc"]) == 0
assert cli.main(["convert", "a.mrc", "a.mrc.gz"]) == 0
assert cli.main(["convert", "a.mrc", "b.mrc{SUFFIXES[missing]}"]) == 1
data = gzip.compress(open("a.mrc", "rb").read())
open("c.mrc", "wb").write(data[:20] + bytes(9) + data[29:])
try:
    mrcz.readMRC("c.mrc")
except mrcz.MRCFormatError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0 and "c.mrc" in done.stdout, done.stderr
    assert done.stderr == (f"mrcz convert: a.mrc: {SUFFIXES[missing]}: this Python was built "
                           f"without the module '{missing}'\n")
    assert sorted(os.listdir(tmp_path)) == ["a.mrc", "a.mrc.gz", "c.mrc"]
