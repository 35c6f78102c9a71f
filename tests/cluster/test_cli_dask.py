"""`mrcz compress --dask`."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

import mrcz
from mrcz.cli import main
from mrcz.plugins.batch import compress_one

from ..processes import environment

MOVIE = np.random.default_rng(1).poisson(1, (5, 64, 80)).astype("int16")


def test_a_folder_is_compressed_by_the_workers(cluster, tmp_path, capsys):
    raw = tmp_path / "raw"
    (raw / "day").mkdir(parents=True)
    names = ["a.mrc", "b.mrc", "day/c.mrcs"]
    for number, name in enumerate(names):
        mrcz.writeMRC(MOVIE + np.int16(number), raw / name)
    before = {name: (raw / name).read_bytes() for name in names}
    (raw / "bad.mrc").write_bytes(b"short")
    command = ["compress", str(raw), "-o", str(tmp_path / "new"), "--delete-original",
               "--dask", cluster.scheduler_address]
    assert main([*command, "--json"]) == 1  # the bad one
    captured = capsys.readouterr()
    assert "bad.mrc" in captured.err and captured.err.count("\n") == 1
    results = json.loads(captured.out)
    assert len(results) == 3 and all(result["removed"] for result in results)
    assert sorted(path.name for path in raw.rglob("*.mrc*")) == ["bad.mrc"]
    assert main(["decompress", "-q", str(tmp_path / "new"), "-o", str(tmp_path / "back")]) == 0
    for name in names:
        assert (tmp_path / "back" / name).read_bytes() == before[name]


def test_what_is_done_is_skipped(cluster, tmp_path, capsys):
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    command = ["compress", str(tmp_path), "--dask", cluster.scheduler_address]
    assert main(command) == 0
    assert "verified" in capsys.readouterr().out
    assert main(command) == 0
    assert "done already" in capsys.readouterr().out


def test_nobody_at_the_address(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrcz.commands.compress.SECONDS_TO_CONNECT", 1)
    mrcz.writeMRC(MOVIE, tmp_path / "a.mrc")
    assert main(["compress", str(tmp_path), "--dask", "tcp://127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def _die_of_b(pair, **options):
    if pair[0].endswith("b.mrc"):
        os.kill(os.getpid(), 9)
    return compress_one(pair, **options)


def test_a_worker_that_dies_costs_its_file_alone(cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mrcz.plugins.batch.compress_one", _die_of_b)
    for name in "abc":
        mrcz.writeMRC(MOVIE, tmp_path / f"{name}.mrc")
    assert main(["compress", str(tmp_path), "--dask", cluster.scheduler_address]) == 1
    assert str(tmp_path / "b.mrc") in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("*.mrcz")) == ["a.mrcz", "c.mrcz"]


def test_an_interrupt_leaves_the_other_files_alone(cluster, tmp_path):
    for number in range(30):
        mrcz.writeMRC(np.random.default_rng(number).normal(size=(2, 1000, 1000)),
                      tmp_path / f"{number}.mrc", dtype="float32")
    process = subprocess.Popen(
        [sys.executable, "-m", "mrcz", "compress", tmp_path, "-c", "zstd", "-l", "9",
         "--dask", cluster.scheduler_address], env=environment(), start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.mrcz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - interrupted < 10
    time.sleep(3)  # what is being compressed may be finished
    assert 0 < len(list(tmp_path.glob("*.mrcz"))) < 20
