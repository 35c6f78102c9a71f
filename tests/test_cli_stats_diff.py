"""`mrcz stats`, `mrcz diff` and `mrcz completion`."""

import io
import json
import shutil
import subprocess
import threading

import numpy as np
import pytest

import mrcz
from mrcz.cli import main
from mrcz.commands import COMMANDS
from mrcz.copies import slabs
from mrcz.locking import locked

MOVIE = np.random.default_rng(9).poisson(3, (9, 20, 30)).astype("int16")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mrcz.writeMRC(MOVIE, "a.mrcz", compressor="zstd", checksum=True, meta={"dose": 1.5},
                  pixelsize=1.06)
    mrcz.writeMRC(MOVIE.astype("float32"), "b.mrc", endian="be", meta={"dose": 1.5},
                  pixelsize=1.06)
    return tmp_path


def json_of(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("slab", [1, 64 << 20])
def test_statistics_are_exact(folder, capsys, monkeypatch, slab):
    monkeypatch.setattr(slabs, "SLAB_BYTES", slab)
    for page in json_of(capsys, "stats", "a.mrcz", "b.mrc"):
        assert page["pixels"] == MOVIE.size
        assert page["minimum"] == MOVIE.min() and page["maximum"] == MOVIE.max()
        assert page["mean"] == pytest.approx(MOVIE.mean(), rel=1e-12)
        assert page["rms"] == pytest.approx(MOVIE.std(), rel=1e-12)


def test_histogram_counts_every_pixel(folder, capsys):
    (page,) = json_of(capsys, "stats", "a.mrcz", "--histogram")
    assert page["histogram"]["counts"] == np.bincount(MOVIE.ravel())[MOVIE.min():].tolist()
    (page,) = json_of(capsys, "stats", "b.mrc", "--histogram", "7")
    counts, edges = np.histogram(MOVIE, 7)
    assert page["histogram"]["counts"] == counts.tolist()
    assert page["histogram"]["edges"] == pytest.approx(edges.tolist())
    assert main(["stats", "--histogram", "5", "a.mrcz"]) == 0
    assert capsys.readouterr().out.count("#") > 10


@pytest.mark.parametrize("extreme", [np.nan, np.inf])
def test_pixels_that_are_no_numbers(folder, capsys, extreme):
    mrcz.writeMRC(np.array([[1, extreme]], "float32"), "nan.mrc")
    (page,) = json_of(capsys, "stats", "--histogram", "3", "nan.mrc")
    assert page["mean"] is None and "histogram" not in page
    assert main(["stats", "--histogram", "3", "nan.mrc"]) == 0


@pytest.mark.parametrize("name", ["a.mrcz", "b.mrc"])
def test_fix_header_changes_the_header_alone(folder, name, capsys):
    pixels, before = mrcz.readMRC(name)
    assert before["meanImage"] != pytest.approx(MOVIE.mean(), rel=1e-6)
    assert main(["stats", "--fix-header", name]) == 0
    image, header = mrcz.readMRC(name)
    np.testing.assert_array_equal(image, pixels)
    assert header["meanImage"] == pytest.approx(MOVIE.mean(), rel=1e-6)
    assert header.record.fields["rms"] == pytest.approx(MOVIE.std(), rel=1e-6)
    assert header["dose"] == 1.5
    assert mrcz.verify(name) == []


def test_complex_pixels_have_no_order(folder, capsys):
    mrcz.writeMRC((MOVIE * (1 + 2j)).astype("complex64"), "c.mrc")
    (page,) = json_of(capsys, "stats", "--histogram", "3", "c.mrc")
    assert page["pixels"] == MOVIE.size
    assert [page[key] for key in ("minimum", "maximum", "mean", "rms")] == [None] * 4
    assert "histogram" not in page
    assert main(["stats", "c.mrc"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["c.mrc", "-", "-", "-", "-"]


def test_fix_header_takes_turns_with_writers(folder):
    done = threading.Event()

    def fix():
        main(["stats", "-q", "--fix-header", "a.mrcz"])
        done.set()

    thread = threading.Thread(target=fix)
    with locked("a.mrcz"):
        thread.start()
        assert not done.wait(0.3)
        assert mrcz.readMRCHeader("a.mrcz")[0].record.fields["rms"] == -1
    thread.join()
    assert mrcz.readMRCHeader("a.mrcz")[0].record.fields["rms"] > 0


def test_fix_header_of_a_stream_is_refused(folder, capsys):
    assert main(["convert", "-q", "a.mrcz", "a.mrc.gz"]) == 0
    assert main(["stats", "--fix-header", "a.mrc.gz"]) == 1
    assert "decompress it first" in capsys.readouterr().err


def test_same_pixels_in_another_form_are_the_same(folder, capsys):
    assert main(["diff", "a.mrcz", "b.mrc"]) == 0
    assert "hold the same" in capsys.readouterr().out
    assert json_of(capsys, "diff", "a.mrcz", "b.mrc") == {}


def test_what_differs_is_named(folder, capsys):
    other = MOVIE.copy()
    other[4, 3, 2] += 7
    other[8, 0, :2] -= 1
    mrcz.writeMRC(other, "c.mrcz", compressor="lz4", meta={"dose": 2, "more": [1]},
                  pixelsize=2.12, voltage=300.0)
    found = json_of(capsys, "diff", "a.mrcz", "c.mrcz", code=1)
    assert found["pixels"] == {"differing": 3, "largest": 7.0, "frames": [4, 8]}
    assert found["metadata.dose"] == [1.5, 2] and found["metadata.more"] == [None, [1]]
    assert found["voltage"] == [0.0, 300.0] and "pixelsize" in found
    assert list(json_of(capsys, "diff", "--pixels", "a.mrcz", "c.mrcz", code=1)) == ["pixels"]
    assert json_of(capsys, "diff", "--pixels", "--tolerance", "7", "a.mrcz", "c.mrcz") == {}
    assert main(["diff", "a.mrcz", "c.mrcz"]) == 1
    assert "3 differ, by up to 7, in frames 4, 8" in capsys.readouterr().out


def test_nan_equals_nan_and_nothing_else(folder, capsys):
    pixels = np.array([[np.nan, 1]], "float32")
    mrcz.writeMRC(pixels, "c.mrc")
    mrcz.writeMRC(pixels, "d.mrcz", compressor="lz4")
    assert json_of(capsys, "diff", "c.mrc", "d.mrcz") == {}
    mrcz.writeMRC(pixels + np.array([0, np.nan], "float32"), "e.mrc")
    found = json_of(capsys, "diff", "c.mrc", "e.mrc", code=1)
    assert found["pixels"]["differing"] == 1 and found["pixels"]["largest"] is None


@pytest.mark.parametrize("wrong", ["nan", "-1", "x"])
def test_a_tolerance_that_is_none_is_refused(folder, capsys, wrong):
    """Nothing is further apart than NaN: all files would be the same."""
    assert main(["diff", "--tolerance", wrong, "a.mrcz", "b.mrc"]) == 2
    assert f"{wrong!r} is not a number of at least 0" in capsys.readouterr().err


def test_other_shapes_differ(folder, capsys):
    mrcz.writeMRC(MOVIE[:3], "c.mrc", pixelsize=1.06, meta={"dose": 1.5})
    assert json_of(capsys, "diff", "a.mrcz", "c.mrc", code=1) == {
        "shape": [[9, 20, 30], [3, 20, 30]]}


def test_compressed_copies_are_the_same(folder, capsys):
    assert main(["compress", "-q", "b.mrc"]) == 0
    assert main(["diff", "b.mrc", "b.mrcz"]) == 0
    capsys.readouterr()


def test_bench_tries_every_codec(folder, capsys):
    trials = json_of(capsys, "bench", "a.mrcz", "--repeats", "1")
    found = {(trial["compressor"], trial["shuffle"]) for trial in trials}
    for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        assert {(codec, name) for name in ("noshuffle", "shuffle", "bitshuffle")} <= found
    assert ("auto", "auto") in found
    for trial in trials:
        file = io.BytesIO()
        if trial["compressor"] == "zstd":
            mrcz.writeMRC(MOVIE, file, compressor="zstd", shuffle=trial["shuffle"])
            assert trial["ratio"] == pytest.approx(MOVIE.nbytes / len(file.getvalue()))
        assert trial["write"] > 0 and trial["read"] > 0
    assert main(["bench", "a.mrcz", "--repeats", "1", "-c", "lz4", "-l", "1,5"]) == 0
    assert capsys.readouterr().out.count("lz4") == 6
    for wrong in (["-c", "rar"], ["-l", "10"], ["-l", "a"]):
        assert main(["bench", "a.mrcz", *wrong]) == 2


def test_bench_of_a_missing_file(folder, capsys):
    assert main(["bench", "none.mrc"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command.__name__.rpartition(".")[2] in script
    assert "delete-original" in script


def test_completion_works_in_bash(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "mrcz.sh"
    script.write_text(capsys.readouterr().out)
    bash = shutil.which("bash")
    assert bash, "bash is needed to try the script"
    ask = ('source "$0"; COMP_WORDS=($2); COMP_CWORD=$1; _mrcz; echo "${COMPREPLY[*]}"')

    def complete(word, words):
        return subprocess.run([bash, "-c", ask, str(script), str(word), words], check=True,
                              capture_output=True, text=True).stdout.split()

    assert complete(1, "mrcz com") == ["compress", "completion"]
    assert complete(2, "mrcz compress --del") == ["--delete-original"]
    assert complete(2, "mrcz info a") == []


def test_numbers_of_headers_have_no_digits_beyond_float32(folder, capsys):
    mrcz.writeMRC(np.zeros((4, 5), "int8"), "one.mrc", C3=2.7, pixelsize=1.06)
    mrcz.writeMRC(np.zeros((4, 5), "int8"), "other.mrc", C3=0.01, pixelsize=1.1)
    assert main(["diff", "one.mrc", "other.mrc"]) == 1
    text = capsys.readouterr().out
    assert "C3: 2.7 and 0.01\n" in text and "[1.06, 1.06, 1.06] and [1.1, 1.1, 1.1]" in text


def test_a_histogram_that_can_not_be_is_told(folder, capsys):
    mrcz.writeMRC(np.array([[1.0, np.nan]], "float32"), "nan.mrc")
    assert main(["stats", "--histogram", "nan.mrc"]) == 2  # taken for the number of bins
    capsys.readouterr()
    assert main(["stats", "nan.mrc", "--histogram"]) == 0
    assert "no histogram" in capsys.readouterr().out


@pytest.mark.parametrize("levels", ["x", "", "0", "10", "1,,2", "1 2"])
def test_levels_that_are_none(folder, levels, capsys):
    assert main(["bench", "a.mrc", "-l", levels]) == 2
    assert "levels are 1 to 9" in capsys.readouterr().err


@pytest.mark.parametrize("one,other,same", [
    ({"a": None}, {}, False), ({"a": float("nan")}, {"a": None}, False),
    ({"a": float("nan")}, {"a": float("inf")}, False), ({"a": [float("nan")]}, {"a": [1]}, False),
    ({"a": [{"b": float("nan")}]}, {"a": [{"b": float("nan")}]}, True),
    ({"a": {"b": 1}}, {"a": {"b": 1.0}}, True), ({"a": [1]}, {"a": [1, 2]}, False),
])
def test_metadata_that_json_has_no_number_for(folder, one, other, same):
    mrcz.writeMRC(MOVIE, "one.mrc", meta=one)
    mrcz.writeMRC(MOVIE, "other.mrc", meta=other)
    assert main(["diff", "-q", "one.mrc", "other.mrc"]) == (0 if same else 1)
