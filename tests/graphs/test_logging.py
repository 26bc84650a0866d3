"""What an operator finds in the logs of a run."""

import logging
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from agent.errors import StaleClaimError
from agent.logging_context import LogContextFilter, bind_log_context, get_logger, shorten_for_log
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

READ = {"readOnlyHint": True}
THREAD: Any = {"configurable": {"thread_id": "logged"}}
SETTINGS = Settings(max_replans=0, approve="never")


class Desk:
    """Tools of which some fail in ways of their own."""

    def __init__(self) -> None:
        self.busy = 1
        self.sent = False

    async def look(self, value: str) -> str:
        """Answer at the second attempt."""
        self.busy -= 1
        if self.busy >= 0:
            raise ConnectionError("busy")
        return f"seen {value}"

    async def send(self, value: str) -> str:
        """Lose the answer, whether it took effect or not."""
        raise ConnectionError("no answer")

    async def was_sent(self) -> bool | None:
        """Fail, or say that it took effect."""
        if not self.sent:
            raise LookupError("the desk is closed")
        return True

    def tools(self) -> list[BaseTool]:
        def tool(run: Any, **metadata: Any) -> BaseTool:
            return StructuredTool.from_function(coroutine=run, name=run.__name__, metadata=metadata)

        return [tool(self.look, **READ), tool(self.send, verify="was_sent"), tool(self.was_sent, **READ)]


def task(name: str, tool: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "tool": tool, "args": {"value": "PRIVATE-ARGUMENT"}, **more}


async def run(*tasks: dict[str, Any], desk: Desk | None = None, graph: Any = None) -> dict[str, Any]:
    graph = graph or build_graph(tools=(desk or Desk()).tools(), settings=SETTINGS, checkpointer=InMemorySaver())
    return await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, THREAD)


@pytest.fixture
def logged(caplog):
    """The records of the packages that run tasks and models."""
    caplog.set_level(logging.DEBUG, logger="agent")

    def find(text: str, module: str = "agent.") -> list[logging.LogRecord]:
        return [each for each in caplog.records if text in each.getMessage() and each.name.startswith(module)]

    return find


async def test_a_task_is_logged_with_its_fields_from_begin_to_end(logged):
    out = await run(task("a", "look"), task("b", "look", depends_on=["a"]))
    assert out["status"] == "completed"
    [begun] = logged("Task 'a' begun: calls of 'look': 1")
    [retry] = logged("Attempt 1 at task 'a' failed, trying again in", "agent.execution.attempts")
    [ended] = logged("Task 'a' ended: done after", "agent.execution.executor")
    assert retry.getMessage().endswith("s: ConnectionError: busy")
    for record in (begun, retry, ended):
        assert (record.levelno, record.thread_id, record.task_id, record.tool) == (
            logging.INFO,
            "logged",
            "a",
            "look",
        )
    assert (ended.status, ended.attempts) == ("done", 2)
    assert ended.duration_s >= 0
    assert Counter(each.task_id for each in logged("Attempt ", "agent.execution.attempts") if each.levelno == 10) == {
        "a": 2,
        "b": 1,
    }


async def test_no_argument_and_no_output_is_logged(logged, caplog):
    await run(task("a", "look"), task("w", "send"))
    assert caplog.records
    assert not [each for each in logged("") if "PRIVATE-ARGUMENT" in each.getMessage()]


async def test_a_write_in_doubt_is_a_warning_with_the_failure_of_its_verifier(logged):
    await run(task("w", "send"))
    [claimed] = logged("Write claimed at epoch 1: task 'w' of revision 1")
    [unsure] = logged("Write failed and may have taken effect")
    [broken] = logged("The tool 'was_sent', which verifies 'send', failed: LookupError: the desk is closed")
    [doubt] = logged("Write in doubt, nobody knows whether it took effect: task 'w'")
    [ended] = logged("Task 'w' ended: in_doubt")
    assert claimed.levelno == logging.INFO
    assert {each.levelno for each in (unsure, broken, doubt, ended)} == {logging.WARNING}
    assert {(each.thread_id, each.task_id, each.tool) for each in (claimed, unsure, broken, doubt, ended)} == {
        ("logged", "w", "send")
    }


