"""A worker given one task of a plan: its calls are asked about, recorded once, bounded, and survive a new process."""

import asyncio
import json

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field

from agent.settings import Settings
from graphs.delegation.delegate_tool import delegate_tool
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.scripted_worker import Worker
from tests.support.worlds import APPROVE, World, ref, thread

PLAN = {
    "tasks": [
        {"id": "start", "tool": "look", "args": {"value": 7}},
        {
            "id": "job",
            "tool": "delegate",
            "args": {"task": "Find it and keep it.", "inputs": {"seven": ref("start", "value")}},
        },
        {"id": "after", "tool": "look", "args": {"value": ref("job", "answer")}},
    ]
}


@pytest.fixture
def world():
    return World()


def tools_of(world, worker):
    tools = world.tools()
    return [*tools, delegate_tool(tools, lambda: worker)]


def graph_of(world, worker, saver=None, **settings):
    return build_graph(
        tools=tools_of(world, worker),
        settings=Settings(max_replans=0, **settings),
        checkpointer=saver or InMemorySaver(),
    )


def asked_for(out):
    """Return the values that a run wants to write, of all that it waits for."""
    return [action["args"]["value"] for each in out["__interrupt__"] for action in each.value["action_requests"]]


async def test_a_worker_reads_freely_and_its_steps_are_kept_under_the_task(world):
    worker = Worker(turns=[[("look", {"value": 1}), ("look", {"value": 2})], [("look", {"value": 3})], "It is 3."])
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed", out
    job = out["results"]["job"]["output"]
    assert job["answer"] == "It is 3."
    assert [(step["tool"], step["args"]) for step in job["steps"]] == [("look", {"value": n}) for n in (1, 2, 3)]
    # The ids of the calls begin anew in each turn.
    assert [step["result"] for step in job["steps"]] == [f'{{"value": {n}}}' for n in (1, 2, 3)]
    assert out["results"]["after"]["output"] == {"value": "It is 3."}
    first = worker.asked[0]
    assert isinstance(first[0], SystemMessage)
    assert '"seven": 7' in first[0].text
    assert first[1].text == "Find it and keep it."


@pytest.mark.parametrize("wrap", ["plain", "retried", "with fallbacks", "bound"])
async def test_a_worker_has_a_model_or_a_runnable_around_one(world, wrap):
    worker = Worker(turns=[[("look", {"value": 1})], "It is 1."])
    model = {
        "plain": worker,
        "retried": worker.with_retry(),
        "with fallbacks": worker.with_fallbacks([worker]),
        "bound": worker.bind(stop=["never"]),
    }[wrap]
    tools = world.tools()
    graph = build_graph(tools=[*tools, delegate_tool(tools, model)], checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed", out
    assert out["results"]["job"]["output"]["answer"] == "It is 1."


async def test_a_worker_may_call_with_numbers_of_any_size(world, tmp_path):
    worker = Worker(turns=[[("look", {"value": 2**70})], [("write", {"value": 2**70})], "done"])
    async with open_persistence(f"sqlite:///{tmp_path}/t.db") as persistence:
        graph = build_graph(tools=tools_of(world, worker), persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
        assert asked_for(await graph.ainvoke(None, thread())) == [2**70]
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    assert [call for call in world.log if call[1] == 2**70] == [("look", 2**70), ("write", 2**70)]


async def test_a_write_of_a_worker_stops_for_approval_and_is_made_once_in_another_process(world, tmp_path):
    worker = Worker(turns=[[("look", {"value": 1})], [("write", {"value": 5})], "Kept 5."])
    url = f"sqlite:///{tmp_path}/p.db"
    async with open_persistence(url) as stored:
        graph = build_graph(tools=tools_of(world, worker), persistence=stored)
        out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
        assert out["status"] == "awaiting_approval"
        (asking,) = out["__interrupt__"]
        (action,) = asking.value["action_requests"]
        assert (action["name"], action["args"], action["task_id"]) == ("write", {"value": 5}, "job/2.0")
        assert asking.value["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject", "respond"]
        assert ("write", 5) not in world.log
        wrong = {"decisions": [{"type": "approve", "digest": "0" * 64}]}
        out = await graph.ainvoke(Command(resume=wrong), thread())
        assert "another call" in out["__interrupt__"][0].value["error"]
        assert ("write", 5) not in world.log
    asked_before = len(worker.asked)
    async with open_persistence(url) as stored:
        graph = build_graph(tools=tools_of(world, worker), persistence=stored)
        approve = {"decisions": [{"type": "approve", "digest": action["digest"]}]}
        out = await graph.ainvoke(Command(resume=approve), thread())
        assert out["status"] == "completed", out
        rows = await stored.ledger.list_rows("t")
    assert world.log == [("look", 7), ("look", 1), ("write", 5), ("look", "Kept 5.")]
    assert len(worker.asked) == asked_before + 1, "the turns before the question are not taken again"
    assert [(row.intent.task, row.intent.approval, row.record["status"]) for row in rows] == [
        ("job/2.0", action["digest"], "done")
    ]
    assert [step["tool"] for step in out["results"]["job"]["output"]["steps"]] == ["look", "write"]


@pytest.mark.parametrize(
    ("decision", "result", "written"),
    [
        ({"type": "reject", "message": "not today"}, "REJECTED by a human, who said: not today", []),
        ({"type": "respond", "message": "done by hand"}, "done by hand", []),
        ({"type": "edit", "edited_action": {"name": "write", "args": {"value": 6}}}, '{"written": 6}', [("write", 6)]),
    ],
)
async def test_a_worker_is_told_what_a_person_decided(world, decision, result, written):
    worker = Worker(turns=[[("write", {"value": 5})], "Over."])
    graph = graph_of(world, worker)
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [decision]}), thread())
    assert out["status"] == "completed"
    assert out["results"]["job"]["output"]["steps"][0]["result"] == result
    assert [entry for entry in world.log if entry[0] == "write"] == written


