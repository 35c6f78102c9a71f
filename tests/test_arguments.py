"""Wrong arguments: a ValueError or TypeError that names the argument, nothing else."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import ioMRC

IMAGE = np.arange(24, dtype="f4").reshape(2, 3, 4)
NOTHING = [None, True, -1, 3.7, math.nan, math.inf, 10**30, "x", "", b"x", [], [1], (1, 2, 3, 4),
           {}, Ellipsis, np.array([1, 2]), np.float64("nan"), slice(1), 1j, set(), range(4)]


def refuses(name: str, value: Any, call: Any, fine: tuple[Any, ...] = ()) -> None:
    """Whatever is not refused must be one of what is fine."""
    try:
        call(value)
    except (ValueError, TypeError) as error:
        assert name.lower() in str(error).lower(), f"{value!r}: {error!r}"
    except mrcz.MissingCodecError:
        assert name == "backend"
    else:
        assert any(value is one or (type(value) is type(one) and value == one)
                   for one in fine), f"{value!r} was taken"


@pytest.fixture(params=[None, "zstd"])
def path(request, tmp_path):
    file = tmp_path / "a.mrc"
    mrcz.writeMRC(IMAGE, file, compressor=request.param)
    return file


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize("name,fine", [
    ("idx", (None, -1)), ("endian", ()), ("fileConvention", ()), ("n_threads", (None,)),
    ("slices", (None,)), ("out", (None,)),
])
def test_readers_name_the_argument_they_refuse(name, fine, value, path):
    refuses(name, value, lambda it: mrcz.readMRC(path, **{name: it}), fine)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize("name,fine", [
    ("meta", (None, {})), ("endian", ()), ("dtype", (None,)),
    ("pixelsize", (None, True, -1, 3.7, [1])), ("clevel", ()), ("n_threads", (None,)),
    ("voltage", (None, True, -1, 3.7, 10**30)), ("C3", (None, True, -1, 3.7, 10**30)),
    ("gain", (None, True, -1, 3.7, 10**30)), ("compressor", (None,)), ("shuffle", (None,)),
    ("blocksize", (None,)), ("backend", (None,)), ("idx", (None,)), ("shape", (None,)),
])
def test_writers_name_the_argument_they_refuse(name, fine, value, tmp_path):
    if name == "pixelsize" and isinstance(value, (np.ndarray, bytes, int)):
        return  # numbers, all of them
    if name == "dtype" and isinstance(value, np.float64):
        return  # has a dtype
    codec = {} if name in ("compressor", "idx", "shape") else {"compressor": "zstd"}
    refuses(name, value, lambda it: mrcz.writeMRC(IMAGE, tmp_path / "a", **codec, **{name: it}),
            fine)
    assert (tmp_path / "a").exists() == any(  # no half file of a call that failed
        value is one or value == one for one in fine
                                            if not isinstance(value, np.ndarray))


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_pixelunits_are_nanometres_or_text(value, tmp_path, caplog, monkeypatch):
    """As with python-mrcz, for whom every unit that it doesn't know is nm; said in the log."""
    monkeypatch.setattr("mrcz.units._told", set())
    caplog.set_level("INFO", "mrcz")
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc", pixelsize=1.0, pixelunits=value)
    assert "taken as nm" in caplog.text
    assert np.allclose(mrcz.readMRC(tmp_path / "a.mrc")[1]["pixelsize"], 10.0)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_numbers_of_threads_and_workers_are_checked(value):
    refuses("n_threads", value, mrcz.setDefaultThreads, (None,))
    try:
        refuses("N_workers", value, mrcz._setAsyncWorkers, (10**30,))
    finally:
        mrcz._setAsyncWorkers(1)
    try:
        refuses("nbytes", value, mrcz.set_kept_memory, (10**30,))
    finally:
        mrcz.set_kept_memory(1 << 30)


def test_every_core_of_a_large_machine_can_be_asked_for(path):
    """``setDefaultThreads(os.cpu_count())`` is what scripts do."""
    try:
        mrcz.setDefaultThreads(768)
        assert np.array_equal(mrcz.readMRC(path, n_threads=1792)[0], IMAGE)
        assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    finally:
        mrcz.setDefaultThreads(None)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize("name,fine", [
    ("dimensions", ()), ("dtype", ()), ("compressor", (None,)), ("packedBytes", ()),
    ("voltage", (True, -1, 3.7)), ("meanImage", (True, -1, 3.7)), ("meta", (None, {})),
])
def test_entries_of_a_header_are_named(name, fine, value):
    header = ioMRC.defaultHeader() | {"dimensions": (2, 3, 4), "dtype": "f4", name: value}
    if isinstance(value, (float, np.floating, int)) and name in ("voltage", "meanImage"):
        return  # any number: a header that was read may hold it
    if name == "dtype" and isinstance(value, np.float64):
        return
    refuses(name, value, lambda _: ioMRC.writeMRCHeader(io.BytesIO(), header, 0), fine)