async def test_the_verdict_of_a_verifier_is_logged(logged):
    desk = Desk()
    desk.sent = True
    out = await run(task("w", "send"), desk=desk)
    assert out["status"] == "completed"
    assert logged("Write found to have taken effect: task 'w'")
    assert logged("Task 'w' ended: done")


async def test_a_failure_is_a_warning_on_one_line(logged):
    async def fail() -> str:
        raise LookupError("first line\nWARNING second line " + "x" * 1000)

    tools = [StructuredTool.from_function(coroutine=fail, name="fail", description="f", metadata=READ)]
    graph = build_graph(tools=tools, settings=SETTINGS, checkpointer=InMemorySaver())
    await run({"id": "a", "tool": "fail", "args": {}}, graph=graph)
    [ended] = logged("Task 'a' ended: failed")
    assert ended.levelno == logging.WARNING
    assert "(tool: LookupError: first line WARNING second line xxx" in ended.getMessage()
    assert len(ended.getMessage()) < 400


async def test_items_are_counted_and_only_their_retries_are_logged(logged):
    async def get(n: int) -> int:
        seen.append(n)
        if seen.count(n) == 1 and n == 3:
            raise ConnectionError("busy")
        return n

    seen: list[int] = []

    async def numbers() -> list[int]:
        return list(range(50))

    tools = [
        StructuredTool.from_function(coroutine=each, name=each.__name__, description="g", metadata=READ)
        for each in (get, numbers)
    ]
    graph = build_graph(tools=tools, settings=SETTINGS, checkpointer=InMemorySaver())
    first = {"id": "n", "tool": "numbers", "args": {}}
    plan = {"id": "a", "tool": "get", "args": {"n": {"item": []}}, "for_each": {"output_of": "n", "path": []}}
    out = await run(first, plan, graph=graph)
    assert out["results"]["a"]["output"] == list(range(50))
    informed = [each for each in logged("", "agent.execution") if each.levelno > logging.DEBUG and each.task_id == "a"]
    assert [each.getMessage().split(",")[0].split(":")[0] for each in informed] == [
        "Task 'a' begun",
        "Items of task 'a'",
        "Attempt 1 at task 'a'",
        "Task 'a' ended",
    ]
    assert "item 3 failed" in informed[2].getMessage()


async def test_a_refusal_by_the_fence_is_a_warning(logged, tmp_path):
    async def lose() -> str:
        """Let another take the call over while it runs."""
        [row] = await stored.ledger.list_rows("logged")
        await stored.ledger.claim(row.intent, takeover_epoch=row.epoch, clearance="a test")
        return "late"

    async with open_persistence(f"sqlite:///{tmp_path}/l.db") as stored:
        tools = [StructuredTool.from_function(coroutine=lose, name="lose", description="l")]
        graph = build_graph(tools=tools, settings=SETTINGS, persistence=stored)
        with pytest.raises(StaleClaimError):
            await run({"id": "a", "tool": "lose", "args": {}}, graph=graph)
    [stopped] = logged("Task 'a' has no outcome: StaleClaimError: The claim of task 'a'", "agent.execution.executor")
    assert stopped.levelno == logging.WARNING
    assert (stopped.thread_id, stopped.task_id) == ("logged", "a")


def test_fields_are_bound_for_the_time_of_the_context_and_the_inner_ones_count():
    logger, records = get_logger("agent.test_logging"), []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    with bind_log_context(run="r", thread="t"):
        with bind_log_context(task="a", thread="u"):
            logger.warning("inside")
        logger.warning("outside")
    logger.warning("after")
    assert [(each.run_id, each.thread_id, each.task_id, each.tool) for each in records] == [
        ("r", "u", "a", None),
        ("r", "t", None, None),
        (None, None, None, None),
    ]


def test_a_handler_with_the_filter_gives_the_fields_to_other_libraries():
    record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "sent", None, None)
    with bind_log_context(thread="t"):
        assert LogContextFilter().filter(record)
    assert (record.thread_id, record.task_id) == ("t", None)


def test_a_text_stays_on_its_line():
    assert shorten_for_log(" a\r\nb\t c ") == "a b c"
    assert len(shorten_for_log("x" * 5000)) == 303


def test_nothing_is_printed_where_no_logging_is_set_up():
    code = "from agent.logging_context import get_logger; get_logger('agent.x').warning('loud')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
