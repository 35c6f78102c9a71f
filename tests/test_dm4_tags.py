"""Tags of DM files: every type, nesting and size, in both versions and byte orders."""

import logging
import pickle
import struct
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz.dm.array import DMArray
from mrcz.dm.tags import LAZY_SIZE, TagParser
from mrcz.dm.types import MAX_DEPTH, describe
from mrcz.errors import MRCFormatError

from . import dm_writer as w

VARIANTS = [(version, order) for version in (3, 4) for order in "<>"]


def read(tmp_path, tree, version=4, order="<", **options):
    return TagParser(w.write(tmp_path / "file.dm", tree, version, order), **options).tags


@pytest.mark.parametrize(("version", "order"), VARIANTS)
@pytest.mark.parametrize(("leaf", "value"), [
    (w.number(2, -2), -2), (w.number(3, -2**31), -2**31), (w.number(4, 65535), 65535),
    (w.number(5, 2**32 - 1), 2**32 - 1), (w.number(6, 0.5), 0.5), (w.number(7, 0.1), 0.1),
    (w.boolean(True), True), (w.boolean(False), False), (w.number(8, 2), True),
    (w.number(9, 65), "A"), (w.number(9, -75), "\xb5"), (w.number(10, -7), -7),
    (w.number(11, -2**62), -2**62), (w.number(12, 2**64 - 1), 2**64 - 1),
    (w.text("1/nm µ Å 試 😀"), "1/nm µ Å 試 😀"), (w.text(""), ""),
    (w.array(4, [0xD800, 5]), [0xD800, 5]), (w.array(9, [65, 66]), "AB"),
    (w.array(2, [1, -2]), [1, -2]), (w.array(7, []), []), (w.array(8, [0, 1]), [False, True]),
    (w.array(10, [-1, 2]), [-1, 2]), (w.array(11, [2**40]), [2**40]),
    (w.struct_of([3, 6, 8], [1, 2.5, 1]), (1, 2.5, True)), (w.struct_of([], []), ()),
    (w.struct_of([9, 3], [65, 1]), ("A", 1)),
    (w.array_of_structs([2, 7], [(1, 2.0), (3, 4.0)]), [(1, 2.0), (3, 4.0)]),
    (w.array_of_structs([9, 2], [(65, 2)]), [("A", 2)]),
    (w.array_of_structs([2, 7], []), []),
], ids=str)
def test_every_type_of_value(tmp_path, version, order, leaf, value):
    tags = read(tmp_path, {"it": leaf, "next": w.int32(7)}, version, order)
    assert tags == {"it": value, "next": 7}
    assert type(tags["it"]) is type(value)


@pytest.mark.parametrize(("version", "order"), VARIANTS)
@pytest.mark.parametrize("value", ["hé", "試", "", "\x00", "a\nb"])
def test_strings_of_type_18_in_utf_16(tmp_path, version, order, value):
    tree = {"s": w.string18(value, order), "n": w.int32(1)}
    assert read(tmp_path, tree, version, order) == {"s": value, "n": 1}


@pytest.mark.parametrize("raw", [b"plain text", b"odd", b"\xb5m!"])
def test_strings_of_type_18_in_8_bits(tmp_path, raw):
    tree = {"s": w.Leaf((18, len(raw)), raw), "n": w.int32(1)}
    assert read(tmp_path, tree) == {"s": raw.decode("latin-1"), "n": 1}


@pytest.mark.parametrize(("info", "parts", "value"), [
    ((15, 0, 2, 0, 15, 0, 1, 0, 3, 0, 3), [("ii", (7, 8))], ((7,), 8)),
    ((15, 0, 2, 0, 20, 3, 2, 0, 3), [("iii", (7, 8, 9))], ([7, 8], 9)),
    ((20, 20, 3, 2, 2), [("4i", (1, 2, 3, 4))], [[1, 2], [3, 4]]),
    ((15, 0, 1, 0, 18, 4), b"ab\0c", None),
    ((20, 18, 3, 2), b"onetwo", ["one", "two"]),
    ((15, 3, 1, 5, 3), [("i", (7,))], (7,)),
])
def test_types_within_types(tmp_path, info, parts, value):
    tags = read(tmp_path, {"it": w.Leaf(info, parts), "next": w.int32(7)})
    if value is None:
        value = (b"ab\0c".decode("utf-16-le"),)
    assert tags == {"it": value, "next": 7}