async def test_an_edit_that_does_not_fit_is_asked_about_again(world):
    graph = graph_of(world, Worker(turns=[[("write", {"value": 5})], "Over."]))
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    edit = {"type": "edit", "edited_action": {"name": "write", "args": {"vlue": 6}}}
    out = await graph.ainvoke(Command(resume={"decisions": [edit]}), thread())
    assert out["status"] == "awaiting_approval"
    assert "'value' is a required" in out["__interrupt__"][0].value["error"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert [entry for entry in world.log if entry[0] == "write"] == [("write", 5)]


class Stuck(Worker):
    """Does not answer in its last turn but one while `stuck`."""

    stuck: bool = True
    reached: asyncio.Event = Field(default_factory=asyncio.Event)

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        if self.stuck and sum(isinstance(message, AIMessage) for message in messages) == len(self.turns) - 2:
            self.reached.set()
            await asyncio.Event().wait()
        return self._generate(messages)


async def test_an_approval_is_of_the_call_that_was_shown_and_not_of_the_next_after_a_stop(world):
    worker = Stuck(turns=[[("write", {"value": 5})], [("write", {"value": 6})], "Kept both."])
    graph = graph_of(world, worker, grace_s=0.01)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert asked_for(out) == [5]
    run = asyncio.create_task(graph.ainvoke(Command(resume=APPROVE), thread()))
    await worker.reached.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    worker.stuck = False
    out = await graph.ainvoke(None, thread())
    assert asked_for(out) == [6]
    assert ("write", 6) not in world.log
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert [call for call in world.log if call[0] == "write"] == [("write", 5), ("write", 6)]


async def test_two_writes_at_once_are_two_questions_answered_by_id(world):
    graph = graph_of(world, Worker(turns=[[("write", {"value": 1}), ("write", {"value": 2})], "Over."]))
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    waiting = {each.value["action_requests"][0]["args"]["value"]: each.id for each in out["__interrupt__"]}
    assert waiting.keys() == {1, 2}
    out = await graph.ainvoke(Command(resume={waiting[2]: APPROVE}), thread())
    assert out["status"] == "awaiting_approval"
    out = await graph.ainvoke(Command(resume={waiting[1]: {"decisions": [{"type": "reject"}]}}), thread())
    assert out["status"] == "completed", out
    assert [entry for entry in world.log if entry[0] == "write"] == [("write", 2)]


async def test_two_workers_and_a_plain_write_wait_side_by_side(world):
    worker = Worker(turns=[[("write", {"value": 1})], "Over."])
    tasks = [{"id": f"j{n}", "tool": "delegate", "args": {"task": f"Do {n}."}} for n in range(2)]
    plan = {"tasks": [*tasks, {"id": "w", "tool": "write", "args": {"value": 9}}]}
    graph = graph_of(world, worker)
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    for _ in range(4):
        if out["status"] == "awaiting_approval":
            out = await graph.ainvoke(Command(resume={each.id: APPROVE for each in out["__interrupt__"]}), thread())
    assert out["status"] == "completed", out
    assert sorted(world.log) == [("write", 1), ("write", 1), ("write", 9)]


async def test_a_worker_is_told_of_failures_and_of_arguments_that_do_not_fit(world):
    world.failing = {4}
    worker = Worker(turns=[[("look", {"value": 4}), ("look", {"valu": 4}), ("erase_all", {})], "It failed."])
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": PLAN}, thread())
    results = [step["result"] for step in out["results"]["job"]["output"]["steps"]]
    assert "FAILED (tool): LookupError: nothing at 4" in results[0]
    assert "FAILED (argument)" in results[1]
    assert "erase_all" in results[2]


async def test_a_worker_that_does_not_end_is_ended(world):
    worker = Worker(turns=[[("look", {"value": 1})]])
    tasks = [{**PLAN["tasks"][1], "args": {"task": "Go on.", "max_steps": 3}}]
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert out["status"] == "failed"
    assert "did not end within 3 turns" in out["results"]["job"]["error"]
    assert len(worker.asked) == 3


async def test_a_worker_has_the_tools_it_was_given_and_no_other(world):
    worker = Worker(turns=[[("write", {"value": 1})], "No."])
    some = [{**PLAN["tasks"][1], "args": {"task": "Look.", "tools": ["look"]}}]
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": {"tasks": some}}, thread("1"))
    assert out["status"] == "completed"
    assert worker.offered == ["look"]
    assert world.log == []
    none = [{**PLAN["tasks"][1], "args": {"task": "Look.", "tools": ["delegate"]}}]
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": {"tasks": none}}, thread("2"))
    assert "A worker cannot be given 'delegate'; choose of: look, wait, write, erase." in out["problems"][0]


async def test_one_place_to_run_in_is_enough(world):
    worker = Worker(turns=[[("look", {"value": 1})], "Over."])
    out = await graph_of(world, worker, max_concurrency=1).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed"


async def test_the_conversation_is_stored_as_listed_types_only(world, tmp_path):
    worker = Worker(turns=[[("look", {"value": 1})], [("write", {"value": 5})], "Over."])
    async with open_persistence(f"sqlite:///{tmp_path}/p.db") as stored:
        graph = build_graph(tools=tools_of(world, worker), persistence=stored)
        await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
        inner = [each async for each in stored.saver.alist(thread()) if each.config["configurable"]["checkpoint_ns"]]
        messages = inner[0].checkpoint["channel_values"]["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert json.loads(messages[2].text) == {"value": 1}


async def test_a_write_of_a_worker_whose_end_is_unknown_is_asked_about_and_not_made_again(world):
    async def wire(value: int) -> str:
        world.log.append(("wire", value))
        if len(world.log) == 1:
            raise ConnectionError("the line broke")
        return "wired"

    tools = [world.tool("wire", wire)]
    worker = Worker(turns=[[("wire", {"value": 5})], "Over."])
    graph = build_graph(tools=[*tools, delegate_tool(tools, lambda: worker)], checkpointer=InMemorySaver())
    plan = {"tasks": [{"id": "job", "tool": "delegate", "args": {"task": "Wire 5."}}]}
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "awaiting_approval"
    assert "nobody knows whether it took effect" in out["__interrupt__"][0].value["action_requests"][0]["doubt"]
    assert world.log == [("wire", 5)]
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": "it did"}]}), thread())
    assert out["status"] == "completed"
    assert out["results"]["job"]["output"]["steps"][0]["result"] == "it did"
    assert world.log == [("wire", 5)]


class Odd(Worker):
    """A worker whose first turn is any message, and its second is the end."""

    first: AIMessage

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(list(messages))
        said = self.first if len(self.asked) == 1 else AIMessage("Over.")
        return ChatResult(generations=[ChatGeneration(message=said)])


def called(*calls):
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": "same"} for name, args in calls])


async def test_calls_of_one_turn_with_the_same_id_are_two_calls(world):
    worker = Odd(turns=[], first=called(("look", {"value": 1}), ("look", {"value": 2})))
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": PLAN}, thread("1"))
    assert [step["result"] for step in out["results"]["job"]["output"]["steps"]] == ['{"value": 1}', '{"value": 2}']
    worker = Odd(turns=[], first=called(("write", {"value": 1}), ("write", {"value": 2})))
    graph = graph_of(world, worker)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread("2"))
    assert {each.value["action_requests"][0]["task_id"] for each in out["__interrupt__"]} == {"job/1.0", "job/1.1"}
    out = await graph.ainvoke(Command(resume={each.id: APPROVE for each in out["__interrupt__"]}), thread("2"))
    assert out["status"] == "completed", out
    assert sorted(entry for entry in world.log if entry[0] == "write") == [("write", 1), ("write", 2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"deep": ["\udfff"]}])
