"""Sizes that lie: every reader refuses at once, with an error of ours, in little memory."""

from __future__ import annotations

import copy
import gzip
import json
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import trailer
from mrcz.cli import main
from mrcz.header import amend
from mrcz.headerindex import with_index

from .builders import header, mrc, ramp
from .checks import written
from .processes import run_script
from .test_hostile import with_field

IMAGE = ramp((4, 33, 40), "i2")
REFUSALS = (mrcz.MRCError, OSError)
TERABYTES = [(10_000, 10_000, 10_000), (2**31 - 1,) * 3, (1, 1, 2**31 - 1), (2**31 - 1, 1, 1),
             (2**31 - 1, 2**31 - 1, 1), (1, 2**31 - 1, 2**31 - 1), (65536, 65536, 65536),
             (1 << 20, 1 << 20, 1)]  # fmt: skip
Reader = Callable[[Path], object]


def look(path: Path) -> object:
    with mrcz.open(path) as stack:
        return stack[0, :1, :1]


def memmap(path: Path) -> object:
    return mrcz.readMRC(path, useMemmap=True)[0][0, 0]


def verify(path: Path) -> object:
    findings = mrcz.verify(path)
    assert findings
    raise mrcz.MRCError(str(findings[0]))


def repair(path: Path) -> object:
    return mrcz.repair(path, path.with_name("repaired"))


def append(path: Path) -> object:
    with mrcz.open(path) as stack:
        frame = np.broadcast_to(np.int8(1), (1, *stack.shape[1:3]))
    return mrcz.writeMRC(frame, path, idx=0)


def one(path: Path) -> object:
    return mrcz.readMRC(path, idx=-1)


def lazily(path: Path) -> object:
    """What HyperSpy calls, which then makes chunks of what it gets."""
    return mrcz.readMRC(path, useMemmap=True)


READERS = [mrcz.readMRC, look, one, memmap, lazily, verify, repair, append]


