"""Outputs: their schema by the annotation of the function, and the half of a pair that other tasks can read."""

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agent.errors import ToolError
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.graphs.tools.conftest import task


class Row(BaseModel):
    number: int
    name: str = Field(serialization_alias="label")


class Typed(TypedDict):
    number: int
    label: str


@dataclass
class Data:
    number: int
    label: str


def giving(kind: Any, value: Any) -> Any:
    def give() -> Any:
        """Give."""
        return value

    give.__annotations__["return"] = kind
    return tool(give)


@tool
def count(n: int) -> int:
    """Count."""
    return n


def into_count(*path: str | int) -> dict[str, Any]:
    return task("b", "count", n={"output_of": "a", "path": list(path)})


OBJECTS = {
    "a model": (Row, Row(number=1, name="x")),
    "a typed dict": (Typed, {"number": 1, "label": "x"}),
    "a dataclass": (Data, Data(1, "x")),
    "perhaps a model": (Row | None, Row(number=1, name="x")),
}


@pytest.mark.parametrize(("kind", "value"), OBJECTS.values(), ids=OBJECTS)
async def test_paths_into_an_annotated_object_are_checked(kind, value, run):
    tools = [giving(kind, value), count]
    assert await run(tools, task("a", "give"), into_count("number")) == {"a": {"number": 1, "label": "x"}, "b": 1}
    assert "has no 'other'; it has 'number', 'label'" in (await run(tools, task("a", "give"), into_count("other")))[0]
    assert "gives a text where a whole number" in (await run(tools, task("a", "give"), into_count("label")))[0]


async def test_lists_texts_and_numbers_are_checked(run):
    assert (
        "gives a text where a whole number"
        in (await run([giving(str, "x"), count], task("a", "give"), into_count()))[0]
    )
    rows = giving(list[Row], [Row(number=1, name="x")])
    assert (await run([rows, count], task("a", "give"), into_count(0, "number")))["b"] == 1
    assert "has no 'other'" in (await run([rows, count], task("a", "give"), into_count(0, "other")))[0]
    assert await run([giving(int, 3), count], task("a", "give"), into_count()) == {"a": 3, "b": 3}


@pytest.mark.parametrize("kind", [Any, object, ToolMessage, Any | None, BaseModel])
def test_an_annotation_that_says_nothing_gives_no_schema(kind):
    assert Toolbox([giving(kind, 1)]).specs["give"].output_schema is None


async def test_a_function_is_not_held_to_its_annotation(run, caplog):
    assert await run([giving(int, "text")], task("a", "give")) == {"a": "text"}
    assert "is not what its annotation says" in caplog.text


@pytest.mark.parametrize(
    "declared", [Row, {"type": "object", "properties": {"number": {"type": "integer"}, "label": {}}}]
)
async def test_a_declared_schema_may_be_a_type_and_is_kept(declared, run):
    def made(value: Any) -> StructuredTool:
        return StructuredTool.from_function(
            lambda: value, name="give", description="Give.", metadata={"output_schema": declared}
        )

    good, bad = made({"number": 1, "label": "x"}), made({"number": "one", "label": "x"})
    assert (await run([good, count], task("a", "give"), into_count("number")))["b"] == 1
    assert "has no 'other'" in (await run([good, count], task("a", "give"), into_count("other")))[0]
    assert "does not fit its schema" in str(await run([bad], task("a", "give")))


def test_a_declared_schema_that_is_none_is_refused():
    for wrong in (True, 42, "string", [Row]):
        with pytest.raises(ToolError, match="output_schema is"):
            build_graph(
                tools=[
                    StructuredTool.from_function(
                        lambda: 1, name="g", description="d", metadata={"output_schema": wrong}
                    )
                ]
            )


def pair(content: Any, artifact: Any, *, in_loop: bool) -> StructuredTool:
    def blocking() -> Any:
        return content, artifact

    async def in_the_loop() -> Any:
        return content, artifact

    how = {"coroutine": in_the_loop} if in_loop else {"func": blocking}
    return StructuredTool.from_function(**how, name="give", description="Give.", response_format="content_and_artifact")


@pytest.mark.parametrize("in_loop", [True, False])
async def test_the_artifact_of_a_pair_is_the_output(in_loop, run):
    rows = pair("2 rows", {"rows": [1, 2]}, in_loop=in_loop)
    assert await run([rows, count], task("a", "give"), into_count("rows", 1)) == {"a": {"rows": [1, 2]}, "b": 2}
    assert await run([pair("nothing", None, in_loop=in_loop)], task("a", "give")) == {"a": "nothing"}
    assert await run([pair("a picture", object(), in_loop=in_loop)], task("a", "give")) == {"a": "a picture"}


async def test_a_pair_that_is_none_fails(run):
    tool = StructuredTool.from_function(
        lambda: "alone", name="give", description="Give.", response_format="content_and_artifact"
    )
    assert "two-tuple" in str(await run([tool], task("a", "give")))
