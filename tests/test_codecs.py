"""Compressors, levels and backends by name, and their refusals."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcz
from mrcz import ioMRC

from .builders import chunks_of, fields_of, mrc, ramp
from .checks import assert_identical, read, round_trip, written
from .processes import run_script
from .strategies import BLOSC_CODECS, DTYPES

IMAGE = ramp((4, 65, 43), "f4")
IDS = {None: 0, "blosclz": 1, "lz4": 2, "lz4hc": 3, "snappy": 4, "zlib": 5, "zstd": 6}
# What bits 5 to 7 of a blosc chunk's flags say about the codec's format.
CHUNK_FORMATS = {"blosclz": 0, "lz4": 1, "lz4hc": 1, "zlib": 3, "zstd": 4}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codec", BLOSC_CODECS)
def test_each_by_name(codec, dtype):
    image = ramp((4, 65, 43), dtype)
    data = written(image, compressor=codec)
    assert fields_of(data)["mode"] // 1000 == IDS[codec]
    assert {chunk["flags"] >> 5 for chunk in chunks_of(data, 1024)} == {CHUNK_FORMATS[codec]}
    found, header = read(data)
    assert_identical(found, image)
    assert header["compressor"] == codec


@pytest.mark.parametrize("clevel", range(10))
@pytest.mark.parametrize("codec", BLOSC_CODECS)
def test_levels(codec, clevel):
    assert_identical(round_trip(IMAGE, compressor=codec, clevel=clevel)[0], IMAGE)


@pytest.mark.parametrize("clevel", [-1, 10, 100])
def test_level_out_of_range(clevel):
    with pytest.raises(ValueError, match="clevel"):
        written(IMAGE, compressor="zstd", clevel=clevel)


def test_bitshuffle_is_the_default_filter():
    assert all(chunk["flags"] & 0x4 for chunk in chunks_of(written(IMAGE, compressor="zstd"), 1024))


@pytest.mark.parametrize("name", ["nosuchcodec", "ZSTD ", "gzip", 6, ""])
def test_unknown_name(name):
    with pytest.raises((ValueError, TypeError), match="Unknown compressor"):
        written(IMAGE, compressor=name)


def test_unknown_id_in_a_file():
    data = bytearray(written(IMAGE, compressor="zstd"))
    data[12:16] = struct.pack("<i", 999002)
    with pytest.raises(ValueError, match="unrecognized MRCZ compressor id = 999"):
        read(bytes(data))


def test_the_enums():
    assert {n: ioMRC.COMPRESSOR_ENUM[n] for n in range(7)} == {v: k for k, v in IDS.items()}
    assert {name: ioMRC.REVERSE_COMPRESSOR_ENUM[name] for name in IDS} == IDS


def test_an_old_lz4hc_file_says_lz4():
    """python-mrcz < 0.6 gave lz4hc the id of lz4; the chunks name their format themselves."""
    data = bytearray(written(IMAGE, compressor="lz4hc"))
    data[12:16] = struct.pack("<i", 2002)
    found, header = read(bytes(data))
    assert_identical(found, IMAGE)
    assert header["compressor"] == "lz4"


@pytest.mark.parametrize("backend", ["bogus", "zstd", 2])
def test_unknown_backend(backend):
    with pytest.raises((ValueError, TypeError), match="backend must be"):
        written(IMAGE, compressor="zstd", backend=backend)


def test_codec_that_blosc1_has_not():
    with pytest.raises(ValueError, match="needs backend='blosc2'"):
        written(IMAGE, compressor="ndlz", backend="blosc1")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codec", BLOSC_CODECS)
def test_blosc2_backend(codec, dtype):
    """With blosc2 installed version-5 chunks that read back; without it, the reason."""
    image = ramp((4, 33, 41), dtype)
    if not mrcz.BLOSC2_PRESENT:
        with pytest.raises(mrcz.MissingCodecError, match="blosc2"):
            written(image, compressor=codec, backend="blosc2")
        return
    data = written(image, compressor=codec, backend="blosc2")
    assert {chunk["version"] for chunk in chunks_of(data, 1024)} == {5}
    found, header = read(data)
    assert_identical(found, image)
    assert header["compressor"] == codec
    assert (header["bloscFormat"], header["backend"]) == (2, "blosc2")
    assert "bloscFormat" not in dict(header)


def test_missing_plugin_is_named():
    error, text = ((RuntimeError, "blosc2-grok") if mrcz.BLOSC2_PRESENT
                   else (mrcz.MissingCodecError, "blosc2"))
    with pytest.raises(error, match=text):
        written(IMAGE, compressor="grok")


@pytest.mark.parametrize("backend", [None, "blosc1"])
def test_blosc1_is_the_default(backend):
    data = written(IMAGE, compressor="zstd", backend=backend)
    assert {chunk["version"] for chunk in chunks_of(data, 1024)} == {2}
    header = read(data)[1]
    assert (header["bloscFormat"], header["backend"]) == (1, "blosc1")


BLOSC2_ALONE = """
import io, runpy, sys, unittest
sys.modules["blosc"] = None
import numpy as np, mrcz
assert mrcz.BLOSC_PRESENT is False and mrcz.CAN_COMPRESS is mrcz.BLOSC2_PRESENT
image, file = np.arange(60, dtype="i2").reshape(3, 4, 5), io.BytesIO()
try:
    mrcz.writeMRC(image, file, compressor="zstd")
