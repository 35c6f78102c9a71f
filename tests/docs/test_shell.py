"""The shell blocks of the pages, run in folders with the files that they speak of.

Those of docs/cli.rst are run by tests/tools/test_cli_page.py, which compares their output too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import mrcz

from .. import dm_writer

ROOT = Path(__file__).parents[2]
PAGES = [page for page in sorted([*(ROOT / "docs").glob("*.rst"), ROOT / "README.rst",
                                  ROOT / "CONTRIBUTING.rst"]) if page.name != "cli.rst"]
_BLOCK = re.compile(r"^( *)\.\. code-block:: (console|sh|bash)\n((?:\n|\1 +.*\n)+)", re.MULTILINE)
COUNTS = np.random.default_rng(0).poisson(1, (8, 96, 96)).astype("int8")

# What these programs do on a page is not done to the machine that tests it.
STAND_INS = {
    # Everything the pages install is installed here, but for Qt and OpenGL: pip agrees that
    # nothing is missing. Nothing is removed: that it is there to be removed is looked up.
    "pip": """
        if [ "$1" = uninstall ]; then exec {python} -m pip show --quiet "$2"; fi
        for word; do [ "$word" = 'napari[all]' ] || words+=("$word"); done
        exec {python} -m pip --quiet "${{words[@]}}" --dry-run --no-index
        """,
    # Napari needs a display; its plugins are asked as it asks them.
    "napari": """
        exec {python} -c 'import sys, npe2
        npe2.PluginManager.instance().discover()
        for path in sys.argv[1:]:
            (data, facts, kind), = npe2.read([path], stack=False)
            assert kind == "image" and data[0].compute().size' "$@"
        """,
    # The benchmark takes half an hour: its options must exist.
    "python": """
        case "$1" in */benchmark*.py) ;; *) exec {python} "$@" ;; esac
        help=$({python} "$1" --help)
        for word; do case "$word" in
            --*) [[ "$help" == *"$word"* ]] || {{ echo "no option $word" >&2; exit 1; }}
        esac; done
        """,
    # SLURM's: the job is run, in the background, as the script says, of which it keeps a copy.
    "sbatch": """
        cp "$1" "job.$$"
        bash "job.$$" > "job.$$.log" 2>&1 &
        echo "Submitted batch job $!"
        """,
    "scancel": "kill $@",
}

RUN_BY_CI = {
    "README.rst": ["readme 1", "readme 2"],
    "CONTRIBUTING.rst": ["contributing 1", "pre-commit run --all-files", "dev pytest -q tests",
                         'sphinx-build" -q -W -n -b html docs'],
}
"""Blocks that install from the index: what of .ci/run does them, in a fresh environment each."""


def shell_blocks(page: Path, *languages: str) -> list[str]:
    """Commands of a page, block by block; without the prompts of consoles."""
    blocks = []
    for match in _BLOCK.finditer(page.read_text("utf-8")):
        if match[2] in languages:
            block = textwrap.dedent(match[3]).strip()
            if match[2] == "console":
                assert all(line.startswith("$ ") for line in block.splitlines()), block
                block = "\n".join(line[2:] for line in block.splitlines())
            blocks.append(block)
    return blocks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of the pages, and programs in front of those of the machine."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, script in STAND_INS.items():
        text = textwrap.dedent(script).format(python=shlex.quote(sys.executable))
        (bin_folder / name).write_text(f"#!/usr/bin/env bash\nset -eu\nwords=()\n{text}\n")
        (bin_folder / name).chmod(0o755)
    (bin_folder / "mrcz").symlink_to(Path(sys.executable).with_name("mrcz"))
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    for name in ("raw", "old"):
        (work / name).mkdir(parents=True)
    monkeypatch.chdir(work)
    for name in ("movie.mrc", "raw/movie.mrc", "raw/two.mrcs"):
        mrcz.writeMRC(COUNTS, name, pixelsize=1.06)
    shutil.copy(files("mrcz") / "data" / "EMD-3001.map", "tomogram.rec")
    for name in ("movie.dm4", "map.dm4"):
        dm_writer.write(name, dm_writer.document(dm_writer.image_of(COUNTS)))
    shutil.copy(ROOT / "tests" / "data" / "golden" / "0.4.1_i2_zstd.mrcz", "old")
    (work / "utils").symlink_to(ROOT / "utils")
    return work


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True,
                          text=True, timeout=300, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if shell_blocks(page, "console")],
                         ids=lambda page: page.name)
def test_consoles(page, folder):
    """Each block after the one before, as a reader would."""
    if page.name != "README.rst":  # which makes it
        mrcz.writeMRC(COUNTS, "movie.mrcz", compressor="zstd", pixelsize=1.06)
    for block in shell_blocks(page, "console"):
        done = run(block)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def test_what_only_ci_can_run_is_run_there():
    with_scripts = {page.name for page in PAGES if shell_blocks(page, "sh", "bash")}
    assert with_scripts == {*RUN_BY_CI, "cluster.rst"}
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    for name, commands in RUN_BY_CI.items():
        assert all(command in ci for command in commands), name
    assert len(shell_blocks(ROOT / "README.rst", "sh")) == 2
    assert len(shell_blocks(ROOT / "CONTRIBUTING.rst", "sh")) == 3


def test_the_array_job(folder, monkeypatch):
    """Of 32 tasks the one that has a file to do; and one that has none."""
    (script,) = shell_blocks(ROOT / "docs" / "cluster.rst", "sh", "bash")
    for root in ("/data/session", "/archive/session"):
        assert root in script
        script = script.replace(root, f"{folder}{root}")
    (folder / "data" / "session").mkdir(parents=True)
    for name in ("a.mrc", "b.mrc", "c.mrc"):
        mrcz.writeMRC(COUNTS, folder / "data" / "session" / name)
    for task, made in (("2", {"b.mrcz"}), ("9", {"b.mrcz"}), ("1", {"a.mrcz", "b.mrcz"})):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        done = run(script)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in (folder / "archive" / "session").iterdir()} == made


def test_the_cluster_on_slurm(folder, monkeypatch):
    """The block of the page, whose jobs start here; a few processes instead of 32."""
    from distributed import Client

    page = (ROOT / "docs" / "cluster.rst").read_text("utf-8")
    block = textwrap.dedent(re.search(r"code-block:: python\n\n((?:    .*\n|\n)+)", page)[1])
    for theirs, ours in {'"ib0"': '"lo"', "cores=8": "cores=1", "processes=8": "processes=1",
                         "jobs=4": "jobs=2"}.items():
        assert theirs in block
        block = block.replace(theirs, ours)
    monkeypatch.setenv("TMPDIR", str(folder))
    namespace: dict[str, object] = {"Client": Client}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of distributed, at its start and end
        exec(compile(block, "cluster.rst", "exec"), namespace)
        cluster, client = namespace["cluster"], namespace["client"]
        try:
            client.wait_for_workers(2, timeout=120)
            results = mrcz.compress_many(["movie.mrc", "raw/two.mrcs"], client=client)
            assert [result.error for result in results] == [None, None]
        finally:
            client.close()
            cluster.close()
    np.testing.assert_array_equal(mrcz.readMRC("raw/two.mrcs.mrcz")[0], COUNTS)
