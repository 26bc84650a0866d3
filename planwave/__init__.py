"""Planwave under one import name, in a clone and in the wheel alike; each name is loaded at its first use."""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.core.compiler.editor import PlanEditor
    from agent.errors import PlanwaveError
    from agent.settings import Settings
    from graphs.persistence import Persistence, open_persistence
    from graphs.plan_execute import build_graph
    from graphs.state import Input, Output

__version__ = version("planwave")

__all__ = [
    "Input",
    "Output",
    "Persistence",
    "PlanEditor",
    "PlanwaveError",
    "Settings",
    "__version__",
    "build_graph",
    "open_persistence",
]

_HOMES = {
    "Input": "graphs.state",
    "Output": "graphs.state",
    "Persistence": "graphs.persistence",
    "PlanEditor": "agent.core.compiler.editor",
    "PlanwaveError": "agent.errors",
    "Settings": "agent.settings",
    "build_graph": "graphs.plan_execute",
    "open_persistence": "graphs.persistence",
}
#: In the wheel the rooms are inside this package, in a clone beside it.
_PREFIX = f"{__name__}." if (Path(__file__).parent / "agent").is_dir() else ""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for; type checkers read the imports above
    """Import a public name when it is first asked for, so that `planwave --help` loads no LangGraph."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PREFIX + _HOMES[name]), name)
    globals()[name] = value
    return value
