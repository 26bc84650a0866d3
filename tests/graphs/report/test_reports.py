"""What the report of a run says: from runs with a chart, a wait, replans, a rollback, and from the command line."""

import json
import re

import pytest

from agent.core.plan.document import Plan
from agent.errors import UsageError
from agent.report.plan_report import build_plan_report
from agent.report.report_page import render_report
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.agent.report.html_tags import find_tags
from tests.graphs.report import reported_runs
from tests.support.worlds import CHAIN, World, ref, thread


def shown(page):
    """Return the text of a page without its style and script."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page.partition("<body")[2], flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


async def test_a_waiting_run_shows_the_question_its_attempts_and_nothing_that_could_run(tmp_path):
    report = await reported_runs.report_waiting(tmp_path)
    assert report.status == "awaiting_approval"
    assert [question.task for question in report.pending] == ["keep"]
    flaky = next(task for task in report.tasks if task.task == "flaky")
    assert (flaky.attempts, len(flaky.failed_attempts)) == (3, 2)
    assert "the line is busy" in flaky.failed_attempts[0].error
    assert report.warnings == (("The line was busy before.", "flaky"),)
    page = render_report(report)
    assert page.count("<script") == 2  # the data and the page's own
    assert "<img" not in page
    assert not [name for _, attributes in find_tags(page) for name in attributes if name.startswith("on")]
    assert 'class="tried"' in page


async def test_a_failed_run_shows_replans_revisions_writes_approvals_and_what_was_undone(tmp_path):
    report = await reported_runs.report_failure_with_rollback(tmp_path)
    assert (report.status, report.undone, report.usage.calls) == ("failed", ("w",), 2)
    assert [version.author for version in report.revisions] == ["user", "model", "rollback"]
    changes = {change.task: change.change for change in report.revisions[1].changes}
    assert changes == {"b": "changed", "aa": "new", "a": "dropped"}
    diff = next(change.lines for change in report.revisions[1].changes if change.task == "b")
    assert any(line.startswith("-") and '"a"' in line for line in diff)
    assert any(line.startswith("+") and '"aa"' in line for line in diff)
    assert len(report.replans) == 2
    put, take = report.writes
    assert (put.task, put.state, take.task, take.state) == ("w", "done", "undo:w", "done")
    assert put.approved_at is not None
    assert json.loads(put.arguments) == {"name": "a"}
    statuses = {task.task: task.status for task in report.tasks}
    assert statuses == {
        "start": "done", "w": "rolled_back", "aa": "failed", "b": "skipped", "a": "failed", "undo:w": "done"
    }  # fmt: skip
    text = shown(render_report(report))
    for part in ("Nothing helps.", "Writes and approvals", "A human whose name is not known", "Rollback"):
        assert part in text


async def test_a_result_shows_what_it_rests_on_with_the_path_and_the_way(tmp_path):
    world = World()
    async with reported_runs.opened(tmp_path, world.tools()) as graph:
        out = await graph.ainvoke({"goal": "look", "plan": CHAIN}, thread())
        await reported_runs.approve_all(graph, out)
        report = await graph.aget_report(thread())
    inputs = {task.task: [(each.task, each.path, each.way) for each in task.inputs] for task in report.tasks}
    assert inputs["w"] == [("b", "value", "argument")]
    assert inputs["c"] == [("w", "written", "argument")]
    assert report.timing.critical_path[0] == "a"
    assert [task.task for task in report.tasks if task.is_critical] == list(report.timing.critical_path)


async def test_a_secret_that_the_environment_names_is_masked_wherever_it_stands(tmp_path, monkeypatch):
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": "k9-Tresor-4711"}}]}
    async with reported_runs.opened(tmp_path, World().tools()) as graph:
        await graph.ainvoke({"goal": "look at k9-Tresor-4711", "plan": plan}, thread())
        before = await graph.aget_report(thread())
        monkeypatch.setenv("PLANWAVE_SECRET_DOOR", "k9-Tresor-4711")
        after = await graph.aget_report(thread())
    assert "k9-Tresor-4711" in render_report(before)
    assert "k9-Tresor-4711" not in render_report(after)
    assert "look at **********" in shown(render_report(after))


async def test_a_notebook_shows_what_a_run_returns_its_state_its_thread_and_a_plan():
    graph = build_graph(tools=World().tools(), settings=Settings(approve="never"))
    out = await graph.ainvoke({"goal": "look twice", "plan": CHAIN})
    for shown_thing in (out, Plan.model_validate(CHAIN)):
        frame = shown_thing._repr_html_()
        assert frame.startswith("<iframe")
        assert 'sandbox="allow-scripts"' in frame
        assert "<script" not in frame, "what is in the frame is escaped for the page around it"
    assert out == dict(out)
    assert "All that was planned is done." in out._repr_html_()


async def test_a_notebook_shows_a_state(tmp_path):
    async with reported_runs.opened(tmp_path, World().tools()) as graph:
        await graph.ainvoke({"goal": "look thrice", "plan": CHAIN}, thread())
        state = await graph.aget_state(thread())
        assert "awaiting approval" in state._repr_html_()
        assert "thrice" in (await graph.aget_report(thread()))._repr_html_()


def test_a_plan_that_waits_for_itself_cannot_be_drawn():
    tasks = [{"id": name, "tool": "look", "args": {"value": ref(other)}} for name, other in (("a", "b"), ("b", "a"))]
    with pytest.raises(UsageError, match="in a circle"):
        build_plan_report(Plan.model_validate({"tasks": tasks}))


def test_the_commands_write_one_page(planwave, tmp_path):
    sql = "SELECT count(*) AS customers FROM customers"
    plan = planwave.plan_file({"id": "q", "tool": "query_database", "args": {"sql": sql}, "description": "Count"})
    file, again = tmp_path / "run.html", tmp_path / "again.html"
    done = planwave.here("run", "How many?", "--plan", plan, "--thread", "t", "--report", str(file))
    assert done.exit_code == 0, done.output
    assert f"wrote {file}" in done.output
    assert planwave.here("report", "t", "--to", str(again)).exit_code == 0
    for page in (file, again):
        assert "How many?" in shown(page.read_text(encoding="utf-8"))
    watched = planwave.here("run", "Again?", "--plan", plan, "--thread", "w", "--watch")
    assert watched.exit_code == 0
    assert re.search(r"watch it at http://127\.0\.0\.1:\d+/\S{20,}/", watched.output)
    piped = planwave.here("report", "t", "--to", "-")
    assert piped.stdout.startswith("<!DOCTYPE html>")
    missing = planwave.here("report", "none")
    assert missing.exit_code == 2
    assert "There is no thread 'none'" in missing.output
    nowhere = planwave.here("report", "t", "--to", str(tmp_path / "no" / "a.html"))
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (2, True)
