"""Functions of any signature and models with aliases: a call names each argument as LangChain's users expect."""

from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool, tool
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from agent.errors import ToolError
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.graphs.tools.conftest import task


@tool
def others(q: str, **kwargs: int) -> Any:
    """Take others."""
    return [q, kwargs]


@tool
async def many(a: str, b: int = 2, *args: int) -> Any:
    """Take many."""
    return [a, b, list(args)]


@tool
def named(args: list[int], kwargs: dict[str, int] | None = None) -> Any:
    """Take what is called like Python's own."""
    return [args, kwargs]


@tool
def by_position(a: int, /, b: int = 2) -> Any:
    """Take by position."""
    return [a, b]


@tool
async def all_at_once(q: str, settings: RunnableConfig, *more: int, **rest: int) -> Any:
    """Take all."""
    return [q, settings["metadata"]["task_id"], list(more), rest]


class Method(BaseTool):
    name: str = "method"
    description: str = "Take."

    def _run(self, q: str, **rest: Any) -> Any:
        return [q, rest]


CALLS = {
    "others": (others, {"q": "x", "z": 1}, ["x", {"z": 1}]),
    "names of LangChain's own": (
        others,
        {"q": "x", "config": 1, "run_manager": 2},
        ["x", {"config": 1, "run_manager": 2}],
    ),
    "many": (many, {"a": "x", "args": [1, 2]}, ["x", 2, [1, 2]]),
    "none of many": (many, {"a": "x", "b": 3}, ["x", 3, []]),
    "named args": (named, {"args": [1], "kwargs": {"a": 1}}, [[1], {"a": 1}]),
    "by position": (by_position, {"a": 1}, [1, 2]),
    "all": (all_at_once, {"q": "x", "more": [1], "z": 2}, ["x", "a", [1], {"z": 2}]),
    "a method": (Method(), {"q": "x", "z": {"deep": 1}}, ["x", {"z": {"deep": 1}}]),
}


@pytest.mark.parametrize(("called", "args", "output"), CALLS.values(), ids=CALLS)
async def test_each_parameter_is_an_argument(called, args, output, run):
    assert await run([called], task("a", called.name, **args)) == {"a": output}


async def test_other_arguments_are_held_to_their_type(run):
    assert "args.z" in (await run([others], task("a", "others", q="x", z="no")))[0]
    assert "needs 'a'" in (await run([many], task("a", "many", b=1)))[0]


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")
    origin: str = Field("here", alias="from")


class Validated(BaseModel):
    user_id: int = Field(validation_alias="userId")
    origin: str = Field("here", validation_alias=AliasChoices("from", "source"))


class Generated(BaseModel):
    model_config = ConfigDict(
        alias_generator=lambda name: {"user_id": "userId", "origin": "from"}[name], populate_by_name=True
    )

    user_id: int
    origin: str = "here"


@pytest.mark.parametrize("model", [Aliased, Validated, Generated])
async def test_a_field_is_called_by_its_alias(model, run):
    taking = StructuredTool.from_function(
        lambda user_id, origin: [user_id, origin], name="take", description="Take.", args_schema=model
    )
    assert list(Toolbox([taking]).specs["take"].args_schema["properties"]) == ["userId", "from"]
    assert await run([taking], task("a", "take", **{"userId": 3, "from": "there"})) == {"a": [3, "there"]}
    assert "Did you mean 'userId'?" in (await run([taking], task("a", "take", user_id=3)))[0]


def test_a_field_within_another_is_refused_by_name():
    class Within(BaseModel):
        user_id: int = Field(validation_alias=AliasPath("user", "id"))

    taking = StructuredTool.from_function(lambda user_id: user_id, name="take", description="Take.", args_schema=Within)
    with pytest.raises(ToolError, match="'take' takes 'user_id' from within another argument"):
        build_graph(tools=[taking])


async def upper(text: str) -> str:
    return text.upper()


@pytest.mark.parametrize(
    "single",
    [
        Tool(name="s", description="Shout.", func=str.upper),
        Tool(name="s", description="Shout.", func=None, coroutine=upper),
    ],
    ids=["blocking", "in the loop"],
)
async def test_a_tool_of_one_input(single, run):
    assert await run([single], task("a", "s", tool_input="abc")) == {"a": "ABC"}
    assert "needs 'tool_input'" in (await run([single], task("a", "s")))[0]


def plain(q: str, times: int = 1) -> str:
    """Repeat a text.

    Args:
        q: The text.
        times: How often.
    """
    return q * times


async def plain_in_the_loop(q: str) -> str:
    """Give a text back."""
    return q


async def test_functions_are_tools(run):
    tasks = [task("a", "plain", q="x", times=2), task("b", "plain_in_the_loop", q="y")]
    assert await run([plain, plain_in_the_loop], *tasks) == {"a": "xx", "b": "y"}
    spec = Toolbox([plain]).specs["plain"]
    assert spec.description.startswith("Repeat a text.")
    assert spec.args_schema["properties"]["times"]["description"] == "How often."
