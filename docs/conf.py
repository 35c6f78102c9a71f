"""Settings of Sphinx: ``sphinx-build -W -n -b html docs docs/_build/html``; needs no network."""

from __future__ import annotations

import mrcz

project = "mrcz"
author = "the mrcz developers"
copyright = f"2026, {author}"
release = version = mrcz.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "myst_nb",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
default_role = "py:obj"  # numpydoc's convention for names in single backticks
rst_prolog = ".. currentmodule:: mrcz\n"  # so that `Stack` is ours on every page
html_theme = "furo"
html_title = f"mrcz {release}"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

nb_execution_mode = "off"  # the notebook is stored as executed; CI executes it again

autodoc_typehints = "none"  # the docstrings say it with shapes and units
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

nitpicky = True
# Only our own names are looked up: the build needs no network, so no other project's index.
nitpick_ignore_regex = [(r"py:.*", r"(?!mrcz\.).*")]
