"""The report of a plan that has not run: its tasks in order, and the longest chain among them."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError

from agent.core.plan.dependencies import build_dependency_graph, waves
from agent.core.plan.document import Plan
from agent.core.plan.problems import format_path
from agent.core.provenance.lineage import list_task_inputs
from agent.errors import UsageError
from agent.report.model import RunReport, TaskInput, TaskReport
from agent.report.shown_values import choose_room, describe_terms, to_json_text, truncate_text
from agent.report.timing import find_longest_path


def build_plan_report(plan: Plan, *, title: str = "") -> RunReport:
    """Return the report of a plan. Raises `UsageError` if its tasks wait for each other in a circle."""
    room = choose_room(len(plan.tasks))
    known = {task.id for task in plan.tasks}
    needs = {task: tuple(need for need in own if need in known) for task, own in build_dependency_graph(plan).items()}
    try:
        wave_of = {task: number for number, wave in enumerate(waves(needs), start=1) for task in wave}
    except CycleError as error:
        raise UsageError(f"The plan cannot be drawn: {error.args[1]} wait for each other in a circle.") from error
    critical = set(find_longest_path(needs, duration=dict.fromkeys(needs, 1.0)))
    tasks = [
        TaskReport(
            task=task.id,
            title=task.description or task.id.replace("_", " "),
            tool=task.tool,
            status="ready" if not needs[task.id] else "waiting",
            phase=task.phase or "",
            wave=wave_of[task.id],
            arguments=truncate_text(to_json_text(dict(task.args)), room=room),
            terms=describe_terms(task),
            inputs=tuple(
                TaskInput(task=each.task, way=each.way, path=format_path(each.path))
                for each in list_task_inputs(task, needs=needs[task.id])
                if each.task in known
            ),
            is_critical=task.id in critical,
        )
        for task in plan.tasks
    ]
    return RunReport(
        thread="",
        goal=title,
        status="planned",
        made_at="",
        tasks=tuple(tasks),
        phases=tuple(plan.phases.items()),
        inputs=tuple(list_plan_inputs(plan.inputs, plan.input_values or {})),
    )


def list_plan_inputs(declared: Mapping[str, object] | None, given: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """Yield the names of a plan's inputs with their values as JSON, or their defaults, or nothing."""
    properties = (declared or {}).get("properties", declared or {})
    names = properties if isinstance(properties, Mapping) else {}
    for name in dict.fromkeys((*names, *given)):
        schema = names.get(name)
        default = schema.get("default") if isinstance(schema, Mapping) else None
        value = given.get(name, default)
        yield str(name), "" if value is None else to_json_text(value)  # type: ignore[arg-type]  # JSON of a plan
