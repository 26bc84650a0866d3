"""Order, waves, closure and ranks against brute force, and plans of ten thousand tasks."""

import random
import time
from graphlib import CycleError
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.engine.next_move import RunTasks, next_move
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.dependencies import (
    ancestors,
    build_dependency_graph,
    find_runnable_closure,
    ranks,
    sort_topologically,
    waves,
)
from agent.core.plan.limits import Limits
from tests.support.plans import CATALOGUE, compiled_of, plan_of


@st.composite
def dags(draw, most=8):
    """Needs of up to `most` tasks, in an order that has nothing to do with them."""
    names = [f"t{number}" for number in range(draw(st.integers(1, most)))]
    needs = {name: tuple(draw(st.sets(st.sampled_from(names[:at])))) if at else () for at, name in enumerate(names)}
    return {name: needs[name] for name in draw(st.permutations(names))}


def depth(needs, task):
    return 1 + max((depth(needs, need) for need in needs[task]), default=0)


def height(needs, task, cost):
    return cost(task) + max((height(needs, after, cost) for after in needs if task in needs[after]), default=0.0)


@given(dags())
def test_waves_are_the_levels(needs):
    levels = waves(needs)
    assert {task: level for level, tasks in enumerate(levels, 1) for task in tasks} == {
        task: depth(needs, task) for task in needs
    }
    assert all(tasks == sorted(tasks, key=list(needs).index) for tasks in levels)


@given(dags())
def test_order_puts_each_task_behind_its_needs(needs):
    found = sort_topologically(needs)
    assert sorted(found) == sorted(needs)
    assert all(found.index(need) < found.index(task) for task in needs for need in needs[task])


@given(dags(), st.randoms(use_true_random=False))
def test_a_rank_is_the_longest_path_to_the_end(needs, random):
    cost = {task: float(random.randint(0, 5)) for task in needs}
    assert ranks(needs, duration=cost.__getitem__) == {task: height(needs, task, cost.__getitem__) for task in needs}
    assert ranks(needs) == {task: height(needs, task, lambda _: 1.0) for task in needs}


@given(dags())
def test_ancestors(needs):
    reach = {task: set(needs[task]) for task in needs}
    for _ in needs:
        reach = {task: found.union(*(reach[need] for need in found)) for task, found in reach.items()}
    assert {task: set(ancestors(needs, task)) for task in needs} == reach


@given(dags(), st.randoms(use_true_random=False))
def test_closure_is_the_largest_set_that_needs_nothing_from_outside(needs, random):
    gates = {task for task in needs if random.random() < 0.3}
    settled = {task for task in sort_topologically(needs) if random.random() < 0.4}
    found = find_runnable_closure(
        needs,
        is_settled=settled.__contains__,
        is_runnable=lambda task: task not in gates,
        ordered=sort_topologically(needs),
    )
    candidates = [task for task in needs if task not in settled and task not in gates]
    largest = set(candidates)
    while left := {task for task in largest if not set(needs[task]) <= settled | largest}:
        largest -= left
    assert set(found) == largest
    assert len(found) == len(set(found))


@given(dags(), st.integers(1, 5))
def test_a_bounded_closure_ends_and_needs_nothing_from_outside(needs, most):
    settled: set[str] = set()
    while left := needs.keys() - settled:
        found = find_runnable_closure(
            needs,
            is_settled=settled.__contains__,
            is_runnable=lambda _: True,
            ordered=sort_topologically(needs),
            limit=most,
        )
        assert len(found) == min(most, len(left))
        assert all(set(needs[task]) <= settled | set(found) for task in found)
        settled.update(found)


@pytest.mark.parametrize("function", [waves, sort_topologically, ranks])
def test_a_cycle_raises(function):
    with pytest.raises(CycleError):
        function({"a": ("b",), "b": ("a",)})