except ImportError:
    assert not mrcz.CAN_COMPRESS
    sys.exit()
assert mrcz.CAN_COMPRESS
found, header = mrcz.readMRC(io.BytesIO(file.getvalue()))
assert np.array_equal(found, image) and header["backend"] == "blosc2"
try:
    mrcz.writeMRC(image, file, compressor="zstd", backend="blosc1")
except ImportError as error:
    assert "'blosc'" in str(error), error
else:
    raise AssertionError("blosc1 without blosc")
result = unittest.TestResult()
names = runpy.run_path(sys.argv[1])
unittest.defaultTestLoader.loadTestsFromTestCase(names["RoundTrip"]).run(result)
assert result.wasSuccessful(), result.errors
"""


def test_blosc2_alone_compresses():
    """As CAN_COMPRESS says, and as python-mrcz does; it was an ImportError."""
    done = subprocess.run(
        [sys.executable, "-c", BLOSC2_ALONE, str(Path(__file__).with_name("test_selftest.py"))],
        capture_output=True, text=True, check=False, cwd=Path(mrcz.__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert ("can't read" in done.stderr) is mrcz.BLOSC2_PRESENT


def test_constants_say_what_is_there():
    import blosc
    assert blosc.__version__
    assert ioMRC.BLOSC_PRESENT is True
    assert mrcz.CAN_COMPRESS is True


@pytest.mark.parametrize("blocksize", [0, 16, 100, 4096, 1 << 20])
@pytest.mark.parametrize("shuffle", ["NOSHUFFLE", "SHUFFLE", "BITSHUFFLE"])
@pytest.mark.parametrize("typesize", [1, 2, 4, 8, 16, 255])
def test_reads_chunks_of_any_blosc_settings(blocksize, shuffle, typesize):
    """A chunk names its own filter, block size and element size: all are read."""
    import blosc
    blosc.set_blocksize(blocksize)
    try:
        chunks = [blosc.compress(frame.tobytes(), typesize, 5, getattr(blosc, shuffle), "zstd")
                  for frame in IMAGE]
    finally:
        blosc.set_blocksize(0)
    data = mrc(IMAGE[:0], mode=6002, dims=(43, 65, 4)) + b"".join(chunks)
    assert_identical(read(data)[0], IMAGE)


def test_incompressible_and_constant_frames():
    image = np.concatenate([np.frombuffer(np.random.default_rng(1).bytes(2 * 65 * 43 * 4), "i4")
                            .reshape(2, 65, 43), np.zeros((1, 65, 43), "i4"),
                            np.full((1, 65, 43), 7, "i4")])
    for codec in BLOSC_CODECS:
        data = written(image, compressor=codec)
        assert_identical(read(data)[0], image)


def test_nothing_of_blosc_is_left_changed():
    import blosc
    blosc.set_nthreads(1)
    blosc.set_releasegil(False)
    before = blosc.compress(IMAGE.tobytes(), 4, 5)
    data = written(IMAGE, compressor="zstd", n_threads=2)
    read(data, n_threads=2)
    assert blosc.set_nthreads(1) == 1
    assert not blosc.set_releasegil(False)
    assert blosc.compress(IMAGE.tobytes(), 4, 5) == before


@pytest.mark.parametrize("bad", [0, -1, 1.5, "two"])
def test_number_of_threads(bad):
    with pytest.raises((ValueError, TypeError), match="n_threads"):
        written(IMAGE, compressor="zstd", n_threads=bad)


def test_frames_of_two_gigabytes_are_refused_at_once(tmp_path):
    """A chunk holds less than 2**31 bytes; broadcasting makes such a frame without its memory."""
    huge = np.broadcast_to(np.float32(0), (1, 1 << 15, 1 << 14))
    with pytest.raises(ValueError, match=r"2\*\*31|2 GiB|2147483"):
        mrcz.writeMRC(huge, tmp_path / "huge.mrcz", compressor="zstd")
    assert not (tmp_path / "huge.mrcz").exists()


def test_an_unknown_compressor_is_told_of_auto() -> None:
    with pytest.raises(ValueError, match=r"Unknown compressor 'zsdt'; one of 'auto', .*'zstd'"):
        mrcz.writeMRC(np.ones((3, 3)), io.BytesIO(), compressor="zsdt")


def test_a_blosc_that_is_broken_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "blosc").mkdir()
    (tmp_path / "blosc" / "__init__.py").write_text("from . import blosc_extension")
    (tmp_path / "blosc" / "blosc_extension.py").write_text(
        "raise ImportError('libzstd.so.1: cannot open shared object file')")
    done = run_script(f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import io, mrcz, numpy as np
mrcz.writeMRC(np.ones((2, 3, 4), "f4"), io.BytesIO(), compressor="zstd")
""")
    assert "it is installed, but can't be imported: libzstd.so.1" in done.stderr
