"""The engine's insides: cutting and joining chunks, ordered threads, the blosc lease."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import blosc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcz
from mrcz import (
    blocks,
    buffers,
    codec,
    decoding,
    descriptors,
    disk,
    encoding,
    lease,
    parallel,
    placing,
)
from mrcz.reader import MRCReader

from . import helping


def chunk_of(
    data: np.ndarray, typesize: int, options: codec.CodecOptions, threads: int = 1
) -> bytes:
    with lease.blosc_settings(options.blocksize):
        codec.blosc_extension.set_nthreads(threads)  # several: blocks in any order
        return codec.compress(buffers.address_of(data), data.nbytes, typesize, options)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 60_000),
    typesize=st.sampled_from([1, 2, 4, 8]),
    compressor=st.sampled_from(["blosclz", "lz4", "lz4hc", "zlib", "zstd"]),
    clevel=st.integers(0, 9),
    shuffle=st.sampled_from(["noshuffle", "shuffle", "bitshuffle"]),
    blocksize=st.sampled_from([128, 1000, 4096, 1 << 16]),
    threads=st.sampled_from([1, 3]),
    mean=st.sampled_from([0.1, 5.0, 1e6]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_any_run_of_blocks_is_a_chunk(
    size: int, typesize: int, compressor: str, clevel: int, shuffle: str, blocksize: int,
    threads: int, mean: float, seed: int, data: st.DataObject,
) -> None:  # fmt: skip
    values = np.random.default_rng(seed).poisson(mean, size).astype(f"i{typesize}")
    options = codec.parse_options(compressor, clevel, shuffle=shuffle, blocksize=blocksize)
    chunk = chunk_of(values, typesize, options, threads)
    header = codec.read_chunk_header(chunk)
    if header.is_memcpy:
        assert chunk[16:] == values.tobytes()
        return
    table = blocks.parse_block_table(header, chunk, path="x", offset=0, frame=0)
    first = data.draw(st.integers(0, header.block_count - 1))
    last = data.draw(st.integers(first + 1, header.block_count))
    cut = blocks.cut_chunk(header, table, first, last)
    small = cut.prefix + b"".join(chunk[start:stop] for start, stop in cut.ranges)
    assert len(small) == cut.header.cbytes
    out = np.empty(cut.header.nbytes, np.uint8)
    with lease.blosc_settings():
        codec.decompress(memoryview(small), codec.read_chunk_header(small),
                         buffers.address_of(out), path="x", offset=0, frame=0)
    whole = values.tobytes()[first * header.blocksize : last * header.blocksize]
    assert out.tobytes() == whole


@pytest.mark.parametrize("kind", ["smooth", "noise", "mixed", "zeros"])
@pytest.mark.parametrize("compressor", ["lz4", "zstd", "blosclz"])
@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_join_to_one_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, compressor: str, threads: int
) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 16)
    monkeypatch.setattr(decoding, "PIECE_BYTES", 1 << 16)
    encoding._block_bytes.cache_clear()
    random = np.random.default_rng(3)
    frames = {
        "smooth": random.poisson(2, (3, 300, 501)),
        "noise": random.integers(-(2**15), 2**15, (3, 300, 501)),
        "mixed": np.concatenate([random.poisson(2, (3, 150, 501)),
                                 random.integers(-(2**15), 2**15, (3, 150, 501))], axis=1),
        "zeros": np.zeros((3, 300, 501)),
    }[kind].astype("int16")  # fmt: skip
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(frames, path, compressor=compressor, blocksize=1 << 12, n_threads=threads)
    encoding._block_bytes.cache_clear()
    assert np.array_equal(mrcz.readMRC(path, n_threads=threads)[0], frames)
    raw = path.read_bytes()
    position = 1024
    for frame in frames:  # what any reader of blosc makes of it
        cbytes = struct.unpack_from("<i", raw, position + 12)[0]
        assert blosc.decompress(raw[position : position + cbytes]) == frame.tobytes()
        position += cbytes
    assert position == len(raw)
    for blocks_in_parallel in (1, 1 << 30):
        monkeypatch.setattr(decoding, "_PARALLEL_BYTES", blocks_in_parallel)
        with mrcz.open(path, cache_bytes=0) as stack:
            for first, last in ((140, 160), (0, 1), (0, 9), (299, 300), (4, 299), (150, 151)):
                assert np.array_equal(stack[1, first:last], frames[1, first:last])
                assert np.array_equal(stack[::2, first:last, 3:-4], frames[::2, first:last, 3:-4])


def test_threads_give_the_same_bytes(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).normal(size=(5, 1200, 1300))
    written = set()
    for threads in (1, 2, 5):
        path = tmp_path / f"{threads}.mrcz"
        mrcz.writeMRC(stack, path, compressor="zstd", n_threads=threads, quickStats=False)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_ordered_consumption_and_bounded_window() -> None:
    consumed: list[int] = []
    taken = 0
    lock = threading.Lock()

    def items():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(60):
            taken += 1
            assert taken - len(consumed) <= 2 * 4 + 1
            yield number

    def work(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number

    def consume(number: int) -> None:
        assert lock.acquire(blocking=False), "consumed by two at once"
        consumed.append(number)
        lock.release()

    parallel.run_ordered(items(), work, consume, threads=4)
    assert consumed == list(range(60))


@pytest.mark.parametrize("where", ["items", "work", "consume"])
@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_stops_the_work(where: str, threads: int) -> None:
    seen: list[int] = []

    def fail(place: str, number: int) -> int:
        if place == where and number == 5:
            raise KeyError(place)
        return number

    with pytest.raises(KeyError, match=where):
        parallel.run_ordered(
            (fail("items", n) for n in range(1000)),
            lambda n: fail("work", n),
            lambda n: seen.append(fail("consume", n)),
            threads=threads,
        )
    assert len(seen) < 30
    assert seen == list(range(len(seen)))
    helping.require_none()


def test_work_is_done_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(parallel, "start_new_thread", refuse)
    done: list[int] = []
    parallel.run_ordered(range(10), lambda n: n, done.append, threads=4)
    assert done == list(range(10))


def test_helpers_that_never_run_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no memory for them."""
    monkeypatch.setattr(parallel, "start_new_thread", lambda function, args: 1)
    monkeypatch.setattr(parallel, "LATE_SECONDS", 0.01)
    done: list[int] = []
    parallel.run_ordered(range(10), lambda n: n, done.append, threads=4)
    assert done == list(range(10))


