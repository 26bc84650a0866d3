"""Goals over tools of one's own, judged by the calls that were really made: those of the gold, and no other writes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from tests.evals.cases import Attempt, Case, Verdict, Writer
from tests.evals.sets.tools_goals import TOOL_GOALS, GoldCall, Says, ToolGoal
from tests.evals.sets.tools_world import LOG, READS, build_tools


def cases() -> list[Case]:
    """Return the goals over tools of one's own."""
    return [
        Case(id=goal.name, goal=goal.text, tools=partial(_tools, goal), judge=partial(judged, goal))
        for goal in TOOL_GOALS
    ]


def _tools(goal: ToolGoal, output: Path, _writer: Writer) -> list[BaseTool]:
    return build_tools(goal.parts, output)


def judged(goal: ToolGoal, attempt: Attempt, output: Path) -> Verdict:
    """Judge by what the world has seen; the words of an answer are not looked at."""
    log = output / LOG
    made = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    wrong = tuple(_faults(goal, made, attempt))
    return Verdict(right=not wrong, why="; ".join(wrong))


def _faults(goal: ToolGoal, made: Sequence[Mapping[str, Any]], attempt: Attempt) -> Iterator[str]:
    writes = [call for call in made if call["tool"] not in READS]
    if goal.asks:
        if writes:
            yield f"{goal.asks!r} is not given, and {writes[0]['tool']!r} was called"
        elif attempt.ending == "finished":
            yield f"{goal.asks!r} is not given, and nobody was asked for it"
        return
    if attempt.ending != "finished":
        yield f"it ended as {attempt.ending!r}: {'; '.join(attempt.problems)[:160]}"
    places = [next((place for place, call in enumerate(made) if _is_call(gold, call)), None) for gold in goal.reads]
    yield from (f"no {gold.tool} {gold.args}" for gold, place in zip(goal.reads, places, strict=True) if place is None)
    left, found = list(writes), dict[int, Mapping[str, Any]]()
    for place, gold in enumerate(goal.writes):
        match = next((call for call in left if _is_call(gold, call)), None)
        if match is None:
            yield f"no {gold.tool} {gold.args}"
        else:
            left.remove(match)
            found[place] = match
    yield from (f"{call['tool']} {call['args']} was not asked for" for call in left)
    for before, after in goal.order:
        if before in found and after in found and found[after]["began"] < found[before]["ended"]:
            yield f"{goal.writes[after].tool} began before {goal.writes[before].tool} had ended"


def _is_call(gold: GoldCall, made: Mapping[str, Any]) -> bool:
    args = made["args"]
    texts = " ".join(str(args[name]) for name in ("subject", "title", "body", "text", "notes") if name in args)
    return gold.tool == made["tool"] and all(
        _is_value(wanted, texts if isinstance(wanted, Says) else args.get(name)) for name, wanted in gold.args.items()
    )


def _is_value(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, Says):
        text = str(given).lower()
        return all(re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", text) for word in wanted.words)
    if isinstance(wanted, str):
        return str(given).strip().lower().removeprefix("the ") == wanted.lower().removeprefix("the ")
    return bool(wanted == given)