@pytest.mark.parametrize("missing", ["dimensions", "dtype"])
def test_a_header_without_what_it_needs_is_refused(missing):
    header = ioMRC.defaultHeader() | {"dimensions": (2, 3, 4), "dtype": "f4"}
    del header[missing]
    with pytest.raises(ValueError, match=missing):
        ioMRC.writeMRCHeader(io.BytesIO(), header, 0)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_header_functions(value):
    header = ioMRC.defaultHeader() | {"dimensions": (2, 3, 4), "dtype": "f4"}
    refuses("slices", value, lambda it: ioMRC.writeMRCHeader(io.BytesIO(), header, it))
    refuses("header", value, lambda it: ioMRC.writeMRCHeader(io.BytesIO(), it, 0))
    refuses("endian", value, lambda it: ioMRC.writeMRCHeader(io.BytesIO(), header, 0, it))
    refuses("f must", value, lambda it: ioMRC.writeMRCHeader(it, header, 0))
    refuses("filehandle", value, ioMRC.readBloscHeader)


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize("name", ["shape", "dtype", "clevel"])
def test_create_names_the_argument_it_refuses(name, value, tmp_path):
    options = {"shape": (None, 3, 4), "dtype": "f4", "compressor": "zstd", name: value}
    if name == "dtype" and isinstance(value, np.float64):
        return
    refuses(name, value, lambda _: mrcz.create(tmp_path / "a.mrcz", **options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", ["M8[s]", "m8[s]", "O", "S3", "U2", "V4", "i4,f4"])
@pytest.mark.parametrize("stored", ["i2", "f4", "c8"])
def test_what_is_no_pixel_is_no_frame_of_a_file_that_exists(code, stored, path, tmp_path):
    """NumPy casts dates to numbers, and text that looks like one."""
    codec = mrcz.readMRCHeader(path)[0]["compressor"]
    mrcz.writeMRC(IMAGE.astype(stored), path, compressor=codec)
    before = path.read_bytes()
    frames = np.ones((1, 3, 4)).astype(code) if code in "OSU" else np.zeros((1, 3, 4), code)
    for idx in (0, 2):
        with pytest.raises(TypeError, match=r"frame \d has dtype .* which is no pixel"):
            mrcz.writeMRC(frames, path, idx=idx, compressor=codec)
    assert path.read_bytes() == before
    with mrcz.create(tmp_path / "b.mrc", (None, 3, 4), stored, compressor=codec) as writer:
        with pytest.raises(TypeError, match="frame 0 has dtype"):
            writer.append(frames)
        writer.append(IMAGE[1])
    assert np.array_equal(mrcz.readMRC(tmp_path / "b.mrc")[0], IMAGE[1])


def test_a_stream_is_not_begun_without_a_name(tmp_path, monkeypatch):
    """It would be lost when it is closed."""
    monkeypatch.chdir(tmp_path)
    for name in ("", b""):
        with pytest.raises(FileNotFoundError):
            mrcz.create(name, (None, 3, 4), "f4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["tcp://host:8786", True, 0, [], {}], ids=repr)
def test_a_client_is_no_address(value, path, tmp_path):
    with pytest.raises(TypeError, match=r"client must be a distributed.Client"):
        mrcz.compress_many([path], client=value)


@pytest.mark.parametrize("value", [None, 5, [1], [None], [[b"a"]]], ids=repr)
def test_paths_of_many_files(value):
    with pytest.raises(TypeError, match=r"path|PathLike"):
        mrcz.compress_many(value)


def test_paths_of_bytes(tmp_path):
    mrcz.writeMRC(IMAGE, tmp_path / "a.mrc")
    for paths in (bytes(tmp_path / "a.mrc"), [bytes(tmp_path / "a.mrc")]):
        [done] = mrcz.compress_many(paths, bytes(tmp_path), processes=1, overwrite=True)
        assert done.error is None
        assert done.output == str(tmp_path / "a.mrcz")


@pytest.mark.parametrize("value", [None, True, -1, 3.7, [], {}, Ellipsis, 1j], ids=repr)
def test_what_is_no_path_is_refused(value, tmp_path):
    for call in (mrcz.readMRC, mrcz.readMRCHeader, mrcz.open, mrcz.verify,
                 lambda it: mrcz.writeMRC(IMAGE, it), lambda it: mrcz.repair(it, tmp_path / "a"),
                 lambda it: mrcz.create(it, (None, 3, 4), "f4")):
        with pytest.raises(TypeError, match=r"path|PathLike"):
            call(value)
