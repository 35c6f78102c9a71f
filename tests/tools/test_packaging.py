"""What is written for other machines: conda recipe and workflow, by their linters."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from rattler_build import Stage0Recipe, VariantConfig

import mrcz

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"blosc": "python-blosc", "xxhash": "python-xxhash"}


@pytest.fixture(scope="module")
def recipe():
    (variant,) = Stage0Recipe.from_file(ROOT / "conda.recipe" / "recipe.yaml").render(
        VariantConfig())
    return variant.recipe.to_dict()


def test_the_recipe_is_of_this_version(recipe):
    assert recipe["package"] == {"name": "mrcz", "version": mrcz.__version__}
    assert recipe["build"]["noarch"] == "python"
    assert recipe["build"]["python"]["entry_points"] == ["mrcz = mrcz.cli:main"]


def test_the_recipe_needs_what_the_package_needs(recipe):
    wanted = {"python >=3.10"}
    for requirement in requires("mrcz"):
        if "extra ==" not in requirement:
            name, bound = re.fullmatch(r"([\w-]+)\s*(.*)", requirement).groups()
            wanted.add(f"{CONDA_NAMES.get(name, name)} {bound}")
    assert set(recipe["requirements"]["run"]) == wanted


def test_the_workflow_has_no_errors():
    linter = Path(sys.executable).with_name("actionlint")
    workflows = sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml")))
    assert workflows
    done = subprocess.run([linter, "-no-color", *workflows], capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
