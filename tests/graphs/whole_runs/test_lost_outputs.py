"""A write that returns what cannot be stored: it is said to have happened, and nobody makes it again."""

import json

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import StructuredTool

from agent.errors import ToolError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, ref, thread

MADE = "The call was made, its output could not be stored. The output of 'pay' is not a JSON value: "


class Till:
    """Tools that pay, and return what `returns` makes of it."""

    def __init__(self, returns):
        self.returns = returns
        self.paid = []
        self.repaid = []

    def tools(self, **metadata):
        async def pay(amount: int):
            self.paid.append(amount)
            return self.returns(amount)

        async def repay(amount: int):
            self.repaid.append(amount)
            return "repaid"

        world = World()
        tools = [world.tool("pay", pay, {"compensate": "repay", **metadata}), world.tool("repay", repay)]
        return [*tools, *world.tools()]


def pay(**more):
    return {"id": "w", "tool": "pay", "args": {"amount": 10}, **more}


async def run(till, plan, tmp_path, **settings):
    """Run twice, the second time to go on, and return what came out."""
    async with open_persistence(f"sqlite:///{tmp_path}/t.db") as persistence:
        model = settings.pop("model", None)
        metadata = settings.pop("metadata", {})
        chosen = Settings(approve="never", model_scale="large", **settings)
        graph = build_graph(tools=till.tools(**metadata), persistence=persistence, settings=chosen, model=model)
        out = await graph.ainvoke({"goal": "g", "plan": {"tasks": plan}}, thread())
        assert (await graph.ainvoke(None, thread()))["results"] == out["results"]
        rows = await persistence.ledger.list_rows(thread()["configurable"]["thread_id"])
        assert {row.state for row in rows} == {"done"}
    return out


@pytest.mark.parametrize("value", [object(), 10**5_000, {1: 1, "1": 2}], ids=["type", "digits", "keys"])
async def test_a_write_with_an_output_that_cannot_be_stored_is_done_and_says_so(value, tmp_path):
    till = Till(lambda _: value)
    rest = {"id": "next", "tool": "look", "args": {"value": 1}, "depends_on": ["w"]}
    out = await run(till, [pay(), rest], tmp_path)
    assert (out["status"], till.paid) == ("completed", [10])
    made = out["results"]["w"]
    assert (made["status"], made["output"]) == ("done", None)
    assert made["error"].startswith(MADE)
    assert out["answer"].startswith("Done, but the output of w could not be stored.")
    assert MADE in out["answer"]
    assert out["results"]["next"]["status"] == "done"


async def test_what_refers_to_a_lost_output_fails_and_the_replanner_knows_that_the_call_was_made(tmp_path):
    asked = []

    class Listener(FakeListChatModel):
        def _call(self, messages, *rest, **options):
            asked.append("\n".join(str(message.content) for message in messages))
            return super()._call(messages, *rest, **options)

    model = Listener(responses=[json.dumps({"reason": "no", "decision": {"action": "abort"}})])
    till = Till(lambda _: object())
    uses = {"id": "next", "tool": "look", "args": {"value": ref("w")}}
    out = await run(till, [pay(), uses], tmp_path, model=model)
    assert out["results"]["next"]["error"] == "Task 'w' has no output to refer to."
    assert till.paid == [10]
    assert any(f"done, never to be made again: {MADE}" in each for each in asked)


async def test_a_rollback_undoes_a_write_whose_output_was_lost(tmp_path):
    till = Till(lambda _: object())
    fails = {"id": "end", "tool": "look", "args": {"value": ref("w", "number")}, "on_failure": "abort"}
    out = await run(till, [pay(), fails], tmp_path)
    assert out["rollback"]["undone"] == ["w"]
    assert (till.paid, till.repaid) == ([10], [10])


async def test_items_whose_outputs_were_lost_are_named_and_made_once(tmp_path):
    till = Till(lambda amount: object() if amount > 1 else amount)
    items = {"id": "n", "tool": "look", "args": {"value": [1, 2, 3]}}
    each = {"id": "w", "tool": "pay", "for_each": ref("n", "value"), "args": {"amount": {"item": []}}}
    out = await run(till, [items, each], tmp_path)
    assert out["results"]["w"]["output"] == [1, None, None]
    assert out["results"]["w"]["error"].startswith(f"Item 1: {MADE}")
    assert out["results"]["w"]["error"].endswith("So it is with 1 more items.")
    assert sorted(till.paid) == [1, 2, 3]


async def test_a_made_write_with_an_output_of_another_schema_cannot_be_retried(tmp_path):
    change = {"task": "w", "tool": "pay", "args": {"amount": 11}}
    retry = {"reason": "again", "decision": {"action": "retry", "changes": [change], "skip": []}}
    leave = {"reason": "it was paid", "decision": {"action": "skip"}}
    model = FakeListChatModel(responses=[json.dumps(retry), json.dumps(leave)])
    till = Till(lambda _: "paid")
    metadata = {"output_schema": {"type": "object"}}
    out = await run(till, [pay()], tmp_path, model=model, metadata=metadata)
    assert out["results"]["w"]["error"].endswith("The call was made; do not make it again.")
    assert till.paid == [10]


def test_a_read_that_cannot_be_stored_fails_as_before():
    async def peek():
        return object()

    graph = build_graph(tools=[World().tool("peek", peek, READ)], settings=Settings(max_replans=0))
    out = graph.invoke({"goal": "g", "plan": {"tasks": [{"id": "p", "tool": "peek"}]}})
    assert out["results"]["p"]["error"] == (
        "The output of 'peek' is not a JSON value: a value of type object has no JSON form."
    )


class Report:
    """A class that has no JSON form."""


def report() -> Report:
    """Return a report."""
    return Report()


def imaginary() -> list[complex]:
    """Return numbers."""
    return [1j]


@pytest.mark.parametrize(("function", "kind"), [(report, "Report"), (imaginary, "complex")])
def test_a_return_type_without_a_json_form_is_refused_before_any_call(function, kind):
    tool = StructuredTool.from_function(function)
    with pytest.raises(ToolError, match=f"Tool {function.__name__!r} returns .*{kind}, which has no JSON form"):
        build_graph(tools=[tool])
