"""Draws a plan as a Mermaid flowchart."""

from collections.abc import Mapping

from agent.core.engine.task_status import TaskStatus
from agent.core.plan.dependencies import build_dependency_graph
from agent.core.plan.document import Plan, Task

#: Fill and border colour of each status; one that is not here keeps Mermaid's default.
_STATUS_COLORS: Mapping[str, tuple[str, str]] = {
    "running": ("#dbeafe", "#2563eb"),
    "retrying": ("#dbeafe", "#d97706"),
    "awaiting_approval": ("#fef3c7", "#d97706"),
    "done": ("#dcfce7", "#16a34a"),
    "failed": ("#fee2e2", "#dc2626"),
    "skipped": ("#f3f4f6", "#9ca3af"),
    "rolled_back": ("#f3f4f6", "#16a34a"),
    "in_doubt": ("#fef3c7", "#b45309"),
    "rejected": ("#fee2e2", "#9f1239"),
    "cancelled": ("#f3f4f6", "#6b7280"),
    "blocked": ("#f3f4f6", "#9ca3af"),
}
#: Punctuation that has no meaning to Mermaid inside a quoted label.
_SAFE_CHARACTERS = frozenset(" _-.,:/()=")
_MAX_LABEL_LENGTH = 80


def to_mermaid(plan: Plan, statuses: Mapping[str, TaskStatus] | None = None) -> str:
    """Return the plan as a Mermaid flowchart, each task coloured by its status if it has one.

    Task ids and tool names are arbitrary text: nodes are numbered and labels escaped, so nothing in a plan can become
    syntax. A `for_each` task has a double border, one with `requires_approval` is a hexagon, and the arrows into a task
    with a condition are dotted.
    """
    known = statuses or {}
    node = {task.id: f"t{number}" for number, task in enumerate(plan.tasks)}
    lines = ["flowchart TD"]
    lines += [f"    {node[task.id]}{_draw_node(task, known.get(task.id))}" for task in plan.tasks]
    for task, needs in zip(plan.tasks, build_dependency_graph(plan).values(), strict=True):
        arrow = "-.->" if task.condition is not None else "-->"
        lines += [f"    {node[need]} {arrow} {node[task.id]}" for need in needs if need in node]
    for status, (fill, border) in _STATUS_COLORS.items():
        coloured = [node[task.id] for task in plan.tasks if known.get(task.id) == status]
        if coloured:
            lines.append(f"    classDef {status} fill:{fill},stroke:{border},color:#111827")
            lines.append(f"    class {','.join(coloured)} {status}")
    return "\n".join(lines) + "\n"


def _draw_node(task: Task, status: TaskStatus | None) -> str:
    rows = [task.id, task.tool, *([f"if {task.condition}"] if task.condition is not None else []), status or ""]
    label = "<br/>".join(_escape_label(row) for row in rows if row)
    if task.for_each is not None:
        return f'[["{label}"]]'
    return f'{{{{"{label}"}}}}' if task.requires_approval else f'["{label}"]'


def _escape_label(text: str) -> str:
    """Write everything except letters, digits and harmless punctuation as numeric entities of Mermaid."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= _MAX_LABEL_LENGTH else f"{flat[: _MAX_LABEL_LENGTH - 3]}..."
    return "".join(letter if letter.isalnum() or letter in _SAFE_CHARACTERS else f"#{ord(letter)};" for letter in flat)
