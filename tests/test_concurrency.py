"""Many threads, many processes, long lives: the same pixels and bytes, and nothing left over."""

from __future__ import annotations

import gc
import gzip
import io
import logging
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz
from mrcz import codec, codec2, lease, parallel, scratch

from . import helping
from .processes import by_night, run_script

THREADS, JOBS = 8, by_night(500, 60)
CYCLES = by_night(10_000, 1_000)
MOVIE = np.random.default_rng(0).poisson(3, (5, 90, 110)).astype("int16")
OPTIONS: list[dict[str, Any]] = [
    {}, {"compressor": "zstd"}, {"compressor": "lz4", "blocksize": 1024, "checksum": True},
    {"compressor": "zlib", "clevel": 3, "n_threads": 3}, {"compressor": "blosclz", "clevel": 9},
    {"endian": "be", "compressor": "zstd", "shuffle": "shuffle", "blocksize": 4096},
    {"compressor": "lz4hc", "quickStats": False}, {"dtype": "uint4", "compressor": "zstd"},
]  # fmt: skip


def movie(number: int) -> np.ndarray:
    return (MOVIE + number) % 16 if number % 2 else (MOVIE + number) % 13


def blosc_state() -> tuple[int, bool, int]:
    threads = codec.blosc_extension.set_nthreads(1)
    codec.blosc_extension.set_nthreads(threads)
    releases = codec.blosc_extension.set_releasegil(False)
    codec.blosc_extension.set_releasegil(releases)
    return threads, bool(releases), codec.blosc_extension.get_blocksize()


def job(folder: Path, number: int) -> tuple[bytes, bytes]:
    """Write, append, overwrite and read in ways that the number chooses; bytes and pixels."""
    rng = random.Random(number)
    options = OPTIONS[number % len(OPTIONS)]
    path = folder / f"{number}.mrcz"
    image = movie(number)
    mrcz.writeMRC(image, path, meta={"number": number}, **options)
    if rng.random() < 0.3 and "dtype" not in options:
        mrcz.writeMRC(image[:2], path, idx=rng.choice((0, 2, 5)))
    pixels = mrcz.readMRC(path, n_threads=rng.choice((1, 2, 4)))[0].tobytes()
    with mrcz.open(path, n_threads=2) as stack:
        pixels += stack[rng.randrange(5), 10:40].tobytes() + stack[::2, 3].tobytes()
    content = path.read_bytes()
    path.unlink()
    return content, pixels


def test_threads_give_what_one_gives(tmp_path: Path) -> None:
    before = blosc_state()
    serial = {}
    for number in range(2 * len(OPTIONS)):
        serial[number] = job(tmp_path, number)
    wrong: list[int] = []

    def work(worker: int) -> None:
        rng = random.Random(worker)
        folder = tmp_path / str(worker)
        folder.mkdir()
        for _ in range(JOBS):
            number = rng.randrange(len(serial))
            if job(folder, number) != serial[number]:
                wrong.append(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(work, worker) for worker in range(THREADS)]:
            future.result()
    assert wrong == []
    assert blosc_state() == before
    helping.require_none()


def test_one_stack_for_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd", blocksize=1024, checksum=True)
    with mrcz.open(path, n_threads=2) as stack, ThreadPoolExecutor(THREADS) as pool:
        def look(number: int) -> bool:
            rng = random.Random(number)
            frame, first = rng.randrange(5), rng.randrange(80)
            return (np.array_equal(stack[frame, first : first + 9], MOVIE[frame, first : first + 9])
                    and np.array_equal(stack[frame], MOVIE[frame]))

        assert all(pool.map(look, range(JOBS * 4)))


def read_sum(path: str) -> int:
    image = mrcz.readMRC(path, n_threads=3)[0]
    copy = f"{path}.{os.getpid()}.{random.random()}"
    mrcz.writeMRC(image, copy, compressor="zstd", n_threads=3)
    with mrcz.open(copy) as stack:
        total = int(np.asarray(stack).sum())
    os.unlink(copy)
    return total


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", [method for method in multiprocessing.get_all_start_methods()
                                    if method != "forkserver"])
