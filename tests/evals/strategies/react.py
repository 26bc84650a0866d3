"""A loop of one call at a time, each chosen with the results so far in sight (S. Yao et al., "ReAct", ICLR 2023).

The calls are chosen by JSON Schema, because tool calling does not work with every server. A result can be referred
to, so that rows need not be copied by hand.
"""

import json
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import JsonSchema
from agent.llm.replies import MalformedReply
from agent.llm.structured_output import ask_json
from tests.evals.cases import Attempt, Call
from tests.evals.strategies.calling import called
from tests.evals.strategies.forms import call_schemas, definitions, prompt, shown
from tests.evals.strategies.references import referred
from tests.evals.strategies.strategy import Bench, Strategy

MAX_STEPS = 15
_MAX_TOKENS = 900
#: Characters of a result that are shown: a model must see some rows, and its context is short.
_SHOWN = 1_200
_FINISH = "finish"


async def attempt(bench: Bench) -> Attempt:
    """Choose and make calls until the model finishes or the steps are used up; a failure is shown to it."""
    if not bench.case.runs:
        raise ValueError("'react' needs tools that run; choose a strategy that plans.")
    specs, told = await shown(bench.tools)
    tools = {tool.name: tool for tool in bench.tools}
    messages: list[BaseMessage] = [
        SystemMessage(prompt("react", tools=told)),
        HumanMessage(f"Goal: {bench.case.goal}"),
    ]
    schema = step_schema(call_schemas(specs, before=_THOUGHT), definitions(specs))
    calls: list[Call] = []
    outputs: dict[str, Any] = {}
    for _ in range(MAX_STEPS):
        reply = await ask_json(bench.model, messages, schema=schema, name="step", max_tokens=_MAX_TOKENS)
        if isinstance(reply, MalformedReply):
            messages += [AIMessage(reply.raw or "{}"), HumanMessage(f"This cannot be used: {reply.reason}")]
            continue
        step = reply.value["step"]
        if step["tool"] == _FINISH:
            return Attempt(tuple(calls), ending="finished")
        number = str(len(calls) + 1)
        needs = tuple(dict.fromkeys(referred(step["args"])))
        call = Call(id=number, tool=step["tool"], args=step["args"], needs=needs, text=step["thought"])
        calls.append(await called(call, tools, outputs=outputs))
        if calls[-1].done:
            outputs[number] = calls[-1].output
        messages += [AIMessage(reply.raw), HumanMessage(_result(calls[-1]))]
    return Attempt(tuple(calls), ending="out of steps")


_THOUGHT: JsonSchema = {"thought": {"type": "string", "minLength": 1, "maxLength": 300}}


def step_schema(calls: list[JsonSchema], defined: JsonSchema) -> JsonSchema:
    """Return the schema of a step: one of the calls, or the end."""
    end = {
        "type": "object",
        "properties": {
            **_THOUGHT,
            "tool": {"type": "string", "const": _FINISH},
            "args": {
                "type": "object",
                "properties": {"answer": {"type": "string", "maxLength": 500}},
                "required": ["answer"],
                "additionalProperties": False,
            },
        },
        "required": ["thought", "tool", "args"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"step": {"anyOf": [*calls, end]}},
        "required": ["step"],
        "additionalProperties": False,
        **defined,
    }


def _result(call: Call) -> str:
    if call.error:
        return f"Result {call.id} is a failure: {call.error[:_SHOWN]}"
    text = json.dumps(call.output, ensure_ascii=False, default=str)
    cut = "" if len(text) <= _SHOWN else f"... ({len(text) - _SHOWN} more characters; $" + f"{call.id} has all of it)"
    return f"Result {call.id}: {text[:_SHOWN]}{cut}"


STRATEGY = Strategy(
    "react",
    attempt,
    code=(
        "tests/evals/strategies/react.py",
        "tests/evals/strategies/react.md",
        "tests/evals/strategies/forms.py",
        "tests/evals/strategies/calling.py",
        "tests/evals/strategies/references.py",
    ),
)
