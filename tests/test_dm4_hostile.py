"""Damaged and hostile DM files: errors that say where, never a crash, a hang or a flood."""

import os
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz.dm.array import DMArray
from mrcz.errors import MRCFormatError, MRCTruncatedError
from mrcz.ioDM4 import readDM4

from . import dm_writer as w

MOVIE = np.arange(3 * 4 * 5, dtype="i2").reshape(3, 4, 5)
TAGS = {"text": w.text("some text"), "struct": w.struct_of([3, 6], [1, 2]),
        "rows": w.array_of_structs([2, 7], [(1, 2.0), (3, 4.0)]), "string": w.string18("hé"),
        "list": [w.int32(1), w.boolean(True)], "empty": {}, "bytes": w.array(10, [1, 2, 3])}


def whole(version=4, order="<"):
    """A file as small as it can be with one of all."""
    images = [w.thumbnail(2), w.image_of(MOVIE, tags=TAGS)]
    return w.dm_bytes({"ImageList": images, "Last": w.int32(7)}, version, order)


def read_bytes(tmp_path, data, **options):
    path = tmp_path / "file.dm"
    path.write_bytes(data)
    return readDM4(path, **options)


def use(dm):
    """Touch all that a user can."""
    for image in dm.im:
        try:
            assert image.imageData.nbytes <= 16 * dm._size
            assert image.read().shape == image.shape == image.imageData.shape
        except MRCFormatError:
            pass