def test_processes_of_every_kind_read_the_file(tmp_path: Path, method: str) -> None:
    """After this process has used threads and blosc itself."""
    path = str(tmp_path / "a.mrcz")
    mrcz.writeMRC(MOVIE, path, compressor="zstd", n_threads=3)
    mrcz.asyncReadMRC(path).result(timeout=60)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_sum, [path] * 8) == [int(MOVIE.sum())] * 8


FORKS = """
import faulthandler, os, sys, threading, numpy as np, mrcz, warnings
warnings.simplefilter("ignore")
path = sys.argv[1]
movie = np.arange(6 * 300 * 300, dtype="i4").reshape(6, 300, 300)
mrcz.writeMRC(movie, path, compressor="zstd")
mrcz.asyncReadMRC(path).result()  # imports: a lock of CPython itself
stop = threading.Event()
def busy():
    while not stop.is_set():
        mrcz.readMRC(path, n_threads=2)
        mrcz.asyncReadMRC(path).result()
        mrcz.writeMRC(movie[:2], path + str(threading.get_ident()), compressor="lz4", n_threads=2)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        ok = False
        try:
            faulthandler.dump_traceback_later(30, exit=True)
            ok = np.array_equal(mrcz.asyncReadMRC(path, n_threads=2).result(60)[0], movie)
            mrcz.writeMRC(movie[:2], path + "child", compressor="zstd", n_threads=2)
        finally:
            os._exit(0 if ok else 1)
    bad += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in threads:
    thread.join()
print("bad", bad)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forks_while_threads_read_and_write(tmp_path: Path) -> None:
    done = run_script(FORKS, tmp_path / "a.mrcz", by_night(200, 20))
    assert done.stdout == "bad 0\n", done.stdout + done.stderr


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def in_a_fork(job: Any) -> Any:
    """Start a job in a forked process; returns what waits for it and tells whether it went well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            job()
            status = 0
        finally:
            os._exit(status)
    return lambda: os.waitpid(child, 0)[1] == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("in_memory", [1 << 16, 64 << 20])
