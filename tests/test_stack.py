"""`mrcz.open`: NumPy's indexing, and nothing read that is not asked for."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mrcz
from mrcz import codec, frames, sources
from mrcz.headerindex import find_index, labels_in_use, with_index

SHAPE = (6, 40, 33)
KINDS = ("raw", "zstd", "lz4", "uint4", "big-endian", "list", "gzip", "incompressible",
         "one block", "raw uint4", "raw big-endian", "big-endian, one block")  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    folder = tmp_path_factory.mktemp("stacks")
    random = np.random.default_rng(5)
    image = random.poisson(3, SHAPE).astype("int16")
    nibbles = random.integers(0, 16, SHAPE).astype("u1")
    noise = random.integers(-(2**15), 2**15, SHAPE).astype("int16")
    made = {}
    for kind in KINDS:
        path = folder / f"{kind}.mrcz"
        pixels = nibbles if "uint4" in kind else noise if kind == "incompressible" else image
        compressor = None if "raw" in kind or kind == "gzip" else "lz4" if kind == "lz4" else "zstd"
        mrcz.writeMRC(
            list(pixels) if kind == "list" else pixels,
            path,
            compressor=compressor,
            dtype="uint4" if "uint4" in kind else None,
            endian="be" if "big-endian" in kind else "le",
            meta={"kind": kind},
            **({} if compressor is None or "one block" in kind else {"blocksize": 256}),
        )
        if kind == "gzip":
            path.write_bytes(gzip.compress(path.read_bytes()))
        made[kind] = (path, pixels)
    return made


KEYS = st.one_of(
    hnp.basic_indices(SHAPE, allow_newaxis=True, allow_ellipsis=True),
    hnp.integer_array_indices(SHAPE, result_shape=hnp.array_shapes(max_dims=2, max_side=4)),
    st.tuples(
        hnp.arrays(bool, SHAPE[:1]),
        st.one_of(st.integers(-40, 39), st.slices(40)),
        st.one_of(st.integers(-33, 32), st.slices(33)),
    ),
    st.tuples(st.slices(6), hnp.arrays(bool, SHAPE[1:2])),
    st.tuples(st.integers(-6, 5), st.lists(st.integers(-40, 39), max_size=4), st.slices(33)),
    hnp.arrays(bool, SHAPE, fill=st.just(False)),
    st.tuples(st.just(Ellipsis), hnp.arrays(bool, SHAPE[1:], fill=st.just(False))),
    st.tuples(st.integers(-6, 5), st.none(), st.booleans()),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_indexing_is_numpys(
    files: dict[str, tuple[Path, np.ndarray]], kind: str, data: st.DataObject
) -> None:
    path, pixels = files[kind]
    key = data.draw(KEYS)
    cache_bytes = data.draw(st.sampled_from([0, 1 << 20]))
    with mrcz.open(path, cache_bytes=cache_bytes) as stack:
        expected = pixels[key]
        for _ in range(2):  # the second from the cache
            found = stack[key]
            assert np.shape(found) == np.shape(expected)
            assert np.asarray(found).dtype == expected.dtype
            assert np.array_equal(found, expected)
            if isinstance(found, np.ndarray) and found.size:
                found[...] = 0  # what is handed out is the caller's own


@pytest.mark.parametrize("key", [
    np.s_[:, [1, 2], ..., [3, 4]], np.s_[[0, 1], ..., [3, 4], :], np.s_[:, 2, ..., [3, 4]],
    np.s_[..., [1, 2], :, 3], np.s_[[1], [2], [3], ...], np.s_[1, 2, 3, ...], np.s_[..., 1, 2, 3],
    np.s_[0:6:2, np.arange(40) == 3, ..., 3], np.s_[:, True, ..., [1], 2], np.s_[0, :, 2, ...],
])  # fmt: skip
@pytest.mark.parametrize("kind", ["raw", "zstd"])
def test_an_ellipsis_that_stands_for_no_axis(
    files: dict[str, tuple[Path, np.ndarray]], kind: str, key: tuple[object, ...]
) -> None:
    """It parts arrays, whose axes NumPy then puts in front, and makes one pixel an array."""
    path, pixels = files[kind]
    with mrcz.open(path) as stack:
        found = stack[key]
    assert type(found) is type(pixels[key])
    assert found.shape == pixels[key].shape
    assert np.array_equal(found, pixels[key])


@pytest.mark.parametrize("key", [7, -7, (0, 40), (0, 0, -34), (0, 0, 0, 0), ([0, 6],), "a", 1.5,
                                 (..., ...), np.zeros(5, bool), ([0, 1], [0, 1, 2])])  # fmt: skip
def test_what_numpy_refuses_is_refused(
    files: dict[str, tuple[Path, np.ndarray]], key: object
) -> None:
    path, pixels = files["zstd"]
    with pytest.raises(IndexError):
        pixels[key]  # type: ignore[index]
    with mrcz.open(path) as stack, pytest.raises(IndexError):
        stack[key]


def test_attributes(files: dict[str, tuple[Path, np.ndarray]]) -> None:
    path, pixels = files["zstd"]
    with mrcz.open(path) as stack:
        assert stack.shape == pixels.shape
        assert (stack.dtype, stack.ndim, len(stack)) == (pixels.dtype, 3, 6)
        assert (stack.size, stack.nbytes) == (pixels.size, pixels.nbytes)
        assert stack.compressor == "zstd"
        assert stack.chunks == (1, 40, 33)
        assert stack.meta == {"kind": "zstd"}
        assert stack.header["voltage"] == 0.0
        assert stack.slices == 0
        assert np.array_equal(np.asarray(stack), pixels)
        assert np.asarray(stack, dtype="f4").dtype == np.float32
        assert all(np.array_equal(a, b) for a, b in zip(stack, pixels, strict=True))
        assert np.atleast_1d(stack) is stack
        assert np.shape(stack) == pixels.shape
        assert np.sum(stack) == pixels.sum()
        assert not hasattr(stack, "copy")
        assert "zstd.mrcz" in repr(stack)
        assert "(6, 40, 33)" in repr(stack)
    with mrcz.open(files["list"][0]) as stack:
        assert stack.slices == 1
        assert stack.shape == SHAPE


def test_a_pickle_is_opened_when_something_is_asked_of_it(tmp_path: Path) -> None:
    """A scheduler, which unpickles what it hands on, may not see the file."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.ones((3, 4, 5), "f4"), path, compressor="zstd")
    with mrcz.open(path) as stack:
        data = pickle.dumps(stack)
    away = path.rename(tmp_path / "b.mrcz")
    on_the_scheduler = pickle.loads(data)
    passed_on = pickle.dumps(on_the_scheduler)
    on_the_scheduler.close()
    with pytest.raises(FileNotFoundError):
        pickle.loads(passed_on)[0]
    away.rename(path)
    with pickle.loads(passed_on) as copy:
        assert (copy[1] == 1).all()


