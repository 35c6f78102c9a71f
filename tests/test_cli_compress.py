"""`mrcz compress` and `mrcz decompress`: nothing lost, ever."""

import bz2
import errno
import gzip
import json
import os
import threading
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz.cli import main
from mrcz.copies import copying, original
from mrcz.copies.original import KEY, Original
from mrcz.reader import MRCReader

SAMPLE = files("mrcz") / "data" / "EMD-3001.map"
DTYPES = ("int8", "int16", "uint16", "int32", "uint32", "float16", "float32", "complex64", "uint4")


def pixels_of(dtype, shape=(5, 21, 33)):
    pixels = np.random.default_rng(3).poisson(3, shape)
    if dtype == "uint4":
        return np.minimum(pixels, 15).astype("uint8")
    return (pixels * (1 + 2j) if dtype == "complex64" else pixels).astype(dtype)


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.mrc"
    mrcz.writeMRC(pixels_of("int8", (8, 64, 64)), path, meta={"dose": 1.5, "nan": float("nan")},
                  pixelsize=1.06, voltage=300.0)
    os.utime(path, (1_500_000_000, 1_500_000_000))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pixel_type_comes_back_to_the_byte(tmp_path, dtype, endian):
    source = tmp_path / "a.mrc"
    mrcz.writeMRC(pixels_of(dtype), source, dtype=dtype, endian=endian, meta={"a": 1})
    before = source.read_bytes()
    assert main(["compress", "-q", "-c", "lz4", str(source)]) == 0
    assert mrcz.readMRCHeader(tmp_path / "a.mrcz")[0]["compressor"] == "lz4"
    np.testing.assert_array_equal(mrcz.readMRC(tmp_path / "a.mrcz")[0], mrcz.readMRC(source)[0])
    source.unlink()
    assert main(["decompress", "-q", str(tmp_path / "a.mrcz")]) == 0
    assert source.read_bytes() == before


@pytest.mark.parametrize("image", [
    [np.ones((4, 5), "int16")] * 3, [np.ones((2, 4, 5), "int16")] * 3, np.ones((4, 5), "int16"),
])
def test_lists_stay_lists(tmp_path, image):
    mrcz.writeMRC(image, tmp_path / "a.mrc")
    assert main(["compress", "-q", "-c", "zstd", str(tmp_path / "a.mrc")]) == 0
    before, after = (mrcz.readMRC(tmp_path / name)[0] for name in ("a.mrc", "a.mrcz"))
    assert type(before) is type(after)
    assert [np.shape(item) for item in before] == [np.shape(item) for item in after]


def test_headers_of_other_programs_come_back(tmp_path):
    data = bytearray(SAMPLE.read_bytes())
    data[196:208] = np.array([1.5, -2, 3], "<f4").tobytes()  # ORIGIN
    data += b"what a detector leaves behind its pixels"
    source = tmp_path / "emd.map"
    source.write_bytes(data)
    assert main(["compress", "--delete-original", str(source)]) == 0
    assert names(tmp_path) == ["emd.map.mrcz"]
    assert main(["decompress", str(tmp_path / "emd.map.mrcz")]) == 0
    assert source.read_bytes() == data


