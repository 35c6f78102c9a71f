"""`mrcz verify` and `mrcz repair`."""

import json

import numpy as np
import pytest

import mrcz
from mrcz.cli import main
from mrcz.integrity import Finding

MOVIE = np.random.default_rng(3).poisson(2, (8, 64, 64)).astype("int16")


@pytest.fixture
def movie(tmp_path):
    mrcz.writeMRC(MOVIE, tmp_path / "movie.mrc")
    assert main(["compress", "-q", "-c", "zstd", str(tmp_path / "movie.mrc")]) == 0
    return tmp_path / "movie.mrcz"


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 32] = bytes(32)
    path.write_bytes(data)


def test_what_compress_writes_has_checksums_and_verifies(movie, capsys):
    assert main(["verify", str(movie), str(movie.with_suffix(".mrc"))]) == 0
    assert capsys.readouterr().out.count(": ok") == 2
    # One bit of a checksum, in the trailer: only a file that has checksums can tell.
    data = bytearray(movie.read_bytes())
    data[-30] ^= 1
    movie.write_bytes(data)
    assert main(["verify", "--shallow", str(movie)]) == 1


def test_damage_is_told_by_frame_and_by_exit_code(movie, capsys):
    damage(movie)
    assert main(["verify", "--json", str(movie)]) == 1
    (page,) = json.loads(capsys.readouterr().out)
    assert page["file"] == str(movie)
    assert len(page["findings"]) == 1
    assert page["findings"][0]["frame"] in range(8)
    assert main(["verify", "-q", str(movie)]) == 1
    assert f"frame {page['findings'][0]['frame']}" in capsys.readouterr().out


def test_no_such_file(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "none.mrc")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_repair_saves_the_rest(movie, capsys):
    damage(movie)
    before = movie.read_bytes()
    new = movie.parent / "new.mrcz"
    assert main(["repair", str(movie), str(new)]) == 1
    assert "7 frames recovered, 1 lost" in capsys.readouterr().out
    assert movie.read_bytes() == before
    assert main(["verify", str(new)]) == 0
    same = [np.array_equal(*pair) for pair in zip(mrcz.readMRC(new)[0], MOVIE, strict=True)]
    assert sum(same) == 7


def test_repair_of_a_sound_file_loses_nothing(movie, capsys):
    new = movie.parent / "new.mrcz"
    assert main(["repair", "--json", str(movie), str(new)]) == 0
    assert json.loads(capsys.readouterr().out)["recovered"] == list(range(8))


def test_repair_replaces_nothing_unasked(movie, capsys):
    other = movie.parent / "other.mrcz"
    other.write_text("mine")
    assert main(["repair", str(movie), str(other)]) == 2
    assert other.read_text() == "mine"
    assert main(["repair", str(movie), str(movie)]) == 2
    assert main(["repair", "--force", str(movie), str(other)]) == 0
    capsys.readouterr()


def test_repair_into_the_damaged_file_is_a_wrong_argument(movie, monkeypatch, capsys):
    monkeypatch.chdir(movie.parent)
    assert main(["repair", "--force", movie.name, f"./{movie.name}"]) == 2
    assert "another file" in capsys.readouterr().err


def test_a_finding_names_its_frame_once():
    assert str(Finding("frame 3 is cut", 3, 9)) == "frame 3 is cut (at byte 9)"
    assert str(Finding("frame 31 is cut", 3)) == "frame 3: frame 31 is cut"
    assert str(Finding("is cut", 3)) == "frame 3: is cut"


def test_want_of_memory_is_no_damage(movie, capsys, monkeypatch):
    def refuse(shape, dtype):
        raise MemoryError

    monkeypatch.setattr("mrcz.reader.empty", refuse)
    assert main(["verify", str(movie)]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert "not enough memory" in output.err
