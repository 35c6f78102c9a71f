"""The names and signatures that users of python-mrcz count on."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import os
import re
import struct
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import ioMRC

from .builders import fields_of, mrc, ramp
from .checks import HEADER_KEYS, assert_identical, read, round_trip, written

READ = {"MRCfilename": ..., "idx": None, "endian": "le", "pixelunits": "\\AA",
        "fileConvention": "ccpem", "useMemmap": False, "n_threads": None, "slices": None}
WRITE = {"input_image": ..., "MRCfilename": ..., "meta": None, "endian": "le", "dtype": None,
         "pixelsize": [0.1, 0.1, 0.1], "pixelunits": "\\AA", "shape": None, "voltage": 0.0,
         "C3": 0.0, "gain": 1.0, "compressor": None, "clevel": 1, "n_threads": None,
         "quickStats": True, "idx": None}
HEADER = {"MRCfilename": ..., "slices": None, "endian": "le", "fileConvention": "ccpem",
          "pixelunits": "\\AA"}
SIGNATURES = {"readMRC": READ, "writeMRC": WRITE, "readMRCHeader": HEADER,
              "writeMRCHeader": {"f": ..., "header": ..., "slices": ..., "endchar": "<"},
              "defaultHeader": {}}


@pytest.mark.parametrize("name,expected", SIGNATURES.items())
def test_signature(name, expected):
    found = {}
    for parameter in inspect.signature(getattr(mrcz, name)).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default is not parameter.empty
            continue
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        default = parameter.default
        assert not isinstance(default, (list, dict, set))
        found[parameter.name] = (... if default is parameter.empty else
                                 list(default) if isinstance(default, tuple) else default)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("name", ["asyncReadMRC", "asyncWriteMRC"])
def test_async_signature(name):
    kinds = [p.kind for p in inspect.signature(getattr(mrcz, name)).parameters.values()]
    assert kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize("name", ["readBloscHeader", "setDefaultThreads", "_setAsyncWorkers"])
def test_one_argument(name):
    assert len(inspect.signature(getattr(ioMRC, name)).parameters) == 1


@pytest.mark.parametrize("name,default", [("backend", None)])
def test_keyword_only(name, default):
    parameter = inspect.signature(mrcz.writeMRC).parameters[name]
    assert parameter.kind is parameter.KEYWORD_ONLY
    assert parameter.default == default


ALIASES = {"read_mrc": "readMRC", "write_mrc": "writeMRC", "async_read_mrc": "asyncReadMRC",
           "async_write_mrc": "asyncWriteMRC", "read_mrc_header": "readMRCHeader",
           "write_mrc_header": "writeMRCHeader", "default_header": "defaultHeader"}


@pytest.mark.parametrize("snake,camel", [*ALIASES.items(),
                                         ("set_default_threads", "setDefaultThreads")])
def test_snake_case(snake, camel):
    assert getattr(mrcz, snake) is getattr(mrcz, camel)


@pytest.mark.parametrize("snake,camel", [*ALIASES.items(),
                                         ("read_blosc_header", "readBloscHeader"),
                                         ("set_default_threads", "setDefaultThreads")])
def test_names_of_the_module(snake, camel):
    assert getattr(ioMRC, snake) is getattr(ioMRC, camel)


@pytest.mark.parametrize("name", ["COMPRESSOR_ENUM", "REVERSE_COMPRESSOR_ENUM", "CCPEM_ENUM",
                                  "REVERSE_CCPEM_ENUM", "EMAN2_ENUM", "BLOSC_PRESENT",
                                  "BLOSC2_PRESENT"])
def test_constants_of_the_module(name):
    assert hasattr(ioMRC, name)


def test_constants_of_python_mrcz():
    """As `mrcz.ioMRC` of 0.6.0 has them."""
    assert (ioMRC.DEFAULT_HEADER_LEN, ioMRC.MRC_COMP_RATIO) == (1024, 1000)
    assert {"blosclz", "lz4", "lz4hc", "zlib", "zstd"} == ioMRC.BLOSC1_CODECS
    assert {"ndlz", "zfp_acc", "zfp_prec", "zfp_rate", "openhtj2k", "grok", "openzl", "j2k",
            "htj2k"} == ioMRC.BLOSC2_ONLY_CODECS


def test_aliases_of_iodm():
    assert mrcz.ioDM.read_dm4 is mrcz.ioDM.readDM4 is mrcz.read_dm4
    assert mrcz.ioDM.async_read_dm4 is mrcz.ioDM.asyncReadDM4 is mrcz.async_read_dm4


@pytest.mark.parametrize("name", ["REVERSE_CCPEM_ENUM", "BLOSC_PRESENT", "BLOSC2_PRESENT",
                                  "CAN_COMPRESS", "setDefaultThreads", "_setAsyncWorkers", "test",
                                  "__version__", "MRCError", "MRCFormatError",
                                  "MRCTruncatedError", "MissingCodecError"])
def test_names_at_the_top(name):
    assert hasattr(mrcz, name)


@pytest.mark.parametrize("name", sorted(
    name for name in mrcz.__all__ if inspect.isfunction(getattr(mrcz, name))))
def test_types_are_there_for_those_who_ask_while_a_program_runs(name):
    """As pydantic and tools for documentation do; async's had a Future that was not imported."""
    assert "return" in typing.get_type_hints(getattr(mrcz, name))


