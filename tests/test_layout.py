"""The layout of code and tests, and the names in the code, held to their rules."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [path for top in ("agent", "graphs", "prompts") for path in sorted((ROOT / top).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
FUNCTIONS = [
    node.name.lstrip("_")
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
]


def crowded(files: list[Path], most: int) -> dict[str, int]:
    """Return the folders that hold more than `most` of the files, with their number."""
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py")
    return {room: count for room, count in rooms.items() if count > most}


def test_no_room_has_more_than_twelve_files() -> None:
    assert crowded(MODULES, 12) == {}


def test_no_folder_of_tests_has_more_than_twenty_files() -> None:
    assert crowded(sorted((ROOT / "tests").rglob("*.py")), 20) == {}


def test_few_functions_have_a_name_of_one_word() -> None:
    one_word = [name for name in FUNCTIONS if "_" not in name]
    assert len(one_word) <= 0.30 * len(FUNCTIONS), Counter(one_word).most_common(20)


def test_few_functions_are_named_by_a_participle() -> None:
    participles = [name for name in FUNCTIONS if re.search("(ed|en|ing)$", name.split("_")[0])]
    assert len(participles) <= 0.12 * len(FUNCTIONS), Counter(participles).most_common(20)


def public_names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module defines for others: functions, classes and constants."""
    for node in tree.body:
        match node:
            case (
                ast.FunctionDef(name=name, decorator_list=decorators)
                | ast.AsyncFunctionDef(name=name, decorator_list=decorators)
            ):
                # A command of the program is called by its name there.
                names = [] if any(re.search(r"\bcommand\(", ast.unparse(each)) for each in decorators) else [name]
            case ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_") and name != "T")


def test_no_public_name_is_defined_in_two_modules() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path, tree in TREES.items():
        for name in public_names(tree):
            homes[name].add(path.relative_to(ROOT).as_posix())
    assert {name: sorted(found) for name, found in homes.items() if len(found) > 1} == {}


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
