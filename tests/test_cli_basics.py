"""The command line as such: help, errors, exit codes, files; and `info`."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files

import numpy as np
import pytest

import mrcz
from mrcz.cli import main
from mrcz.commands import COMMANDS
from mrcz.copies.copying import unfinished_file

from .processes import environment

NAMES = [command.__name__.rpartition(".")[2] for command in COMMANDS]
SAMPLE = str(files("mrcz") / "data" / "EMD-3001.map")


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.mrcz"
    pixels = np.random.default_rng(1).poisson(0.5, (6, 40, 50)).astype("int8")
    mrcz.writeMRC(pixels, path, meta={"dose": 1.5, "é": [1, 2]}, pixelsize=1.06,
                  voltage=300.0, C3=2.7, gain=1.25, compressor="zstd", shuffle="shuffle",
                  quickStats=False)
    return path


def run_process(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "mrcz", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, check=False, **options)


def test_help_names_every_command_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in NAMES)
    assert "Exit codes" in text and "examples" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: mrcz {name}" in text and "examples:" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mrcz {mrcz.__version__}\n"


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["info"], ["info", "--wrong", "a"],
    ["compress", "-l", "10", "a"], ["compress", "-c", "rar", "a"], ["compress", "--jobs", "0", "a"],
    ["compress", "--delete-original", "--no-verify", "a"],
])
def test_wrong_arguments_exit_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_errors_are_one_line_and_name_the_file(tmp_path, capsys):
    broken = tmp_path / "broken.mrc"
    broken.write_bytes(b"short")
    assert main(["info", str(broken), str(tmp_path / "missing.mrc")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("mrcz info: ") and "missing.mrc: No such file" in lines[0]
    assert "broken.mrc" in lines[1] and "shorter" in lines[1]


def test_debug_shows_where_an_error_came_from(tmp_path):
    broken = tmp_path / "broken.mrc"
    broken.write_bytes(b"short")
    with pytest.raises(mrcz.MRCTruncatedError):
        main(["info", "--debug", str(broken)])
    assert "Traceback" in run_process("info", "--debug", broken).stderr
    assert "Traceback" not in run_process("info", broken).stderr


def test_a_broken_file_does_not_hide_the_others(movie, capsys):
    (movie.parent / "broken.mrc").write_bytes(b"short")
    assert main(["info", str(movie.parent)]) == 1
    captured = capsys.readouterr()
    assert "movie.mrcz" in captured.out
    assert "broken.mrc" in captured.err


def test_info_shows_what_is_in_a_file(movie, capsys):
    assert main(["info", str(movie)]) == 0
    text = capsys.readouterr().out
    for fact in ("6 x 40 x 50", "int8", "zstd", "shuffle", "ratio", "1.06 1.06 1.06 Å",
                 "300 kV", "2.7 mm", "1.25 counts/e-", "dose: 1.5", "MRCZ1"):
        assert fact in text
    assert "bitshuffle" not in text


def test_info_json_is_strict_and_complete(movie, capsys):
    assert main(["info", "--json", str(movie), SAMPLE]) == 0

    def refuse(constant):
        raise AssertionError(constant)

    first, second = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert first["shape"] == [6, 40, 50]
    assert first["chunks"]["filter"] == ["shuffle"]
    assert first["chunks"]["codec"] == ["zstd"]
    assert first["metadata"] == {"dose": 1.5, "é": [1, 2]}
    assert first["ratio"] == pytest.approx(12000 / first["stored_bytes"], rel=1e-4)
    pixels = mrcz.readMRC(movie)[0]
    assert first["mean"] == pytest.approx(pixels.mean(), rel=1e-6)
    assert first["rms"] == pytest.approx(pixels.std(), rel=1e-6)
    assert second["extended_header"] == {"type": "", "bytes": 160}
    assert second["labels"] == ["::::EMDATABANK.org::::EMD-3001::::"]


def test_info_of_several_files_is_a_table(movie, capsys):
    assert main(["info", str(movie.parent / "*.mrcz"), SAMPLE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["file", "dimensions"]
    assert len(lines) == 3


def test_info_tells_damage_behind_the_header(movie, capsys):
    data = movie.read_bytes()
    movie.write_bytes(data[:-100])
    assert main(["info", str(movie)]) == 0
    assert "PROBLEM" in capsys.readouterr().out


def test_info_of_hostile_numbers_is_still_json(tmp_path, capsys):
    file = io.BytesIO()
    mrcz.writeMRC(np.full((2, 3), np.nan, "float32"), file, pixelsize=1.0)
    data = bytearray(file.getvalue())
    data[132:136] = np.float32(np.inf).tobytes()
    (tmp_path / "a.mrc").write_bytes(data)
    assert main(["info", "--json", str(tmp_path / "a.mrc")]) == 0
    page = json.loads(capsys.readouterr().out)[0]
    assert page["voltage"] is None and page["mean"] is None
    assert main(["info", str(tmp_path / "a.mrc")]) == 0


def test_python_m_mrcz():
    done = run_process("--version")
    assert done.returncode == 0
    assert done.stdout == f"mrcz {mrcz.__version__}\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_the_terminal_can_not_show_is_escaped(tmp_path, encoding):
    mrcz.writeMRC(np.zeros((2, 3, 4), "int8"), tmp_path / "a.mrc", pixelsize=2.5,
                  meta={"name": "\u00e5\udcff"})
    encoded = environment() | {"PYTHONIOENCODING": f"{encoding}:strict"}

    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "mrcz", *arguments], cwd=tmp_path, check=True,
                              capture_output=True, env=encoded).stdout.decode(encoding)

    angstrom = "\\xc5" if encoding == "ascii" else "\u00c5"
    assert f"2.5 2.5 2.5 {angstrom}" in run("info", "a.mrc")
    assert json.loads(run("info", "--json", "a.mrc"))[0]["metadata"]["name"] == "\u00e5\udcff"


@pytest.mark.skipif(os.name == "nt", reason="uses a shell of POSIX")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_matter(movie, closed):
    """As a daemon has them."""
    for arguments, code in (("info", 0), ("verify", 0), ("info --json", 0), ("info no-file", 1)):
        done = subprocess.run(
            ["sh", "-c", f'"$0" -m mrcz {arguments} "$1" {closed}', sys.executable, movie],
            capture_output=True, text=True, check=False, env=environment())
        assert done.returncode == code
        assert "Error" not in done.stderr


def test_a_closed_pipe_is_told_by_the_exit_code_alone(movie):
    process = subprocess.Popen([sys.executable, "-m", "mrcz", "info", "--json", str(movie), SAMPLE],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert error == ""


@pytest.mark.parametrize("arguments", [
    ["{}", "--json", "{}"], ["--json", "{}", "{}"], ["{}", "{}", "--json"], ["--json", "--", "{}"],
    ["-q", "{}", "--json", "--", "{}"],
])
def test_options_stand_anywhere(movie, capsys, arguments):
    given = [word.format(movie) for word in arguments]
    assert main(["info", *given]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize("name", [
    "-x.mrc", "--json.mrc", "a b \u00e9\U0001f52c.mrc", "[1].mrc", "*.mrc",
])
def test_odd_names(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    mrcz.writeMRC(np.zeros((2, 8, 8), "int8"), name)
    for command in ("info", "compress", "verify", "stats"):
        assert main([command, "--", name]) == 0, command
        assert main([command, "./" + name]) == 0, command
    assert len(list(tmp_path.iterdir())) == 2
    assert capsys.readouterr().err == ""


def test_an_unknown_option_is_told_with_the_usage_of_its_command(capsys):
    assert main(["repair", "damaged.mrc", "-o", "new.mrc"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: mrcz repair")
    assert "mrcz repair: error: unrecognized arguments: -o" in said


def test_errors_of_writing_name_the_new_file(tmp_path):
    output = str(tmp_path / "new.mrcz")
    for number, name in ((errno.ENOSPC, None), (errno.ENOSPC, "temporary"), (errno.EIO, None)):
        with (pytest.raises(OSError) as caught,
              unfinished_file(output, "old.mrc", None, force=True) as path):
            raise OSError(number, os.strerror(number), *([path] if name else []))
        assert caught.value.filename == (output if number == errno.ENOSPC else None)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize(("number", "code", "said", "jobs"), [
    (signal.SIGINT, 130, "interrupted", "1"), (signal.SIGINT, 130, "interrupted", "2"),
    (signal.SIGTERM, 143, "terminated", "1"), (signal.SIGTERM, 143, "terminated", "2"),
])
def test_signals_leave_no_file_behind(tmp_path, number, code, said, jobs):
    source = tmp_path / "big.mrc"
    with mrcz.create(source, (32, 1024, 1024), "float32") as writer:
        random = np.random.default_rng(0)
        frame = random.normal(size=(1024, 1024)).astype("float32")
        for _ in range(32):
            writer.append(frame)
    os.link(source, tmp_path / "two.mrc")
    # A job in a shell's background inherits that SIGINT is ignored; a terminal's does not.
    program = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
               "from mrcz.cli import main; sys.exit(main(sys.argv[1:]))")
    process = subprocess.Popen([sys.executable, "-c", program, "compress", "-c", "zlib", "-l", "9",
                                str(tmp_path), "--threads", "1", "--jobs", jobs],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*.mrcz-tmp")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == code
    assert error.strip().splitlines()[-1] == f"mrcz compress: {said}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.mrc", "two.mrc"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals of threads")
def test_an_interrupt_is_heard_that_does_not_wake_who_waits(tmp_path):
    """As one that comes just before the wait; here it goes to another thread."""
    for name in "ab":
        mrcz.writeMRC(np.zeros((2, 3, 4), "int16"), tmp_path / f"{name}.mrc")
    program = ("import signal, sys, threading, time\n"
               "import mrcz.commands.compress as compress\n"
               "from mrcz.cli import main\n"
               "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
               "def work(*args, advance, **kwargs):\n"
               "    time.sleep(1)\n"
               "    signal.pthread_kill(threading.get_ident(), signal.SIGINT)\n"
               "    for _ in range(300):\n"
               "        time.sleep(0.1)\n"
               "        advance(0)\n"
               "compress.compress_file = work\n"
               "sys.exit(main(['compress', sys.argv[1], '--jobs', '2']))\n")
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True,
                          text=True, check=False, timeout=120)
    assert done.returncode == 130, done.stderr
    assert time.monotonic() - started < 20


def test_the_last_word_is_that_of_the_interrupt(tmp_path):
    """Also where it comes before anybody has the file that was opened, whose end is told then."""
    mrcz.writeMRC(np.zeros((2, 3, 4), "int16"), tmp_path / "a.mrc")
    program = ("import sys, mrcz.copies.copying as copying\n"
               "from mrcz.cli import main\n"
               "def interrupted(sink, *args, **kwargs):\n"
               "    raise KeyboardInterrupt\n"
               "copying.StackWriter = interrupted\n"
               "sys.exit(main(['compress', sys.argv[1]]))\n")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True,
                          text=True, check=False, timeout=120)
    assert done.returncode == 130
    said = done.stderr.strip().splitlines()
    assert "was never closed" in said[-2]
    assert said[-1] == "mrcz compress: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrc"]


def test_demo(capsys, monkeypatch):
    from mrcz.commands import demo

    monkeypatch.setattr(demo, "MOVIE_SHAPE", (2, 256, 256))
    monkeypatch.setattr(demo.counting_movie, "__defaults__", ((2, 256, 256),))
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    assert text.count("identical to the last bit") == 2
    assert "EMD-3001" in text
    assert text.count("\n\n") == 2 and "\\" not in text  # an empty line, not "\n" in letters


def test_demo_tells_a_difference(capsys, monkeypatch):
    from mrcz.commands import demo

    def damage(path):
        image, header = mrcz.readMRC(path)
        return image + 1, header

    monkeypatch.setattr(demo.counting_movie, "__defaults__", ((2, 64, 64),))
    monkeypatch.setattr(demo, "readMRC", damage)
    assert main(["demo"]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_jobs_keep_off_futures(tmp_path, monkeypatch, capsys):
    """Who looks at one may leave it locked, when interrupted: its thread would wait for ever."""
    from concurrent.futures import ThreadPoolExecutor

    class Pool(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            super().submit(*args, **kwargs)

    monkeypatch.setattr("mrcz.commands.files.ThreadPoolExecutor", Pool)
    for name in "abcd":
        mrcz.writeMRC(np.zeros((2, 30, 40), "int16"), tmp_path / f"{name}.mrc")
    (tmp_path / "e.mrc").write_bytes(b"no image")
    assert main(["compress", str(tmp_path), "--jobs", "2", "-q"]) == 1
    assert "e.mrc" in capsys.readouterr().err
    assert len([*tmp_path.glob("*.mrcz")]) == 4


def test_what_a_file_says_can_not_command_the_terminal(tmp_path, capsys):
    """Nor break a line: labels and metadata are anybody's."""
    path = tmp_path / "a.mrc"
    mrcz.writeMRC(np.zeros((2, 3), "int8"), path, meta={"a\x1b[2J": "b\x1b]0;c\nd"})
    data = bytearray(path.read_bytes())
    data[304:320] = b"\x1b[31mlabel".ljust(16)
    data[220:224] = (2).to_bytes(4, "little")
    path.write_bytes(data)
    assert main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    for text in (r"\x1b[31mlabel", r"a\x1b[2J: b\x1b]0;c\nd"):
        assert text in printed
    mrcz.writeMRC(np.zeros((2, 3), "int8"), tmp_path / "b.mrc", meta={"a\x1b[2J": "\x1b"})
    assert main(["diff", str(path), str(tmp_path / "b.mrc")]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_an_error_is_one_line_whatever_the_name(tmp_path, capsys):
    assert main(["info", str(tmp_path / "two\nlines" / "a.mrc")]) == 1
    assert main(["convert", str(tmp_path / "two\nlines.mrc"), str(tmp_path / "a.mrc")]) == 1
    assert main(["repair", str(tmp_path / "two\nlines.mrc"), str(tmp_path / "a.mrc")]) == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their names are Unicode")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape", "ascii:strict",
                                      "ascii:surrogateescape"])
def test_json_is_json_whatever_the_name(tmp_path, encoding):
    """Also where the bytes of a name would go through as they are."""
    for name in ("é.mrc", os.fsdecode(b"latin\xff.mrc")):
        mrcz.writeMRC(np.zeros((2, 3), "int8"), tmp_path / name)
    done = subprocess.run([sys.executable, "-m", "mrcz", "info", "--json", str(tmp_path)],
                          capture_output=True, timeout=120, check=True,
                          env=environment() | {"PYTHONIOENCODING": encoding})
    names = {os.path.basename(page["file"]) for page in json.loads(done.stdout.decode("utf-8"))}
    assert names == {"é.mrc", os.fsdecode(b"latin\xff.mrc")}


def test_output_caught_in_memory(tmp_path, monkeypatch):
    """As notebooks and tests do; it has no encoding."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    mrcz.writeMRC(np.zeros((2, 3), "int8"), tmp_path / "a.mrc", meta={"a": "\udcff"})
    assert main(["info", str(tmp_path / "a.mrc")]) == 0
    assert main(["info", "--json", str(tmp_path / "a.mrc")]) == 0
    assert main(["completion", "bash"]) == 0
    assert r"\udcff" in out.getvalue()