def test_all_is_sorted_and_true():
    def place(name):  # as ruff sorts: constants, classes, the rest
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert list(mrcz.__all__) == sorted(mrcz.__all__, key=place)
    assert len(set(mrcz.__all__)) == len(mrcz.__all__)
    assert all(hasattr(mrcz, name) for name in mrcz.__all__)
    assert {"readMRC", "writeMRC", *ALIASES} <= set(mrcz.__all__)


def test_importing_everything_hides_no_builtin():
    """Scripts with ``from mrcz import *`` go on opening their other files."""
    code = ("from mrcz import *; import builtins, mrcz; "
            "assert open is builtins.open is not mrcz.open")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_enums():
    assert ioMRC.CCPEM_ENUM | {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 7: "i4", 8: "u4",
                               101: "u1"} == ioMRC.CCPEM_ENUM
    expected = {"int8": 0, "i1": 0, "uint4": 101, "int16": 1, "i2": 1, "uint16": 6, "u2": 6,
                "int32": 7, "i4": 7, "uint32": 8, "u4": 8, "float64": 2, "f8": 2, "float32": 2,
                "f4": 2, "complex128": 4, "c16": 4, "complex64": 4, "c8": 4}
    assert mrcz.REVERSE_CCPEM_ENUM is ioMRC.REVERSE_CCPEM_ENUM
    assert {name: ioMRC.REVERSE_CCPEM_ENUM[name] for name in expected} == expected
    assert dict(ioMRC.EMAN2_ENUM) == {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4",
                                      7: "f4"}


def test_version():
    assert mrcz.__version__.split(".")[:2] == ["1", "0"]


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_the_keys_of_a_header(compressor):
    _, header = round_trip(ramp((3, 5, 7), "f4"), compressor=compressor, meta={"mine": 1})
    assert isinstance(header, dict)
    assert list(header) == [*HEADER_KEYS, "mine"]
    assert header.keys() == dict(header).keys() == {**header}.keys()
    assert isinstance(header["packedBytes"], int)
    assert header["MRCtype"] == 2
    assert list(header["dimensions"]) == [3, 5, 7]
    assert header["compressor"] == compressor
    with pytest.raises(KeyError):
        header["no such key"]
    assert header.get("no such key") is None


@pytest.mark.parametrize("image,slices", [(ramp((6, 5, 7), "f4"), 0),
                                          (list(ramp((6, 5, 7), "f4")), 1),
                                          (list(ramp((3, 2, 5, 7), "f4")), 2)])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_read_header(image, slices, compressor):
    data = written(image, compressor=compressor, meta={"mine": 1})
    header, found = mrcz.readMRCHeader(io.BytesIO(data))
    assert found == slices
    assert list(header) == [*HEADER_KEYS, "mine"]
    assert mrcz.readMRCHeader(io.BytesIO(data), slices=3)[1] == 3