def test_one_frame_keeps_three_dimensions(tmp_path: Path) -> None:
    mrcz.writeMRC(np.ones((4, 5), "f4"), tmp_path / "a.mrcz", compressor="zstd")
    with mrcz.open(tmp_path / "a.mrcz") as stack:
        assert stack.shape == (1, 4, 5)


def test_pickles_as_its_path_and_notices_change(
    files: dict[str, tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    path = tmp_path / "copy.mrcz"
    path.write_bytes(files["zstd"][0].read_bytes())
    with mrcz.open(path) as stack:
        data = pickle.dumps(stack)
        assert len(data) < 4000
        with pickle.loads(data) as again:
            assert np.array_equal(again[3], stack[3])
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(mrcz.MRCError, match="changed"):
        pickle.loads(data)[0]
    with pytest.raises(TypeError), mrcz.open(io.BytesIO(path.read_bytes())) as stack:
        pickle.dumps(stack)


def test_reads_only_the_blocks_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    movie = random.poisson(1, (10, 512, 1024)).astype("int16")  # 1 MiB a frame
    path = tmp_path / "movie.mrcz"
    mrcz.writeMRC(movie, path, compressor="zstd", blocksize=1 << 16)
    decoded: list[int] = []
    real = codec.decompress

    def counting(chunk: memoryview, header: codec.ChunkHeader, *args: object, **kw: object) -> None:
        decoded.append(header.nbytes)
        real(chunk, header, *args, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr("mrcz.chunks.decompress", counting)
    with mrcz.open(path) as stack:
        assert np.array_equal(stack[7, 100:132], movie[7, 100:132])
        assert sum(decoded) == 2 << 16  # 64 KiB of rows, over a border of blocks
        decoded.clear()
        assert np.array_equal(stack[7, 100:132], movie[7, 100:132])
        assert decoded == []  # from the cache
        stack[4]
        assert decoded == [1 << 20]
        stack[4]
        assert decoded == [1 << 20]


def test_iterating_reads_small_frames_many_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = np.random.default_rng(0).poisson(1, (3000, 16, 16)).astype("int16")
    mrcz.writeMRC(movie, tmp_path / "a.mrcz", compressor="zstd")
    reads: list[int] = []
    real = sources.FileSource.read_into

    def counting(self: sources.FileSource, offset: int, view: memoryview) -> None:
        reads.append(offset)
        real(self, offset, view)

    monkeypatch.setattr(sources.FileSource, "read_into", counting)
    with mrcz.open(tmp_path / "a.mrcz") as stack:
        next(iter(stack))
        assert len(reads) == 1
        found = list(stack)
    assert len(reads) < 30
    assert np.array_equal(found, movie)
    assert all(frame.base is None for frame in found[1:])  # keeps no other alive


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_iterating_gives_the_frames_before_a_damaged_one(
    tmp_path: Path, compressor: str | None
) -> None:
    path = tmp_path / "a.mrcz"
    movie = np.random.default_rng(0).poisson(1, (32, 40, 40)).astype("int16")
    mrcz.writeMRC(movie, path, compressor=compressor)
    with mrcz.open(path) as stack:
        start, _ = stack._reader.table.span(23)
        data = path.read_bytes()
        if compressor is None:
            os.truncate(path, start + 100)
        else:
            path.write_bytes(data[: start + 4] + bytes(4) + data[start + 8 :])
    found = []
    with mrcz.open(path) as stack, pytest.raises(mrcz.MRCFormatError, match="frame 23"):
        for frame in stack:
            found.append(frame)
    assert np.array_equal(found, movie[:23])


def test_a_file_of_small_frames_is_walked_in_long_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index has the start of every eighth frame."""
    movie = np.random.default_rng(0).poisson(1, (2048, 16, 16)).astype("int16")
    mrcz.writeMRC(movie, tmp_path / "a.mrcz", compressor="zstd")
    walks: list[int] = []
    real = frames.FrameTable._walk

    def counting(self: frames.FrameTable, first: int, last: int) -> None:
        walks.append(last - first)
        real(self, first, last)

    monkeypatch.setattr(frames.FrameTable, "_walk", counting)
    pixels, _ = mrcz.readMRC(tmp_path / "a.mrcz")
    assert np.array_equal(pixels, movie)
    assert walks and len(walks) <= 2048 // 4


def test_cache_is_bounded(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).poisson(1, (32, 64, 64)).astype("int16")  # 8 KiB a frame
    mrcz.writeMRC(movie, tmp_path / "a.mrcz", compressor="zstd")
    with mrcz.open(tmp_path / "a.mrcz", cache_bytes=160_000) as stack:
        for frame in stack:
            assert frame.shape == (64, 64)
            assert stack._cache.nbytes <= 160_000
        assert len(stack._cache) == 19


def test_truncated_while_open(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.arange(400_000, dtype="i4").reshape(4, 200, 500), path, compressor="zstd")
    with mrcz.open(path) as stack:
        stack[0]
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(mrcz.MRCTruncatedError):
            stack[3]


def test_without_positional_reads(
    files: dict[str, tuple[Path, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(sources, "_HAS_PREAD", False)
    for path, pixels in files.values():
        with mrcz.open(path) as stack:
            assert np.array_equal(stack[1:5, 3], pixels[1:5, 3])


def test_memmap_of_a_compressed_file_is_a_stack(
    files: dict[str, tuple[Path, np.ndarray]],
) -> None:
    path, pixels = files["zstd"]
    lazy, header = mrcz.readMRC(path, useMemmap=True)
    assert isinstance(lazy, mrcz.Stack)
    assert np.array_equal(lazy[2:4], pixels[2:4])
    assert header["kind"] == "zstd"
    lazy.close()


def index_of(path: Path) -> dict[int, int]:
    with mrcz.open(path) as stack:
        record = stack._reader.record
        return {frame: record.data_offset + start
                for frame, start in record.index.by_frame().items()}


@pytest.mark.parametrize("count", [1, 2, 9, 88, 90, 360, 1500])
@pytest.mark.parametrize("endian", ["le", "be"])
def test_header_index_points_at_frames(tmp_path: Path, count: int, endian: str) -> None:
    path = tmp_path / "a.mrcz"
    movie = np.random.default_rng(0).poisson(1, (count, 8, 9)).astype("int16")
    mrcz.writeMRC(movie, path, compressor="zstd", endian=endian, meta={"a": 1})
    index = index_of(path)
    assert min(count - 1, 176) <= len(index) <= 708
    order = np.random.default_rng(1).permutation(count)
    with mrcz.open(path, cache_bytes=0) as stack:
        for frame in order[:20]:
            assert np.array_equal(stack[frame], movie[frame])
        assert np.array_equal(stack[:], movie)
        table = stack._reader.table
        assert all(table.span(frame)[0] == offset for frame, offset in index.items())


def test_header_index_follows_appending_and_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    movie = np.random.default_rng(0).poisson(1, (70, 8, 9)).astype("int16")
    mrcz.writeMRC(movie[:1], path, compressor="zstd")
    for number in range(1, 70):
        mrcz.writeMRC(movie[number], path, idx=number)
        index = index_of(path)
        assert len(index) == number
        with mrcz.open(path) as stack:
            table = stack._reader.table
            assert table.span(0, number + 1)[1] == path.stat().st_size
            assert all(table.span(frame)[0] == offset for frame, offset in index.items())
            assert np.array_equal(stack[number], movie[number])
    for start, count in ((0, 1), (15, 3), (31, 2), (69, 1), (60, 15)):
        movie = np.concatenate([movie, movie[:5]])[: max(70, start + count)]
        movie[start : start + count] += 7
        mrcz.writeMRC(movie[start : start + count], path, idx=start)
        index = index_of(path)
        assert index
        with mrcz.open(path) as stack:
            assert np.array_equal(stack[:], movie)
            assert all(stack._reader.table.span(f)[0] == offset for f, offset in index.items())


LABEL = b"MRCZ1.0.0"


@pytest.mark.parametrize(("lengths", "step"), [
    ([1 << 31] * 4096, 8), (range(1000), 4), ([600, 700] * 512, 2),
    ([1000] * 2048 + [600] * 2048, 16), ([1 << 24] * 384 + [16] * 128, 4),
    ([1 << 33] * 257 + [16] * 255, 8), ([100], 1), ([100] * 2, 1)])
def test_header_index_of_chunks_that_differ(lengths: Sequence[int], step: int) -> None:
    """Entries have a byte where chunks are within 128 bytes of the mean, eight reach anywhere."""
    nz, edges = len(lengths), list(accumulate(lengths, initial=0))
    labels = with_index([LABEL], nz, edges[-1], dict(enumerate(edges)))
    assert labels_in_use(labels) == [LABEL] == labels[:1]
    assert [len(label) for label in labels[1:]] == [80] * 9
    found = find_index(labels, nz, edges[-1])
    assert found.by_frame() == {frame: edges[frame] for frame in range(step, nz, step)}
    assert [found.start(number) for number in range(len(found) + 1)] == edges[:nz:step]
    assert not find_index(labels, nz + 1, edges[-1])
    assert not find_index(labels, nz, edges[-1] + 1)


@pytest.mark.parametrize("used", range(1, 11))
def test_header_index_beside_other_labels(used: int) -> None:
    texts = [LABEL, *(b"label %d" % number for number in range(1, used))]
    edges = [100 * frame for frame in range(100)]
    before = with_index([LABEL], 99, edges[-1], dict(enumerate(edges)))
    labels = with_index([*texts, *before[used:]], 99, edges[-1], dict(enumerate(edges)))
    assert len(labels) == 10
    assert labels_in_use(labels) == texts
    found = find_index(labels, 99, edges[-1]).by_frame()
    assert found == {frame: edges[frame] for frame in found}
    assert len(found) == (98 if used < 9 else 49 if used == 9 else 0)


def test_header_index_without_all_starts() -> None:
    """As after an append to a file that had few long entries."""
    few = {frame: 100 * frame for frame in range(0, 65, 8)}
    assert with_index([LABEL], 64, 6400, few)[1:] == [bytes(80)] * 9
    edges = [100 * frame for frame in range(1025)]
    few = {frame: edges[frame] for frame in range(0, 1025, 16)}
    labels = with_index([LABEL], 1024, edges[-1], few)
    assert len(find_index(labels, 1024, edges[-1])) == 63


def test_a_wrong_header_index_is_never_a_wrong_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    movie = np.random.default_rng(0).poisson(1, (40, 8, 9)).astype("int16")
    mrcz.writeMRC(movie, path, compressor="zstd")
    raw = path.read_bytes()
    start = raw.index(b"\0idx")
    assert start == 304
    for offset in range(start, start + 12 + 39):
        damaged = bytearray(raw)
        damaged[offset] ^= 0x41
        path.write_bytes(damaged)
        with mrcz.open(path) as stack:
            assert np.array_equal(stack[33], movie[33])
    path.write_bytes(raw + b"\0")  # somebody else has written here
    with mrcz.open(path) as stack:
        assert np.array_equal(stack[33], movie[33])


def test_other_programs_see_the_index_as_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(np.zeros((40, 8, 9), "int16"), path, compressor="zstd")
    header, _ = mrcz.readMRCHeader(path)
    assert header.labels == ["MRCZ1.0.0"]
    assert header.record.fields["nlabl"] == 1
    assert path.read_bytes()[112:132] == bytes(20)  # nor in what others call extra space
    assert path.read_bytes()[160:196] == bytes(36)


def test_one_of_many_frames_needs_few_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mrcz"
    movie = np.zeros((4096, 64, 64), "u2")
    movie[:, 0, 0] = np.arange(4096)
    mrcz.writeMRC(movie, path, compressor="zstd")
    read: list[int] = []
    real = sources.FileSource.read_into

    def counting(self: sources.FileSource, offset: int, view: memoryview) -> None:
        read.append(len(view))
        real(self, offset, view)

    monkeypatch.setattr(sources.FileSource, "read_into", counting)
    monkeypatch.setattr(sources.FileSource, "read", sources.Source.read)
    with mrcz.open(path) as stack:
        assert stack[4000, 0, 0] == 4000
    assert sum(read) < path.stat().st_size / 4


FORKED = """
import os, sys, threading, warnings
import numpy as np
import mrcz

warnings.simplefilter("ignore")  # forking is the point
movie = np.arange(60 * 64 * 64, dtype="i4").reshape(60, 64, 64) // 7
mrcz.writeMRC(movie, sys.argv[1], compressor="zstd")
stack = mrcz.open(sys.argv[1])
assert np.array_equal(stack[3, 5:9], movie[3, 5:9])
reader = stack._reader
locks = [reader._lock, reader.table._lock, stack._cache._lock]
held, over = threading.Event(), threading.Event()

def hold():
    for lock in locks:
        lock().acquire()
    held.set()
    over.wait()
    for lock in locks:
        lock().release()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    good = np.array_equal(stack[50], movie[50]) and np.array_equal(stack[:, 3:5], movie[:, 3:5])
    os._exit(0 if good and np.array_equal(stack[50], movie[50]) else 1)
status = os.waitpid(child, 0)[1]
over.set()
thread.join()
assert np.array_equal(stack[40], movie[40])
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_child_reads_on_while_locks_are_held(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, str(tmp_path / "a.mrcz")], check=False,
                          timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", [
    np.s_[:, :, 5], np.s_[::-1, 2:30, [1, 2, 2]], np.s_[:, [3, 4], [1, 2]], np.s_[1:, 5, [0, 1]],
    np.s_[None, :, None, [1, 2]], np.s_[:, [1], None, [2]], np.s_[:, [1], :, None],
    np.s_[2, :, [1, 2]], np.s_[[1, 2], :, 3], np.s_[:, np.arange(40) % 3 == 0, 4],
    np.s_[:, :, np.arange(33) > 30], np.s_[True, :, :, 1], np.s_[:, True, :, [1]],
    np.s_[:, [[1, 2], [3, 4]], 5:7], np.s_[0, 3, 4], np.s_[4:4, :, [1]], np.s_[None, 2, :, ::2],
    np.s_[[0, 4, 2, 1], :, [1, 2, 3, 5]], np.s_[[[0], [4], [2]], [1, 2], ::2],
])  # fmt: skip
@pytest.mark.parametrize("kind", ["raw", "zstd"])
def test_a_narrow_part_of_many_frames_is_read_frame_by_frame(
    files: dict[str, tuple[Path, np.ndarray]], monkeypatch: pytest.MonkeyPatch, key: object,
    kind: str,
) -> None:  # fmt: skip
    path, pixels = files[kind]
    monkeypatch.setattr("mrcz.stack._SLAB_BYTES", 2 * pixels[0].nbytes)
    with mrcz.open(path) as stack:
        found = stack[key]
        assert found.shape == pixels[key].shape  # type: ignore[index]
        assert np.array_equal(found, pixels[key])  # type: ignore[index]


def test_rows_of_frames_of_many_small_blocks(tmp_path: Path) -> None:
    """Their table of blocks is longer than what is read of a chunk at first."""
    pixels = np.random.default_rng(0).poisson(40, (2, 300, 200)).astype("i2")
    mrcz.writeMRC(pixels, tmp_path / "a.mrcz", compressor="zstd", blocksize=512)
    with mrcz.open(tmp_path / "a.mrcz") as stack:
        for rows in (slice(0, 1), slice(150, 152), slice(10, 290)):
            assert np.array_equal(stack[1, rows], pixels[1, rows])


def test_masks_behind_new_axes(files: dict[str, tuple[Path, np.ndarray]]) -> None:
    path, pixels = files["zstd"]
    frames, image = np.arange(len(pixels)) % 2 == 0, pixels[0] > pixels[0].mean()
    with mrcz.open(path) as stack:
        for key in (np.s_[None, frames], np.s_[None, :, None, image]):
            assert np.array_equal(stack[key], pixels[key])
        with pytest.raises(IndexError, match="along axis 0"):
            stack[None, frames[:-1]]


def test_a_closed_stack_says_so(files: dict[str, tuple[Path, np.ndarray]]) -> None:
    for kind in ("raw", "zstd", "gzip"):
        stack = mrcz.open(files[kind][0])
        stack.close()
        stack.close()
        assert stack.shape == SHAPE
        assert kind in repr(stack)
        with pytest.raises(ValueError, match="closed"):
            stack[2]


@pytest.mark.parametrize("options", [{"cache_bytes": -1}, {"cache_bytes": "1"}, {"n_threads": 0},
                                     {"cache_bytes": 1.5}, {"n_threads": "two"}])
def test_wrong_arguments_are_refused_at_once(
    files: dict[str, tuple[Path, np.ndarray]], options: dict[str, object]
) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        mrcz.open(files["raw"][0], **options)  # type: ignore[arg-type]
