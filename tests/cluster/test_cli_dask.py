"""`mrcz compress --dask`."""

import json

import numpy as np

import mrcz
from mrcz.cli import main

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
