"""Where the tasks of a plan stand in a picture: what is needed left, what needs it right, with few crossings.

The crossings are minimized by the library `fast_sugiyama`, of the extra `report`, after K. Sugiyama, S. Tagawa and
M. Toda, "Methods for Visual Understanding of Hierarchical System Structures", IEEE Transactions on Systems, Man, and
Cybernetics 11(2), 1981. Without it tasks stand wave by wave, as the plan lists them.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.core.plan.dependencies import DependencyGraph, waves

NODE_WIDTH: Final = 176
NODE_HEIGHT: Final = 46
_COLUMN_GAP: Final = 64
_ROW_GAP: Final = 18
#: From here on, tasks that stand at the same place of a plan are drawn as one.
_MAX_SINGLE_TASKS: Final = 40
_MIN_BUNDLE: Final = 3
#: Tasks without any dependency are set in rows of this many.
_LOOSE_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One task, or several that stand at the same place; `x` and `y` are its upper left corner in pixels."""

    tasks: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """That the node at position `target` needs the one at `source`; the points are its line, in pixels."""

    source: int
    target: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """A picture of a plan, in pixels."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    width: float
    height: float


def lay_out_graph(needs: DependencyGraph, kinds: Mapping[str, str]) -> GraphLayout:
    """Return where the tasks stand; of a large plan, those of the same kind at the same place are one node.

    At the same place: they need nodes of the same places, and the same places need them.
    """
    bundles = list(_bundle_tasks(needs, kinds))
    place = {task: number for number, tasks in enumerate(bundles) for task in tasks}
    graph = {
        number: tuple(dict.fromkeys(place[need] for task in tasks for need in needs[task] if need in place))
        for number, tasks in enumerate(bundles)
    }
    nodes: dict[int, GraphNode] = {}
    edges: list[GraphEdge] = []
    top = width = 0.0
    for part in _arrange(graph):
        spots = {
            key: (column * (NODE_WIDTH + _COLUMN_GAP), top + row * (NODE_HEIGHT + _ROW_GAP))
            for key, (column, row) in part.spots.items()
        }
        nodes |= {key: GraphNode(bundles[key], x, y) for key, (x, y) in spots.items() if isinstance(key, int)}
        edges += _route_edges(part.links, spots)
        width = max(width, *(x + NODE_WIDTH for x, _ in spots.values()))
        top = max(y for _, y in spots.values()) + NODE_HEIGHT + 2 * _ROW_GAP
    return GraphLayout(
        tuple(nodes[number] for number in sorted(nodes)), tuple(edges), width, max(0.0, top - 2 * _ROW_GAP)
    )


def _bundle_tasks(needs: DependencyGraph, kinds: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the tasks of each node: the coarsest partition in which all tasks of a part stand at the same place.

    Found by refining the parts until they are stable, as when a finite automaton is minimized.
    """
    if len(needs) <= _MAX_SINGLE_TASKS:
        yield from ((task,) for task in needs)
        return
    after: dict[str, list[str]] = {task: [] for task in needs}
    for task, own in needs.items():
        for need in own:
            if need in after:
                after[need].append(task)
    part_of, count = _number_parts({task: kinds[task] for task in needs}), -1
    while count < (count := max(part_of.values())):
        part_of = _number_parts(
            {
                task: (
                    part_of[task],
                    frozenset(part_of[need] for need in needs[task] if need in part_of),
                    frozenset(part_of[other] for other in after[task]),
                )
                for task in needs
            }
        )
    parts: defaultdict[int, list[str]] = defaultdict(list)
    for task, part in part_of.items():
        parts[part].append(task)
    for tasks in parts.values():
        if len(tasks) >= _MIN_BUNDLE:
            yield tuple(tasks)
        else:
            yield from ((task,) for task in tasks)


def _number_parts(keys: Mapping[str, Hashable]) -> dict[str, int]:
    """Return a number from 0 for each task, the same for those with the same key."""
    numbers: dict[Hashable, int] = {}
    return {task: numbers.setdefault(key, len(numbers)) for task, key in keys.items()}


class _Part(NamedTuple):
    """A connected part of the picture, or the tasks without any link, in columns and rows.

    Texts are the places where a long line passes; a link leads from what is needed, or such a place, to the next.
    """

    spots: dict[int | str, tuple[float, float]]
    links: list[tuple[int | str, int | str]]


def _arrange(graph: Mapping[int, Sequence[int]]) -> Iterator[_Part]:
    links = [(need, node) for node, own in graph.items() for need in own]
    linked = {node for link in links for node in link}
    if links:
        yield from sorted(_arrange_linked(graph, links), key=lambda part: -len(part.spots))
    loose = [node for node in graph if node not in linked]
    if loose:
        yield _Part({node: (place % _LOOSE_COLUMNS, place // _LOOSE_COLUMNS) for place, node in enumerate(loose)}, [])


def _arrange_linked(graph: Mapping[int, Sequence[int]], links: Sequence[tuple[int, int]]) -> Iterator[_Part]:
    try:
        from fast_sugiyama import from_edges  # noqa: PLC0415 - an extra
    except ImportError:
        yield _arrange_in_waves(graph, links)
        return
    # The library takes texts as names of nodes and gives numbers to the places where a line passes.
    named = [(str(need), str(node)) for need, node in links]
    for spots, _, height, routed in from_edges(named, minimum_length=1, vertex_spacing=1, dummy_vertices=True):
        yield _Part(
            {_swap(key): (height - y, x) for key, (x, y) in spots},
            [(_swap(source), _swap(target)) for source, target in routed or ()],
        )


def _swap(key: int | str) -> int | str:
    return int(key) if isinstance(key, str) else f"bend {key}"


def _arrange_in_waves(graph: Mapping[int, Sequence[int]], links: Sequence[tuple[int, int]]) -> _Part:
    linked = {node for link in links for node in link}
    columns = waves({str(node): tuple(map(str, own)) for node, own in graph.items() if node in linked})
    return _Part(
        {int(node): (column, row) for column, wave in enumerate(columns) for row, node in enumerate(wave)}, list(links)
    )


def _route_edges(
    links: Sequence[tuple[int | str, int | str]], spots: Mapping[int | str, tuple[float, float]]
) -> Iterator[GraphEdge]:
    onward: defaultdict[int | str, list[int | str]] = defaultdict(list)
    for source, target in links:
        onward[source].append(target)
    for source in spots:
        if not isinstance(source, int):
            continue
        for step in onward[source]:
            x, y = spots[source]
            points = [(x + NODE_WIDTH, y + NODE_HEIGHT / 2)]
            target = step
            while not isinstance(target, int):
                x, y = spots[target]
                points += [(x, y + NODE_HEIGHT / 2), (x + NODE_WIDTH, y + NODE_HEIGHT / 2)]
                target = onward[target][0]
            x, y = spots[target]
            yield GraphEdge(source, target, (*points, (x, y + NODE_HEIGHT / 2)))