def blosc_state() -> tuple[int, bool, int]:
    threads = codec.blosc_extension.set_nthreads(1)
    codec.blosc_extension.set_nthreads(threads)
    releases = codec.blosc_extension.set_releasegil(False)
    codec.blosc_extension.set_releasegil(releases)
    return threads, bool(releases), codec.blosc_extension.get_blocksize()


def test_blosc_settings_are_given_back(tmp_path: Path) -> None:
    before = blosc_state()
    codec.blosc_extension.set_nthreads(2)
    codec.blosc_extension.set_blocksize(7777)
    try:
        mine = blosc_state()
        stack = np.zeros((4, 100, 100), "f4")
        mrcz.writeMRC(stack, tmp_path / "a.mrcz", compressor="zstd")
        mrcz.readMRC(tmp_path / "a.mrcz")
        with pytest.raises(ValueError, match="values"):
            mrcz.writeMRC(stack + 1e9, tmp_path / "a.mrcz", compressor="zstd", dtype="int16")
        assert blosc_state() == mine
    finally:
        codec.blosc_extension.set_nthreads(before[0])
        codec.blosc_extension.set_blocksize(before[2])
    assert blosc_state() == before


def test_leases_of_other_block_sizes_wait_for_each_other() -> None:
    inside: list[int] = []
    errors: list[str] = []

    def use(blocksize: int) -> None:
        for _ in range(40):
            with lease.blosc_settings(blocksize):
                inside.append(blocksize)
                if codec.blosc_extension.get_blocksize() != blocksize or len(set(inside)) > 1:
                    errors.append(f"{inside}")
                time.sleep(0.0002)
                inside.remove(blocksize)

    before = blosc_state()
    threads = [threading.Thread(target=use, args=(size,)) for size in (4096, 8192, 4096, 65536)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert not errors
    assert blosc_state() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_in_the_midst_of_work(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).poisson(2, (4, 600, 600)).astype("int16")
    path = tmp_path / "a.mrcz"
    with lease.blosc_settings(4096):
        child = os.fork()
        if child == 0:
            ok = False
            try:
                mrcz.writeMRC(stack, path, compressor="zstd", n_threads=3)
                ok = np.array_equal(mrcz.readMRC(path, n_threads=3)[0], stack)
            finally:
                os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_without_positional_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, which has no affinity of processes either."""
    monkeypatch.setattr(descriptors, "_HAS_PWRITE", False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(parallel, "_default_threads", None)
    stack = np.random.default_rng(0).poisson(2, (9, 900, 900)).astype("int16")
    for compressor in (None, "zstd"):
        mrcz.writeMRC(stack, tmp_path / "a", compressor=compressor)
        assert np.array_equal(mrcz.readMRC(tmp_path / "a")[0], stack)
    assert parallel.default_threads() == (os.cpu_count() or 1)


def test_auto_chooses_by_the_pixels(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    cases = {
        "camera": (random.poisson(40, (2, 1024, 1024)).astype("u2"), "zstd", 3.3),
        "counting": (random.poisson(0.75, (2, 1024, 1024)).astype("i1"), "zstd", 4.5),
        "noise": (random.integers(0, 2**16, (2, 1024, 1024)).astype("u2"), None, 0.99),
    }
    for name, (stack, compressor, ratio) in cases.items():
        path = tmp_path / f"{name}.mrcz"
        mrcz.writeMRC(stack, path, compressor="auto")
        image, header = mrcz.readMRC(path)
        assert np.array_equal(image, stack)
        assert header["compressor"] == compressor
        assert stack.nbytes / path.stat().st_size >= ratio
    mrcz.writeMRC(cases["camera"][0], path, compressor="lz4", clevel=9, shuffle="auto")
    assert mrcz.readMRC(path)[1]["compressor"] == "lz4"


@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
def test_auto_keeps_the_filter_and_the_blocks_that_are_asked_for(shuffle: str) -> None:
    stack = np.random.default_rng(1).poisson(40, (2, 512, 512)).astype("u2")
    file = io.BytesIO()
    mrcz.writeMRC(stack, file, compressor="auto", shuffle=shuffle, blocksize=1 << 16)
    file.seek(1024)
    (_, blocksize, _), (_, _, flags, _) = mrcz.ioMRC.readBloscHeader(file)
    assert {0: "noshuffle", 1: "shuffle", 4: "bitshuffle"}[flags & 5] == shuffle
    assert blocksize == 1 << 16
    file.seek(0)
    assert np.array_equal(mrcz.readMRC(file)[0], stack)


@pytest.mark.parametrize("options", [{"compressor": "lz4", "shuffle": "auto"},
                                     {"compressor": "auto"}])
def test_auto_does_without_trials_where_there_is_no_time(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another thread compresses with blocks of another size, and all wait for it."""
    monkeypatch.setattr("mrcz.auto.SECONDS", 0.0)
    file = io.BytesIO()
    mrcz.writeMRC(np.arange(6000, dtype="i2").reshape(60, 100), file, **options)
    file.seek(0)
    assert np.array_equal(mrcz.readMRC(file)[0].ravel(), np.arange(6000))


def test_auto_chooses_the_filter_unless_one_is_named() -> None:
    smooth = np.cumsum(np.random.default_rng(0).normal(size=(2, 512, 512)), 2).astype("f4")
    sizes = {}
    for shuffle in (None, "auto", "noshuffle"):
        file = io.BytesIO()
        mrcz.writeMRC(smooth, file, compressor="auto", shuffle=shuffle)
        sizes[shuffle] = len(file.getvalue())
    assert max(sizes[None], sizes["auto"]) < sizes["noshuffle"]


def test_out(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).poisson(2, (5, 64, 48)).astype("int16")
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(stack, path, compressor="zstd")
    out = np.empty_like(stack)
    assert mrcz.readMRC(path, out=out)[0] is out
    assert np.array_equal(out, stack)
    wide = np.zeros((10, 64, 50), "int16")
    mrcz.readMRC(path, out=wide[::-2, :, 1:-1])
    assert np.array_equal(wide[::-2, :, 1:-1], stack)
    assert not wide[0::2].any()
    frame = np.empty((64, 48), "int16")
    assert np.array_equal(mrcz.readMRC(path, idx=3, out=frame)[0], stack[3])
    for bad in (out.astype("i4"), out[:4], out[:, 1:], [1]):
        with pytest.raises((ValueError, TypeError), match="out must"):
            mrcz.readMRC(path, out=bad)  # type: ignore[arg-type]
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        mrcz.readMRC(path, out=out)


@pytest.mark.parametrize("to", ["file", "object"])
def test_nothing_is_left_of_pieces_that_did_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(placing, "join_headers", lambda headers: None)
    encoding._block_bytes.cache_clear()
    stack = np.random.default_rng(0).poisson(2, (2, 200, 200)).astype("int16")
    path = tmp_path / "a.mrcz"
    whole = io.BytesIO()
    real = encoding.compress

    def smaller(address: int, nbytes: int, typesize: int, options: codec.CodecOptions) -> bytes:
        if nbytes == 80_000:  # the frame as a whole, better than its pieces
            options = codec.parse_options("zstd", 9, blocksize=options.blocksize)
        return real(address, nbytes, typesize, options)

    monkeypatch.setattr(encoding, "compress", smaller)
    mrcz.writeMRC(stack, path if to == "file" else whole, compressor="zstd", shuffle="noshuffle",
                  blocksize=1 << 12)  # fmt: skip
    encoding._block_bytes.cache_clear()
    data = path.read_bytes() if to == "file" else whole.getvalue()
    assert len(data) == 1024 + struct.unpack_from("<q", data, 144)[0]
    assert np.array_equal(mrcz.readMRC(io.BytesIO(data))[0], stack)


def typesizes(path: Path) -> set[int]:
    with MRCReader(path) as reader:
        starts = [reader.table.span(frame)[0] for frame in range(reader.record.nz)]
        return {codec.read_chunk_header(reader.source.read(start, 16)).typesize
                for start in starts}


NOISE = np.random.default_rng(1)
RAMP = np.add.outer(np.arange(2048), np.arange(2048)).astype("u2") * 16


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (NOISE.poisson(0.75, (4, 2048, 2048)).astype("i1"), {"compressor": "lz4"}, 4),
        (NOISE.poisson(40, (2, 2048, 2048)).astype("u2"), {"compressor": "lz4"}, 4),
        (NOISE.poisson(40, (2, 2048, 2048)).astype("u2"), {"compressor": "zstd"}, 2),
        (np.stack([RAMP, RAMP]), {"compressor": "lz4"}, 2),  # neighbours are alike
        ((np.stack([RAMP] * 4) >> 11).astype("i1"), {"compressor": "lz4"}, 1),
        (NOISE.poisson(0.75, (5, 2048, 2047)).astype("i1"), {"compressor": "lz4"}, 4),
        (NOISE.poisson(0.75, (4, 2047, 2047)).astype("i1"), {"compressor": "lz4"}, 1),
        (NOISE.poisson(0.75, (1, 512, 512)).astype("i1"), {"compressor": "lz4"}, 1),
        (NOISE.poisson(0.75, (4, 2048, 2048)).astype("i1"),
         {"compressor": "lz4", "shuffle": "shuffle"}, 1),
        (NOISE.poisson(0.75, (4, 2048, 2048)).astype("i1"),
         {"compressor": "lz4", "blocksize": 1 << 16}, 1),
        (NOISE.standard_normal((2, 2048, 2048)).astype("f4"), {"compressor": "lz4"}, 4),
    ],
    ids=["counts i1", "counts u2", "zstd", "smooth u2", "smooth i1", "odd rows", "odd frames",
         "small", "byte shuffle", "block size given", "float"],
)  # fmt: skip
def test_items_of_four_bytes_where_they_cost_nothing(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, str], expected: int
) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(pixels, path, **options)
    assert typesizes(path) == {expected}
    image = mrcz.readMRC(path)[0]
    np.testing.assert_array_equal(image, pixels if len(pixels) > 1 else pixels[0])
    with mrcz.open(path) as stack:
        np.testing.assert_array_equal(stack[-1, 100:109], pixels[-1, 100:109])


