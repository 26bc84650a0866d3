"""A plan as JSON in one question, run as it stands: no check, no repair, no second plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.llm.replies import MalformedReply
from agent.llm.structured_output import ask_json
from tests.evals.cases import Attempt, Call
from tests.evals.strategies.calling import called_in_order
from tests.evals.strategies.forms import call_schemas, definitions, prompt, shown
from tests.evals.strategies.references import referred
from tests.evals.strategies.strategy import Bench, Strategy

_MAX_TOKENS = 2_000


async def attempt(bench: Bench) -> Attempt:
    """Ask once; a reply that is no plan loses, and so does a plan that breaks."""
    if bench.case.plan is not None:
        return await called_in_order(given_calls(bench.case.plan), bench.tools)
    specs, told = await shown(bench.tools)
    messages: list[BaseMessage] = [
        SystemMessage(prompt("oneshot", tools=told)),
        HumanMessage(f"Goal: {bench.case.goal}"),
    ]
    reply = await ask_json(bench.model, messages, schema=schema(specs), name="plan", max_tokens=_MAX_TOKENS)
    if isinstance(reply, MalformedReply):
        return Attempt((), ending="no plan", problems=(reply.reason,))
    calls = [_call(task) for task in reply.value["tasks"]]
    return await called_in_order(calls, bench.tools) if bench.case.runs else Attempt(tuple(calls), ending="finished")


def schema(specs: Sequence[ToolSpec]) -> JsonSchema:
    """Return the schema of a plan: a list of calls, each with the arguments of its own tool."""
    first: JsonSchema = {
        "id": {"type": "string", "minLength": 1, "maxLength": 40},
        "does": {"type": "string", "minLength": 1, "maxLength": 300},
    }
    tasks = {"type": "array", "minItems": 1, "maxItems": 30, "items": {"anyOf": call_schemas(specs, before=first)}}
    return {
        "type": "object",
        "properties": {"tasks": tasks},
        "required": ["tasks"],
        "additionalProperties": False,
        **definitions(specs),
    }


def _call(task: Mapping[str, Any]) -> Call:
    needs = tuple(dict.fromkeys(referred(task["args"])))
    return Call(id=task["id"], tool=task["tool"], args=task["args"], needs=needs, text=task["does"])


def given_calls(plan: Mapping[str, Any]) -> list[Call]:
    """Return a plan document's tasks as calls in the baselines' own form."""
    return [
        Call(
            id=task["id"],
            tool=task["tool"],
            args=_in_words(task["args"]),
            needs=tuple(dict.fromkeys(referred(_in_words(task["args"])))),
            text=task.get("description", ""),
        )
        for task in plan["tasks"]
    ]


def _in_words(value: Any) -> Any:
    if isinstance(value, Mapping) and "output_of" in value:
        return ".".join(map(str, (f"${value['output_of']}", *value.get("path", ()))))
    if isinstance(value, Mapping):
        return {name: _in_words(each) for name, each in value.items()}
    return [_in_words(each) for each in value] if isinstance(value, list) else value


STRATEGY = Strategy(
    "oneshot",
    attempt,
    code=(
        "tests/evals/strategies/oneshot.py",
        "tests/evals/strategies/oneshot.md",
        "tests/evals/strategies/forms.py",
        "tests/evals/strategies/calling.py",
        "tests/evals/strategies/references.py",
    ),
)