def test_a_stream_is_read_on_in_a_fork(
    tmp_path: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And meanwhile in the parent, wherever what was unpacked is kept."""
    monkeypatch.setattr(scratch, "_MOST_IN_MEMORY", in_memory)
    image = np.random.default_rng(2).integers(0, 1000, (60, 128, 128)).astype("int16")
    mrcz.writeMRC(image, tmp_path / "a.mrc")
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes(), 1))
    with mrcz.open(packed, cache_bytes=0) as stack:
        assert np.array_equal(stack[9], image[9])

        def read_all() -> None:
            for number in (8, *range(60)):
                assert np.array_equal(stack[number], image[number])

        children = [in_a_fork(read_all) for _ in range(2)]
        read_all()
        assert all(went_well() for went_well in children)


def as_temporary(path: Path) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115  (closed by the test)
    file.write(path.read_bytes())
    file.seek(0)
    return file


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("compressor", [None, "lz4"])
@pytest.mark.parametrize("opened", [
    lambda path: path.open("rb"), lambda path: path.open("rb", buffering=0),
    lambda path: io.BytesIO(path.read_bytes()), lambda path: path.open("r+b"), as_temporary,
], ids=["buffered", "unbuffered", "memory", "changeable", "temporary"])
def test_file_objects_in_forks(tmp_path: Path, opened: Any, compressor: str | None) -> None:
    """Pixels, or where a position would be shared an error, never pixels from elsewhere."""
    image = np.random.default_rng(2).integers(0, 1000, (60, 128, 128)).astype("int16")
    mrcz.writeMRC(image, tmp_path / "a.mrc", compressor=compressor)
    with opened(tmp_path / "a.mrc") as file, mrcz.open(file, cache_bytes=0) as stack:
        shared = not isinstance(file, (io.BytesIO, io.BufferedReader, io.FileIO))

        def read_all() -> None:
            for number in (8, *range(60)) * 5:
                assert np.array_equal(stack[number], image[number])

        def read_in_child() -> None:
            if not shared:
                return read_all()
            for number in range(60):
                with pytest.raises(OSError, match="one position for all processes"):
                    stack[number]
            return None

        children = [in_a_fork(read_in_child) for _ in range(2)]
        read_all()
        assert all(went_well() for went_well in children)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_stream_that_comes_but_once_is_not_read_on_in_a_fork(tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 1000, (60, 128, 128)).astype("int16")
    mrcz.writeMRC(image, tmp_path / "a.mrc")
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes(), 1))
    with packed.open("rb") as file, mrcz.open(file) as stack:
        assert np.array_equal(stack[9], image[9])

        def read_on() -> None:
            assert np.array_equal(stack[8], image[8])  # is here already
            with pytest.raises(OSError, match="open the file in each process"):
                stack[59]

        assert in_a_fork(read_on)()
        assert np.array_equal(stack[:], image)


@pytest.mark.parametrize("name", ["_read_some", "_scratch.write"])
def test_a_stream_is_read_on_after_an_interrupt(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(2).integers(0, 1000, (60, 128, 128)).astype("int16")
    mrcz.writeMRC(image, tmp_path / "a.mrc")
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes(), 1))
    with mrcz.open(packed, cache_bytes=0) as stack:
        assert np.array_equal(stack[0], image[0])
        owner: Any = stack._reader.source
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        real = getattr(owner, name.split(".")[-1])

        def interrupted(*args: Any) -> None:
            real(*args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name.split(".")[-1], interrupted)
            stack[30]
        assert np.array_equal(stack[30], image[30])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_blosc2_is_free_in_a_fork() -> None:
    with codec2._lock():
        went_well = in_a_fork(lambda: codec2._lock().acquire(blocking=False) or os._exit(2))
    assert went_well()


def test_threads_are_as_many_as_cores_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SLURM says it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 7}, raising=False)
    assert parallel.default_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert parallel.default_threads() == 5


def test_no_more_than_two_items_a_thread_are_in_flight() -> None:
    """However long the first one takes, which all others have to wait for."""
    taken: list[int] = []
    meanwhile: list[int] = []
    consumed: list[int] = []

    def items() -> Iterator[int]:
        for number in range(500):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 0:
            time.sleep(0.3)
            meanwhile.append(len(taken))
        return number

    parallel.run_ordered(items(), work, consumed.append, threads=4)
    assert meanwhile[0] <= 8
    assert consumed == list(range(500))


def test_cancelled_jobs_are_not_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def slow() -> Any:
        for frame in MOVIE:
            time.sleep(0.05)
            yield frame

    with caplog.at_level(logging.ERROR):
        first = mrcz.asyncWriteMRC(slow(), tmp_path / "first.mrc")
        second = mrcz.asyncWriteMRC(MOVIE, tmp_path / "second.mrc")
        assert second.cancel()
        first.result(timeout=60)
        assert np.array_equal(mrcz.readMRC(tmp_path / "first.mrc", slices=0)[0], MOVIE)
    assert not (tmp_path / "second.mrc").exists()
    assert caplog.records == []


EXIT = """
import atexit, sys, threading, numpy as np, mrcz
folder = sys.argv[1]
movie = np.random.default_rng(0).poisson(3, (20, 512, 512)).astype("i2")
for number in range(3):
    mrcz.asyncWriteMRC(movie, f"{folder}/{number}.mrcz", compressor="zstd", n_threads=4)
atexit.register(lambda: mrcz.writeMRC(movie, f"{folder}/late.mrcz", compressor="zstd", n_threads=4))
"""


def test_exit_waits_for_writes_and_still_can_write(tmp_path: Path) -> None:
    """Also where no thread can be started any more, as from CPython 3.12 on."""
    done = run_script(EXIT, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["0.mrcz", "1.mrcz", "2.mrcz", "late.mrcz"]
    for name in names:
        assert mrcz.verify(tmp_path / name) == []


def resources() -> dict[str, int]:
    found = {"threads": threading.active_count()}
    if os.path.isdir("/proc/self/fd"):
        found["descriptors"] = len(os.listdir("/proc/self/fd"))
        with open("/proc/self/maps", encoding="utf-8") as maps:
            found["mappings"] = sum(1 for _ in maps)
        with open("/proc/self/statm", encoding="utf-8") as statm:
            found["bytes"] = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return found


def cycle(folder: Path, number: int) -> None:
    path = folder / "a.mrcz"
    mrcz.writeMRC(MOVIE[:3], path, meta={"n": number}, **OPTIONS[number % 3])
    with mrcz.open(path) as stack:
        stack[1, 3:9]
    mrcz.readMRC(path)
    stack = mrcz.open(path)  # and one that is forgotten
    stack[0]
    if number % 10 == 0:
        with pytest.raises(mrcz.MRCError):
            path.write_bytes(path.read_bytes()[:2000])
            mrcz.readMRC(path)
        mrcz.readMRC(folder / "b.mrc", useMemmap=True)[0].sum()


def test_nothing_grows(tmp_path: Path) -> None:
    mrcz.writeMRC(MOVIE, tmp_path / "b.mrc")
    for number in range(200):
        cycle(tmp_path, number)
    gc.collect()
    before = resources()
    for number in range(CYCLES):
        cycle(tmp_path, number)
    gc.collect()
    after = resources()
    growth = {name: after[name] - before[name] for name in before}
    print(f"{CYCLES} cycles: {growth}")
    assert growth["threads"] <= 0
    assert growth.get("descriptors", 0) <= 0
    assert growth.get("mappings", 0) <= 20  # malloc's arenas come and go
    assert growth.get("bytes", 0) < 8 << 20
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_a_file_cut_while_it_is_open(tmp_path: Path, options: dict[str, Any]) -> None:
    """An error, where a memory map would kill the process with SIGBUS."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, **options)
    with mrcz.open(path, cache_bytes=0) as stack:
        assert np.array_equal(stack[4], MOVIE[4])
        os.truncate(path, 1500)
        for key in (4, (3, slice(5, 9)), slice(None)):
            with pytest.raises(mrcz.MRCError):
                stack[key]
        os.truncate(path, 0)
        with pytest.raises(mrcz.MRCError):
            stack[0]


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_a_file_replaced_while_it_is_open(tmp_path: Path, options: dict[str, Any]) -> None:
    """Written anew by us, the open one goes on reading what it opened; pickles of it don't."""
    import pickle

    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, **options)
    with mrcz.open(path, cache_bytes=0) as stack:
        pickled = pickle.dumps(stack)
        mrcz.writeMRC(MOVIE[:2, :50] + 1, path, **options)
        assert np.array_equal(stack[3], MOVIE[3])
        assert np.array_equal(np.asarray(stack), MOVIE)
        with pytest.raises(mrcz.MRCError, match="changed"):
            len(pickle.loads(pickled))


