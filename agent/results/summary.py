"""What has happened in a run so far, in short texts for a model that replans."""

import json
from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.plan.document import Task

_MAX_PREVIEW_LENGTH: Final = 300


def preview_value(value: JsonValue, *, max_length: int = _MAX_PREVIEW_LENGTH) -> str:
    """Return the beginning of a value as JSON; for rows their number and the first of them."""
    if isinstance(value, dict) and isinstance(rows := value.get("rows"), list):
        count = f"{len(rows)} rows"
        return f"{count}, such as {_truncate_json(rows[0], max_length=max_length)}" if rows else count
    return _truncate_json(value, max_length=max_length)


def _truncate_json(value: JsonValue, *, max_length: int) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= max_length else f"{text[:max_length]}..."


def describe_outcomes(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield a text for each task: its call, the conditions it is made under, and its outcome."""
    for task in compiled.plan.tasks:
        call = f"{task.tool} {_truncate_json(dict(task.args), max_length=600)}"
        terms = "; ".join(_describe_terms(task))
        outcome = outcomes.get(task.id)
        state = _describe_outcome(outcome) if outcome else "has not run"
        yield f"- {task.id}: {call}{f' ({terms})' if terms else ''}\n  {state}"


def _describe_terms(task: Task) -> Iterator[str]:
    if task.for_each is not None:
        yield f"once for each item of {_truncate_json(task.for_each, max_length=_MAX_PREVIEW_LENGTH)}"
    if task.condition is not None:
        yield f"only if {_truncate_json(task.condition, max_length=_MAX_PREVIEW_LENGTH)}"
    if task.depends_on:
        yield f"after {', '.join(task.depends_on)}"
    if task.run_if == "any":
        yield "although some of what it waits for was skipped"
    if task.rollback is not None:
        yield f"undone by {task.rollback.tool}"


def _describe_outcome(outcome: Outcome) -> str:
    match outcome:
        case Done(error=str(lost)):
            return f"done, never to be made again: {lost}"
        case Done(items=None):
            warned = f" ({' '.join(outcome.warnings)})" if outcome.warnings else ""
            return f"done: {preview_value(outcome.output)}{warned}"
        case Done():
            return f"done, though {outcome.items}: {preview_value(outcome.output)}"
        case Failed() | Rejected():
            return describe_failure(outcome)
        case Skipped():
            return f"skipped: {outcome.because}"
        case Cancelled():
            return f"cancelled: {outcome.because}"
        case InDoubt():
            return "in doubt: it was started, and it is not known whether it took effect"
        case _:
            assert_never(outcome)


def describe_failure(outcome: Outcome) -> str:
    """Return why a task is not done, as a sentence."""
    match outcome:
        case Failed():
            return f"FAILED ({outcome.kind}): {outcome.error}"
        case Rejected():
            return f"REJECTED by a person, who said: {outcome.message or 'nothing'}"
        case _:
            return outcome.status
