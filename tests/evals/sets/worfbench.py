"""WorFBench's function-call part (arXiv 2410.07869): a task and described tools in, a workflow out; nothing is run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from tests.evals.cases import Attempt, Case, Verdict, Writer
from tests.evals.sets import sentences
from tests.evals.sets.outside import read_lines
from tests.evals.sets.workflow import Workflow, scores

_FILE = "worfbench/worfbench_function_call.jsonl"
_TYPES = {"str": "string", "string": "string", "int": "integer", "integer": "integer", "float": "number"}
_TYPES |= {"number": "number", "bool": "boolean", "boolean": "boolean"}
#: Characters of a description: some tools repeat their manual.
_LONGEST = 300


def cases() -> list[Case]:
    """Return the records that name their tools. Raises `AbsentError`, and fetches the sentence model if need be."""
    found = [
        Case(
            id=record["id"],
            goal=record["task"],
            tools=partial(_tools, record["tools"]),
            judge=partial(judged, gold(record)),
            runs=False,
        )
        for record in records()
        if record.get("tools")
    ]
    sentences.fetch()
    return found


def records() -> list[dict[str, Any]]:
    """Return the records as they were published. Raises `AbsentError`."""
    return read_lines(_FILE)


def gold(record: Mapping[str, Any]) -> Workflow:
    """Return the gold workflow of a record."""
    places = {node["id"]: place for place, node in enumerate(record["gold_nodes"])}
    return Workflow.of(
        [node["text"] for node in record["gold_nodes"]],
        [[places[each] for each in node["depends_on"]] for node in record["gold_nodes"]],
    )


def judged(wanted: Workflow, attempt: Attempt, _output: Path) -> Verdict:
    """Score a plan by its calls' words and needs; right is only who has the whole gold graph and nothing else."""
    places = {call.id: place for place, call in enumerate(attempt.calls)}
    plan = Workflow.of(
        [call.text or call.tool for call in attempt.calls],
        [[places[each] for each in call.needs if each in places] for call in attempt.calls],
    )
    found = scores(plan, wanted, alike=sentences.alike)
    right = found["f1_graph"] == 1.0
    return Verdict(right=right, why="" if right else f"graph {found['f1_graph']:.2f}", scores=found)


def _tools(described: Sequence[Mapping[str, Any]], _output: Path, _writer: Writer) -> list[BaseTool]:
    tools: dict[str, BaseTool] = {}
    for each in described:
        name = re.sub(r"\W", "_", each.get("name") or each["api_name"])[:60]
        tools.setdefault(name, _tool(name, each))
    return list(tools.values())


def _tool(name: str, described: Mapping[str, Any]) -> BaseTool:
    """Return a tool that can be planned with; what it would do is not known."""

    def described_only(**args: Any) -> None:
        raise NotImplementedError(f"{name!r} is only described; nothing runs it.")

    properties = dict(_parameters(described))
    required = [each for each, (_, needed) in properties.items() if needed]
    metadata: dict[str, Any] = {"readOnlyHint": True}
    if isinstance(given := described.get("responses"), dict):
        outputs = {each: _schema(told) for each, told in given.items()}
        metadata["output_schema"] = {"type": "object", "properties": outputs}
    return StructuredTool.from_function(
        func=described_only,
        name=name,
        description=_short(described.get("description") or described.get("api_description") or name),
        args_schema={
            "type": "object",
            "properties": {each: schema for each, (schema, _) in properties.items()},
            "required": required,
            "additionalProperties": False,
        },
        metadata=metadata,
    )


def _parameters(described: Mapping[str, Any]) -> Iterator[tuple[str, tuple[dict[str, Any], bool]]]:
    """Yield name, schema and need of each parameter, whichever of the three sources described the tool."""
    told = described.get("parameters") or {}
    if told.get("type") == "object" and isinstance(told.get("properties"), dict):
        required, told = told.get("required") or (), told["properties"]
    else:
        required = described.get("required") or ()
    for name, each in told.items():
        if isinstance(each, str):
            words = each.split(". ")
            needed = words[0] == "Required"
            kind, text = (words[1:2] or [""])[0] if needed else words[0], words[-1]
            yield name, (_schema({"type": kind, "description": text}), needed)
        else:
            yield name, (_schema(each), name in required)


def _schema(told: Any) -> dict[str, Any]:
    kind = _TYPES.get(str(told.get("type", "")).lower()) if isinstance(told, dict) else None
    text = _short(str(told.get("description", ""))) if isinstance(told, dict) else ""
    return ({"type": kind} if kind else {}) | ({"description": text} if text else {})


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."