def test_calls_at_once_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "default_threads", lambda: 3)
    lock, now, most = threading.Lock(), 0, 0

    def work(item: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return item

    def call() -> None:
        got: list[int] = []
        parallel.run_ordered(range(40), work, got.append, threads=3)
        results.append(got)

    results: list[list[int]] = []
    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [list(range(40))] * 3
    assert most <= 5  # three that call, and two that helped the first before the others came
    assert parallel._workers.active == 0


def test_a_call_within_a_call_needs_nobody() -> None:
    def inner(item: int) -> int:
        got: list[int] = []
        parallel.run_ordered(range(item, item + 9), lambda number: number, got.append, threads=4)
        return sum(got)

    got: list[int] = []
    parallel.run_ordered(range(30), inner, got.append, threads=2)
    assert got == [sum(range(item, item + 9)) for item in range(30)]
    assert parallel._workers.active == 0


def test_helpers_that_wait_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "default_threads", lambda: 1)
    others = [threading.Thread(), threading.Thread()]  # as if they were at work
    for other in others:
        parallel._workers.begin(other, 2)
    try:
        with pytest.raises(ZeroDivisionError):
            parallel.run_ordered([1, 0], lambda item: 1 // item, threads=2)
    finally:
        for other in others:
            parallel._workers.end(other)
    helping.require_none()


@pytest.mark.parametrize("dtype", ["f8", ">f4", "i2", "uint4"])
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("options", [{}, {"compressor": "lz4"}], ids=["raw", "lz4"])
def test_small_frames_are_stored_many_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, as_list: bool,
    options: dict[str, Any],
) -> None:
    """Also where they are cast, packed or gathered: 500 of them never take 500 writes."""
    writes: list[int] = []
    real = disk.AtomicFile.write_at

    def noting(self: Any, offset: int, data: Any) -> None:
        writes.append(offset)
        real(self, offset, data)

    monkeypatch.setattr(disk.AtomicFile, "write_at", noting)
    path = tmp_path / "a.mrcz"
    pixels = np.random.default_rng(3).integers(0, 16, (500, 31, 33))
    given = pixels.astype("u1" if dtype == "uint4" else dtype)
    kwargs = {**options, "dtype": "uint4"} if dtype == "uint4" else options
    mrcz.writeMRC(list(given) if as_list else given, path, **kwargs)
    assert len(writes) < (600 if as_list and dtype == "uint4" and not options else 20)
    image, header = mrcz.readMRC(path)
    np.testing.assert_array_equal(np.stack(image) if as_list else image, pixels)
    assert (header["minImage"], header["maxImage"]) == (given[0].min(), given[0].max())
    assert header["meanImage"] == np.float32(given[0].mean(dtype="f8"))


@pytest.mark.parametrize("as_list", [True, False])
def test_which_of_many_small_frames_can_not_be_stored(tmp_path: Path, as_list: bool) -> None:
    pixels = np.zeros((500, 31, 33))
    pixels[321, 3, 3] = 1e60
    given = list(pixels) if as_list else pixels
    for options in ({}, {"compressor": "lz4"}):
        with pytest.raises(ValueError, match="frame 321"):
            mrcz.writeMRC(given, tmp_path / "a.mrcz", dtype="f4", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2"])
def test_sums_that_32_bits_can_not_hold(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    for value in (limits.min, limits.max):
        image = np.full((1, 4096, 5000), value, dtype)
        mrcz.writeMRC(image, tmp_path / "a.mrc")
        header = mrcz.readMRCHeader(tmp_path / "a.mrc")[0]
        assert header["meanImage"] == header["minImage"] == header["maxImage"] == value