@pytest.mark.parametrize("tool", ["look", "write"])
async def test_arguments_that_are_no_json_are_told_and_not_called_with(world, tool, value):
    worker = Odd(turns=[], first=called((tool, {"value": value})))
    out = await graph_of(world, worker).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed"
    assert "FAILED (argument): they hold a number" in out["results"]["job"]["output"]["steps"][0]["result"]
    assert [entry for entry in world.log if entry[1] not in {7, "Over."}] == []


BROKEN = AIMessage("", invalid_tool_calls=[{"name": "look", "args": "{bad", "id": "a", "error": "no JSON"}])


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (BROKEN, "The worker ended with a call of 'look' whose arguments are not JSON"),
        (AIMessage(" "), "The worker ended without an answer; narrow its task"),
    ],
)
async def test_a_worker_that_says_nothing_has_failed(world, first, error):
    out = await graph_of(world, Odd(turns=[], first=first)).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert (out["status"], out["results"]["job"]["kind"]) == ("failed", "tool")
    assert error in out["results"]["job"]["error"]


async def test_a_model_that_cannot_call_tools_is_named(world):
    out = await graph_of(world, FakeListChatModel(responses=["x"])).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["results"]["job"]["error"] == "The worker's model cannot call tools; give `delegate_tool` one that can."


