"""Planwave under one import name, in a clone and in the wheel alike; each name is loaded at its first use."""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agent.config_file import read_configuration as read_configuration
    from agent.core.compiler.editor import EditError as EditError
    from agent.core.compiler.editor import PlanEditor as PlanEditor
    from agent.core.plan.dependencies import execution_waves as execution_waves
    from agent.core.plan.document import Plan as Plan
    from agent.core.plan.document import Task as Task
    from agent.errors import AnswerError as AnswerError
    from agent.errors import DataError as DataError
    from agent.errors import ModelError as ModelError
    from agent.errors import NoModelError as NoModelError
    from agent.errors import PersistenceError as PersistenceError
    from agent.errors import PlanwaveError as PlanwaveError
    from agent.errors import SettingsError as SettingsError
    from agent.errors import ThreadBusyError as ThreadBusyError
    from agent.errors import ToolError as ToolError
    from agent.errors import ToolFailure as ToolFailure
    from agent.errors import UsageError as UsageError
    from agent.programs.program import Program as Program
    from agent.settings import Settings as Settings
    from agent.tools.analytics import default_tools as default_tools
    from agent.tools.mcp.tools import mcp_tools as mcp_tools
    from agent.tools.server_hints import trust_hints as trust_hints
    from agent.tools.toolbox import Toolbox as Toolbox
    from agent.tools.writing.typed_writing import typed_writing_tools as typed_writing_tools
    from graphs.compiled_graph import PlanwaveGraph as PlanwaveGraph
    from graphs.composition.planwave_tool import planwave_subagent as planwave_subagent
    from graphs.composition.planwave_tool import planwave_tool as planwave_tool
    from graphs.delegation.agent_tool import agent_tool as agent_tool
    from graphs.delegation.delegate_tool import delegate_tool as delegate_tool
    from graphs.persistence import Persistence as Persistence
    from graphs.persistence import open_persistence as open_persistence
    from graphs.plan_execute import build_graph as build_graph
    from graphs.run.plan_history import provenance_of as provenance_of
    from graphs.state import Input as Input
    from graphs.state import Output as Output
    from graphs.stores.library import Library as Library
    from graphs.thread_editing import load_plan_editor as load_plan_editor
    from graphs.thread_editing import replace_plan as replace_plan
    from graphs.workers.client import ThreadQueue as ThreadQueue
    from graphs.workers.client import answer_thread as answer  # noqa: F401 - as the others, by another name
    from graphs.workers.client import open_queue as open_queue
    from graphs.workers.client import submit as submit
    from graphs.workers.client import wait as wait
    from graphs.workers.worker import run_worker as run_worker

    __version__: str

#: The module of each name, and after a colon its name there if that is another one.
_MODULES: Final = {
    "AnswerError": "agent.errors",
    "DataError": "agent.errors",
    "EditError": "agent.core.compiler.editor",
    "Input": "graphs.state",
    "Library": "graphs.stores.library",
    "ModelError": "agent.errors",
    "NoModelError": "agent.errors",
    "Output": "graphs.state",
    "Persistence": "graphs.persistence",
    "PersistenceError": "agent.errors",
    "Plan": "agent.report.plan_report",  # so that a notebook can draw it
    "PlanEditor": "agent.core.compiler.editor",
    "PlanwaveError": "agent.errors",
    "PlanwaveGraph": "graphs.compiled_graph",
    "Program": "agent.programs.program",
    "Settings": "agent.settings",
    "SettingsError": "agent.errors",
    "Task": "agent.core.plan.document",
    "ThreadBusyError": "agent.errors",
    "ThreadQueue": "graphs.workers.client",
    "ToolError": "agent.errors",
    "ToolFailure": "agent.errors",
    "Toolbox": "agent.tools.toolbox",
    "UsageError": "agent.errors",
    "answer": "graphs.workers.client:answer_thread",
    "agent_tool": "graphs.delegation.agent_tool",
    "build_graph": "graphs.plan_execute",
    "default_tools": "agent.tools.analytics",
    "delegate_tool": "graphs.delegation.delegate_tool",
    "execution_waves": "agent.core.plan.dependencies",
    "load_plan_editor": "graphs.thread_editing",
    "mcp_tools": "agent.tools.mcp.tools",
    "open_persistence": "graphs.persistence",
    "open_queue": "graphs.workers.client",
    "planwave_subagent": "graphs.composition.planwave_tool",
    "planwave_tool": "graphs.composition.planwave_tool",
    "provenance_of": "graphs.run.plan_history",
    "read_configuration": "agent.config_file",
    "replace_plan": "graphs.thread_editing",
    "run_worker": "graphs.workers.worker",
    "submit": "graphs.workers.client",
    "trust_hints": "agent.tools.server_hints",
    "typed_writing_tools": "agent.tools.writing.typed_writing",
    "wait": "graphs.workers.client",
}
#: In the wheel the rooms are inside this package, in a clone beside it.
_PREFIX: Final = f"{__name__}." if Path(__file__).with_name("agent").is_dir() else ""

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604 - all of them texts

if not TYPE_CHECKING:  # else a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        """Import a public name when it is first asked for, so that `planwave --help` loads no LangGraph."""
        if name == "__version__":
            value = version("planwave")
        elif name in _MODULES:
            module, _, original = _MODULES[name].partition(":")
            value = getattr(import_module(_PREFIX + module), original or name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names, also those that are not loaded yet."""
    return sorted({*globals(), *__all__})
