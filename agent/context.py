"""What the planner is told of the world: the outputs of the tools that give context."""

import json

from pydantic import JsonValue

from agent.attempts import call_tool
from agent.errors import PlanwaveError
from agent.events import Emit, Thinking
from agent.tools.catalogue import Toolbox
from agent.values import as_json

_LONGEST = 24_000


async def gathered(toolbox: Toolbox, *, emit: Emit) -> str:
    """Call every context provider without arguments and return what they said, a section each.

    A provider that has a method `as_context(output)` words its own section. One that fails is named with its error:
    planning goes on without it.
    """
    sections: list[str] = []
    for name, spec in toolbox.specs.items():
        if not spec.policy.context_provider:
            continue
        emit(Thinking(role="context", text=f"Asking {name}"))
        sections.append(f"## {name}\n{await _said(toolbox, name)}")
    return "\n\n".join(sections)


async def _said(toolbox: Toolbox, name: str) -> str:
    tool = toolbox[name]
    try:
        output = as_json(await call_tool(tool, {}, {"run_name": f"context: {name}"}, spec=toolbox.specs[name]))
    except Exception as error:  # noqa: BLE001 - a provider is a tool; its failure is a fact for the planner, not the run's end
        return (
            f"It failed: {error}" if isinstance(error, PlanwaveError) else f"It failed: {type(error).__name__}: {error}"
        )
    return worded(toolbox, name, output, longest=_LONGEST)


def worded(toolbox: Toolbox, name: str, output: JsonValue, *, longest: int) -> str:
    """Return what a tool said as the planner is shown it: in the tool's own words where it has some."""
    words = getattr(toolbox[name], "as_context", None)
    text = words(output) if callable(words) else json.dumps(output, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}\n... ({len(text) - longest} more characters)"
