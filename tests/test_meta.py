"""Metadata: what may be given, as what it comes back, and what damage does."""

from __future__ import annotations

import copy
import datetime
import enum
import json
import math
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcz
from mrcz.cli import main

from .builders import fields_of, mrc, ramp
from .checks import HEADER_KEYS, assert_identical, read, round_trip, written

IMAGE = ramp((3, 5, 7), "f4")


class Mode(enum.Enum):
    """Of a microscope."""

    TEM = 1


class Detector:
    """Knows how to describe itself."""

    def serialize(self):
        return {"name": "K3", "mode": Mode.TEM}


class Plain:
    """Knows nothing of JSON."""


def reread(meta, **options):
    image, header = round_trip(IMAGE, meta=meta, **options)
    assert_identical(image, IMAGE)
    return {key: value for key, value in header.items() if key not in HEADER_KEYS}


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name not in (*HEADER_KEYS, "slices"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12)


@given(meta=st.dictionaries(NAMES.filter(lambda s: s.isprintable()), JSON, max_size=5),
       compressor=st.sampled_from((None, "zstd")), endian=st.sampled_from(("le", "be")))
def test_json_comes_back_as_it_was(meta, compressor, endian):
    assert reread(meta, compressor=compressor, endian=endian) == meta


def test_where_it_lies():
    data = written(IMAGE, meta={"foo": [1, "µ"]})
    record = fields_of(data)
    assert record["exttyp"] == b"json"
    assert json.loads(data[1024:1024 + record["nsymbt"]]) == {"foo": [1, "µ"]}
    assert len(data) == 1024 + record["nsymbt"] + IMAGE.nbytes
    header = read(data)[1]
    assert (header["metaId"], header["extendedBytes"]) == (b"json", record["nsymbt"])


