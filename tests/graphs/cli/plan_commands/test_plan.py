"""`planwave plan`: a goal planned, and plans shown, checked, edited and exported, in files and on threads."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.execution.ledger import Intent, join_scope
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine, query, save

ONE = query("one", "SELECT 1 AS n")
TWO = query("two", "SELECT 2 AS n", depends_on=["one"], phase="read")


def plan_in(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


def ids(file):
    return [task["id"] for task in plan_in(file)["tasks"]]


def test_a_plan_file_is_edited_task_by_task_and_runs(planwave: CommandLine):
    file = planwave.plan_file(ONE, TWO)
    three = json.dumps(query("three", "SELECT 3 AS n"))
    for words in (
        ("add", file, three, "--after", "one"),
        ("edit", file, "two", '{"id": "second", "args": {"sql": "SELECT 22 AS n"}, "phase": null}'),
        ("move", file, "three", "--before", "one"),
        ("edit", file, "one", '{"depends_on": ["three"]}'),
    ):
        done = planwave.here("plan", *words)
        assert done.exit_code == 0, done.output
    assert ids(file) == ["three", "one", "second"]
    assert plan_in(file)["tasks"][2] == ONE | {
        "id": "second",
        "description": "Read two",
        "args": {"sql": "SELECT 22 AS n"},
        "depends_on": ["one"],
    }
    out = json.loads(planwave.here("run", "--plan", file, "--json").stdout)
    assert (out["status"], out["results"]["second"]["output"]["rows"]) == ("completed", [{"n": 22}])
    assert planwave.here("plan", "remove", file, "three", "--detach").exit_code == 0
    assert planwave.here("plan", "remove", file, "one", "--dependents").exit_code == 0
    assert ids(file) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("remove", "one"), "it names 'one' in 'depends_on'"),
        (("edit", "two", '{"depends_on": ["three"]}'), "refers to a task 'three', which is not in the plan"),
        (("edit", "two", '{"tol": 1}'), "no field 'tol'"),
        (("edit", "two", "{"), "is not JSON"),
        (("edit", "two", "[]"), "is not a JSON object"),
        (("edit", "two"), "2 words are given and 3 are expected: give FILE TASK CHANGES"),
        (("add", '{"id": "one", "tool": "t"}'), "there is already a task with this id"),
        (("move", "three"), "there is no task 'three'"),
    ],
)
def test_an_edit_that_cannot_be_is_told_and_the_file_is_as_it_was(planwave: CommandLine, words, sentence):
    file = planwave.plan_file(ONE, TWO)
    before = Path(file).read_bytes()
    done = planwave.here("plan", words[0], file, *words[1:])
    assert (done.exit_code, Path(file).read_bytes()) == (2, before)
    assert sentence in done.output


def test_a_plan_begins_with_its_first_task_and_ends_without_any(planwave: CommandLine):
    file = str(planwave.home / "new.json")
    shown = planwave.here("plan", "show", file)
    assert (shown.exit_code, shown.output.count("cannot be read")) == (2, 1)
    assert "is not JSON" not in shown.output
    assert planwave.here("plan", "remove", file, "one").exit_code == 2
    assert planwave.here("plan", "add", file, "{").exit_code == 2
    assert not Path(file).exists()
    for task in (ONE, TWO):
        done = planwave.here("plan", "add", file, json.dumps(task))
        assert (done.exit_code, ids(file)[-1]) == (0, task["id"]), done.output
    out = json.loads(planwave.here("run", "Read twice", "--plan", file, "--json").stdout)
    assert (out["status"], list(out["results"])) == ("completed", ["one", "two"])
    assert planwave.here("plan", "remove", file, "one", "--dependents").exit_code == 0
    shown = planwave.here("plan", "show", file)
    assert (shown.exit_code, "has no tasks yet" in shown.stdout) == (0, True)
    run = planwave.here("run", "--plan", file, "--json")
    assert (run.exit_code, json.loads(run.stdout)["problems"]) == (
        1,
        ["Plan: it has no tasks. Give at least one task."],
    )


def test_what_else_is_in_the_file_stays(planwave: CommandLine):
    flat, nested = planwave.home / "flat.json", planwave.home / "nested.json"
    flat.write_text(json.dumps({"goal": "Read", "tasks": [ONE, TWO]}))
    nested.write_text(json.dumps({"goal": "Read", "plan": {"tasks": [ONE, TWO]}, "results": {"x": 1}}))
    for file in (flat, nested):
        assert planwave.here("plan", "remove", str(file), "two").exit_code == 0
    assert plan_in(flat) == {"goal": "Read", "execution_mode": "parallel", "tasks": [ONE]}
    assert plan_in(nested) == {
        "goal": "Read",
        "plan": {"execution_mode": "parallel", "tasks": [ONE]},
        "results": {"x": 1},
    }


def test_standard_input_is_edited_onto_standard_output(planwave: CommandLine):
    given = json.dumps({"tasks": [ONE, TWO]})
    done = planwave.here("plan", "remove", "-", "two", given=given)
    assert json.loads(done.stdout)["tasks"] == [ONE]


def test_show(planwave: CommandLine):
    file = planwave.plan_file(ONE, TWO)
    shown = planwave.here("plan", "show", file).stdout
    assert shown.index("one") < shown.index("two")
    found = json.loads(planwave.here("plan", "show", file, "--json").stdout)
    assert found["waves"] == [["one"], ["two"]]
    assert planwave.here("plan", "show", file, "--mermaid").stdout.startswith("flowchart TD")
    broken = planwave.plan_file(ONE | {"depends_on": ["two"]}, TWO)
    done = planwave.here("plan", "show", broken)
    assert (done.exit_code, "in a cycle: one -> two -> one" in done.output) == (1, True)


def test_validate_names_every_problem(planwave: CommandLine):
    file = planwave.plan_file(ONE, TWO)
    done = planwave.here("plan", "validate", file)
    assert (done.exit_code, "2 tasks in 2 waves" in done.stdout) == (0, True)
    broken = planwave.plan_file(ONE | {"tool": "query_databas"}, query("two", "SELECT nothing FROM nowhere"))
    done = planwave.here("plan", "validate", broken, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["valid"]) == (1, False)
    assert [(problem["task"], problem["kind"]) for problem in found["problems"]] == [
        ("one", "unknown_tool"),
        ("two", "preflight"),
    ]


def test_either_a_file_or_a_thread_is_named(planwave: CommandLine):
    assert "No plan is named" in planwave.here("plan", "show").output
    assert "name one of them" in planwave.here("plan", "show", "x.json", "--thread", "t").output


def test_a_goal_stays_a_goal(planwave: CommandLine):
    for words in (("Count the orders",), ("--json", "Count the orders"), ("make", "show")):
        done = planwave.here("plan", *words, "--model", "nobody:nothing")
        assert done.exit_code == 2
        assert "nobody:nothing" in done.output


def test_the_plan_of_a_thread_that_waits_is_edited_and_goes_on(planwave: CommandLine):
    file = planwave.plan_file(ONE, TWO, save("keep", "out.json", {"output_of": "two", "path": ["rows"]}))
    assert planwave.here("run", "Keep two", "--plan", file, "--thread", "t", "--json").exit_code == 3
    done = planwave.here("plan", "edit", "--thread", "t", "keep", '{"args": {"path": "other.json", "content": "x"}}')
    assert done.exit_code == 0, done.output
    done = planwave.here("plan", "add", "--thread", "t", json.dumps(query("more", "SELECT 4 AS n")))
    assert done.exit_code == 0, done.output
    before = planwave.thread("t")
    assert (before["status"], before["tasks"]["one"]["status"]) == ("interrupted", "done")
    waiting = json.loads(planwave.here("resume", "t", "--json").stdout)
    assert waiting["status"] == "awaiting_approval"
    assert waiting["interrupt"]["action_requests"][0]["args"]["path"] == "other.json"
    assert waiting["results"]["one"] == before["results"]["one"]
    ended = json.loads(planwave.here("resume", "t", "--json", "--yes").stdout)
    assert ended["status"] == "completed"
    assert (planwave.home / "output" / "other.json").exists()
    assert not (planwave.home / "output" / "out.json").exists()
    assert ended["results"]["more"]["output"]["rows"] == [{"n": 4}]


def test_a_write_that_was_begun_and_not_seen_to_end_is_shown_as_in_doubt(planwave: CommandLine):
    async def begin():
        async with open_persistence(planwave.env["PLANWAVE_DB"]) as stored:
            state = await build_graph(tools=[], persistence=stored).aget_state({"configurable": {"thread_id": "t"}})
            scope = join_scope("t", state.values["run_id"])
            begun = Intent(
                thread=scope, revision=1, task="keep", tool="save_file", args_digest="x", is_approval_waived=True
            )
            await stored.ledger.claim(begun)

    file = planwave.plan_file(ONE, save("keep", "out.json", "x"))
    planwave.here("run", "Keep it", "--plan", file, "--thread", "t", "--json")
    asyncio.run(begin())
    shown = json.loads(planwave.here("plan", "show", "--thread", "t", "--json").stdout)
    assert shown["statuses"] == {"one": "done", "keep": "in_doubt"}
    assert planwave.thread("t")["tasks"]["keep"]["status"] == "in_doubt"


def test_every_command_on_plans_takes_a_thread_that_waits(planwave: CommandLine):
    keep, other = save("keep", "out.json", "x"), save("other", "other.json", "y")
    file = planwave.plan_file(ONE, keep, other, query("last", "SELECT 3 AS n", depends_on=["other"]))
    assert planwave.here("run", "Keep both", "--plan", file, "--thread", "t", "--json").exit_code == 3
    shown = json.loads(planwave.here("plan", "show", "--thread", "t", "--json").stdout)
    assert (shown["waves"], shown["statuses"]) == (
        [["one", "keep", "other"], ["last"]],
        {"one": "done", "keep": "awaiting_approval", "other": "awaiting_approval", "last": "waiting"},
    )
    assert planwave.here("plan", "move", "--thread", "t", "last").exit_code == 0
    assert planwave.here("plan", "move", "--thread", "t", "keep", "--after", "other").exit_code == 0
    assert planwave.here("plan", "remove", "--thread", "t", "other", "--dependents").exit_code == 0
    assert "2 tasks in 1 waves" in planwave.here("plan", "validate", "--thread", "t").stdout
    exported = json.loads(planwave.here("plan", "export", "--thread", "t").stdout)
    assert (exported["goal"], [task["id"] for task in exported["tasks"]]) == ("Keep both", ["one", "keep"])
    assert planwave.here("plan", "show", "--thread", "t", "--mermaid").stdout.count("[") == 2
    ended = json.loads(planwave.here("resume", "t", "--json", "--yes").stdout)
    assert (ended["status"], list(ended["results"])) == ("completed", ["one", "keep"])
    assert [file.name for file in (planwave.home / "output").iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("edit", "one", '{"args": {"sql": "SELECT 5 AS n"}}'), "Task 'one': it has run, so it cannot be changed"),
        (("remove", "one", "--dependents"), "it has run, so it cannot be removed"),
        (("edit", "keep", '{"tool": "save_fil"}'), "there is no tool 'save_fil'"),
        (("edit", "keep", '{"args": {"path": 5, "content": "x"}}'), "args.path"),
    ],
)
def test_an_edit_that_would_break_a_thread_changes_nothing(planwave: CommandLine, words, sentence):
    file = planwave.plan_file(ONE, save("keep", "out.json", {"output_of": "one", "path": ["rows"]}))
    planwave.here("run", "Keep one", "--plan", file, "--thread", "t", "--json")
    before = planwave.thread("t")
    done = planwave.here("plan", words[0], "--thread", "t", *words[1:])
    assert (done.exit_code, sentence in done.output) == (2, True), done.output
    assert planwave.thread("t") == before


def test_a_thread_that_ended_is_exported_and_run_again(planwave: CommandLine):
    file = planwave.plan_file(ONE, TWO)
    planwave.here("run", "Read twice", "--plan", file, "--thread", "t", "--json")
    done = planwave.here("plan", "edit", "--thread", "t", "two", '{"priority": 1}')
    assert (done.exit_code, "has ended" in done.output) == (2, True)
    copy = planwave.home / "copy.json"
    assert planwave.here("plan", "export", "--thread", "t", "--to", str(copy)).exit_code == 0
    assert json.loads(planwave.here("plan", "export", "--thread", "t").stdout) == plan_in(copy)
    assert plan_in(copy)["goal"] == "Read twice"
    again = json.loads(planwave.here("run", "--plan", str(copy), "--json").stdout)
    assert (again["status"], list(again["results"])) == ("completed", ["one", "two"])


def test_show_tells_how_tasks_phases_and_progress_stand(planwave: CommandLine):
    file = planwave.plan_file(ONE | {"phase": "read"}, save("keep", "out.json", "x", phase="keep"))
    planwave.here("run", "Keep it", "--plan", file, "--thread", "t", "--json")
    found = planwave.thread("t")
    assert {task: standing["status"] for task, standing in found["tasks"].items()} == {
        "one": "done",
        "keep": "awaiting_approval",
    }
    assert (found["current_phase"], found["progress"]["percentage"], found["is_complete"]) == ("keep", 50.0, False)
    shown = planwave.here("show", "t").stdout
    assert "progress 50 % of 2: 1 completed, 1 waiting" in shown
    assert "phase    keep 0 % (current)" in shown


@pytest.mark.parametrize(
    ("change", "field", "wanted"),
    [
        ("args.path=other.csv", "args", {"path": "other.csv", "content": "007", "n": 1}),
        ('args.path="other.csv"', "args", {"path": "other.csv", "content": "007", "n": 1}),
        ("args.content=008", "args", {"path": "a.csv", "content": "008", "n": 1}),
        ("args.content=12", "args", {"path": "a.csv", "content": "12", "n": 1}),
        ("args.content=a=b, c", "args", {"path": "a.csv", "content": "a=b, c", "n": 1}),
        ("args.n=2", "args", {"path": "a.csv", "content": "007", "n": 2}),
        ("args.overwrite=true", "args", {"path": "a.csv", "content": "007", "n": 1, "overwrite": True}),
        ("args.deep.er=x", "args", {"path": "a.csv", "content": "007", "n": 1, "deep": {"er": "x"}}),
        ("description=12 rows", "description", "12 rows"),
        ("description=12", "description", "12"),
        ("depends_on=one,two", "depends_on", ["one", "two"]),
        ('depends_on=["one"]', "depends_on", ["one"]),
        ("priority=5", "priority", 5),
        ("condition=one.row_count > 0", "condition", "one.row_count > 0"),
        ("phase=null", "phase", None),
    ],
)
def test_fields_are_changed_without_quotes(planwave: CommandLine, change: str, field: str, wanted: object) -> None:
    keep = {"id": "keep", "tool": "save_file", "args": {"path": "a.csv", "content": "007", "n": 1}, "phase": "p"}
    plan = planwave.plan_file(query("one", "SELECT 1 AS n"), query("two", "SELECT 2 AS n"), keep)
    done = planwave.here("plan", "edit", plan, "keep", change)
    assert done.exit_code == 0, done.output
    assert json.loads(Path(plan).read_text())["tasks"][2].get(field) == wanted


def test_several_fields_are_changed_at_once_or_not_at_all(planwave: CommandLine) -> None:
    plan = planwave.plan_file(query("one", "SELECT 1 AS n"), name="my=plan.json")
    done = planwave.here(
        "plan", "edit", plan, "one", "id=first", "args.sql=SELECT x FROM t WHERE x = 'a.b=c'", "priority=1"
    )
    assert done.exit_code == 0, done.output
    before = Path(plan).read_text()
    [task] = json.loads(before)["tasks"]
    assert (task["id"], task["args"]["sql"], task["priority"]) == ("first", "SELECT x FROM t WHERE x = 'a.b=c'", 1)
    for changes, says in (
        (("priority=2", "prioriti=3"), "no field 'prioriti'"),
        (("args.sql.x=3",), "There is no place 'args.sql.x'"),
        (("priority=2", "three"), "words are given"),
    ):
        refused = planwave.here("plan", "edit", plan, "first", *changes)
        assert (refused.exit_code, says in refused.stderr) == (2, True), refused.output
        assert Path(plan).read_text() == before
