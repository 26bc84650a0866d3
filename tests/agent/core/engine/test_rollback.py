from agent.core.compiler.compiler import link_plan
from agent.core.engine.outcomes import Done, Failed
from agent.core.engine.rollback import (
    RollbackInput,
    WriteRecord,
    build_undo_tasks,
    drop_impossible_undos,
    may_have_effect,
)
from agent.core.plan.document import Plan, Task
from agent.core.plan.tool_spec import Policy
from tests.support.plans import READ, arguments, tool

WHOLE = {"type": "object", "properties": {}, "additionalProperties": True}
CATALOGUE = {
    spec.name: spec
    for spec in (
        tool("look", WHOLE),
        tool("make", arguments(["name"], name={"type": "string"}), policy=Policy(compensate="drop")),
        tool("drop", arguments(["id"], id={}, name={}), policy=Policy()),
        tool("mail", WHOLE, policy=Policy()),
        tool("keep", WHOLE, policy=Policy(idempotent=True, compensate="forget")),
        tool("forget", arguments(output={}), policy=Policy()),
    )
}
FAILED = {"revision": 1, "error": "It broke."}


def done(output=None, **facts):
    return Done(revision=1, output=output, **facts)


def undone(*tasks, outcomes, wanted=None):
    """Return the tools, arguments and needs of what undoes `tasks`, and why others are not undone."""
    compiled = link_plan(Plan(tasks=tuple(Task.model_validate(task) for task in tasks)), CATALOGUE)
    names = wanted or [name for name in reversed(compiled.order) if name in outcomes]
    changes = RollbackInput(tuple(names), compiled.tasks, compiled.needs, outcomes, CATALOGUE)
    made, hopeless = build_undo_tasks(changes)
    return {task.id: (task.tool, task.args, task.depends_on) for task in made}, hopeless


def make(name, *needs, **more):
    return {"id": name, "tool": "make", "args": {"name": name.upper()}, "depends_on": list(needs), **more}


def test_a_compensating_tool_takes_by_name_what_was_returned_else_what_was_given():
    made, hopeless = undone(make("a"), make("b"), outcomes={"a": done({"id": 7}), "b": done({"id": 8, "name": "b2"})})
    assert made == {
        "undo:a": ("drop", {"id": 7, "name": "A"}, ()),
        "undo:b": ("drop", {"id": 8, "name": "b2"}, ()),
    }
    assert hopeless == {}


def test_a_compensating_tool_may_take_the_whole_output():
    made, _ = undone({"id": "k", "tool": "keep"}, outcomes={"k": done([1, 2])})
    assert made == {"undo:k": ("forget", {"output": [1, 2]}, ())}


def test_a_rollback_of_the_task_goes_before_its_tools_own():
    rollback = {"tool": "mail", "args": {"about": {"output_of": "a", "path": ["id"]}}}
    made, _ = undone(make("a", rollback=rollback), outcomes={"a": done({"id": 7})})
    assert made == {"undo:a": ("mail", {"about": 7}, ())}


def test_an_undoing_waits_for_those_of_what_rests_on_it():
    tasks = make("a"), make("b", "a"), {"id": "l", "tool": "look", "depends_on": ["b"]}, make("c", "l"), make("d", "a")
    made, _ = undone(*tasks, outcomes={name: done({"id": name}) for name in "abcdl"}, wanted=["d", "c", "b", "a"])
    assert {name: set(needs) for name, (_, _, needs) in made.items()} == {
        "undo:a": {"undo:b", "undo:d"},
        "undo:b": {"undo:c"},
        "undo:c": set(),
        "undo:d": set(),
    }


def test_what_has_no_undoing_is_listed_and_holds_nothing_up():
    mail = {"id": "m", "tool": "mail", "depends_on": ["a"]}
    made, hopeless = undone(make("a"), mail, outcomes={"a": done({"id": 1}), "m": done("sent")})
    assert list(made) == ["undo:a"]
    assert hopeless == {
        "m": "Nothing undoes it: the task has no rollback, and its tool 'mail' names no compensating tool."
    }


def test_an_undoing_that_cannot_be_made_keeps_what_it_rests_on():
    bad = make("b", "a", rollback={"tool": "drop", "args": {"id": {"output_of": "b", "path": ["no"]}}})
    made, hopeless = undone(make("a"), bad, make("c"), outcomes={name: done({"id": 1}) for name in "abc"})
    assert list(made) == ["undo:c"]
    assert hopeless["b"].startswith("There is no 'no' in the output of 'b'")
    assert hopeless["a"] == "'b', which depends on it, was not undone."


def test_what_nobody_knows_is_listed_and_holds_nothing_up():
    unsure = Failed(kind="in_doubt", **FAILED)
    made, hopeless = undone(make("a"), make("b", "a"), outcomes={"a": done({"id": 1}), "b": unsure})
    assert list(made) == ["undo:a"]
    assert hopeless == {"b": "It is unknown whether it took effect."}
    late = {"id": "k", "tool": "keep"}
    _, hopeless = undone(late, outcomes={"k": Failed(kind="timeout", **FAILED)})
    assert hopeless == {"k": "It failed, but it may have taken effect: It broke."}