@pytest.mark.parametrize("suffix,pack", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_streams(tmp_path, suffix, pack):
    source = tmp_path / f"emd.map{suffix}"
    source.write_bytes(pack(SAMPLE.read_bytes()))
    assert main(["compress", "-q", "--delete-original", str(source)]) == 0
    assert main(["decompress", "-q", "--delete-original", str(tmp_path / "emd.map.mrcz")]) == 0
    assert names(tmp_path) == ["emd.map"]
    assert (tmp_path / "emd.map").read_bytes() == SAMPLE.read_bytes()


def test_times_are_kept(movie):
    assert main(["compress", "-q", "--delete-original", str(movie)]) == 0
    copy = movie.with_suffix(".mrcz")
    assert copy.stat().st_mtime == 1_500_000_000
    os.utime(copy, (1_600_000_000, 1_600_000_000))
    assert main(["decompress", "-q", str(copy)]) == 0
    assert movie.stat().st_mtime == 1_500_000_000


def test_metadata_stays_readable(movie):
    assert main(["compress", "-q", str(movie)]) == 0
    _, header = mrcz.readMRC(movie.with_suffix(".mrcz"))
    assert header["dose"] == 1.5 and header["voltage"] == 300.0
    assert header["pixelsize"] == pytest.approx([1.06] * 3)


def test_what_is_done_is_skipped(movie, capsys):
    copy = movie.with_suffix(".mrcz")
    assert main(["compress", str(movie)]) == 0
    inode = copy.stat().st_ino
    capsys.readouterr()
    assert main(["compress", str(movie)]) == 0
    assert "done already" in capsys.readouterr().out
    assert copy.stat().st_ino == inode
    assert main(["compress", "--delete-original", str(movie)]) == 0
    assert names(movie.parent) == ["movie.mrcz"]


def test_a_changed_file_is_not_done(movie, capsys):
    assert main(["compress", str(movie)]) == 0
    mrcz.writeMRC(pixels_of("int8", (8, 64, 64)) + 1, movie)
    assert main(["compress", str(movie)]) == 1
    assert "--force replaces it" in capsys.readouterr().err
    assert main(["compress", "--force", str(movie)]) == 0
    np.testing.assert_array_equal(mrcz.readMRC(movie)[0],
                                  mrcz.readMRC(movie.with_suffix(".mrcz"))[0])


@pytest.mark.parametrize("flag", ["--checksum", "--no-checksum"])
def test_skipping_checks_before_it_deletes(movie, capsys, flag):
    copy = movie.with_suffix(".mrcz")
    assert main(["compress", "-c", "zstd", flag, str(movie)]) == 0
    data = bytearray(copy.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 32] = bytes(32)
    copy.write_bytes(data)
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert movie.exists()


def test_another_file_of_that_name_is_not_replaced(movie):
    movie.with_suffix(".mrcz").write_text("mine")
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert movie.with_suffix(".mrcz").read_text() == "mine"
    assert movie.exists()


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("command", [["compress", "--delete-original"], ["convert"]])
def test_a_file_that_comes_meanwhile_is_not_replaced(movie, monkeypatch, capsys, command,
                                                     has_links):  # fmt: skip
    """As the copy of a file of that name elsewhere, which another process makes and removes."""
    others, copy = b"the only copy", movie.with_suffix(".mrcz")
    is_changed = copying._is_changed

    def come(path, status):
        copy.write_bytes(others)
        return is_changed(path, status)

    def no_link(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted", source, target)

    monkeypatch.setattr(copying, "_is_changed", come)
    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    assert main([*command, str(movie), *[str(copy)] * (command == ["convert"])]) == 1
    assert "exists already" in capsys.readouterr().err
    assert copy.read_bytes() == others
    assert names(movie.parent) == ["movie.mrc", "movie.mrcz"]


def test_disks_without_second_names_and_those_that_deny_having_given_one(movie, monkeypatch):
    link = os.link

    def deny(source, target):
        if source.endswith(".mrcz"):
            link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", source, target)

    monkeypatch.setattr(os, "link", deny)
    assert main(["compress", "-q", "--delete-original", str(movie)]) == 0
    assert main(["decompress", "-q", str(movie.with_suffix(".mrcz"))]) == 0
    assert names(movie.parent) == ["movie.mrc", "movie.mrcz"]


def test_frames_that_are_added_to_a_file_before_it_is_removed_stay(movie, monkeypatch, capsys):
    sync = copying.fsync_folder

    def add(folder):
        sync(folder)
        mrcz.writeMRC(pixels_of("int8", (2, 64, 64)), movie, idx=8)

    monkeypatch.setattr(copying, "fsync_folder", add)
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert "changed after it was read, and stays" in capsys.readouterr().err
    assert len(mrcz.readMRC(movie)[0]) == 10


def test_frames_are_not_added_to_a_file_while_it_is_removed(movie, monkeypatch):
    """They would go into a file without a name."""
    unlink, added = os.unlink, []

    def add():
        try:
            mrcz.writeMRC(pixels_of("int8", (2, 64, 64)), movie, idx=8)
        except Exception as error:
            added.append(error)

    def slow(path, **options):
        if os.fspath(path) == str(movie):
            thread.start()
            thread.join(0.3)
        unlink(path, **options)

    thread = threading.Thread(target=add)
    monkeypatch.setattr(os, "unlink", slow)
    assert main(["compress", "-q", "--delete-original", str(movie)]) == 0
    thread.join()
    assert not movie.exists()
    assert [type(error) for error in added] == [FileNotFoundError]


def test_a_copy_that_reads_back_wrong_is_thrown_away(movie, monkeypatch, capsys):
    def with_an_error(self, reader, *, threads):
        pieces = list(map(bytearray, pieces_of(self, reader, threads=threads)))
        pieces[3][7] ^= 1
        yield from map(memoryview, pieces)

    pieces_of = Original.pieces
    monkeypatch.setattr(Original, "pieces", with_an_error)
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert "differs after byte" in capsys.readouterr().err
    assert names(movie.parent) == ["movie.mrc"]


def test_a_file_that_changes_meanwhile_stays(movie, monkeypatch, capsys):
    def touch(*arguments, **options):
        check(*arguments, **options)
        os.utime(movie)

    check = copying.check_restores
    monkeypatch.setattr("mrcz.copies.compressing.check_restores", touch)
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert "changed while it was read" in capsys.readouterr().err
    assert names(movie.parent) == ["movie.mrc"]


def test_a_file_that_changes_while_its_copy_of_before_is_checked_stays(movie, monkeypatch, capsys):
    def grow(*arguments, **options):
        check(*arguments, **options)
        mrcz.writeMRC(pixels_of("int8", (1, 64, 64)), movie, idx=8)

    assert main(["compress", "-q", str(movie)]) == 0
    check = copying.check_restores
    monkeypatch.setattr("mrcz.copies.compressing.check_restores", grow)
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert "changed after it was read, and stays" in capsys.readouterr().err
    assert len(mrcz.readMRC(movie)[0]) == 9


def test_a_link_is_not_removed(movie, capsys):
    link = movie.parent / "link.mrc"
    link.symlink_to(movie)
    assert main(["compress", "--delete-original", str(link)]) == 1
    assert "symbolic link" in capsys.readouterr().err
    assert movie.exists() and link.is_symlink()


def test_truncated_files_fail_and_stay(movie, capsys):
    movie.write_bytes(movie.read_bytes()[:-10])
    assert main(["compress", "--delete-original", str(movie)]) == 1
    assert "too short" in capsys.readouterr().err
    assert names(movie.parent) == ["movie.mrc"]


def test_folders_keep_their_shape(tmp_path, capsys):
    for name in ("raw/a.mrc", "raw/day/b.mrcs", "raw/day/notes.txt", "raw/.hidden.mrc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        mrcz.writeMRC(pixels_of("int16"), path)
    new = tmp_path / "new"
    assert main(["compress", str(tmp_path / "raw"), "-o", str(new), "--jobs", "2"]) == 0
    assert names(tmp_path / "new") == ["a.mrcz", "day"]
    assert names(tmp_path / "new" / "day") == ["b.mrcs.mrcz"]
    assert "2 files" in capsys.readouterr().out
    assert main(["decompress", "-q", str(tmp_path / "new"), "-o", str(tmp_path / "back")]) == 0
    assert (tmp_path / "back/day/b.mrcs").read_bytes() == (
        tmp_path / "raw/day/b.mrcs").read_bytes()


def test_two_files_never_share_an_output(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        mrcz.writeMRC(pixels_of("int16"), tmp_path / name / "a.mrc")
    assert main(["compress", str(tmp_path / "*" / "a.mrc"), "-o", str(tmp_path / "new"),
                 "--delete-original"]) == 1
    assert "left out" in capsys.readouterr().err
    assert not (tmp_path / "one" / "a.mrc").exists()
    assert (tmp_path / "two" / "a.mrc").exists()


def test_compressed_files_are_not_compressed_again(movie, capsys):
    main(["compress", "-q", str(movie)])
    assert main(["compress", str(movie.parent)]) == 0
    text = capsys.readouterr().out
    assert "movie.mrcz: is compressed already, skipped" in text
    assert names(movie.parent) == ["movie.mrc", "movie.mrcz"]


def test_json_tells_what_was_done(movie, capsys):
    assert main(["compress", "--json", "-c", "zstd", str(movie)]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["before"] == movie.stat().st_size
    assert result["after"] == movie.with_suffix(".mrcz").stat().st_size
    assert result["verified"] and not result["removed"]


def test_files_of_other_writers_decompress(tmp_path):
    source = tmp_path / "a.mrcz"
    pixels = pixels_of("float32")
    mrcz.writeMRC(list(pixels), source, meta={"a": 1}, pixelsize=[3, 2, 1], compressor="zstd",
                  voltage=200.0)
    assert main(["decompress", "-q", "--delete-original", str(source)]) == 0
    image, header = mrcz.readMRC(tmp_path / "a.mrc")
    assert isinstance(image, list)
    np.testing.assert_array_equal(image, pixels)
    assert header["a"] == 1 and header["voltage"] == 200.0
    assert header["pixelsize"] == pytest.approx([3, 2, 1])


@pytest.mark.parametrize("change", ["pixels", "metadata", "damage", "bomb",
                                    "infinity", "time"])
def test_a_stale_or_hostile_memory_is_not_trusted(tmp_path, movie, change):
    import base64
    import zlib

    copy = movie.with_suffix(".mrcz")
    main(["compress", "-q", "-c", "zstd", str(movie)])
    image, header = mrcz.readMRC(copy)
    memory = dict(header[KEY])
    if change == "pixels":
        image = image[:3]
    elif change == "damage":
        memory["head"] = memory["head"][:-8]
    elif change == "bomb":
        packer = zlib.compressobj(9)
        zeros = bytes(1 << 20)
        packed = b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush()
        memory["head"] = base64.b64encode(packed).decode()
    elif change == "infinity":
        memory["size"] = float("inf")
    elif change == "time":
        memory["mtime_ns"] = 10**40
    meta = {KEY: memory, "dose": 2.5 if change == "metadata" else 1.5, "nan": float("nan")}
    mrcz.writeMRC(image, copy, compressor="zstd", meta=meta)
    movie.unlink()
    assert main(["decompress", "-q", str(copy)]) == 0
    restored, header = mrcz.readMRC(movie)
    np.testing.assert_array_equal(restored, image)
    assert header["dose"] == meta["dose"] and KEY not in header


def test_a_memory_is_unpacked_up_to_a_limit(movie, monkeypatch):
    main(["compress", "-q", str(movie)])
    with MRCReader(movie.with_suffix(".mrcz")) as reader:
        assert Original.remembered_by(reader) is not None
        monkeypatch.setattr(original, "LONGEST_HEAD", 1023)
        assert Original.remembered_by(reader) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names in folders to wait for")
@pytest.mark.parametrize("is_done", [False, True], ids=["new", "of an earlier run"])
def test_originals_are_removed_when_their_copies_are_on_the_disk(movie, monkeypatch, is_done):
    """The bytes of the copy, and its name in the folder: a power cut may come at any time."""
    if is_done:
        assert main(["compress", "-q", str(movie)]) == 0
    on_disk, removed = [], []
    sync, unlink = os.fsync, os.unlink

    def watched_sync(fd):
        sync(fd)
        on_disk.append(os.fstat(fd).st_ino)

    def watched_unlink(path, **options):
        if os.fspath(path) == str(movie):
            removed.extend(on_disk)
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "unlink", watched_unlink)
    assert main(["compress", "-q", "--delete-original", str(movie)]) == 0
    copy, folder = movie.with_suffix(".mrcz").stat().st_ino, movie.parent.stat().st_ino
    assert not movie.exists()
    assert copy in removed and folder in removed[removed.index(copy) :]


def test_rgb_is_refused(tmp_path, capsys):
    head = bytearray(SAMPLE.read_bytes()[:1024])
    head[0:16] = np.array([2, 2, 1, 16], "<i4").tobytes()
    head[92:96] = bytes(4)
    (tmp_path / "rgb.mrc").write_bytes(head + bytes(12))
    assert main(["compress", str(tmp_path / "rgb.mrc")]) == 1
    assert "RGB" in capsys.readouterr().err


def test_a_folder_for_originals_is_not_named_like_a_file(movie, tmp_path, capsys):
    assert main(["compress", str(movie)]) == 0
    before = names(tmp_path)
    copy = movie.with_suffix(".mrcz")
    assert main(["decompress", str(copy), "-o", str(tmp_path / "back.mrc")]) == 2
    assert "names a folder" in capsys.readouterr().err
    assert names(tmp_path) == before


def test_a_folder_for_copies_is_not_named_like_a_file(movie, tmp_path, capsys):
    before = names(tmp_path)
    assert main(["compress", str(movie), "-o", str(tmp_path / "new.mrcz")]) == 2
    assert "names a folder" in capsys.readouterr().err
    assert names(tmp_path) == before
    (tmp_path / "old.mrcz").mkdir()  # as it pleases them
    assert main(["compress", str(movie), "-o", str(tmp_path / "old.mrcz")]) == 0


@pytest.mark.parametrize("name", ["A.MRC", "b.Mrc", "c.mrc", "d.MAP", "e.st", "f.mrc.Mrc",
                                  "g.mrc.mrc", "h.rec.mrc", "i.mrcz.mrc", "j.x.mrc"])
def test_names_come_back_as_they_were(tmp_path, monkeypatch, name):
    """STAR files and scripts name the file, and Linux tells A.MRC from A.mrc."""
    monkeypatch.chdir(tmp_path)
    mrcz.writeMRC(pixels_of("int16"), name)
    assert main(["compress", "-q", "--delete-original", name]) == 0
    (copy,) = tmp_path.iterdir()
    assert main(["decompress", "-q", "--delete-original", copy.name]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_where_times_can_not_be_set_files_are_copied_all_the_same(
    tmp_path, monkeypatch, capsys
):
    """Mounts of servers may give all files to one user, whose alone that is."""
    def refused(path, **_):
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    path = str(tmp_path / "a.mrc")
    mrcz.writeMRC(np.ones((2, 3, 4), "int16"), path)
    before = Path(path).read_bytes()
    monkeypatch.setattr(os, "utime", refused)
    for command, name in (("compress", path), ("decompress", path + "z")):
        assert main([command, "-q", "--delete-original", name]) == 0
        assert capsys.readouterr().err == (f"mrcz {command}: warning: {name}: its time of change "
                                           "can't be given to the copy: Operation not permitted\n")
    assert os.listdir(tmp_path) == ["a.mrc"]
    assert Path(path).read_bytes() == before
