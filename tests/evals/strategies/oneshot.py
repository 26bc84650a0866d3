"""A plan as JSON in one question, run as it stands: no check, no repair, no second plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.tool import JsonSchema, ToolSpec
from agent.reply import Malformed
from agent.structured import ask
from tests.evals.cases import Attempt, Call
from tests.evals.strategies.calling import called_in_order
from tests.evals.strategies.forms import call_schemas, definitions, shown
from tests.evals.strategies.references import referred
from tests.evals.strategies.strategy import Bench, Strategy

_MAX_TOKENS = 2_000
_PROMPT = """You turn a goal into a plan of tool calls, which are run in the order in which you list them.

{tools}

A task has an `id`, `does` (what it finds out or does, in one sentence), a `tool` and its `args`. An argument is a \
value, or a reference to the output of an earlier task:
- "$total" is the output of the task with the id total; "$total.result" is its field `result`.
- "$found.rows" are the rows of a query; "$found.rows.*.name" is the list of their values of `name`; \
"$found.rows.0.name" is the first one's.
Never copy by hand what an earlier task finds out: refer to it. The last task gives what the goal asks for.

Example, with tools of a weather service. Goal: How many degrees warmer is Oslo than twice Bergen?
{{"tasks": [
{{"id": "oslo", "does": "Get the temperature in Oslo", "tool": "temperature", "args": {{"city": "Oslo"}}}},
{{"id": "bergen", "does": "Get the temperature in Bergen", "tool": "temperature", "args": {{"city": "Bergen"}}}},
{{"id": "twice", "does": "Double the temperature in Bergen", "tool": "scale", "args": \
{{"number": "$bergen.celsius", "by": 2}}}},
{{"id": "warmer", "does": "Take the doubled one from Oslo's", "tool": "difference", "args": \
{{"a": "$oslo.celsius", "b": "$twice"}}}}]}}"""


async def attempt(bench: Bench) -> Attempt:
    """Ask once; a reply that is no plan loses, and so does a plan that breaks."""
    if bench.case.plan is not None:
        return await called_in_order(given_calls(bench.case.plan), bench.tools)
    specs, told = await shown(bench.tools)
    messages: list[BaseMessage] = [
        SystemMessage(_PROMPT.format(tools=told)),
        HumanMessage(f"Goal: {bench.case.goal}"),
    ]
    reply = await ask(bench.model, messages, schema=schema(specs), name="plan", max_tokens=_MAX_TOKENS)
    if isinstance(reply, Malformed):
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
        "tests/evals/strategies/forms.py",
        "tests/evals/strategies/calling.py",
        "tests/evals/strategies/references.py",
    ),
)