def test_default_header():
    header = mrcz.defaultHeader()
    assert {"MRCtype", "dimensions", "dtype", "compressor", "packedBytes", "minImage", "maxImage",
            "meanImage", "pixelsize", "pixelunits", "voltage", "C3", "gain"} <= set(header)
    header["dimensions"][0] = 99
    header["mine"] = 1
    assert "mine" not in mrcz.defaultHeader()
    assert list(mrcz.defaultHeader()["dimensions"]) == [0, 0, 0]


@pytest.mark.parametrize("endchar", ["<", ">"])
def test_write_header(endchar):
    header = mrcz.defaultHeader()
    header.update(dimensions=[3, 5, 7], MRCtype=2, dtype="f4", pixelsize=[1.0, 2.0, 3.0],
                  pixelunits="\\AA", voltage=200.0, minImage=-1.0, maxImage=2.0, meanImage=0.5)
    file = io.BytesIO()
    assert mrcz.writeMRCHeader(file, header, 0, endchar=endchar) == 0
    file.seek(1024)
    image = ramp((3, 5, 7), "f4")
    file.write(image.astype(endchar + "f4").tobytes())
    record = fields_of(file.getvalue(), endchar)
    assert record["dims"] == (7, 5, 3)
    assert record["stats"] == (-1.0, 2.0, 0.5)
    found, reread = read(file.getvalue())
    assert_identical(found, image)
    assert reread["voltage"] == 200.0
    np.testing.assert_allclose(reread["pixelsize"], [1, 2, 3], rtol=1e-6)


def test_write_header_returns_the_length_of_the_metadata():
    """As python-mrcz does: the pixels follow at 1024 and that."""
    header = mrcz.defaultHeader() | {"dimensions": [1, 2, 3], "dtype": "f4", "meta": {"a": 1}}
    file = io.BytesIO()
    assert mrcz.writeMRCHeader(file, header, 0) == len(b'{"a":1}') == file.tell() - 1024


def test_read_blosc_header():
    data = written(ramp((3, 5, 7), "f4"), compressor="zstd")
    file = io.BytesIO(data)
    file.seek(1024)
    sizes, flags = ioMRC.readBloscHeader(file)
    assert file.tell() == 1040
    assert [int(n) for n in sizes] == list(struct.unpack_from("<3I", data, 1028))
    assert [int(n) for n in flags] == list(data[1024:1028])


def test_default_threads():
    """In a process of its own, since it is the process's default that is set."""
    subprocess.run([sys.executable, "-c", THREADS_SCRIPT], check=True,
                   cwd=Path(mrcz.__file__).parents[1])


THREADS_SCRIPT = """
import io, numpy as np, mrcz
mrcz.setDefaultThreads(1)
file = io.BytesIO()
mrcz.writeMRC(np.ones((3, 5, 7), "f4"), file, compressor="zstd")
assert mrcz.readMRC(io.BytesIO(file.getvalue()))[0].sum() == 105
for bad in (0, -1, "two", 1.5):
    try:
        mrcz.setDefaultThreads(bad)
    except (ValueError, TypeError):
        continue
    raise AssertionError(f"{bad!r} was accepted")
"""


IMPORT_SCRIPT = """
import sys, threading, logging
import mrcz
assert threading.active_count() == 1, threading.enumerate()
assert not logging.getLogger().handlers
heavy = {"dask", "blosc2", "matplotlib", "tifffile", "fsspec", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_has_no_side_effects():
    subprocess.run([sys.executable, "-W", "error", "-c", IMPORT_SCRIPT], check=True,
                   cwd=Path(mrcz.__file__).parents[1])


WITHOUT_BLOSC = """
import io, sys
names = ("blosc", "blosc2", "rapidjson", "dask")

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if sys.argv[3] == "refused":
    sys.meta_path.insert(0, Refuse())
else:
    sys.modules.update(dict.fromkeys(names))