async def test_a_worker_that_sees_cut_results_is_told_and_says_so(world):
    def page(big: bool) -> dict:
        """Return a page of a list."""
        return {"items": [1], "has_more": True} if not big else {"items": ["x" * 20_000]}

    worker = Worker(turns=[[("page", {"big": False})], [("page", {"big": True})], "Done."])
    tools = [StructuredTool.from_function(page, metadata={"readOnlyHint": True})]
    graph = build_graph(tools=[*tools, delegate_tool(tools, lambda: worker)], settings=Settings(max_replans=0))
    plan = {
        "tasks": [
            {"id": "first", "tool": "page", "args": {"big": False}},
            {"id": "job", "tool": "delegate", "args": {"task": "Count.", "inputs": {"a": ref("first", "items")}}},
        ]
    }
    out = await graph.ainvoke({"goal": "G", "plan": plan})
    assert out["results"]["job"]["status"] == "done", out["results"]["job"]
    cut = "The result of 'first' is cut off after 1 item; there are more."
    assert cut in worker.asked[0][0].text
    assert out["results"]["job"]["warnings"] == [
        "The result of 'job' is incomplete: a result of 'page' that the worker saw is cut off.",
        f"This is made from incomplete data: t{cut[1:]}",
    ]
    assert "is cut off after 1 item" in worker.asked[1][-1].text