@pytest.mark.parametrize("version", [3, 4])
def test_directories(tmp_path, version):
    one, two, three = w.int32(1), w.int32(2), w.int32(3)
    tree = {"empty": {}, "list": [one, two], "of lists": [[one], [{"x": two}]],
            "mixed": [("a", one), two, ("b", {}), [three]],
            "same": [("a", one), ("a", two), ("a", three)],
            "same as made": [("[1]", one), two],
            b"latin\xb5": one, "utf\xb5": two}
    assert read(tmp_path, tree, version) == {
        "empty": {}, "list": [1, 2], "of lists": [[1], [{"x": 2}]],
        "mixed": {"a": 1, "[1]": 2, "b": {}, "[3]": [3]},
        "same": {"a": 1, "a[1]": 2, "a[2]": 3},
        "same as made": {"[1]": 1, "[1][1]": 2},
        "latinµ": 1, "utfµ": 2}


def test_root_is_always_a_dict(tmp_path):
    assert read(tmp_path, [w.int32(1), w.int32(2)]) == {"[0]": 1, "[1]": 2}
    assert read(tmp_path, {}) == {}


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_large_arrays_stay_in_the_file(tmp_path, version, order):
    numbers = np.arange(LAZY_SIZE // 4 + 1, dtype="i4")
    pairs = np.arange(LAZY_SIZE // 4 + 2, dtype="f4")
    tree = {"numbers": w.pixels(numbers), "small": w.pixels(numbers[:-1]),
            "pairs": w.Leaf((20, 15, 0, 2, 0, 6, 0, 6, pairs.size // 2), pairs),
            "text": w.text("x" * LAZY_SIZE), "string": w.Leaf((18, 100_000), b"y" * 100_000),
            "after": w.int32(5)}
    tags = read(tmp_path, tree, version, order)
    assert isinstance(tags["numbers"], DMArray)
    assert tags["small"] == numbers[:-1].tolist()
    assert tags["numbers"].shape == numbers.shape
    assert tags["numbers"].dtype == np.dtype("i4").newbyteorder(order)
    np.testing.assert_array_equal(tags["numbers"].read(), numbers)
    np.testing.assert_array_equal(np.asarray(tags["numbers"], "f8"), numbers)
    assert tags["pairs"].dtype.names == ("f0", "f1")
    np.testing.assert_array_equal(tags["pairs"].read()["f1"], pairs[1::2])
    with pytest.raises(ValueError, match="without a copy"):
        tags["numbers"].__array__(copy=False)
    assert set(tags["text"].read()) == {ord("x")}
    assert tags["string"].nbytes == 100_000
    assert tags["after"] == 5


def test_parser_keeps_nothing_open_and_can_be_pickled(tmp_path):
    path = w.write(tmp_path / "a.dm4", {"a": w.int32(1)})
    parser = TagParser(path)
    assert parser.f is None
    assert pickle.loads(pickle.dumps(parser)).tags == {"a": 1}
    path.unlink()
    for step in (lambda: parser.parseTag("a"), lambda: parser.parseTagDir(""),
                 lambda: parser.retrieveTagData(1), parser.discardTag):
        with pytest.raises(ValueError, match="closed"):
            step()


def test_steps_can_be_overridden(tmp_path):
    class Upper(TagParser):
        def parseTag(self, parent):
            value = super().parseTag(parent)
            return (parent, value)

    path = w.write(tmp_path / "a.dm4", {"dir": [w.int32(1), {"x": w.int32(2)}]})
    assert Upper(path).tags == {"dir": [("dir:[0]", 1), {"x": ("dir:[1]:x", 2)}]}


def test_verbose_logs_each_tag(tmp_path, caplog, capsys):
    path = w.write(tmp_path / "a.dm4", {"dir": {"x": w.int32(2)}})
    with caplog.at_level(logging.INFO, "mrcz.dm.tags"):
        TagParser(path, True)
    assert "dir:x = 2" in caplog.text
    assert capsys.readouterr() == ("", "")


def test_only_tags_are_read_of_a_large_file(tmp_path, monkeypatch):
    from mrcz.sources import FileSource
    size = 1 << 30
    path = tmp_path / "sparse.dm4"
    head = w.dm_bytes({"big": w.Leaf((20, 3, size // 4), b""), "after": w.int32(3)})
    cut = head.index(b"\x15\x00\x05after")
    with path.open("wb") as file:
        file.write(head[:cut])
        file.seek(size, 1)
        file.write(head[cut:])
    taken = []
    plain = FileSource.read
    monkeypatch.setattr(FileSource, "read", lambda self, offset, n: (
        taken.append(n), plain(self, offset, n))[1])
    assert TagParser(path).tags["after"] == 3
    assert sum(taken) < 1 << 20


def test_files_are_read_in_several_threads_at_once(tmp_path):
    path = w.write(tmp_path / "a.dm4", w.document(w.image_of(np.arange(12, dtype="i2"))))
    expected = TagParser(path).tags
    found = []
    threads = [threading.Thread(target=lambda: found.append(TagParser(path).tags))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


# --- anything that the format allows ----------------------------------------------------

RANGES = {2: (-2**15, 2**15 - 1), 3: (-2**31, 2**31 - 1), 4: (0, 2**16 - 1),
          5: (0, 2**32 - 1), 10: (-128, 127), 11: (-2**63, 2**63 - 1), 12: (0, 2**64 - 1)}
FLOATS = {6: st.floats(width=32, allow_nan=False), 7: st.floats(allow_nan=False)}


def values_of(code):
    if code in FLOATS:
        return FLOATS[code]
    return st.booleans() if code == 8 else st.integers(*RANGES[code])


@st.composite
def numbers(draw):
    code = draw(st.sampled_from([*RANGES, *FLOATS, 8]))
    value = draw(values_of(code))
    return w.number(code, value), value


@st.composite
def arrays(draw):
    code = draw(st.sampled_from([c for c in [*RANGES, *FLOATS, 8] if c != 4]))
    values = draw(st.lists(values_of(code), max_size=20))
    return w.array(code, values), values


@st.composite
def structs(draw):
    codes = draw(st.lists(st.sampled_from([*RANGES, *FLOATS, 8]), min_size=1, max_size=5))
    row = st.tuples(*map(values_of, codes))
    if draw(st.booleans()):
        values = draw(row)
        return w.struct_of(codes, values), values
    rows = draw(st.lists(row, max_size=5))
    return w.array_of_structs(codes, rows), rows


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def texts(draw):
    value = draw(TEXTS)
    units = np.frombuffer(value.encode("utf-16-le"), "<u2").tolist()
    return w.array(4, units), value


LEAVES = st.one_of(numbers(), arrays(), structs(), texts())
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: not name.startswith("[") and ":" not in name)


def trees(names):
    """Root directories, as dicts of (what is written, what is read)."""
    def as_dict(entries):
        return ({k: v[0] for k, v in entries.items()}, {k: v[1] for k, v in entries.items()})

    def as_list(entries):
        return [e[0] for e in entries], [e[1] for e in entries] or {}

    def directories(children):
        return st.one_of(st.dictionaries(names, children, max_size=5).map(as_dict),
                         st.lists(children, max_size=5).map(as_list))

    return st.dictionaries(names, st.recursive(LEAVES, directories, max_leaves=20), max_size=6)


@settings(max_examples=200)
@given(entries=trees(NAMES), version=st.sampled_from([3, 4]), order=st.sampled_from("<>"))
def test_any_tree_is_read_as_it_was_written(tmp_path, entries, version, order):
    tree = {name: pair[0] for name, pair in entries.items()}
    expected = {name: pair[1] for name, pair in entries.items()}
    assert read(tmp_path, tree, version, order) == expected


@given(st.lists(st.integers(0, 30), max_size=20))
def test_any_description_of_a_type_is_one_or_a_value_error(words):
    try:
        described = describe(tuple(words))
    except ValueError:
        return
    assert described.size >= 0


def test_descriptions_are_bounded():
    with pytest.raises(ValueError, match="deep"):
        describe((20,) * 1000 + (3,) + (1,) * 1000)
    with pytest.raises(ValueError, match="no size"):
        describe((20, 15, 0, 0, 2**60))
    with pytest.raises(ValueError, match="incomplete"):
        describe((15, 0, 2**60, 0, 3))
    with pytest.raises(ValueError, match="no type 99"):
        describe((99,))
    with pytest.raises(ValueError, match="more numbers"):
        describe((3, 3))
    with pytest.raises(ValueError, match="incomplete"):
        describe(())


def test_nesting_is_bounded(tmp_path):
    def nest(depth):
        tree = {"x": w.int32(1)}
        for _ in range(depth):
            tree = {"d": tree}
        return tree

    assert read(tmp_path, nest(MAX_DEPTH))
    with pytest.raises(MRCFormatError, match="nested"):
        read(tmp_path, nest(MAX_DEPTH + 1))


def test_header_of_another_kind(tmp_path):
    data = w.dm_bytes({})
    (tmp_path / "a").write_bytes(struct.pack(">I", 5) + data[4:])
    with pytest.raises(MRCFormatError, match=r"version 3 or 4; found 5"):
        TagParser(tmp_path / "a")
    (tmp_path / "a").write_bytes(data[:12] + struct.pack(">I", 2) + data[16:])
    with pytest.raises(MRCFormatError, match=r"byte order \(at byte 12"):
        TagParser(tmp_path / "a")