@pytest.mark.parametrize("length", range(1, 6))
def test_pixels_behind_it_are_aligned(length, tmp_path):
    """Gemmi reads them shifted otherwise, as it counts words of four bytes."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path, meta={"k": "x" * length})
    assert fields_of(path.read_bytes())["nsymbt"] % 4 == 0
    image, header = mrcz.readMRC(path, useMemmap=True)
    assert image.flags.aligned
    assert header["k"] == "x" * length


@pytest.mark.parametrize("text,told", [(b'{"a":1}', False), (b'{"a":1}  ', False),
                                       (b'{"a":2}', True)])
def test_adding_frames_tells_of_metadata_that_are_others(text, told, notices, tmp_path):
    """Not of spaces at their end, which python-mrcz writes none of."""
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc(IMAGE, extended=text, exttyp=b"json"))
    with notices() as said:
        mrcz.writeMRC(IMAGE, path, idx=3, meta={"a": 1})
    assert any("keeps the metadata" in line for line in said) is told
    assert path.read_bytes()[1024:1024 + len(text)] == text


@pytest.mark.parametrize("meta", [None, {}])
def test_none(meta):
    data = written(IMAGE, meta=meta)
    header = read(data)[1]
    assert list(header) == list(HEADER_KEYS)
    assert header["metaId"] == b""
    assert len(data) == 1024 + IMAGE.nbytes


@pytest.mark.parametrize("value,expected", [
    (np.float32(1.5), 1.5), (np.int64(-3), -3), (np.uint16(3), 3), (np.True_, True),
    (np.arange(3), [0, 1, 2]), (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]), (np.array(7), 7),
    (np.float16(0.5), 0.5), (np.str_("a"), "a"), ((1, 2), [1, 2]), (Mode.TEM, "Enum.Mode.TEM"),
    (Detector(), {"name": "K3", "mode": "Enum.Mode.TEM"}),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (datetime.datetime(2026, 11, 21, 12, 30), "2026-11-21T12:30:00"),
    (datetime.date(2026, 11, 21), "2026-11-21"), (Path("a") / "b", str(Path("a") / "b")),
    ("Ångström µ 電子 \U0001f52c", "Ångström µ 電子 \U0001f52c"), (math.inf, math.inf),
    (-math.inf, -math.inf), ("", ""), (2**63 - 1, 2**63 - 1)])
def test_values(value, expected):
    assert reread({"key": value}) == {"key": expected}
    assert reread({"outer": [{"key": value}]}) == {"outer": [{"key": expected}]}


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), np.array([math.nan])])
def test_not_a_number(value):
    assert np.isnan(reread({"key": value})["key"]).all()


class Binning(enum.IntEnum):
    TWO = 2


class Unit(str, enum.Enum):
    NM = "nm"


class Shutter(enum.IntFlag):
    PRE = 1
    POST = 2


class Filter(enum.Flag):
    SLIT = 1
    SHIFT = 2


@pytest.mark.parametrize("value,expected", [
    (Binning.TWO, 2), (Unit.NM, "nm"), (Shutter.PRE | Shutter.POST, 3),
    (Filter.SLIT, "Enum.Filter.SLIT"), (Filter(0), "Enum.Filter.0")])
def test_an_enum_that_is_a_number_or_text_stays_one(value, expected):
    """As python-mrcz has it: readers compare it with what it equals."""
    assert reread({"key": value, "list": [value]}) == {"key": expected, "list": [expected]}
    assert reread({value: 1}) == {str(expected): 1}


def test_combined_flags_have_a_name():
    assert reread({"key": Filter.SLIT | Filter.SHIFT})["key"] in (
        "Enum.Filter.SLIT|SHIFT", "Enum.Filter.3")  # before Python 3.11


def test_keys_become_text():
    assert reread({1: "a", 2.5: "b", np.int64(3): "c", Mode.TEM: "d", "z": {4: "e"}}) == {
        "1": "a", "2.5": "b", "3": "c", "Enum.Mode.TEM": "d", "z": {"4": "e"}}


def test_the_order_of_keys_is_kept():
    assert list(reread({"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]


def test_the_callers_dict_is_not_changed():
    meta = {"a": np.arange(3), "b": {"c": Mode.TEM}}
    written(IMAGE, meta=meta)
    assert list(meta) == ["a", "b"]
    assert isinstance(meta["a"], np.ndarray)
    assert meta["b"] == {"c": Mode.TEM}


@pytest.mark.parametrize("value,expected", [({2, 1}, [1, 2]), (b"bytes", "bytes"),
                                            (frozenset("ba"), ["a", "b"]),
                                            (bytearray("µ", "utf-8"), "µ")])
def test_sets_become_lists_and_bytes_text(value, expected):
    assert reread({"inner": value}) == {"inner": expected}


@pytest.mark.parametrize("value", [1j, Plain(), b"\xff", np.complex64(1j)])
def test_what_cannot_be_encoded_is_named(value, tmp_path):
    meta = {"fine": 1, "outer": {"list": [0, {"inner": value}]}}
    with pytest.raises(TypeError, match=r"outer.*list.*1.*inner"):
        mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", meta=meta)
    assert not (tmp_path / "a.mrc").exists()


def test_a_header_as_metadata():
    """What was read may be handed back whole: its standard keys are the new file's."""
    _, first = round_trip(IMAGE, meta={"mine": [1, "µ"]}, voltage=300.0)
    _, second = round_trip(IMAGE[:2], meta=first, voltage=200.0)
    assert list(second) == [*HEADER_KEYS, "mine"]
    assert second["mine"] == [1, "µ"]
    assert second["voltage"] == 200.0
    assert list(second["dimensions"]) == [2, 5, 7]


def test_meta_must_be_a_mapping():
    with pytest.raises(TypeError, match="meta"):
        written(IMAGE, meta=[1, 2])


def test_the_header_wins_over_colliding_keys():
    meta = {"voltage": "high", "pixelsize": "small", "dimensions": [1], "packedBytes": -1,
            "compressor": "zip", "mine": 1}
    header = round_trip(IMAGE, meta=meta, voltage=200.0)[1]
    assert header["voltage"] == 200.0
    assert list(header["dimensions"]) == [3, 5, 7]
    assert header["compressor"] is None
    assert header["mine"] == 1
    assert list(header) == [*HEADER_KEYS, "mine"]


