"""A database moved to another region: approved, failing at each step, rolled back, mended and gone on with."""

import json

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.types import Command
from operations.moving_world import STEPS, Fault, databases, plan, region_of, stored
from region_move import RegionMove, ref

from agent.core.compiler.editor import PlanEditor
from agent.core.plan.document import Plan
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

CONFIG = {"configurable": {"thread_id": "move"}}
WRITES = {"dump", "upload", "provision", "restore", "switch"}


@pytest.fixture
async def persistence(tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/move.db") as opened:
        yield opened


def graph_of(company, persistence, model=None):
    return build_graph(tools=RegionMove(company).tools(), model=model, settings=Settings(), persistence=persistence)


async def approved(graph, out, *, before=None):
    """Approve everything, after `before` was told which tasks are asked about; return the end and what was asked."""
    asked = []
    while out["status"] == "awaiting_approval":
        requests = out["__interrupt__"][0].value["action_requests"]
        asked.append([request["task_id"] for request in requests])
        if before is not None:
            before(asked[-1])
        out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * len(requests)}), CONFIG)
    return out, asked


async def moved(graph, document, *, before=None):
    out = await graph.ainvoke({"goal": "Move the orders", "plan": document}, CONFIG)
    return await approved(graph, out, before=before)


def assert_moved(company, before):
    assert company.checksums("north", "orders") == company.checksums("south", "orders") == before
    assert before["orders"]["rows"] == 2000
    assert region_of(company) == "south"
    assert stored(company) == ["orders.dump"]


@pytest.mark.parametrize("kind", ["company", "company_with_bucket"])
async def test_a_database_is_moved_once_each_write_is_approved(kind, persistence, request):
    company = request.getfixturevalue(kind)
    before = company.checksums("north", "orders")
    out, asked = await moved(graph_of(company, persistence), plan())
    assert out["status"] == "completed", out["answer"]
    assert asked == [["dump", "provision"], ["upload"], ["restore"], ["switch"]]
    assert_moved(company, before)
    assert out["results"]["try"]["output"] == {"orders": 2000, "total": "2501250.00"}


@pytest.mark.parametrize("step", STEPS)
async def test_a_failure_at_any_step_is_rolled_back(step, company, persistence):
    before = company.checksums("north", "orders")
    fault = Fault(step, company)

    def break_it(tasks):
        if STEPS[step] in tasks:
            fault.cause()

    out, asked = await moved(graph_of(company, persistence), plan(on_failure="abort"), before=break_it)
    if step == "provision":
        assert databases(company, "south") == ["orders"]
    # What these two faults befell is gone.
    if step not in {"restore", "try"}:
        fault.mend()
    assert (out["status"], out["results"][step]["status"]) == ("failed", "failed")
    done = {task for task in WRITES if out["results"][task]["status"] == "done"}
    assert set(out["rollback"]["undone"]) == done
    assert out["rollback"]["not_undone"] == {}
    undoings = [tasks for tasks in asked if tasks[0].startswith("undo:")]
    assert undoings == ([] if not done else [undoings[0]])
    assert company.checksums("north", "orders") == before
    assert databases(company, "south") == []
    assert (region_of(company), stored(company), list(company.work.iterdir())) == ("north", [], [])


@pytest.mark.parametrize("step", STEPS)
async def test_a_failure_at_any_step_is_mended_and_the_move_goes_on(step, company, persistence):
    before = company.checksums("north", "orders")
    fault = Fault(step, company)

    def break_it(tasks):
        if STEPS[step] in tasks:
            fault.cause()

    graph = graph_of(company, persistence)
    failed, _ = await moved(graph, plan(), before=break_it)
    assert (failed["status"], failed["results"][step]["status"], failed["rollback"]) == ("failed", "failed", None)
    fault.mend()
    again = PlanEditor(Plan.model_validate(plan())).update(step, {"description": "Once more, now that it is mended."})
    await graph.aupdate_state(CONFIG, {"plan": again.plan.model_dump(mode="json")}, as_node="planner")
    out, _ = await approved(graph, await graph.ainvoke(None, CONFIG))
    assert out["status"] == "completed", out["answer"]
    assert_moved(company, before)
    kept = {task for task, result in failed["results"].items() if result["status"] == "done"}
    assert {task for task, result in out["results"].items() if result["revision"] == 1} == kept
    rows = await persistence.ledger.list_rows("move")
    assert {row.intent.task for row in rows if row.intent.revision == 2} == WRITES - kept
    assert {row.intent.task for row in rows if row.intent.revision == 1} == (WRITES & kept) | (WRITES & {step})
    assert {row.epoch for row in rows} == {1}


async def test_what_was_written_after_the_dump_is_moved_by_a_replan(company, persistence):
    place = {"region": "south", "database": "orders"}
    more = {
        "dump_again": ("dump_database", {"region": "north", "database": "orders", "name": "again"}, ["restore"]),
        "upload_again": ("upload_object", {"path": ref("dump_again", "path"), "name": "again.dump"}, []),
        "empty": ("empty_database", place, ["restore"]),
        "restore_again": (
            "restore_database",
            {**place, "url": ref("upload_again", "url"), "sha256": ref("upload_again", "sha256")},
            ["empty"],
        ),
        "verify_again": (
            "compare_databases",
            {"database": "orders", "one": "north", "other": "south"},
            ["restore_again"],
        ),
    }
    tasks = {task["id"]: task for task in plan()["tasks"]}
    new = [{"id": task, "tool": tool, "args": args, "depends_on": needs} for task, (tool, args, needs) in more.items()]
    switch = {**tasks["switch"], "depends_on": ["verify_again"]}
    kept = [tasks[task] for task in ("where", "dump", "upload", "provision", "restore")]
    mended = {"tasks": [*kept, *new, switch, tasks["try"]]}
    replies = [json.dumps(mended), "The orders are read in the new region. [try]"]
    graph = graph_of(company, persistence, FakeListChatModel(responses=replies))
    fault = Fault("verify", company)
    out, asked = await moved(graph, plan(), before=lambda tasks: "restore" in tasks and fault.cause())
    assert (out["status"], out["replans"]) == ("completed", 1), out["answer"]
    assert ["dump_again", "empty"] in asked
    assert [task for tasks in asked for task in tasks].count("restore") == 1
    found = company.checksums("north", "orders")
    assert (company.checksums("south", "orders"), region_of(company)) == (found, "south")
    assert out["results"]["try"]["output"]["total"] == "2501251.00"
