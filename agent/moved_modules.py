"""Module paths of the release before, importable for one release more: each warns and names the new path.

A package says where its modules have gone (`forward_modules`) or, where a package has taken the place of a module,
where that module's names have (`forward_names`). Paths are told without the package, so they hold in the wheel too.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NamedTuple


class Moved(NamedTuple):
    """Where a module has gone, and the names that are not the same there: old to new."""

    path: str
    renamed: Mapping[str, str] = {}


def forward_modules(package: str, moved: Mapping[str, Moved]) -> None:
    """Let modules of `package` be imported from where they were: `moved` by their old paths below it."""
    sys.meta_path.append(_MovedModules({f"{package}.{old}": (package, new) for old, new in moved.items()}))


def forward_names(package: str, moved: Moved) -> Callable[[str], object]:
    """Return a `__getattr__` for a package that was a module: its names, all in `moved.renamed`, are below it now."""

    def find_moved_name(name: str) -> object:
        if name not in moved.renamed:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, current = import_module(f"{package}.{moved.path}"), moved.renamed[name]
        _warn(f"{package}.{name}", f"{home.__name__}.{current}")
        return getattr(home, current)

    return find_moved_name


class _MovedModules:
    """Finds, last of all, the modules that are not where they were, and loads them as views on the new ones."""

    def __init__(self, moved: Mapping[str, tuple[str, Moved]]) -> None:
        self._moved = moved

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self) if fullname in self._moved else None  # type: ignore[arg-type]  # loads as well

    def create_module(self, spec: ModuleSpec) -> None:
        del spec

    def exec_module(self, module: ModuleType) -> None:
        package, moved = self._moved[module.__name__]
        home = import_module(f"{package}.{moved.path}")
        _warn(module.__name__, home.__name__)
        vars(module).update({name: value for name, value in vars(home).items() if not name.startswith("_")})
        vars(module).update({old: getattr(home, new) for old, new in moved.renamed.items()})


def _warn(old: str, new: str) -> None:
    # The caller's caller: the frames of the import system do not count.
    warnings.warn(
        f"{old} has moved to {new}; the old path goes with the next release.", DeprecationWarning, stacklevel=3
    )
