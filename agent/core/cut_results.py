"""Results that are cut off: recognised in what a tool returns, and carried on to all that is made of them.

A result is cut if a limit kept part of it back: the rows or bytes of a query, a page of an API. What is made of it,
such as a total, a chart or a file, is then about that part only, and says so.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from agent.core.engine.outcomes import Cut, Done, Outcome
from agent.core.plan.conditions import find_condition_tasks
from agent.core.plan.document import Task
from agent.core.plan.references import JsonPath, OutputReference, find_argument_references, find_references

#: Keys by which the result of a tool says that there is more: ours, and those of common APIs.
_FLAGS: Final = (
    *("truncated", "is_truncated", "isTruncated", "has_more", "hasMore", "incomplete_results"),
    *("next_cursor", "nextCursor", "next_page_token", "nextPageToken", "next_page", "nextPage"),
)
#: Where such a result has what there is of it.
_LISTS: Final = ("rows", "items", "results", "data", "records", "entries", "values")
#: Parts of a result that are whole although its rows are cut.
_WHOLE_PARTS: Final = frozenset({"columns", "warning", *_FLAGS})


def find_own_cut(task: Task, output: JsonValue) -> Cut | None:
    """Return what was cut off in the output of `task`; None if the output does not say that anything was."""
    if task.for_each is None:
        what = _describe_cut(output)
        return None if what is None else Cut(task=task.id, what=f"the result of {task.id!r} {what}")
    items = output if isinstance(output, list) else []
    found = [what for item in items if (what := _describe_cut(item)) is not None]
    if not found:
        return None
    count = f"{len(found):,} of {len(items):,} results of {task.id!r} are cut off; the first"
    return Cut(task=task.id, what=f"{count} {found[0]}")


def _describe_cut(output: JsonValue) -> str | None:
    if isinstance(output, dict) and len(output) == 1 and isinstance(inner := output.get("result"), dict):
        # So an MCP server wraps what is not an object with a schema.
        output = inner
    if not isinstance(output, dict):
        return None
    flag = next((flag for flag in _FLAGS if output.get(flag) is True or _is_cursor(flag, output.get(flag))), None)
    if flag is None:
        return None
    key = next((key for key in _LISTS if isinstance(output.get(key), list)), None)
    rows = output[key] if key is not None else None
    if not isinstance(rows, list):
        if isinstance(warning := output.get("warning"), str):
            return f"is incomplete: {warning.rstrip('.')}"
        return f"is not all there is: it has {flag!r}"
    named = "row" if key == "rows" else "item"
    return f"is cut off after {len(rows):,} {named}{'' if len(rows) == 1 else 's'}; there are more"


def _is_cursor(flag: str, value: JsonValue) -> bool:
    """Whether `value` is where the next page begins; an empty text and null say that there is none."""
    return flag.startswith("next") and (isinstance(value, str) or type(value) is int) and bool(value)


def find_inherited_cuts(task: Task, outcomes: Mapping[str, Outcome]) -> tuple[Cut, ...]:
    """Return what was cut off in the results that the arguments, the items and the condition of `task` are made of."""
    read = [found for _, found in find_argument_references(task.args)]
    read += [found for _, found in find_references(task.for_each)]
    # Which part of an output a condition reads is not known.
    conditions = find_condition_tasks(task.condition) if task.condition is not None else ()
    references = [
        *(found for found in read if isinstance(found, OutputReference)),
        *(OutputReference(producer) for producer in sorted(conditions)),
    ]
    return tuple(dict.fromkeys(cut for found in references for cut in find_cuts_behind(found, outcomes)))


def find_cuts_behind(reference: OutputReference, outcomes: Mapping[str, Outcome]) -> Iterator[Cut]:
    """Yield what was cut off in the part of an output that `reference` reads."""
    outcome = outcomes.get(reference.task)
    for cut in outcome.cuts if isinstance(outcome, Done) else ():
        # One row of a cut result is right, unless it is counted from the end; of what was made from one it is not.
        if cut.task != reference.task or not _is_whole_part(reference.path):
            yield cut


def _is_whole_part(path: JsonPath) -> bool:
    if not path or not isinstance(path[0], str):
        return False
    return path[0] in _WHOLE_PARTS or any(isinstance(step, int) and step >= 0 for step in path[1:])


def mark_cuts(task: Task, done: Done, outcomes: Mapping[str, Outcome]) -> Done:
    """Return the result of `task` with what was cut off in it and in what it was made from, and a warning for each."""
    inherited = find_inherited_cuts(task, outcomes)
    # An output that is offloaded was marked when it was made.
    own = tuple(cut for cut in (find_own_cut(task, done.output),) if cut is not None) if not done.is_offloaded else ()
    cuts = tuple(dict.fromkeys((*done.cuts, *own, *inherited)))
    if cuts == done.cuts:
        return done
    new = [cut for cut in cuts if cut not in done.cuts]
    sentences = [str(cut) if cut in own else f"This is made from incomplete data: {cut.what}." for cut in new]
    return done.model_copy(update={"cuts": cuts, "warnings": tuple(dict.fromkeys((*done.warnings, *sentences)))})