def refused(reader: Reader, path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(REFUSALS):
            reader(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
    assert not path.with_name("repaired").exists()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mode", [0, 2, 4, 6, 16, 101, 6002, 2006])
def test_a_terabyte_in_a_kilobyte(
    tmp_path: Path, reader: Reader, packed: bool, mode: int
) -> None:
    path = tmp_path / "small.mrc"
    for dims in TERABYTES:
        data = bytes(header(dims, mode)) + bytes(100)
        path.write_bytes(gzip.compress(data) if packed else data)
        refused(reader, path)


@pytest.mark.parametrize("mode", [0, 2, 16, 101, 6002])
def test_what_shows_a_terabyte_in_a_kilobyte(
    tmp_path: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.mrc"
    for dims in TERABYTES:
        path.write_bytes(bytes(header(dims, mode)) + bytes(100))
        tracemalloc.start()
        with mrcz.open(path) as stack:
            assert "no picture" in stack._repr_html_()
            assert repr(stack)
        assert main(["info", str(path)]) == 0
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()
        assert "PROBLEM" in capsys.readouterr().out
        for command in (["convert", str(path), str(tmp_path / "b.mrc")],
                        ["compress" if mode < 1000 else "decompress", str(path)]):
            assert main(command) == 1
            assert [file.name for file in tmp_path.iterdir()] == [path.name]


LIMITED = """
import resource, sys
import mrcz
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    for reader in (mrcz.readMRC, mrcz.open, mrcz.verify, lambda p: mrcz.repair(p, p + ".new")):
        try:
            found = reader(path)
            if reader is mrcz.open:
                with found:
                    found[0, :1, :1]
            elif reader is not mrcz.verify:
                print("read", path)
        except (mrcz.MRCError, OSError):
            pass
print("done")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_terabyte_in_64_mib_of_address_space(tmp_path: Path) -> None:
    paths = []
    for number, dims in enumerate(TERABYTES):
        for mode in (2, 6002):
            path = tmp_path / f"{number}-{mode}"
            path.write_bytes(bytes(header(dims, mode)) + bytes(3000))
            paths.append(path)
    done = run_script(LIMITED, *paths)
    assert done.stdout == "done\n", done.stdout + done.stderr


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_honest_sizes_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    """A sparse terabyte, and a chunk of a gigabyte of zeros: MRCError, not MemoryError."""
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.write(header((1000, 1 << 15, 1 << 15), 0))
        file.truncate(1024 + (1000 << 30))
    done = run_script(LIMITED.replace(", mrcz.verify, lambda p: mrcz.repair(p, p + \".new\")", ""),
                      raw)
    assert done.stdout == "done\n", done.stdout + done.stderr
    import blosc

    packed = tmp_path / "packed"
    zeros = blosc.compress(bytes(1 << 30), 1, cname="lz4")
    packed.write_bytes(header((1, 1 << 15, 1 << 15), 2000) + zeros)
    done = run_script(LIMITED, packed)
    assert done.stdout == "done\n", done.stdout + done.stderr


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dims", [(-1, 5, 7), (5, -5, 7), (5, 5, -7), (0, 5, 5), (-2**31,) * 3])
def test_negative_sizes(tmp_path: Path, reader: Reader, dims: tuple[int, int, int]) -> None:
    path = tmp_path / "small.mrc"
    path.write_bytes(bytes(header(dims, 2)) + bytes(4096))
    refused(reader, path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("nsymbt", [-1, -1024, 1 << 30, 2**31 - 1, 300_000])
def test_extended_headers_beyond_the_end(tmp_path: Path, reader: Reader, nsymbt: int) -> None:
    path = tmp_path / "small.mrc"
    for data in (mrc(IMAGE), written(IMAGE, compressor="zstd")):
        path.write_bytes(with_field(data, "nsymbt", nsymbt))
        refused(reader, path)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("packed", [-1, -2**63, 2**63 - 1, 1 << 40, 0, 16, 1023])
def test_packed_bytes_that_lie(tmp_path: Path, checksum: bool, packed: int) -> None:
    """The chunks are found all the same, in a plain file and in a gzipped one."""
    path = tmp_path / "a.mrcz"
    data = with_field(written(IMAGE, compressor="zstd", checksum=checksum), "packed_bytes", packed)
    for content in (data, gzip.compress(data)):
        path.write_bytes(content)
        assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
        findings = " ".join(map(str, mrcz.verify(path)))
        assert "packedBytes" in findings or packed == 0


def test_a_trailer_of_fewer_frames_that_is_sound(tmp_path: Path) -> None:
    """One chunk for all frames, where they lie: only their number is wrong."""
    path = tmp_path / "a.mrcz"
    data = written(IMAGE, compressor="zstd", checksum=True)
    start = data.rindex(trailer.MAGIC)
    offset = struct.unpack_from("<Q", data, start + 32)[0]
    lie = trailer.Trailer([offset], [start - offset], [0], 0).pack()
    path.write_bytes(data[:start] + lie.ljust(len(data) - start, b"\0"))
    assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    assert "the trailer is damaged" in str(mrcz.verify(path)[0])


def test_what_others_put_behind_the_chunks_is_no_trailer(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    path.write_bytes(written(IMAGE, compressor="zstd") + b"note" * 100)
    (finding,) = mrcz.verify(path)
    assert "400 bytes behind the last frame belong to nothing" in str(finding)


@pytest.mark.parametrize("offset,form", [(8, "<I"), (12, "<I"), (16, "<Q"), (24, "<Q"), (32, "<Q"),
                                         (40, "<Q"), (48, "<Q"), (56, "<Q")])
@pytest.mark.parametrize("value", [0, 5, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])
def test_trailers_that_lie(tmp_path: Path, offset: int, form: str, value: int) -> None:
    """With a sound checksum of their own: what they say is checked, not only hashed."""
    import xxhash

    data = bytearray(written(IMAGE, compressor="zstd", checksum=True))
    start = len(data) - (32 + 24 * 4 + 16)
    assert data[start : start + 8] == b"MRCZTRLR"
    if value >= 1 << (8 * struct.calcsize(form)):
        value &= (1 << 32) - 1
    if struct.unpack_from(form, data, start + offset)[0] == value:
        pytest.fail("the lie is the truth: choose another value")
    struct.pack_into(form, data, start + offset, value)
    struct.pack_into("<Q", data, len(data) - 16, xxhash.xxh3_64_intdigest(data[start:-16]))
    for content in (bytes(data), gzip.compress(data)):
        path = tmp_path / "a.mrcz"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            found = mrcz.readMRC(path)[0]
        except mrcz.MRCChecksumError:
            assert offset == 48  # the first frame's checksum
        else:
            assert np.array_equal(found, IMAGE)
        finally:
            assert tracemalloc.get_traced_memory()[1] < 10e6
            tracemalloc.stop()
        assert mrcz.verify(path)


def test_metadata_a_thousand_levels_deep(tmp_path: Path) -> None:
    path = tmp_path / "deep.mrc"
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        for depth in (200, 1_000, 100_000, 2_000_000):
            text = '{"a":' + opening * depth + "1" + closing * depth + "}"
            path.write_bytes(mrc(IMAGE, extended=text.encode(), exttyp=b"json"))
            image, found = mrcz.readMRC(path)
            assert np.array_equal(image, IMAGE)
            assert ("a" in found) == (depth == 200)
            assert len(mrcz.verify(path)) == (depth != 200)
            copy.deepcopy(found)  # Python's own limit


@pytest.mark.parametrize("text", ['{"a": "%s"}' % ("[{" * 700_000),
                                  r'{"a": "\\", "b": ["\"[[", "%s"]}' % (r'\"[' * 600_000),
                                  '{"a": ' + str([[1]] * 400_000) + "}"],
                         ids=["in text", "behind escapes", "side by side"])
def test_metadata_with_many_brackets_that_is_not_deep(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flat.mrc"
    path.write_bytes(mrc(IMAGE, extended=text.encode(), exttyp=b"json"))
    _, found = mrcz.readMRC(path)
    assert {key: found[key] for key in json.loads(text)} == json.loads(text)


def test_a_hundred_megabytes_of_metadata(tmp_path: Path) -> None:
    path = tmp_path / "long.mrc"
    text = b'{"a": "' + b"x" * 100_000_000 + b'"}'
    path.write_bytes(mrc(IMAGE, extended=text, exttyp=b"json"))
    del text
    tracemalloc.start()
    image, found = mrcz.readMRC(path)
    assert tracemalloc.get_traced_memory()[1] < 350e6  # its bytes, a few times over
    tracemalloc.stop()
    assert np.array_equal(image, IMAGE)
    assert "a" not in found


def test_a_gzip_bomb_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    data = written(IMAGE, compressor="zstd", checksum=True)
    lie = with_field(data, "packed_bytes", 1 << 50)
    path.write_bytes(gzip.compress(lie + bytes(300_000_000), 1))
    tracemalloc.start()
    assert np.array_equal(mrcz.readMRC(path)[0], IMAGE)
    assert tracemalloc.get_traced_memory()[1] < 100e6  # the rest is in a temporary file
    tracemalloc.stop()


def test_a_repaired_file_is_not_larger_than_what_was_lost(tmp_path: Path) -> None:
    """A header of 2**31 frames over one that is intact gives no file of 2**31 zeros."""
    path = tmp_path / "a.mrcz"
    path.write_bytes(with_field(written(IMAGE, compressor="zstd"), "dims", (40, 33, 2**31 - 1)))
    with pytest.raises(mrcz.MRCFormatError, match="too short"):
        mrcz.repair(path, tmp_path / "b.mrcz")
    data = with_field(written(IMAGE, compressor="zstd"), "dims", (40, 33, 10_000))
    path.write_bytes(data + bytes(160_000))
    with pytest.raises(mrcz.MRCFormatError, match="promises more"):
        mrcz.repair(path, tmp_path / "b.mrcz")
    path.write_bytes(with_field(mrc(IMAGE), "dims", (40, 33, 2**31 - 1)))
    with pytest.raises(mrcz.MRCFormatError, match="promises more"):
        mrcz.repair(path, tmp_path / "b.mrcz")
    path.write_bytes(with_field(mrc(IMAGE), "dims", (40, 33, 400)))
    assert mrcz.repair(path, tmp_path / "b.mrcz").recovered == [0, 1, 2, 3]


def test_errors_cross_process_borders(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "small.mrc"
    path.write_bytes(header((1, 1, 1 << 20), 2))
    with pytest.raises(mrcz.MRCTruncatedError) as caught:
        mrcz.readMRC(path)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert json.dumps(copy.offset)


@pytest.mark.parametrize("place", [lambda edges, frame: 0, lambda edges, frame: edges[-1],
                                   lambda edges, frame: edges[frame] + 7,
                                   lambda edges, frame: edges[min(frame + 1, 300)],
                                   lambda edges, frame: edges[frame] * 2 // 3,
                                   lambda edges, frame: frame])
def test_an_index_that_lies_with_a_right_check_word(tmp_path: Path, place: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (300, 20, 30)).astype("int16")
    data = written(pixels, compressor="lz4")
    edges = [0]
    for _ in pixels:
        edges.append(edges[-1] + int.from_bytes(data[1036 + edges[-1] :][:4], "little"))
    lies = {frame: place(edges, frame) for frame in range(301)}
    labels = with_index([data[224:304]], 300, edges[-1], lies)
    assert labels[1]
    path = tmp_path / "a.mrcz"
    path.write_bytes(amend(data[:1024], "<", labels=labels) + data[1024:])
    for frame in (None, *range(0, 300, 7), -1):
        try:
            found, _ = mrcz.readMRC(path, idx=frame)
        except mrcz.MRCFormatError:
            continue
        assert frame is not None or np.array_equal(found, pixels)
    with mrcz.open(path) as stack, suppress(mrcz.MRCFormatError):
        assert np.array_equal(stack[0], pixels[0])  # it would end where the index has frame 1
    mrcz.verify(path)


LITTLE_MEMORY = """
import resource, sys
import mrcz
resource.setrlimit(resource.RLIMIT_AS, (800 << 20, 800 << 20))
for call in (mrcz.readMRC, mrcz.readMRCHeader, lambda path: mrcz.open(path)[0, 0, 0], mrcz.verify):
    try:
        call(sys.argv[1])
    except mrcz.MRCError:
        pass
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.parametrize("fields,size", [
    ({"nsymbt": 2**31 - 2048}, 2**31 + 2048), ({"nsymbt": 2**31 - 2048, "exttyp": b"json"}, 2**32),
    ({"nz": 2**31 - 1, "mode": 6002}, 2**36), ({"nx": 2**16, "ny": 2**16, "mode": 1}, 2**34)])
def test_sizes_that_memory_can_not_hold(tmp_path: Path, fields: dict[str, Any], size: int) -> None:
    path = tmp_path / "huge.mrc"
    path.write_bytes(amend(bytes(header((1, 1, 1), 1)), "<", **fields))
    with path.open("r+b") as file:
        file.truncate(size)
    done = run_script(LITTLE_MEMORY, path)
    assert done.returncode == 0, done.stderr


def test_a_file_of_many_small_frames_is_verified_many_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    pixels = np.random.default_rng(0).integers(0, 9, (20_000, 4, 4)).astype("int16")
    mrcz.writeMRC(pixels, path, compressor="lz4", checksum=True)
    data = bytearray(path.read_bytes())
    with mrcz.open(path) as stack:
        for frame in (3, 4, 19_999):
            data[stack._reader.table.span(frame)[0] + 20] ^= 1
    path.write_bytes(data)
    assert [finding.frame for finding in mrcz.verify(path)] == [3, 4, 19_999]
