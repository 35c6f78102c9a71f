"""The examples of docs/cli.rst, run one after the other, and their output where it is shown."""

import doctest
import re
import shlex
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile

import mrcz
from mrcz.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "cli.rst"


def examples():
    """Yield (command, shown output) of the console blocks."""
    for block in re.findall(r"code-block:: console\n\n((?:    .*\n|\n)+)", PAGE.read_text()):
        lines = [line[4:] for line in block.splitlines()]
        for place, line in enumerate(lines):
            if line.startswith("$ "):
                shown = []
                for following in lines[place + 1 :]:
                    if following.startswith("$ "):
                        break
                    shown.append(following)
                yield line[2:], "\n".join(shown).strip()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    movie = np.random.default_rng(0).poisson(1, (8, 96, 96)).astype("int8")
    (tmp_path / "raw").mkdir()
    for name in ("movie.mrc", "raw/one.mrc", "raw/two.mrcs"):
        mrcz.writeMRC(movie, name, pixelsize=1.06)
    tifffile.imwrite("movie.tif", movie.astype("uint8"), compression="lzw")
    tifffile.imwrite("photo.tif", np.zeros((20, 30, 3), "uint8"), photometric="rgb")
    (tmp_path / "map.map").write_bytes((files("mrcz") / "data" / "EMD-3001.map").read_bytes())


def test_every_example_runs(folder, capsys):
    found = list(examples())
    assert len(found) > 20
    checker = doctest.OutputChecker()
    for command, shown in found:
        program, *arguments = shlex.split(command)
        assert program == "mrcz"
        assert main(arguments) == 0, command
        captured = capsys.readouterr()
        if shown:
            assert checker.check_output(shown + "\n", captured.err + captured.out,
                                        doctest.ELLIPSIS), (command, captured)


def test_every_command_is_on_the_page():
    from mrcz.commands import COMMANDS

    named = {command.split()[1] for command, _ in examples()}
    assert named == {command.__name__.rpartition(".")[2] for command in COMMANDS}
