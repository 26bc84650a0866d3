"""How near a plan comes to a gold workflow, after WorFEval (S. Qiao et al., "WorFBench", ICLR 2025, arXiv 2410.07869).

Nodes are matched by the similarity of their sentences: the matching of the largest sum of those above the threshold.
`f1_chain` takes the longest run of matched nodes that stand in an order of the gold graph, `f1_graph` the largest
connected part of the matched nodes and the edges that both graphs have between them; START and END are nodes there, as
in WorFEval. Where the published code departs from the paper we follow the paper: edges are compared through the
matching, not by number, and a plan of which nothing matches has no run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

THRESHOLD = 0.6
_START, _END = -1, -2

#: Takes two lists of sentences, gives a table of similarities from 0 to 1.
Alike = Callable[[Sequence[str], Sequence[str]], Any]


@dataclass(frozen=True)
class Workflow:
    """Sentences, and which comes directly before which, by their places in the list."""

    texts: tuple[str, ...]
    edges: frozenset[tuple[int, int]]

    @classmethod
    def of(cls, texts: Sequence[str], needs: Sequence[Sequence[int]]) -> "Workflow":
        """Return the workflow in which node `n` comes behind the nodes `needs[n]`."""
        pairs = ((before, after) for after, wanted in enumerate(needs) for before in wanted)
        return cls(tuple(texts), frozenset(pairs))

    def bounded(self) -> frozenset[tuple[int, int]]:
        """Return the edges with those from START and those to END."""
        places = range(len(self.texts))
        behind = {after for _, after in self.edges}
        before = {one for one, _ in self.edges}
        starts = {(_START, place) for place in places if place not in behind}
        ends = {(place, _END) for place in places if place not in before}
        return self.edges | starts | ends


def scores(plan: Workflow, gold: Workflow, *, alike: Alike) -> dict[str, float]:
    """Return `f1_chain` and `f1_graph`, both 0 for a plan without nodes."""
    if not plan.texts:
        return {"f1_chain": 0.0, "f1_graph": 0.0}
    matched = matching(plan.texts, gold.texts, alike=alike)
    return {"f1_chain": f1_chain(plan, gold, matched), "f1_graph": f1_graph(plan, gold, matched)}


def matching(plan: Sequence[str], gold: Sequence[str], *, alike: Alike) -> dict[int, int]:
    """Return for each matched node of the plan its node of the gold."""
    table = alike(plan, gold)
    graph = nx.Graph()
    for one in range(len(plan)):
        for other in range(len(gold)):
            if table[one][other] > THRESHOLD:
                graph.add_edge(("plan", one), ("gold", other), weight=float(table[one][other]))
    pairs = (dict(pair) for pair in nx.max_weight_matching(graph))
    return {pair["plan"]: pair["gold"] for pair in pairs}


def f1_chain(plan: Workflow, gold: Workflow, matched: Mapping[int, int]) -> float:
    """Return the F1 of the most matched nodes of the plan that stand as some order of the gold graph has them.

    Two nodes are at odds where the gold has the later one before the earlier. That relation is an order, so the most
    nodes without odds are as many as chains that cover all of them (Dilworth), which a matching counts (König): exact
    for every order of the gold, where WorFEval tries the first twenty.
    """
    graph = nx.DiGraph(gold.edges)
    graph.add_nodes_from(range(len(gold.texts)))
    behind = {node: nx.descendants(graph, node) for node in graph}
    nodes = sorted(matched)
    odds = nx.Graph()
    odds.add_nodes_from(("earlier", node) for node in nodes)
    odds.add_edges_from(
        (("earlier", one), ("later", other))
        for one in nodes
        for other in nodes
        if one < other and matched[one] in behind[matched[other]]
    )
    pairs = nx.bipartite.maximum_matching(odds, top_nodes=[("earlier", node) for node in nodes])
    return _f1(len(nodes) - len(pairs) // 2, len(plan.texts), len(gold.texts))


def f1_graph(plan: Workflow, gold: Workflow, matched: Mapping[int, int]) -> float:
    """Return the F1 of the largest connected part that both graphs have."""
    through = {**matched, _START: _START, _END: _END}
    wanted = gold.bounded()
    both = nx.Graph()
    both.add_nodes_from(through)
    both.add_edges_from(
        (one, other)
        for one, other in plan.bounded()
        if one in through and other in through and (through[one], through[other]) in wanted
    )
    largest = max(map(len, nx.connected_components(both)))
    return _f1(largest, len(plan.texts) + 2, len(gold.texts) + 2)


def _f1(shared: int, plan: int, gold: int) -> float:
    return 2 * shared / (plan + gold)