def test_what_a_task_waits_for():
    plan = plan_of(
        {"id": "a", "tool": "free"},
        {"id": "b", "tool": "free"},
        {
            "id": "c",
            "tool": "free",
            "depends_on": ["b"],
            "args": {
                "x": {"template": "{y}", "values": {"y": {"output_of": "t"}}},
                "z": [{"output_of": "a"}, {"k": {"output_of": "b"}}],
            },
            "for_each": {"output_of": "e"},
            "condition": 'f.x > 0 && outputs["g-1"].n > 0',
            "rollback": {"tool": "free", "args": {"x": {"output_of": "c"}}},
        },
    )
    assert build_dependency_graph(plan) == {"a": (), "b": (), "c": ("b", "t", "a", "e", "f", "g-1")}
    sequential = plan.model_copy(update={"execution_mode": "sequential"})
    assert build_dependency_graph(sequential) == {"a": (), "b": ("a",), "c": ("b", "t", "a", "e", "f", "g-1")}


@given(dags(), st.sampled_from(["parallel", "conditional"]))
def test_every_dag_compiles(needs, mode):
    tasks = [{"id": task, "tool": "free", "depends_on": list(needs[task])} for task in needs]
    compiled = compiled_of(*tasks, execution_mode=mode)
    assert compiled.needs == {task: needs[task] for task in needs}
    assert list(compiled.order) == sort_topologically(needs)
    assert compiled.ranks == ranks(needs)


@given(dags())
def test_every_dag_compiles_with_references_in_listed_order(needs):
    listed = sort_topologically(needs)
    forms = [
        lambda need: {"args": {"x": {"output_of": need}}},
        lambda need: {"args": {"x": {"template": "{v}", "values": {"v": {"output_of": need}}}}},
        lambda need: {"condition": f"{need} != null"},
        lambda need: {"for_each": {"output_of": need}, "args": {"x": {"item": []}}},
    ]
    tasks = []
    for number, task in enumerate(listed):
        first, rest = needs[task][:1], needs[task][1:]
        form = forms[number % len(forms)](first[0]) if first else {}
        tasks.append({"id": task, "tool": "free", "depends_on": list(rest), **form})
    for mode in ("parallel", "sequential"):
        compiled = compiled_of(*tasks, execution_mode=mode)
        assert all(set(needs[task]) <= set(compiled.needs[task]) for task in listed)
    assert compiled.order == tuple(listed)


def chain(count):
    return [(f"t{number}", [f"t{number - 1}"] if number else []) for number in range(count)]


def wide(count):
    return [("root", []), *((f"t{number}", ["root"]) for number in range(count - 2)), ("end", [f"t{count - 3}"])]


def scattered(count):
    source = random.Random(7)  # noqa: S311 - a shape, no secret
    return [
        (f"t{number}", [f"t{source.randrange(number)}" for _ in range(source.randint(0, 3))] if number else [])
        for number in range(count)
    ]


@pytest.mark.parametrize("make", [chain, wide, scattered])
@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_ten_thousand_tasks(make, mode, capsys):
    tasks = [
        {
            "id": task,
            "tool": "free",
            "depends_on": needs[1:],
            "args": {"x": [{"output_of": need, "path": ["rows", 0]} for need in needs[:1]]},
        }
        for task, needs in make(10_000)
    ]
    plan = plan_of(*tasks, execution_mode=mode)
    began = time.process_time()
    compiled = compile_plan(plan, CATALOGUE, limits=Limits())
    seconds = time.process_time() - began
    assert isinstance(compiled, CompiledPlan)
    began = time.process_time()
    move = next_move(Snapshot(compiled=compiled), Limits())
    choosing = time.process_time() - began
    with capsys.disabled():
        print(f"\n{make.__name__}, {mode}: 10,000 tasks compiled in {seconds:.2f} s, first move in {choosing:.2f} s")
    assert isinstance(move, RunTasks)
    assert len(move.tasks) == Limits().max_dispatch
    if make is chain or mode == "sequential":
        assert compiled.order == tuple(task["id"] for task in tasks)
        assert all(compiled.ranks[one] == compiled.ranks[other] + 1 for one, other in pairwise(compiled.order))