@pytest.mark.parametrize("options", OPTIONS[1:3])
def test_a_file_overwritten_with_noise_while_it_is_open(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """In place, by others: errors of ours or (where no checksum is) other pixels, no crash."""
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, **options)
    rng = random.Random(1)
    size = path.stat().st_size
    refused = 0
    with mrcz.open(path, cache_bytes=0, n_threads=2) as stack:
        for _ in range(100):
            with path.open("r+b") as file:
                file.seek(rng.randrange(1024, size))
                file.write(rng.randbytes(30))
            try:
                stack[:]
                stack[2, 4:50]
            except mrcz.MRCError:
                refused += 1
    assert refused > 50


def test_settings_survive_errors_in_threads(tmp_path: Path) -> None:
    before = blosc_state()
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(MOVIE, path, compressor="zstd", blocksize=1024)
    data = bytearray(path.read_bytes())
    data[3000:4000] = bytes(1000)
    path.write_bytes(data)

    def fail(number: int) -> None:
        with pytest.raises(mrcz.MRCError):
            mrcz.readMRC(path, n_threads=2)
        with pytest.raises(ValueError, match="frame"):
            mrcz.writeMRC(np.full((4, 9, 9), 1e9), tmp_path / str(number), compressor="zstd",
                          dtype="int16", blocksize=4096)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fail, range(50)))
    assert blosc_state() == before
    assert not lease._settings._leases
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrcz"]
