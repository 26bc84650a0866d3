"""The names of `planwave`, and the paths of the last release that lead to new ones."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import planwave

#: The paths that the pages of the last release named, each with names of it: old -> new.
MOVED = {
    "agent.configuration": ("agent.config_file", {"read_configuration": "read_configuration"}),
    "agent.core.editor": ("agent.core.compiler.editor", {"PlanEditor": "PlanEditor"}),
    "agent.core.schedule": (
        "agent.core.plan.dependencies",
        {"execution_waves": "execution_waves", "plan_needs": "build_dependency_graph"},
    ),
    "agent.tools.catalogue": ("agent.tools.toolbox", {"Toolbox": "Toolbox"}),
    "agent.tools.typed_writing": (
        "agent.tools.writing.typed_writing",
        {"typed_writing_tools": "typed_writing_tools", "Draft": "DraftTool"},
    ),
    "graphs.editing": ("graphs.thread_editing", {"plan_editor": "load_plan_editor", "put_plan": "replace_plan"}),
    "graphs.lineage": ("graphs.run.plan_history", {"provenance_of": "provenance_of"}),
    "graphs.standing": ("graphs.thread_status", {"overview": "summarize_thread", "results_of": "collect_results"}),
    # These were modules and are packages now.
    "agent.core.plan": ("agent.core.plan.document", {"Plan": "Plan", "LONGEST_ID": "MAX_ID_LENGTH"}),
    "agent.tools.mcp": ("agent.tools.mcp.tools", {"mcp_tools": "mcp_tools", "ServedTool": "McpTool"}),
    "graphs.delegation": ("graphs.delegation.delegate_tool", {"Delegate": "DelegateTool"}),
}


def test_every_public_name_is_there_and_known_to_type_checkers() -> None:
    [checked] = [
        node
        for node in ast.parse(Path(planwave.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    known = {
        alias.asname: (node.module, alias.name)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(known) == sorted(set(planwave.__all__) - {"__version__"})
    for name, (module, original) in known.items():
        assert getattr(planwave, name) is getattr(import_module(module), original)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = planwave.no_such_name


def test_importing_planwave_imports_no_room() -> None:
    code = "import sys, planwave; print(planwave.__version__, {'agent', 'graphs', 'prompts'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "0.1.0 set()\n"


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_leads_to_the_new_one_and_says_so(old: str) -> None:
    module, names = MOVED[old]
    if find_spec(old).submodule_search_locations is None:
        sys.modules.pop(old, None)  # a package warns at each name, a module at its first import
    with pytest.warns(DeprecationWarning, match=re.escape(module)) as told:
        exec(f"from {old} import {', '.join(names)}", found := {})  # noqa: S102 - a user's line
    assert {name: found[name] for name in names} == {
        name: getattr(import_module(module), renamed) for name, renamed in names.items()
    }
    assert {warning.filename for warning in told} == {"<string>"}


def test_the_delegate_tool_is_imported_from_where_it_was() -> None:
    from graphs.delegation import delegate_tool
    from graphs.delegation.delegate_tool import delegate_tool as moved

    assert delegate_tool is moved


def test_a_path_that_never_was_is_no_module() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"graphs\.nowhere"):
        import_module("graphs.nowhere")
