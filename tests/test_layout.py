"""The layout of the code, held to its rules."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [path for top in ("agent", "graphs", "prompts") for path in sorted((ROOT / top).rglob("*.py"))]


def test_no_room_has_more_than_twelve_files() -> None:
    rooms = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > 12} == {}


def imported_names(module: Path) -> Iterator[str]:
    """Yield what a module imports from other packages, with its path in them."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_private_names_of_packages_are_imported_in_one_file() -> None:
    private = {
        str(module.relative_to(ROOT)): name
        for module in [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "notebooks").rglob("*.py")]
        for name in imported_names(module)
        if name.partition(".")[0] not in {"agent", "graphs", "prompts", "tests", "__future__"}
        and any(part.startswith("_") for part in name.split("."))
    }
    assert private.keys() == {"graphs/langgraph_internals.py"}
