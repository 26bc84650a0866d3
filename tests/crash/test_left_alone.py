"""A write in doubt that a person chose to leave: no later plan makes it after all."""

import json

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import StructuredTool
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.journal import Journal

AT = {"configurable": {"thread_id": "t"}}


def plan(task):
    return {"tasks": [{"id": task, "tool": "post", "args": {"name": "letter"}}]}


@pytest.mark.parametrize("approve", ["ask", "never"])
async def test_a_write_that_was_left_in_doubt_is_not_made_by_a_replan(tmp_path, approve):
    journal = Journal(tmp_path / "journal")

    async def post(name: str) -> str:
        journal.note("effect", name)
        raise TimeoutError

    tool = StructuredTool.from_function(coroutine=post, name="post", description="post")
    model = FakeListChatModel(responses=[json.dumps(plan("again")), json.dumps(plan("thrice"))])
    async with open_persistence(f"sqlite:///{tmp_path}/t.db") as persistence:
        graph = build_graph(
            tools=[tool], model=model, settings=Settings(approve=approve, escalate=False), persistence=persistence
        )
        out = await graph.ainvoke({"goal": "Post.", "plan": plan("first")}, AT)
        while out["status"] == "awaiting_approval":
            [action] = out["__interrupt__"][0].value["action_requests"]
            decision = {"type": "reject"} if "doubt" in action else {"type": "approve"}
            out = await graph.ainvoke(Command(resume={"decisions": [decision]}), AT)
    assert out["status"] == "failed"
    assert journal.having("effect") == [["effect", "letter"]]