def permissive(tmp_path, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return read_bytes(tmp_path, data, permissive=True)


@pytest.mark.slow
@pytest.mark.parametrize("version", [3, 4])
def test_a_file_cut_anywhere(tmp_path, version):
    data = whole(version)
    for size in range(len(data)):
        with pytest.raises(MRCTruncatedError) as caught:
            read_bytes(tmp_path, data[:size])
        assert caught.value.offset <= size
        assert "file.dm" in str(caught.value)
        assert isinstance(caught.value, EOFError)


@pytest.mark.slow
@pytest.mark.parametrize("version", [3, 4])
def test_a_file_cut_anywhere_read_as_far_as_it_goes(tmp_path, version):
    data = whole(version)
    number_of_tags = 0
    for size in range(len(data)):
        with pytest.warns(RuntimeWarning, match="kept what could be read"):
            dm = read_bytes(tmp_path, data[:size], permissive=True)
        assert isinstance(dm.damage[0], MRCTruncatedError)
        assert dm.version == (version if size >= 4 else 0)
        assert dm.f is None
        use(dm)
        found = str(dm.tags).count(":")
        assert found >= number_of_tags
        number_of_tags = found
    assert dm.tags["Last"] == 7


def test_permissive_keeps_the_frames_that_are_whole(tmp_path):
    entry = w.image_of(MOVIE)
    content = entry["ImageData"]
    content["Data"] = content.pop("Data")  # after the Dimensions
    data = w.dm_bytes({"ImageList": [entry]})
    start = data.index(MOVIE.tobytes())
    for kept, frames in ((60 * 2, 3), (59 * 2, 2), (40 * 2, 2), (39 * 2, 1), (20 * 2, 1)):
        dm = permissive(tmp_path, data[:start + kept])
        assert dm.im[0].shape == (frames, 4, 5)
        np.testing.assert_array_equal(dm.im[0].imageData, MOVIE[:frames, ::-1])
    dm = permissive(tmp_path, data[:start + 38])
    with pytest.raises(MRCFormatError, match="does not fit"):
        _ = dm.im[0].imageData


def test_permissive_gives_pixels_without_dimensions_as_a_tag(tmp_path):
    data = w.dm_bytes({"ImageList": [w.image_of(MOVIE)]})
    dm = permissive(tmp_path, data[:data.index(MOVIE.tobytes()) + 51])
    stored = dm.tags["ImageList"][0]["ImageData"]["Data"].read()
    np.testing.assert_array_equal(stored, MOVIE.ravel()[:25])


def test_errors_name_the_tag_and_its_place(tmp_path):
    data = whole()
    at = data.index(b"rows")
    with pytest.raises(MRCTruncatedError, match=r"tag 'ImageList:\[1\]:ImageTags:rows'") as caught:
        read_bytes(tmp_path, data[:at + 30])
    assert at <= caught.value.offset <= at + 30
    damaged = data.replace(b"rows" + data[at + 4:at + 12] + b"%%%%",
                           b"rows" + data[at + 4:at + 12] + b"%%%!")
    with pytest.raises(MRCFormatError, match=r"ImageTags:rows.*expected b'%%%%'"):
        read_bytes(tmp_path, damaged)


def test_permissive_steps_over_a_damaged_tag_of_dm4(tmp_path):
    data = whole()
    at = data.index(b"%%%%", data.index(b"rows"))
    damaged = data[:at] + b"?" + data[at + 1:]
    with pytest.warns(RuntimeWarning, match="ImageTags:rows"):
        dm = read_bytes(tmp_path, damaged, permissive=True)
    tags = dm.tags["ImageList"][1]["ImageTags"]
    assert set(TAGS) - set(tags) == {"rows"}
    np.testing.assert_array_equal(dm.im[1].imageData, MOVIE[:, ::-1])
    assert dm.tags["Last"] == 7


def test_a_wrong_length_in_the_header_is_no_cut(tmp_path):
    data = bytearray(whole())
    for length in (0, 1, len(data), 2**63):
        data[4:12] = struct.pack(">Q", length)
        assert read_bytes(tmp_path, data).tags["Last"] == 7


def hostile(version=4):
    """Files of a few bytes that announce more than there is."""
    word = ">I" if version == 3 else ">Q"
    many = 2**31 if version == 3 else 2**62

    def leaf(*info):
        return w.dm_bytes({"a": w.Leaf(info, b"")}, version)

    def directory(count):
        data = bytearray(w.dm_bytes({}, version))
        at = 14 if version == 3 else 18
        data[at:at + struct.calcsize(word)] = struct.pack(word, count)
        return bytes(data)

    yield leaf(20, 3, many)
    yield leaf(20, 4, many)
    yield leaf(18, many)
    yield leaf(20, 18, 0, many)
    yield leaf(20, 15, 0, 0, many)
    yield leaf(15, 0, many, 0, 3)
    yield leaf(20, 20, 20, 3, many, many, many)
    yield leaf(*[20] * 500, 3, *[1] * 500)
    yield leaf(20, 18, 2**31 - 1, 1)
    yield leaf(20, 18, many, many)
    yield leaf(99)
    yield leaf(20, 20)
    yield leaf()
    yield leaf(3, 3)
    yield directory(many)
    yield directory(100)
    info = w.dm_bytes({"a": w.int32(1)}, version)
    at = info.index(b"%%%%") + 4
    size = struct.calcsize(word)
    for count in (0, many, 2**31 - 1, 70_000, 2):
        yield info[:at] + struct.pack(word, count) + info[at + size:]


@pytest.mark.parametrize("version", [3, 4])
def test_no_memory_is_taken_on_the_word_of_a_file(tmp_path, version):
    for data in hostile(version):
        tracemalloc.start()
        try:
            with pytest.raises(MRCFormatError):
                read_bytes(tmp_path, data)
            use(permissive(tmp_path, data))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20


@pytest.mark.parametrize("tree", [
    [("a", w.boolean(True))] * 20_000,
    [("n" * 60_000, [("n" * 60_000, [w.boolean(True)] * 20_000)])],
    [("a" + "[1]" * n, w.boolean(True)) for n in range(300)] * 30,
], ids=["the same name", "long names", "names like those made"])
def test_time_grows_with_the_file_only(tmp_path, tree):
    path = w.write(tmp_path / "a.dm4", tree)
    dm = readDM4(path)
    assert len(str(dm.tags)) > 20_000


EMPTY = (0, 20, 3, 0)  # a field that is an array of no numbers


@pytest.mark.parametrize(("info", "size"), [
    ((20, 15, 0, 16_001, 0, 10, *EMPTY * 16_000, 60_000), 60_000),
    ((15, 0, 1, 0, 20, 15, 0, 16_001, 0, 10, *EMPTY * 16_000, 60_000), 60_000),
    ((20, 20, 20, 15, 0, 1_001, 0, 10, *EMPTY * 1_000, 1, 1, 60_000), 60_000),
    ((20, *(15, 0, 1, 0) * 60, 10, 60_000), 60_000),
    ((20, *(15, 0, 1, 0) * 60, 10, 500), 500),
    ((15, 0, 1, 0, 20, 10, 1_000_000), 1_000_000),
    ((15, 0, 1, 0, 18, 1_000_000), 1_000_000),
], ids=["array", "struct", "arrays of arrays", "deep", "deep and small", "long array",
        "long string"])
def test_values_of_many_parts_stay_in_the_file(tmp_path, info, size):
    data = w.dm_bytes({"a": w.Leaf(info, b"\1" * size), "after": w.int32(7)})
    tracemalloc.start()
    try:
        tags = read_bytes(tmp_path, data).tags
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20  # of which a description of 64,000 words takes most
    assert isinstance(tags["a"], DMArray)
    assert tags["a"].nbytes == size
    assert tags["after"] == 7


def test_damage_without_end_takes_no_memory(tmp_path):
    bad = b"\x15\x00\x00" + struct.pack(">Q", 12) + b"%%%!" + struct.pack(">Q", 1)
    count = 5_000
    tree = b"\x01\x00" + struct.pack(">Q", count) + bad * count
    for _ in range(60):  # each error names all these
        entry = b"\x14" + struct.pack(">H", 80) + b"n" * 80 + struct.pack(">Q", len(tree))
        tree = b"\x01\x00" + struct.pack(">Q", 1) + entry + tree
    data = struct.pack(">IQI", 4, len(tree), 1) + tree + bytes(8)
    tracemalloc.start()
    try:
        with pytest.warns(RuntimeWarning, match=f"and {count - 1} more; kept"):
            dm = read_bytes(tmp_path, data, permissive=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20
    assert 0 < len(dm.damage) <= 100


def test_directories_that_hold_themselves_deeply(tmp_path):
    entry = b"\x14\x00\x00"
    for repeat in (66, 5_000):
        directory = b"\x01\x00" + struct.pack(">I", 1)
        data = struct.pack(">III", 3, 0, 1) + (directory + entry) * repeat
        with pytest.raises(MRCFormatError, match="nested"):
            read_bytes(tmp_path, data + directory)


@pytest.mark.slow
@pytest.mark.parametrize("version", [3, 4])
def test_every_byte_changed(tmp_path, version):
    data = whole(version)
    step = 1 if os.environ.get("MRCZ_NIGHTLY") else 5
    for at in range(0, len(data), step):
        changed = bytearray(data)
        changed[at] ^= (1, 255, 128)[at // step % 3]
        try:
            use(read_bytes(tmp_path, changed))
        except MRCFormatError:
            use_permissively(tmp_path, changed)


def use_permissively(tmp_path, data):
    try:
        use(permissive(tmp_path, data))
    except MRCFormatError as error:  # nothing at all could be read
        assert error.offset < 26


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([3, 4]), st.booleans())
def test_any_bytes_after_a_good_start(tmp_path_factory, rest, version, little):
    head = whole(version, "<" if little else ">")[:16 if version == 3 else 20]
    tmp_path = tmp_path_factory.mktemp("any")
    try:
        use(read_bytes(tmp_path, head + rest))
    except MRCFormatError:
        use_permissively(tmp_path, head + rest)


@settings(max_examples=300)
@given(st.data())
def test_any_change_to_a_file(tmp_path_factory, data):
    content = bytearray(whole(data.draw(st.sampled_from([3, 4]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(min_size=1, max_size=8))
        content[at:at + data.draw(st.integers(0, 16))] = new
    tmp_path = tmp_path_factory.mktemp("any")
    try:
        use(read_bytes(tmp_path, content))
    except MRCFormatError:
        use_permissively(tmp_path, content)


@pytest.mark.parametrize("data", [b"a", b"\0\0\1", b"text, and no tags", b"\0\0\0\5" + bytes(60)])
@pytest.mark.parametrize("options", [{}, {"permissive": True}])
def test_files_of_other_kinds(tmp_path, data, options):
    with pytest.raises(MRCFormatError, match="not a DM3 or DM4 file"):
        read_bytes(tmp_path, data, **options)


@pytest.mark.parametrize(("data", "kind"), [(b"\0\5\x16\7\0\2\0\0Mac OS X", "macOS"),
                                            (b"II*\0" + bytes(60), "TIFF")])
def test_files_of_known_kinds_are_named(tmp_path, data, kind):
    with pytest.raises(MRCFormatError, match=f"not a DM3 or DM4 file but .*{kind}"):
        read_bytes(tmp_path, data)


def test_an_empty_file(tmp_path):
    with pytest.raises(MRCTruncatedError, match="ends within it, in the header"):
        read_bytes(tmp_path, b"")
    dm = permissive(tmp_path, b"")
    assert (dm.tags, dm.im, dm.version) == ({}, [], 0)


def test_directory_and_missing_files(tmp_path):
    with pytest.raises(IsADirectoryError):
        readDM4(tmp_path)
    with pytest.raises(FileNotFoundError):
        readDM4(tmp_path / "none")
    with pytest.raises(TypeError):
        readDM4(3)
