"""Makespan, critical path and the time in which only a human was waited for."""

import sys

import pytest

from agent.report.graph_layout import lay_out_graph
from agent.report.timing import Interval, compute_timing, measure_uncovered, merge_intervals


def at(seconds: float) -> str:
    return f"2026-01-01T00:00:{seconds:06.3f}+00:00"


def test_the_critical_path_is_the_longest_chain_and_the_ratio_says_how_close_the_run_came():
    runs = {"a": (at(0), at(2)), "b": (at(0), at(1)), "c": (at(5), at(8)), "d": (at(2), at(3))}
    needs = {"a": (), "b": (), "c": ("a", "b"), "d": ("a",)}
    timing = compute_timing(runs, needs, asked=[(at(2), at(5))])
    assert (timing.makespan_s, timing.critical_path_s, timing.critical_path) == (8.0, 5.0, ("a", "c"))
    # A human was asked from 2 to 5, but until 3 something ran.
    assert timing.human_wait_s == 2.0
    assert timing.ratio == pytest.approx(1.6)
    assert timing.ratio_without_humans == pytest.approx(1.2)


def test_spans_are_merged_and_what_is_covered_does_not_count():
    assert merge_intervals([Interval(3, 4), Interval(0, 1), Interval(1, 2), Interval(5, 5)]) == [(0, 2), (3, 4)]
    assert measure_uncovered([Interval(0, 10), Interval(4, 12)], [Interval(2, 3), Interval(11, 20)]) == 10.0


def test_tasks_at_the_same_place_of_a_large_plan_are_one_node_and_a_small_plan_has_one_for_each():
    needs = {"first": (), **{f"f{n}": ("first",) for n in range(50)}, "odd": ("first",), "last": ("odd", "f0")}
    kinds = dict.fromkeys(needs, "look") | {"odd": "write"}
    nodes = {node.tasks for node in lay_out_graph(needs, kinds).nodes}
    assert ("first",) in nodes
    assert ("odd",) in nodes
    assert ("f0",) in nodes  # another task needs it, so it stands at another place
    assert tuple(f"f{n}" for n in range(1, 50)) in nodes
    small = {task: need for task, need in needs.items() if task in {"first", "f0", "f1", "f2", "f3"}}
    assert len(lay_out_graph(small, kinds).nodes) == 5


@pytest.mark.parametrize("has_library", [True, False])
def test_what_is_needed_stands_left_and_no_two_nodes_overlap(monkeypatch, has_library):
    if not has_library:
        monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
    needs = {str(n): tuple(str(each) for each in {n // 2, n // 3} if 0 < each < n) for n in range(1, 40)}
    layout = lay_out_graph(needs, dict.fromkeys(needs, "look"))
    spot = {node.tasks[0]: (node.x, node.y) for node in layout.nodes}
    assert all(spot[need][0] < spot[task][0] for task, own in needs.items() for need in own)
    for one in spot.values():
        assert sum(abs(one[0] - x) < 176 and abs(one[1] - y) < 46 for x, y in spot.values()) == 1
    assert {(layout.nodes[e.source].tasks[0], layout.nodes[e.target].tasks[0]) for e in layout.edges} == {
        (need, task) for task, own in needs.items() for need in own
    }
