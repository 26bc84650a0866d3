"""NESTFUL's arithmetic records (arXiv 2409.03797): a question, the tools offered, the number that is its answer."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from tests.evals.cases import Attempt, Call, Case, Verdict, Writer, final_call
from tests.evals.sets.arithmetic import tool
from tests.evals.sets.outside import read, read_lines
from tests.evals.strategies.references import REFERENCE


def cases() -> list[Case]:
    """Return the records whose gold plan needs nothing but the arithmetic functions. Raises `AbsentError`."""
    specs = json.loads(read("nestful/tools.json"))
    return [
        Case(
            id=record["id"],
            goal=record["query"],
            tools=partial(_tools, record["tools"], specs),
            judge=partial(judged, record),
        )
        for record in records()
    ]


def records() -> list[dict[str, Any]]:
    """Return the records as they were published. Raises `AbsentError`."""
    wanted = set(json.loads(read("nestful/math_subset_ids.json")))
    return [record for record in read_lines("nestful/plans.jsonl") if record["id"] in wanted]


def _tools(names: Sequence[str], specs: Mapping[str, Any], _output: Path, _writer: Writer) -> list[BaseTool]:
    return [tool(name, specs[name]) for name in names]


def judged(record: Mapping[str, Any], attempt: Attempt, _output: Path) -> Verdict:
    """Judge by IBM's rule: right is who ends with the gold answer; the sequence of calls is scored beside it."""
    gold = record["gold_answer"]
    scores = {"sequence": float(sequence(attempt.calls) == gold_sequence(record["plan"]))}
    last = final_call(attempt.calls)
    if last is None or not last.done:
        return Verdict(right=False, why="the last call gave nothing", scores=scores)
    value = _only(last.output)
    right = same_value(value, gold)
    return Verdict(right=right, why="" if right else f"{value!r} is not {gold!r}", scores=scores)


def _only(output: Any) -> Any:
    return next(iter(output.values())) if isinstance(output, dict) and len(output) == 1 else output


def same_value(value: Any, gold: Any) -> bool:
    """Compare as IBM does: of two floats the prediction is first rounded to the decimals that the gold is written with.

    A gold without a decimal point, such as `1e-07`, has as many decimals as its exponent says.
    """
    if isinstance(value, float) and isinstance(gold, float):
        value = round(value, _decimals(gold))
    if isinstance(value, list | tuple) and isinstance(gold, list | tuple):
        return list(value) == list(gold)
    return bool(value == gold)


def _decimals(gold: float) -> int:
    digits, _, exponent = repr(gold).partition("e")
    written = len(digits.partition(".")[2])
    return max(0, written - int(exponent)) if exponent else written


Sequence_ = list[tuple[str, dict[str, Any]]]


def gold_sequence(plan: Sequence[Mapping[str, Any]]) -> Sequence_:
    """Return the gold calls in their order, each reference as the place of the call that it refers to."""
    places = {step["id"]: place for place, step in enumerate(plan)}
    return [(step["tool"], {name: _gold_value(value, places) for name, value in step["args"].items()}) for step in plan]


def _gold_value(value: Any, places: Mapping[str, int]) -> Any:
    return ("call", places[value["$ref"]]) if isinstance(value, Mapping) and "$ref" in value else value


def sequence(calls: Sequence[Call]) -> Sequence_:
    """Return calls as `gold_sequence` does, whichever way their strategy writes a reference."""
    places = {call.id: place for place, call in enumerate(calls)}
    return [(call.tool, {name: _value(value, places) for name, value in call.args.items()}) for call in calls]


def _value(value: Any, places: Mapping[str, int]) -> Any:
    if isinstance(value, Mapping) and "output_of" in value:
        return ("call", places.get(value["output_of"]))
    if isinstance(value, str) and (found := REFERENCE.fullmatch(value.strip())):
        return ("call", places.get(found[1]))
    return value
