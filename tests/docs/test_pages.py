"""The pages beyond their doctests: blocks without prompts, and what they must not forget."""

from __future__ import annotations

import re
import shutil
import textwrap
import warnings
from pathlib import Path

import pytest

import mrcz

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.rst"), ROOT / "README.rst", ROOT / "CONTRIBUTING.rst"])
NEEDS_A_SCHEDULER = {"cluster.rst"}
"""Run by test_shell.py, with a stand-in for SLURM."""
_BLOCK = re.compile(r"^( *)\.\. code-block:: python\n((?:\n|\1 +.*\n)+)", re.MULTILINE)


def blocks_of(page: Path) -> list[str]:
    """The Python of a page that is no doctest, block by block."""
    found = [textwrap.dedent(match[2]) for match in _BLOCK.finditer(page.read_text("utf-8"))]
    return [block for block in found if ">>>" not in block]


@pytest.mark.parametrize("page", [
    page for page in PAGES if blocks_of(page) and page.name not in NEEDS_A_SCHEDULER
], ids=lambda page: page.name)
def test_blocks_run(page, tmp_path, monkeypatch):
    """In order, in one namespace, with the files that the pages speak of."""
    relion = ROOT / "tests" / "relion" / "data"
    for name, sample in {"run_it025_data.star": "relion31.star",
                         "run_it025_model.star": "model.star"}.items():
        shutil.copy(relion / sample, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks_of(page)):
        code = compile(block, f"{page.name}, block {number}", "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages beneath, on five particles
            exec(code, namespace)


def test_there_are_such_blocks():
    assert {page.name for page in PAGES if blocks_of(page)} >= {"reliablepy.rst"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_that_the_theme_draws_as_an_error(page):
    """Furo has the contents of a page at its side, and a red box for a second list of them."""
    assert ".. contents::" not in page.read_text("utf-8")


def test_the_reference_has_every_public_name():
    text = (DOCS / "api.rst").read_text("utf-8")
    public = {name for name in mrcz.__all__ if not name.startswith("_")}
    snake = {name for name in public if re.fullmatch(r"[a-z]+_[a-z0-9_]+", name)}
    forgotten = {name for name in public - snake if not re.search(rf"\b{name}\b", text)}
    # Snake-case aliases are described as such; names of their own are not aliases.
    forgotten |= {name for name in snake if getattr(mrcz, name).__name__ == name
                  and not re.search(rf"\b{name}\b", text)}
    assert not forgotten