import numpy as np, mrcz
assert mrcz.BLOSC_PRESENT is False and mrcz.CAN_COMPRESS is False
file = io.BytesIO()
mrcz.writeMRC(np.ones((2, 3, 4), "f4"), file, meta={"a": 1})
image, header = mrcz.readMRC(io.BytesIO(file.getvalue()))
assert image.sum() == 24 and header["a"] == 1
for backend in (None, "blosc1", "blosc2"):
    try:
        mrcz.writeMRC(image, io.BytesIO(), compressor="zstd", backend=backend)
    except ImportError as error:
        assert "blosc" in str(error), error
    else:
        raise AssertionError("compressed without a compressor")
try:
    mrcz.readMRC(sys.argv[1])
except ImportError as error:
    assert "'blosc'" in str(error), error
else:
    raise AssertionError("decompressed without a compressor")
file.seek(0)
try:
    mrcz.open(file).to_dask()
except ImportError as error:
    assert "mrcz[dask]" in str(error), error
else:
    raise AssertionError("dask without dask")
import runpy, unittest
names = runpy.run_path(sys.argv[2])
result = unittest.TestResult()
unittest.defaultTestLoader.loadTestsFromTestCase(names["RoundTrip"]).run(result)
assert result.wasSuccessful(), result.errors
"""


@pytest.mark.parametrize("how", ["refused", "none"])
def test_without_blosc_raw_files_still_work(how):
    golden = Path(__file__).parent / "data" / "golden" / "0.6.0_u2_zstd.mrcz"
    short_test = Path(__file__).with_name("test_selftest.py")
    subprocess.run([sys.executable, "-c", WITHOUT_BLOSC, str(golden), str(short_test), how],
                   check=True, cwd=Path(mrcz.__file__).parents[1])


def test_none_is_the_default_of_what_a_program_does_not_know():
    """HyperSpy says voltage=None of a signal without one, and python-mrcz takes it so."""
    header = round_trip(ramp((2, 4, 5), "i2"), voltage=None, C3=None, gain=None)[1]
    assert (header["voltage"], header["C3"], header["gain"]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("meta", [{}, {"meta": None}])
@pytest.mark.parametrize("data", [
    written(ramp((3, 5, 7), "f4"), meta={"a": 1}, pixelsize=[3, 2, 1]),
    written(ramp((3, 5, 7), "f4"), meta={"a": 1}, pixelsize=[3, 2, 1], compressor="zstd"),
    written(list(ramp((3, 5, 7), "u2")), meta={"a": 1}, pixelsize=[3, 2, 1]),
    mrc(ramp((3, 5, 7), "i2"), extended=bytes(range(80)), exttyp=b"SERI", mode=1),
    mrc(ramp((3, 5, 7), "u1"), mode=0, imod_stamp=1146047817, imod_flags=0),
])
def test_a_header_that_is_changed_in_place(data, meta, tmp_path):
    """As scripts do it: the pixels stay where they are, and so does what no dict tells."""
    path = tmp_path / "a.mrc"
    path.write_bytes(data)
    image, before = mrcz.readMRC(path)
    header, slices = mrcz.readMRCHeader(path)
    header |= {"voltage": 200.0} | meta
    with open(path, "rb+") as file:
        assert mrcz.writeMRCHeader(file, header, slices) == 0
    found, after = mrcz.readMRC(path)
    assert_identical(found, image)
    assert after["voltage"] == 200.0
    assert after.extended == before.extended
    assert after.get("a") == before.get("a")
    np.testing.assert_allclose(after["pixelsize"], before["pixelsize"], rtol=1e-6)
    assert path.stat().st_size == len(data)


@pytest.mark.parametrize("position", [1024, 1500, -1])
def test_a_header_goes_to_the_beginning_of_its_file(position, tmp_path):
    """Scripts read pixels from the file for the statistics, and then write the header."""
    path = tmp_path / "a.mrc"
    image = ramp((3, 5, 7), "f4")
    mrcz.writeMRC(image, path)
    header, slices = mrcz.readMRCHeader(path)
    with open(path, "rb+") as file:
        file.seek(position, 2 if position < 0 else 0)
        mrcz.writeMRCHeader(file, header | {"voltage": 200.0}, slices)
    found, after = mrcz.readMRC(path)
    assert_identical(found, image)
    assert after["voltage"] == 200.0
    assert path.stat().st_size == 1024 + image.nbytes


def test_metadata_that_fits_leaves_the_pixels(tmp_path):
    path = tmp_path / "a.mrc"
    image = ramp((3, 5, 7), "f4")
    mrcz.writeMRC(image, path, meta={"note": "twenty characters, or so"})
    header, slices = mrcz.readMRCHeader(path)
    with open(path, "rb+") as file:
        there = header["extendedBytes"]
        assert mrcz.writeMRCHeader(file, header | {"meta": {"a": 1}}, slices) == there
        assert file.tell() == 1024 + there
    found, after = mrcz.readMRC(path)
    assert_identical(found, image)
    assert after.meta == {"a": 1}


@pytest.mark.parametrize("before", [None, {"a": 1}])
def test_metadata_that_does_not_fit_leaves_the_file(before, tmp_path):
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(ramp((3, 5, 7), "f4"), path, meta=before)
    data = path.read_bytes()
    header, slices = mrcz.readMRCHeader(path)
    with open(path, "rb+") as file, pytest.raises(ValueError, match=r"meta.*pixels"):
        mrcz.writeMRCHeader(file, header | {"meta": {"note": "more"}}, slices)
    assert path.read_bytes() == data


def test_a_header_goes_into_a_pipe():
    class Pipe(io.RawIOBase):
        got = b""

        def writable(self):
            return True

        def write(self, data):
            self.got += bytes(data)
            return len(data)

    pipe = Pipe()
    header = mrcz.defaultHeader() | {"dimensions": [1, 2, 3], "dtype": "f4"}
    assert mrcz.writeMRCHeader(pipe, header, 0) == 0
    assert fields_of(pipe.got)["dims"] == (3, 2, 1)


EXCEPTIONS = {name for name in mrcz.__all__
              if isinstance(getattr(mrcz, name), type)
              and issubclass(getattr(mrcz, name), Exception)}  # fmt: skip
DOCUMENTED = sorted({
    *(f"mrcz.{name}" for name in mrcz.__all__
      if callable(getattr(mrcz, name)) and not name.startswith("_") and name not in EXCEPTIONS),
    "mrcz.ioMRC.readBloscHeader", "mrcz.ioDM4.DMArray", "mrcz.ioDM4.DMImage",
    "mrcz.convert.dm_to_mrcz", "mrcz.resave.resave",
})  # fmt: skip


@pytest.mark.parametrize("path", DOCUMENTED)
def test_what_is_public_is_documented(path: str) -> None:
    """Each parameter is named, what is returned and raised is told, and there is an example."""
    module, _, name = path.rpartition(".")
    item = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(item) or ""
    title, *sections = re.split(r"\n\n(?=[A-Z][a-z ]+\n---)", text)
    told = {section.partition("\n")[0] for section in sections}
    assert title[0].isupper() and title.split("\n\n")[0].endswith(".")
    signature = inspect.signature(item)
    is_lazy = name.startswith("async")  # what goes wrong, the future tells
    if not isinstance(item, type):
        assert (signature.return_annotation in ("None", None)) != ("Returns" in told)
        if signature.parameters and not is_lazy and name != "test":
            assert "Raises" in told
        described = next((section for section in sections if section.startswith("Parameters")), "")
        for parameter in signature.parameters:
            assert re.search(rf"\b{parameter}\b", described), parameter
    if name != "test":  # which an example would run
        assert "Examples" in told and ">>>" in text


def test_tests_that_need_more_packages_run_only_where_they_are_named(tmp_path):
    """An editable installation has them too, and may be tested from anywhere."""
    folder, settings = Path(__file__).parent, tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider",
         "-c", settings, folder, f"--ignore-glob={folder}/test_*"],
        capture_output=True, text=True, check=False,
        env={name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"})
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_what_is_needed_is_imported_by_statements():
    """PyInstaller and its kin bundle what they find so; xxhash was left out."""
    imported = set()
    for path in Path(mrcz.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    assert imported > {"numpy", "blosc", "blosc2", "rapidjson", "xxhash", "tqdm"}
