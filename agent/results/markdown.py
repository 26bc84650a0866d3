"""Results as Markdown, without a model: for each task a line, a small table or the files that it wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Outcome, Rejected, Skipped
from agent.core.engine.progress import find_blocked_tasks

_MAX_ROWS: Final = 20
_MAX_COLUMNS: Final = 12
_MAX_TEXT_LENGTH: Final = 400
_OPENINGS: Final = {
    "completed": "All that was planned is done.",
    "failed": "The goal was not reached.",
    "cancelled": "The run was cancelled.",
}


def render_results(
    *, compiled: CompiledPlan | None, outcomes: Mapping[str, Outcome], status: str, reason: str = ""
) -> str:
    """Return how a run ended, then the outcome of every task of its plan, in order."""
    parts = [" ".join(part for part in (_render_opening(status, outcomes), reason) if part)]
    parts += [
        render_section(task, outcomes[task], title=get_title(compiled, task))
        for task in list_settled_tasks(compiled, outcomes)
    ]
    if compiled is not None:
        blocked = find_blocked_tasks(compiled, outcomes)
        parts += [
            f"**{get_title(compiled, task)}** [{task}] did not run: it depends on {need}."
            for task, need in blocked.items()
        ]
    return "\n\n".join(parts)


def _render_opening(status: str, outcomes: Mapping[str, Outcome]) -> str:
    lacking = [task for task, outcome in outcomes.items() if isinstance(outcome, Failed | Rejected)]
    if status == "completed" and lacking:
        return f"Done, but without {', '.join(lacking)}."
    partial = [task for task, outcome in outcomes.items() if isinstance(outcome, Done) and outcome.items is not None]
    if status == "completed" and partial:
        return f"Done, but {', '.join(partial)} lacks items that failed."
    lost = [task for task, outcome in outcomes.items() if isinstance(outcome, Done) and outcome.error is not None]
    if status == "completed" and lost:
        return f"Done, but the output of {', '.join(lost)} could not be stored."
    cut = [task for task, outcome in outcomes.items() if isinstance(outcome, Done) and outcome.cuts]
    if status == "completed" and cut:
        return f"Done, but on incomplete data: {', '.join(cut)}."
    return _OPENINGS.get(status, f"The run is {status}.")


def list_settled_tasks(compiled: CompiledPlan | None, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the tasks of the plan that have an outcome, in order; without a plan, all that have one."""
    return list(outcomes) if compiled is None else [task for task in compiled.order if task in outcomes]


def get_title(compiled: CompiledPlan | None, task: str) -> str:
    """Return a task's name for humans: its description, else its id."""
    described = compiled.tasks[task].description if compiled is not None and task in compiled.tasks else ""
    return described or task.replace("_", " ")


def render_section(task: str, outcome: Outcome, *, title: str) -> str:
    """Return one task's outcome: its title with its id as a citation, then its output or why there is none."""
    head = f"**{title}** [{task}]"
    match outcome:
        case Done():
            body = outcome.error if outcome.has_lost_output and outcome.error else render_output(outcome.output)
            lacking = f"\n\nIncomplete: {outcome.items}" if outcome.items is not None else ""
            lacking += "".join(f"\n\nNote: {warning}" for warning in outcome.warnings)
            return (f"{head}\n\n{body}" if "\n" in body else f"{head}: {body}") + lacking
        case Failed():
            return f"{head} failed: {outcome.error}"
        case Rejected():
            return f"{head} was rejected by a person{': ' + outcome.message if outcome.message else ''}."
        case Skipped():
            return f"{head} was skipped: {outcome.because}"
        case Cancelled():
            return f"{head} was not finished: {outcome.because}"
        case InDoubt():
            return f"{head} was started, and it is not known whether it took effect."
        case _:
            assert_never(outcome)


def render_output(output: JsonValue) -> str:
    """Return an output for a human: rows as a table, files by their paths, anything else in a line."""
    rows = extract_rows(output)
    if rows is not None:
        return render_table(rows, more_exist=isinstance(output, dict) and output.get("truncated") is True)
    if isinstance(output, str):
        return output if len(output) <= 10 * _MAX_TEXT_LENGTH else f"{output[: 10 * _MAX_TEXT_LENGTH]}..."
    if isinstance(output, dict):
        texts = [value for value in output.values() if isinstance(value, str)]
        if len(output) == 1 and texts:
            return render_output(texts[0])
        # Warnings are shown with the outcome.
        flat = {key: value for key, value in output.items() if key != "warnings"}
        if flat and not any(isinstance(value, dict | list) for value in flat.values()):
            return "\n".join(f"- {key.replace('_', ' ')}: {_render_cell(value)}" for key, value in flat.items())
    text = json.dumps(output, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}..."


def extract_rows(output: JsonValue) -> list[dict[str, JsonValue]] | None:
    """Return the list of objects that an output is, or has under `rows`; None if it is neither."""
    items = output.get("rows") if isinstance(output, dict) else output
    if not isinstance(items, list) or not (items or isinstance(output, dict)):
        return None
    rows = [row for row in items if isinstance(row, dict)]
    return rows if len(rows) == len(items) else None


def render_table(rows: Sequence[Mapping[str, JsonValue]], *, more_exist: bool = False) -> str:
    """Return rows as a Markdown table, at most twenty of them and twelve columns."""
    if not rows:
        return "No rows: nothing in the data matches."
    names = list(dict.fromkeys(name for row in rows for name in row))[:_MAX_COLUMNS]
    return "\n".join(_render_table_lines(rows, names=names, more_exist=more_exist))


def _render_table_lines(
    rows: Sequence[Mapping[str, JsonValue]], *, names: Sequence[str], more_exist: bool
) -> Iterator[str]:
    numeric = {name for name in names if all(_is_number(row.get(name)) for row in rows)}
    yield f"| {' | '.join(_escape_inline(name) for name in names)} |"
    yield f"| {' | '.join('---:' if name in numeric else '---' for name in names)} |"
    for row in rows[:_MAX_ROWS]:
        yield f"| {' | '.join(_render_cell(row.get(name)) for name in names)} |"
    if len(rows) > _MAX_ROWS or more_exist:
        yield ""
        hidden = len(rows) - _MAX_ROWS if len(rows) > _MAX_ROWS else "and"
        yield f"... {hidden} more{', at least' if more_exist else ''}"


def _is_number(value: JsonValue) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _render_cell(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return _escape_inline(value)
        case float():
            return f"{value:.2f}" if abs(value) >= 1000 else f"{value:.6g}"
        case int():
            return str(value)
        case _:
            return _escape_inline(json.dumps(value, ensure_ascii=False))


def _escape_inline(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
