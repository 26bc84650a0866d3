"""Plans edited task by task: what each edit makes, what it refuses and why, and that nothing is changed in place."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.compiler.compiler import CompiledPlan, check_structure, compile_plan
from agent.core.compiler.editor import EditError, PlanEditor
from agent.core.plan.document import Call, Plan, Task
from agent.core.plan.limits import Limits
from tests.support.plans import CATALOGUE, plan_of, ref

PLAN = plan_of(
    {"id": "a", "tool": "fetch", "args": {"sql": "SELECT 1"}},
    {
        "id": "b",
        "tool": "free",
        "args": {"x": [ref("a", "rows")], "t": {"template": "{n}", "values": {"n": ref("a")}}},
        "for_each": ref("a", "rows"),
        "rollback": {"tool": "free", "args": {"x": ref("a"), "own": ref("b")}},
    },
    {"id": "c", "tool": "free", "depends_on": ["a"], "condition": "size(b) > 0"},
    {"id": "d", "tool": "free", "args": {"output_of": "a"}},
)


def ids(editor):
    return [task.id for task in editor.plan.tasks]


def refused(edit, *args, **options):
    with pytest.raises(EditError) as caught:
        edit(*args, **options)
    assert all(problem.place and problem.what and problem.remedy for problem in caught.value.problems)
    return [(problem.task, problem.kind) for problem in caught.value.problems], str(caught.value)


def test_a_plan_from_nothing_to_one_that_compiles():
    editor = (
        PlanEditor()
        .add({"id": "one", "tool": "fetch", "args": {"sql": "SELECT 1"}, "phase": "read"})
        .add(Task(id="two", tool="free", args={"x": ref("one", "rows")}))
        .set_plan_options(execution_mode="sequential", phases={"read": "Look"})
    )
    assert isinstance(compile_plan(editor.plan, CATALOGUE, limits=Limits()), CompiledPlan)
    assert (editor.plan.execution_mode, editor.plan.phases) == ("sequential", {"read": "Look"})
    assert editor.get("one").phase == "read"
    assert "one" in editor
    assert "three" not in editor


def test_what_is_no_plan_is_told_with_every_problem():
    assert refused(PlanEditor, {"tasks": [{"id": "a"}, {"tool": 5}]})[0] == [
        ("a", "malformed"),
        (None, "malformed"),
        (None, "malformed"),
    ]


def test_add_beside_another():
    editor = PlanEditor(PLAN)
    assert ids(editor.add({"id": "e", "tool": "free"}, before="a")) == ["e", "a", "b", "c", "d"]
    assert ids(editor.add({"id": "e", "tool": "free"}, after="b")) == ["a", "b", "e", "c", "d"]
    assert ids(editor.add({"id": "e", "tool": "free"})) == ["a", "b", "c", "d", "e"]
    assert ids(editor) == ["a", "b", "c", "d"]


def test_add_is_refused_for_a_known_id_an_unknown_place_and_a_reference_to_nothing():
    add = PlanEditor(PLAN).add
    assert refused(add, {"id": "a", "tool": "free"})[0] == [("a", "duplicate_id")]
    kinds, sentence = refused(add, {"id": "e", "tool": "free"}, after="bb")
    assert kinds == [("bb", "unknown_reference")]
    assert "Did you mean 'b'" in sentence
    assert refused(add, {"id": "e", "tool": "free"}, after="b", before="c")[0] == [(None, "malformed")]
    assert refused(add, {"id": "e", "tool": "free", "depends_on": ["z"]})[0] == [("e", "unknown_reference")]
    assert refused(add, {"id": "e", "tool": "free", "args": {"x": ref("c")}}, before="a")[0] == [
        ("e", "later_reference")
    ]
    kinds, sentence = refused(add, {"id": "e", "tol": "free"})
    assert "tasks[0]" not in sentence
    assert kinds == [("e", "malformed"), ("e", "malformed")]


def test_update_changes_fields_and_null_is_the_default_again():
    editor = PlanEditor(PLAN).update("c", {"depends_on": ["b"], "condition": None, "priority": 3})
    assert editor.get("c") == Task(id="c", tool="free", depends_on=("b",), priority=3)
    assert PlanEditor(PLAN).get("c").condition == "size(b) > 0"
    assert refused(editor.update, "c", {"args": {"x": ref("d")}})[0] == [("c", "later_reference")]
    assert refused(editor.update, "a", {"depends_on": ["a"]})[0] == [("a", "self_dependency")]
    assert refused(editor.update, "a", {"args": 5})[0] == [("a", "malformed")]
    assert refused(editor.update, "zz", {})[0] == [("zz", "unknown_reference")]


def test_a_new_id_goes_into_every_reference():
    editor = PlanEditor(PLAN).update("a", {"id": "start"})
    assert editor.problems() == ()
    assert editor.find_referring_tasks("start") == {
        "b": ("args", "for_each", "rollback"),
        "c": ("depends_on",),
    }
    assert editor.get("b").args == {
        "x": [ref("start", "rows")],
        "t": {"template": "{n}", "values": {"n": ref("start")}},
    }
    assert editor.get("b").rollback == Call(tool="free", args={"x": ref("start"), "own": ref("b")})
    # The object of all arguments is no reference, whatever its keys are.
    assert editor.get("d").args == {"output_of": "a"}


def test_a_rollback_that_names_its_own_task_follows_it():
    editor = PlanEditor(plan_of({"id": "w", "tool": "free", "rollback": {"tool": "free", "args": {"x": ref("w")}}}))
    assert editor.update("w", {"id": "v"}).get("v").rollback == Call(tool="free", args={"x": ref("v")})


def test_a_condition_is_not_rewritten_but_named():
    kinds, sentence = refused(PlanEditor(PLAN).update, "b", {"id": "each"})
    assert kinds == [("c", "bad_condition")]
    assert "'size(b) > 0' names 'b', which is to be renamed to 'each'" in sentence


def test_remove_says_who_holds_it_and_where():
    kinds, sentence = refused(PlanEditor(PLAN).remove, "a")
    assert kinds == [("b", "unknown_reference"), ("c", "unknown_reference")]
    assert "it names 'a' in 'args' and 'for_each' and 'rollback'" in sentence
    assert ids(PlanEditor(PLAN).remove("d")) == ["a", "b", "c"]
    assert ids(PlanEditor(PLAN).remove("a", dependents=True)) == ["d"]


def test_remove_can_detach_dependencies_and_only_those():
    plan = plan_of({"id": "a", "tool": "free"}, {"id": "b", "tool": "free", "depends_on": ["a"]})
    assert PlanEditor(plan).remove("a", detach=True).plan.tasks == (Task(id="b", tool="free", depends_on=()),)
    assert refused(PlanEditor(PLAN).remove, "a", detach=True)[0] == [("b", "unknown_reference")]


def test_move():
    editor = PlanEditor(PLAN)
    assert ids(editor.move("d", before="a")) == ["d", "a", "b", "c"]
    assert ids(editor.move("d", after="a")) == ["a", "d", "b", "c"]
    assert ids(editor.move("c")) == ["a", "b", "d", "c"]
    assert refused(editor.move, "a")[0] == [("b", "later_reference")]
    assert refused(editor.move, "a", after="a")[0] == [("a", "unknown_reference")]
    assert refused(editor.move, "zz")[0] == [("zz", "unknown_reference")]


def test_a_task_that_has_run_is_neither_changed_nor_removed_nor_made_to_wait():
    editor = PlanEditor(PLAN, settled=["a"])
    for edit in (
        lambda: editor.update("a", {"args": {"sql": "SELECT 2"}}),
        lambda: editor.update("a", {"id": "z"}),
        lambda: editor.remove("a", dependents=True),
    ):
        assert refused(edit)[0] == [("a", "used_id")]
    assert editor.update("a", {"description": "The first"}).get("a").description == "The first"
    assert editor.update("a", {"description": "x"}).settled == {"a"}
    sequence = PlanEditor(
        plan_of({"id": "a", "tool": "free"}, {"id": "b", "tool": "free"}, execution_mode="sequential"), settled=["a"]
    )
    assert refused(sequence.add, {"id": "c", "tool": "free"}, before="a")[0] == [("a", "used_id")]
    assert ids(sequence.add({"id": "c", "tool": "free"}, after="a")) == ["a", "c", "b"]
    behind = PlanEditor(PLAN, settled=["a", "b"])
    assert refused(behind.update, "a", {"id": "z"})[0] == [("a", "used_id")]


def test_a_reference_of_a_task_that_has_run_keeps_the_other_ones_id():
    plan = plan_of({"id": "a", "tool": "free"}, {"id": "b", "tool": "free", "depends_on": ["a"]})
    assert refused(PlanEditor(plan, settled=["b"]).update, "a", {"id": "z"})[0] == [("b", "used_id")]


def test_a_broken_plan_is_mended_step_by_step_and_not_broken_further():
    broken = plan_of(
        {"id": "a", "tool": "free", "depends_on": ["nobody"]},
        {"id": "b", "tool": "free", "depends_on": ["b"]},
    )
    editor = PlanEditor(broken)
    assert [problem.kind for problem in editor.problems()] == ["unknown_reference", "self_dependency"]
    assert refused(editor.update, "a", {"depends_on": ["no one"]})[0] == [("a", "malformed")]
    assert refused(editor.update, "a", {"depends_on": ["noone"]})[0] == [("a", "unknown_reference")]
    editor = editor.update("b", {"depends_on": ["a"]}).update("a", {"depends_on": None})
    assert editor.problems() == ()


NAMES = [f"t{number}" for number in range(6)]
edits = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2)),
        st.tuples(st.just("update"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2)),
        st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES), st.sampled_from(["", "detach", "dependents"])),
        st.tuples(st.just("move"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    ),
    max_size=12,
)


def edited(editor, what, task, more):
    match what:
        case "add":
            return editor.add({"id": task, "tool": "free", "args": {"x": [ref(need) for need in more]}})
        case "update":
            return editor.update(task, {"depends_on": more})
        case "rename":
            return editor.update(task, {"id": more})
        case "remove":
            return editor.remove(task, **({more: True} if more else {}))
        case "move":
            return editor.move(task, before=more)


@given(edits)
def test_whatever_is_edited_a_sound_plan_stays_sound_and_the_one_before_as_it_was(steps):
    editor = PlanEditor()
    for step in steps:
        before = editor.plan.model_dump_json()
        after = editor
        with suppress(EditError):
            after = edited(editor, *step)
        assert editor.plan.model_dump_json() == before
        assert check_structure(after.plan) == ()
        assert Plan.model_validate_json(after.plan.model_dump_json()) == after.plan
        editor = after
