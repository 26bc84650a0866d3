"""Tools as the baselines' models are told of them, and the JSON Schemas that hold their replies."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.execution.call_log import MemoryCallLog
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor
from agent.execution.ledger import MemoryLedger
from agent.planning.context import call_context_providers
from agent.planning.tool_prompts import describe_tools, select_plannable_tools
from agent.settings import Settings
from agent.tools.toolbox import Toolbox

#: What small models' servers can hold a reply to; longer texts and lists come in by reference.
_MAX_LENGTH, _MAX_ITEMS = 1_000, 30
#: What grammars of local servers do not know, and a reply is not held to.
_UNSAID = frozenset({"maxProperties", "minProperties"})
_OURS = re.compile(r'\{"output_of": \.\.\., "path": \[([^\]]*)\]\}')
_REFERENCE: JsonSchema = {"type": "string", "pattern": "^\\$[A-Za-z0-9_.*]{1,80}$"}


def prompt(name: str, *, tools: str) -> str:
    """Return the baseline's prompt that lies beside this file, with what is told of the tools."""
    return Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8").replace("{tools}", tools)


async def shown(tools: Sequence[BaseTool]) -> tuple[list[ToolSpec], str]:
    """Return the tools that may be called, and the text about them and the world that Planwave's planner has too."""
    toolbox = Toolbox(tools)
    executor, slots = Executor(toolbox, Settings(), MemoryLedger(), MemoryCallLog()), Slots(1)
    context = await call_context_providers(
        toolbox, executor, thread="", revision=1, slots=slots, emit=lambda _event: None
    )
    specs = list(select_plannable_tools(toolbox.specs).values())
    text = f"Tools:\n{_OURS.sub(_in_their_form, describe_tools(specs))}"
    return specs, f"{text}\n\nWhat is known:\n{context}" if context else text


def _in_their_form(reference: re.Match[str]) -> str:
    """Word a reference in a tool's description as the baselines write it.

    After a task of their prompt's example: a small model takes a word such as `id` for the name to write.
    """
    path = ".".join(re.findall(r"[\w*]+", reference[1]))
    return f'"$found.{path}"'


def call_schemas(specs: Sequence[ToolSpec], *, before: JsonSchema | None = None) -> list[JsonSchema]:
    """Return for each tool the schema of an object that calls it; `before` are properties that stand first.

    Every argument may be a reference instead, in the form of `references`.
    """
    first = before or {}
    return [
        {
            "type": "object",
            "properties": {**first, "tool": {"type": "string", "const": spec.name}, "args": _arguments(spec)},
            "required": [*first, "tool", "args"],
            "additionalProperties": False,
        }
        for spec in specs
    ]


def definitions(specs: Sequence[ToolSpec]) -> JsonSchema:
    """Return the `$defs` of all tools under one roof; two tools that mean different things by a name are refused."""
    found: dict[str, Any] = {}
    for spec in specs:
        for name, part in spec.args_schema.get("$defs", {}).items():
            if found.setdefault(name, part) != part:
                raise ValueError(f"Two tools define {name!r} differently; rename one of the definitions.")
    return {"$defs": _capped(found)} if found else {}


def _arguments(spec: ToolSpec) -> JsonSchema:
    properties = {name: _or_reference(part) for name, part in spec.args_schema.get("properties", {}).items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(spec.args_schema.get("required", ())),
        "additionalProperties": False,
    }


def _or_reference(part: JsonSchema) -> JsonSchema:
    """Return the schema of an argument, or of a named value inside one, that may be a reference instead."""
    part = _capped(part)
    if isinstance(named := part.get("additionalProperties"), dict):
        part = {**part, "additionalProperties": _or_reference(named)}
    if part.get("type") == "string" and not part.keys() & {"enum", "const", "pattern"}:
        return part
    return {"anyOf": [_REFERENCE, part]}


def _capped(part: Any) -> Any:
    if isinstance(part, list):
        return [_capped(each) for each in part]
    if not isinstance(part, dict):
        return part
    capped = {name: _capped(each) for name, each in part.items() if name not in _UNSAID}
    for name, most in (("maxLength", _MAX_LENGTH), ("maxItems", _MAX_ITEMS)):
        if isinstance(capped.get(name), int):
            capped[name] = min(capped[name], most)
    return capped