COLLIDING = {"voltage": 5, "pixelsize": "small", "mine": {"voltage": 1}}


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_nothing_is_lost_under_colliding_keys(tmp_path, caplog, compressor):
    """As with python-mrcz the header's values stand; what was written is not far."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path, meta=COLLIDING, voltage=200.0, compressor=compressor)
    assert [record.getMessage() for record in caplog.records] == [
        "meta has keys that the header has too: header[...] of pixelsize, voltage will be the "
        "header's, what is in meta is header.meta[...]"]
    header = mrcz.readMRC(path)[1]
    assert (header["voltage"], header["mine"]) == (200.0, {"voltage": 1})
    assert header.meta == mrcz.readMRCHeader(path)[0].meta == COLLIDING
    assert pickle.loads(pickle.dumps(header)).meta == COLLIDING
    assert copy.copy(header).meta == copy.deepcopy(header).meta == COLLIDING
    with mrcz.open(path) as stack:
        assert stack.meta == stack.header.meta == COLLIDING
        mrcz.writeMRC(stack, tmp_path / "b.mrc", meta=stack.meta)
    assert mrcz.readMRC(tmp_path / "b.mrc")[1].meta == COLLIDING


def test_no_command_loses_colliding_keys(tmp_path, capsys):
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, path, meta=COLLIDING)
    capsys.readouterr()
    for command, copied in ((["compress", "-c", "zstd"], "a.mrcz"), (["convert"], "b.mrcz")):
        arguments = [str(path)] + [str(tmp_path / copied)] * (command == ["convert"])
        assert main([*command, "-q", *arguments]) == 0
        assert "keys" not in capsys.readouterr().err  # it was told when the file was written
        assert COLLIDING.items() <= mrcz.readMRC(tmp_path / copied)[1].meta.items()
        assert main(["diff", "-q", str(path), str(tmp_path / copied)]) == 0
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metadata"] == COLLIDING
    mrcz.writeMRC(IMAGE, tmp_path / "c.mrc", meta={**COLLIDING, "voltage": 6})
    assert main(["diff", str(path), str(tmp_path / "c.mrc")]) == 1
    assert capsys.readouterr().out == "metadata.voltage: 5 and 6\n"


def test_streams_tell_of_colliding_keys_too(tmp_path, caplog):
    with mrcz.create(tmp_path / "a.mrc", (1, 5, 7), "f4", meta={"gain": 7, "slices": 1}) as writer:
        writer.append(IMAGE[0])
    slices, keys = (record.getMessage() for record in caplog.records)
    assert "meta['slices'] is 1" in slices
    assert "header[...] of gain" in keys
    assert mrcz.readMRCHeader(tmp_path / "a.mrc")[0].meta == {"gain": 7, "slices": 1}


def test_metadata_without_colliding_keys_says_nothing(caplog):
    written(IMAGE, meta={"mine": 1, "Voltage": 2, "header": {"voltage": 1}})
    assert not caplog.records
    assert round_trip(IMAGE)[1].meta == {}
    assert mrcz.defaultHeader().meta == {}


def test_a_header_as_metadata_is_told_once(caplog, monkeypatch):
    monkeypatch.setattr("mrcz.headerdict._told_of_header", False)
    _, header = round_trip(IMAGE, meta={"mine": 1}, voltage=300.0)
    for meta in (header, dict(header), header):
        assert round_trip(IMAGE, meta=meta)[1]["voltage"] == 0
    message, = (record.getMessage() for record in caplog.records)
    assert message.startswith("meta is a whole header: pixelsize, voltage, C3 and gain")


def test_slices_in_json_decides():
    extended = b'{"slices": 1, "mine": 2}'
    image, header = read(mrc(IMAGE, extended=extended, exttyp=b"json"))
    assert_identical(image, list(IMAGE))
    assert header["mine"] == 2


@pytest.mark.parametrize("extended", [
    pytest.param('{"a": "café"}'.encode("latin-1"), id="latin-1"),
    pytest.param('{"a": "café"}'.encode("utf-16"), id="utf-16"),
    pytest.param(b'{"a": 1', id="cut"),
    pytest.param(b"\0" * 40, id="zeros"),
    pytest.param(b"[1, 2]", id="no object"),
    pytest.param(b"nonsense", id="nonsense"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(bytes(range(256)), id="binary")])
def test_damaged_json_costs_the_metadata_alone(extended, notices):
    data = mrc(IMAGE, extended=extended, exttyp=b"json")
    with notices() as said:
        image, header = read(data)
    assert_identical(image, IMAGE)
    assert header["extendedBytes"] == len(extended)
    assert header["metaId"] == b"json"
    if set(header) == set(HEADER_KEYS):
        assert any("meta" in text.lower() or "json" in text.lower() for text in said)


@pytest.mark.parametrize("padding", [b"\0" * 7, b" " * 7, b"\n"])
def test_padded_json(padding):
    extended = b'{"a": [1, 2]}' + padding
    header = read(mrc(IMAGE, extended=extended, exttyp=b"json"))[1]
    assert header["a"] == [1, 2]


def test_text_that_is_not_declared_json_is_not_read():
    header = read(mrc(IMAGE, extended=b'{"a": 1}', exttyp=b"CCP4"))[1]
    assert set(header) == set(HEADER_KEYS)


SCRIPT = """
import sys
if sys.argv[1] == "json":
    sys.modules["rapidjson"] = None  # as if it were not installed