def test_a_result_that_was_taken_over_is_undone_behind_all_that_rested_on_either():
    tasks = make("a"), make("b", "a"), {**make("a2"), "args": {"name": "A"}}
    outcomes = {"a": done({"id": 1}), "b": done({"id": 2}), "a2": done({"id": 1}, reused_from="a")}
    made, _ = undone(*tasks, outcomes=outcomes, wanted=["a2", "b"])
    assert made["undo:a2"][2] == ("undo:b",)


def test_a_run_that_has_a_task_of_the_undoings_name_keeps_the_change():
    tasks = make("a"), {"id": "undo:a", "tool": "look"}
    made, hopeless = undone(*tasks, outcomes={"a": done({"id": 1}), "undo:a": done()}, wanted=["a"])
    assert made == {}
    assert "already has a task 'undo:a'" in hopeless["a"]


def test_without_takes_away_what_waits_for_the_hopeless_near_or_far():
    tasks = [
        Task(id="undo:c", tool="drop"),
        Task(id="undo:b", tool="drop", depends_on=("undo:c",)),
        Task(id="undo:a", tool="drop", depends_on=("undo:b",)),
        Task(id="undo:z", tool="drop"),
    ]
    left, held = drop_impossible_undos(tasks, ["c"])
    assert [task.id for task in left] == ["undo:z"]
    assert held == {name: f"'{by}', which depends on it, was not undone." for name, by in (("b", "c"), ("a", "b"))}


def test_what_changes_something():
    task = Task(id="t", tool="make")
    write, reading, again = (
        tool("w", policy=Policy()),
        tool("r", policy=READ),
        tool("i", policy=Policy(idempotent=True)),
    )

    def found(outcome, spec=write, *, doubted=False, task=task):
        return may_have_effect(task, spec=spec, outcome=outcome, doubted=doubted)

    assert found(done())
    assert found(done(), None)
    assert not found(done(), reading)
    assert found(done(), reading, task=Task(id="t", tool="r", rollback={"tool": "mail"}))
    assert not found(done(answered_by_person=True))
    assert found(done(answered_by_person=True, was_in_doubt=True))
    assert not found(None)
    assert found(None, doubted=True)
    assert not found(Failed(kind="tool", **FAILED))
    assert found(Failed(kind="output", **FAILED))
    assert not found(Failed(kind="timeout", **FAILED))
    calls = tool("d", policy=Policy(read_only=True, dispatched_only=True))
    assert found(done(attempts=1), calls)
    assert found(Failed(kind="tool", **{**FAILED, "attempts": 1}), calls)
    assert not found(Failed(kind="tool", **{**FAILED, "attempts": 0}), calls)
    assert found(Failed(kind="timeout", **FAILED), again)


def test_the_calls_of_a_worker_are_undone_in_turn_and_only_those_of_its_own_plan():
    specs = {**CATALOGUE, "job": tool("job", policy=Policy(read_only=True, dispatched_only=True))}
    written = tuple(
        WriteRecord(f"j/{place}", None, name, "digest", {"id": place}, worker="j", args={"name": place})
        for place, name in (("10.0", "make"), ("2.1", "make"), ("2.0", "make"), ("3.0", "mail"), ("4.0", "look"))
    )
    written += (WriteRecord("j/1.0", None, "make", "digest", None, worker="j", is_certain=False),)
    compiled = link_plan(Plan(tasks=(Task(id="j", tool="job"),)), specs)
    outcomes = {"j": Failed(kind="tool", **{**FAILED, "attempts": 1})}
    made, hopeless = build_undo_tasks(RollbackInput(("j",), compiled.tasks, compiled.needs, outcomes, specs, written))
    assert {task.id: task.depends_on for task in made} == {
        "undo:j/2.0": ("undo:j/2.1",),
        "undo:j/2.1": ("undo:j/10.0",),
        "undo:j/10.0": (),
    }
    assert hopeless == {
        "j/3.0": "Nothing undoes it: its tool 'mail' names no compensating tool.",
        "j/1.0": "It is unknown whether it took effect.",
    }


def test_a_write_that_no_task_stands_for_is_listed():
    written = (
        WriteRecord("a", None, "make", "digest", None),
        WriteRecord("worker/1.0", None, "mail", "digest", None),
        WriteRecord("old", 2, "mail", "digest", None),
        WriteRecord("read", None, "look", "digest", None),
        WriteRecord("gone/1.0", None, "mail", "digest", None, worker="gone", is_certain=False),
    )
    compiled = link_plan(Plan(tasks=(Task.model_validate(make("a")),)), CATALOGUE)
    made, hopeless = build_undo_tasks(
        RollbackInput(("a",), compiled.tasks, compiled.needs, {"a": done({"id": 1})}, CATALOGUE, written)
    )
    assert [task.id for task in made] == ["undo:a"]
    assert hopeless == {
        **dict.fromkeys(("worker/1.0", "old[2]"), "This call of 'mail' belongs to no task of the plan."),
        "gone/1.0": "It is unknown whether it took effect.",
    }
