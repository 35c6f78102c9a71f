"""The house that docs/architecture.rst draws is the one that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mrcz"
INSIDE = {"commands": "cli", "relion": "ReliablePy"}
"""Folders that are drawn in the row of what they belong to."""
NOT_DRAWN = {"__init__", "__main__", "__version__", "ioDM"}
BRIDGES = {"plugins", "preview"}
"""What a lower storey may import, if only when it is asked for."""


def drawn() -> dict[str, int]:
    """Module or folder, and its storey, counted from the top."""
    text = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
    picture = re.search(r"code-block:: text\n\n(.*?)\n\S", text, re.DOTALL)
    assert picture is not None
    storeys: dict[str, int] = {}
    storey = -1
    for line in picture[1].splitlines():
        row = re.match(r"    (\w+)? +(\w+)/?  +\S", line)
        if row is not None:
            storey += row[1] is not None
            assert row[2] not in storeys, f"{row[2]} is drawn twice"
            storeys[row[2]] = storey
    return storeys


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return INSIDE.get(parts[0], parts[0])


def imported(path: Path) -> list[tuple[str, bool]]:
    """The rooms that a module imports, and whether it does so as soon as it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").split(".") if node.module else []
        if node.level:
            package = path.relative_to(PACKAGE).parts[:-1]
            module = [*package[: len(package) - node.level + 1], *module]
        elif module[:1] == ["mrcz"]:
            module = module[1:]
        else:
            continue
        rooms = module[:1] or [alias.name for alias in node.names]
        found += [(INSIDE.get(room, room), node in tree.body) for room in rooms]
    return found


def test_every_module_is_drawn_once_and_is_there() -> None:
    there = {room_of(path) for path in PACKAGE.rglob("*.py")} - NOT_DRAWN
    assert set(drawn()) - NOT_DRAWN == there


def test_modules_know_those_below_and_bridges_when_asked_for() -> None:
    storeys = drawn()
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in PACKAGE.rglob("*.py") for room, at_once in imported(path)
        if storeys.get(room, 9) < storeys.get(room_of(path), 0)
        and (at_once or room not in BRIDGES)
    ]  # fmt: skip
    assert not upwards


def test_modules_say_which_of_their_names_others_use() -> None:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        module = path.with_suffix("").relative_to(PACKAGE).parts
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names[module] = ast.literal_eval(node.value)
    untold = set()
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            module = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            untold |= {(module, alias.name) for alias in node.names
                       if alias.name not in names.get(module, [alias.name])
                       and not alias.name.startswith("_")}
    assert len(names) > 100
    assert not untold