import datetime, enum, io, math, pathlib
import numpy as np
import mrcz
Color = enum.Enum("Color", "RED")
meta = {"a": [1, 2.5, -0.0, 1e300, 1e-7, 1e22, 0.1, None, True, math.nan, math.inf, -math.inf],
        "\\u00e5\\u96fb\\U0001f52c": "\\u2028\\"\\\\/\\x7f\\t\\x01",
        "n": {"s": np.float32(0.1), "i": 2**62},
        1: Color.RED, "d": datetime.datetime(2026, 1, 2), "p": pathlib.PurePosixPath("a/b"),
        "arr": np.arange(4.0).reshape(2, 2)}
file = io.BytesIO()
mrcz.writeMRC(np.zeros((2, 3, 4), "f4"), file, meta=meta)
assert mrcz.readMRC(io.BytesIO(file.getvalue()))[1]["d"] == "2026-01-02T00:00:00"
sys.stdout.buffer.write(file.getvalue())
"""


def test_the_same_bytes_with_and_without_rapidjson():
    assert __import__("rapidjson")  # a requirement of the package
    home = str(Path(mrcz.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": home}
    outputs = [subprocess.run([sys.executable, "-c", SCRIPT, which], env=env, check=True,
                              capture_output=True).stdout for which in ("rapidjson", "json")]
    assert outputs[0] == outputs[1]
    assert struct.unpack_from("<i", outputs[0], 92)[0] > 100


@pytest.mark.parametrize("slices,kind", [(0, np.ndarray), (1, list), (2, list), (True, np.ndarray),
                                         ("2", np.ndarray), (1.0, np.ndarray)])
def test_the_key_slices_is_taken_at_its_word_and_told(slices, kind, caplog):
    """Readers ask it before MZ; a user who only noted something should learn of it on writing."""
    image = ramp((4, 5, 7), "i2")
    data = written(image, meta={"slices": slices})
    assert ("slices" in caplog.text) == (kind is list)
    assert isinstance(read(data)[0], kind)
    assert_identical(read(data, slices=0)[0], image)


def nested(levels: int) -> dict:
    meta: dict = {"bottom": 1}
    for _ in range(levels - 1):
        meta = {"a": meta}
    return meta


def test_nesting_beyond_the_limit_and_cycles_are_refused():
    cycle: dict = {}
    cycle["again"] = [cycle]
    for meta in (cycle, nested(257), {"a": nested(1000)}):
        with pytest.raises(ValueError, match="nested deeper than 256 levels"):
            written(np.zeros((2, 3), "int8"), meta=meta)
    assert read(written(np.zeros((2, 3), "int8"), meta=nested(200)))[1].meta == nested(200)
