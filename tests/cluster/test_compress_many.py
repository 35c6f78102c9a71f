"""Many files at once: by processes of this machine, and on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from distributed import KilledWorker

import mrcz
from mrcz.plugins.batch import FileResult, compress_one
from mrcz.plugins.processes import call_in_processes

from ..processes import environment

MOVIE = np.random.default_rng(1).poisson(1, (5, 64, 80)).astype("int16")


@pytest.fixture
def movies(tmp_path):
    """Six good ones, a damaged one, one that isn't there, one that is compressed."""
    paths = [tmp_path / "raw" / f"{number}.mrc" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        mrcz.writeMRC(MOVIE + np.int16(number), path)
    damaged, missing = tmp_path / "raw" / "damaged.mrc", tmp_path / "raw" / "missing.mrc"
    damaged.write_bytes(paths[0].read_bytes()[:5000])
    mrcz.writeMRC(MOVIE, tmp_path / "raw" / "packed.mrcz", compressor="lz4")
    return [*paths, damaged, missing, tmp_path / "raw" / "packed.mrcz"]


def check(movies, results, folder):
    assert [result.path for result in results] == [str(path) for path in movies]
    for number, result in enumerate(results[:6]):
        assert result.error is None
        assert result.output == str(folder / f"{number}.mrcz")
        assert 0 < result.after < result.before == os.path.getsize(movies[number])
        assert np.array_equal(mrcz.readMRC(result.output)[0], MOVIE + np.int16(number))
    assert isinstance(results[6].error, mrcz.MRCTruncatedError)
    assert isinstance(results[7].error, FileNotFoundError)
    assert "compressed already" in results[8].skipped
    assert {path.name for path in folder.iterdir() if path.suffix != ".mrc"} <= {
        *(f"{number}.mrcz" for number in range(6)), "packed.mrcz"}


@pytest.mark.parametrize("processes", [1, 2])
def test_by_processes(movies, tmp_path, processes):
    results = mrcz.compress_many(movies, tmp_path / "out", processes=processes, compressor="zstd")
    check(movies, results, tmp_path / "out")


def test_on_a_cluster(client, movies):
    results = mrcz.compress_many(map(str, movies), client=client)
    check(movies, results, movies[0].parent)


def test_again_skips_what_is_done(client, movies):
    first = mrcz.compress_many(movies[:3], client=client)
    written = [os.stat(result.output).st_mtime_ns for result in first]
    again = mrcz.compress_many(movies[:4], client=client)
    assert [bool(result.skipped) for result in again] == [True] * 3 + [False]
    assert written == [os.stat(result.output).st_mtime_ns for result in again[:3]]


def test_what_is_there_is_not_replaced(movies):
    other = movies[0].with_suffix(".mrcz")
    other.write_bytes(b"something else")
    result, = mrcz.compress_many(movies[0], processes=1)
    assert isinstance(result.error, FileExistsError)
    assert other.read_bytes() == b"something else"
    result, = mrcz.compress_many(movies[0], processes=1, overwrite=True)
    assert result.error is None


def test_delete_original(movies):
    results = mrcz.compress_many(movies, processes=1, delete_original=True)
    assert [path.exists() for path in movies] == [False] * 6 + [True, False, True]
    assert np.array_equal(mrcz.readMRC(results[3].output)[0], MOVIE + np.int16(3))


def _die_of_the_third(pair, **options):
    if pair[0].endswith("2.mrc"):
        os.kill(os.getpid(), 9)
    return compress_one(pair, **options)


def test_a_process_that_dies_costs_its_file_alone(movies, monkeypatch):
    monkeypatch.setattr("mrcz.plugins.batch.compress_one", _die_of_the_third)
    results = mrcz.compress_many(movies[:6], processes=2)
    assert [result.error is None for result in results] == [True, True, False, True, True, True]
    assert isinstance(results[2].error, ChildProcessError)
    assert "-9" in str(results[2].error)
    assert not movies[2].with_suffix(".mrcz").exists()


def test_a_worker_that_dies_costs_its_file_alone(client, movies, monkeypatch):
    monkeypatch.setattr("mrcz.plugins.batch.compress_one", _die_of_the_third)
    results = mrcz.compress_many(movies[:6], client=client)
    assert [result.error is None for result in results] == [True, True, False, True, True, True]
    assert isinstance(results[2].error, KilledWorker)


class NotMadeAgain(Exception):
    """By pickle, which hands over the message alone."""

    def __init__(self, message, more):
        super().__init__(message)
        self.more = more


def _fail_of_the_third(pair, **options):
    if pair[0].endswith("2.mrc"):
        return FileResult(*pair, error=NotMadeAgain("spoilt", 1))
    if pair[0].endswith("3.mrc"):
        error = RuntimeError("has a lock")
        error.lock = threading.Lock()
        return FileResult(*pair, error=error)
    return compress_one(pair, **options)


def test_an_error_that_can_not_travel_costs_its_file_alone(movies, monkeypatch, capfd):
    monkeypatch.setattr("mrcz.plugins.batch.compress_one", _fail_of_the_third)
    results = mrcz.compress_many(movies[:6], processes=2)
    assert [result.error is None for result in results] == [True, True, False, False, True, True]
    assert "NotMadeAgain" in str(results[2].error)
    assert "has a lock" in str(results[3].error)
    assert capfd.readouterr().err == ""


IN_A_POOL = """
import glob, multiprocessing, sys
import mrcz

def work(_):
    return [result.error for result in mrcz.compress_many(glob.glob("?.mrc"), processes=2)]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sys.exit(pool.map(work, [0]) != [[None] * 6])
"""


def test_where_there_can_be_no_processes_threads_do_it(movies):
    """In a process of a Pool, and in a script that others can't read, as it came by a pipe."""
    folder = movies[0].parent
    process = run(IN_A_POOL, folder)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "daemonic" in errors
    for path in folder.glob("?.mrcz"):
        path.unlink()
    script = ("import glob, mrcz\n"
              "if [*filter(None, (r.error for r in mrcz.compress_many(glob.glob('?.mrc'),\n"
              "                                                       processes=2)))]:\n"
              "    raise SystemExit(1)\n")
    done = subprocess.run([sys.executable, "-"], input=script, cwd=folder, text=True, check=False,
                          env=environment(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no file: <stdin>" in done.stderr
    assert len(list(folder.glob("?.mrcz"))) == 6


def run(script, folder):
    """Start a script of its own, for its processes import it."""
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.Popen([sys.executable, path], cwd=folder, text=True, stderr=subprocess.PIPE,
                            env=environment(), start_new_session=True)


def test_a_script_without_its_main_is_told(movies):
    process = run("import glob, mrcz; mrcz.compress_many(glob.glob('*.mrc'), processes=2)",
                  movies[0].parent)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "ChildProcessError" in errors and '__name__ == "__main__"' in errors
    assert errors.count("An attempt has been made to start a new process") <= 2
    assert not list(movies[0].parent.glob("?.mrcz"))


def test_who_ignores_interrupts_has_them_ignored(tmp_path):
    """As a script in the background, which the terminal's Ctrl-C reaches all the same."""
    for number in range(10):
        mrcz.writeMRC(np.random.default_rng(number).normal(size=(2, 1000, 1000)),
                      tmp_path / f"{number}.mrc", dtype="float32")
    process = run(
        "import glob, signal, sys, mrcz\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    results = mrcz.compress_many(glob.glob('*.mrc'), processes=2, compressor='zstd')\n"
        "    sys.exit(repr([r.error for r in results]))\n", tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.mrcz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == f"{[None] * 10}\n"


@pytest.mark.parametrize("by_terminal", [False, True])
def test_an_interrupt_stops_all_of_them(tmp_path, by_terminal):
    for number in range(30):
        mrcz.writeMRC(np.random.default_rng(number).normal(size=(2, 1000, 1000)),
                      tmp_path / f"{number}.mrc", dtype="float32")
    process = run(
        "import glob, sys, mrcz\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        mrcz.compress_many(glob.glob('*.mrc'), processes=2, compressor='zstd', clevel=9)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit('interrupted')\n", tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.mrcz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (os.killpg if by_terminal else os.kill)(process.pid, signal.SIGINT)
    interrupted = time.monotonic()
    assert process.communicate(timeout=60)[1].splitlines()[-1] == "interrupted"
    assert time.monotonic() - interrupted < 5
    names = {path.name for path in tmp_path.iterdir() if path.suffix != ".mrc"} - {"script.py"}
    assert all(name.endswith(".mrcz") and name[0].isdigit() for name in names), names
    assert 0 < len(names) < 30
    for name in names:
        mrcz.readMRC(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals of threads")
def test_an_interrupt_is_heard_that_does_not_wake_who_waits():
    """As one that comes just before the wait; here it goes to another thread."""
    def interrupt():
        time.sleep(2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = time.monotonic()
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            call_in_processes(time.sleep, [30, 30], 2)
        assert time.monotonic() - started < 15
    finally:
        signal.signal(signal.SIGINT, before)


def test_wrong_arguments(movies, tmp_path):
    with pytest.raises(ValueError, match="verify"):
        mrcz.compress_many(movies, delete_original=True, verify=False)
    with pytest.raises(ValueError, match="compressor"):
        mrcz.compress_many(movies, compressor="best")
    with pytest.raises(ValueError, match="processes must be 1 to"):
        mrcz.compress_many(movies, processes=0)
    with pytest.raises(TypeError, match="processes must be an integer or None"):
        mrcz.compress_many(movies, processes="2")
    with pytest.raises(ValueError, match="both become"):
        mrcz.compress_many([movies[0], tmp_path / "0.mrc"], tmp_path / "out")
    assert mrcz.compress_many([]) == []
