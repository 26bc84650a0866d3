"""The dependency graph of a plan: topological order, waves, the closure up to the next gate, critical-path ranks.

`graphlib` sorts; the rank of a task is the length of the longest path from it to the end (list scheduling by critical
path: T. C. Hu, "Parallel Sequencing and Assembly Line Problems", Operations Research 9(6), 1961).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from agent.core.plan.conditions import list_condition_tasks
from agent.core.plan.document import INPUTS, Plan, Task
from agent.core.plan.references import find_argument_producers, find_producers

#: For each task id the ids that it waits for.
DependencyGraph = Mapping[str, tuple[str, ...]]


def list_dependencies(task: Task) -> tuple[str, ...]:
    """Return the ids that `task` names in `depends_on`, arguments, `for_each` and condition; each once, in that order.

    A condition that does not parse adds none.
    """
    used = (*find_argument_producers(task.args), *find_producers(task.for_each), *list_condition_tasks(task.condition))
    return tuple(dict.fromkeys((*task.depends_on, *used)))


def build_dependency_graph(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return for each task, in listed order, what it waits for; `sequential` adds the task listed before it."""
    needs: dict[str, tuple[str, ...]] = {}
    previous: str | None = None
    for task in plan.tasks:
        own = list_dependencies(task)
        if plan.inputs is not None:
            # What the conditions of a plan call `inputs` is no task.
            own = tuple(need for need in own if need != INPUTS)
        if plan.execution_mode == "sequential" and previous is not None and previous not in own:
            own = (*own, previous)
        needs[task.id] = own
        previous = task.id
    return needs


def waves(needs: DependencyGraph) -> list[list[str]]:
    """Return the tasks level by level: each level waits only for earlier levels. Raises `graphlib.CycleError`."""
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    position = {task: index for index, task in enumerate(needs)}
    levels: list[list[str]] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        levels.append(sorted((task for task in ready if task in position), key=position.__getitem__))
        sorter.done(*ready)
    return [level for level in levels if level]


def execution_waves(plan: Plan, *, needs: DependencyGraph | None = None) -> list[list[str]]:
    """Return the plan's tasks wave by wave, each wave in the order of `priority`, the lowest first, then as listed.

    So they start, but that among tasks of one priority those go first that the end of the plan waits for longest.
    `needs` is the plan's dependency graph, if the caller has it. Raises `graphlib.CycleError`.
    """
    needs = build_dependency_graph(plan) if needs is None else needs
    priorities = {task.id: task.priority for task in plan.tasks}
    return [sorted(level, key=priorities.__getitem__) for level in waves(needs)]


def sort_topologically(needs: DependencyGraph) -> list[str]:
    """Return the tasks so that each comes after what it needs. Raises `graphlib.CycleError`."""
    return [task for level in waves(needs) for task in level]


def ranks(
    needs: DependencyGraph, *, duration: Callable[[str], float] = lambda _: 1.0, ordered: Sequence[str] | None = None
) -> dict[str, float]:
    """Return for each task the length of the longest path from its start to the end of the plan, in `duration`'s unit.

    `ordered` is the result of `sort_topologically(needs)`, if the caller has it.
    """
    longest: dict[str, float] = {}
    after: dict[str, float] = dict.fromkeys(needs, 0.0)
    for task in reversed(sort_topologically(needs) if ordered is None else ordered):
        longest[task] = duration(task) + after[task]
        for need in needs[task]:
            if need in after:
                after[need] = max(after[need], longest[task])
    return longest


def ancestors(needs: DependencyGraph, task: str) -> dict[str, None]:
    """Return all that `task` waits for, directly or not; unknown ids count, and so does `task` itself in a cycle."""
    found: dict[str, None] = {}
    left = list(needs[task])
    while left:
        need = left.pop()
        if need not in found:
            found[need] = None
            left.extend(needs.get(need, ()))
    return found


def find_runnable_closure(
    needs: DependencyGraph,
    *,
    is_settled: Callable[[str], bool],
    is_runnable: Callable[[str], bool],
    ordered: Iterable[str],
    limit: int | None = None,
) -> list[str]:
    """Return every unsettled task that can start without anything from outside the returned set, at most `limit`.

    `ordered` lists each task after its needs; `is_runnable` refuses tasks that wait at a gate. A task is taken if all
    its needs are settled or taken.
    """
    taken: dict[str, None] = {}
    for task in ordered:
        if len(taken) == limit:
            break
        if is_settled(task) or not is_runnable(task):
            continue
        if all(need in taken or is_settled(need) for need in needs[task]):
            taken[task] = None
    return list(taken)
