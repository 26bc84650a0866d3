"""How calls end: a function that only begins its work is run to the end, and what ends badly is told as it is."""

import asyncio
import functools
import time
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, Tool, tool
from langgraph.types import Command
from pydantic import BaseModel, field_validator

from tests.graphs.tools.conftest import schema_tool, task

made: list[int] = []


async def count(n: int) -> int:
    """Count."""
    await asyncio.sleep(0)
    made.append(n)
    return n


class AsyncRun(BaseTool):
    name: str = "count"
    description: str = "Count."

    async def _run(self, n: int) -> int:
        return await count(n)


def forwarding(n: int) -> Any:
    """Count."""
    return count(n)


async def several(n: int) -> Any:
    """Count."""
    for one in (n, n):
        yield await count(one)


def future(n: int) -> Any:
    """Count."""
    return several(n)


BEGUN = {
    "an async function as a blocking one": StructuredTool.from_function(func=count),
    "in a partial": StructuredTool.from_function(
        func=functools.partial(count), name="count", description="Count.", args_schema={"properties": {"n": {}}}
    ),
    "in a plain tool": Tool(name="count", description="Count.", func=lambda text: count(int(text))),
    "an async `_run`": AsyncRun(),
    "a function that returns a coroutine": StructuredTool.from_function(forwarding, name="count"),
    "an async generator": StructuredTool.from_function(several, name="count"),
    "a function that returns one": StructuredTool.from_function(future, name="count"),
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
async def test_work_that_is_only_begun_is_done_within_the_call(begun, run):
    made.clear()
    args = {"tool_input": "3"} if isinstance(begun, Tool) else {"n": 3}
    out = await run([begun], task("a", "count", **args))
    assert (out, set(made)) == ({"a": 3 if len(made) == 1 else [3, 3]}, {3})


@pytest.mark.parametrize("kind", ["blocking", "async"])
async def test_a_generator_that_fails_has_failed_and_is_not_said_to_be_made(kind, run):
    def blocking() -> Any:
        """Go."""
        yield 1
        raise ValueError("no stock")

    async def in_the_loop() -> Any:
        """Go."""
        yield 1
        raise ValueError("no stock")

    out = await run(
        [blocking if kind == "blocking" else in_the_loop],
        task("a", blocking.__name__ if kind == "blocking" else "in_the_loop"),
    )
    assert "ValueError: no stock" in str(out)


async def test_the_time_of_a_generator_counts(run):
    def slow() -> Any:
        yield 1
        time.sleep(1.0)
        yield 2

    metadata = {"timeout_s": 0.2, "readOnlyHint": True, "max_retries": 0}
    out = await run([StructuredTool.from_function(slow, description="Go.", metadata=metadata)], task("a", "slow"))
    assert "within 0.2 s" in str(out)


class Panic(BaseException):
    """As extensions in Rust raise them."""


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_no_handler_of_errors_catches_fails_one_task(is_async, run):
    def go() -> None:
        """Go."""
        raise Panic("index out of bounds")

    async def go_async() -> None:
        """Go."""
        go()

    out = await run([go_async if is_async else go], task("a", "go_async" if is_async else "go"))
    assert "raised Panic: index out of bounds" in str(out)


async def test_the_errors_in_a_group_are_told_and_one_that_may_pass_is_tried_again(run):
    tried = []

    @tool
    async def single() -> str:
        """Go."""
        tried.append(1)
        if len(tried) == 1:
            async with asyncio.TaskGroup() as group:
                group.create_task(_refuse())
        return "reached"

    @tool
    async def both() -> str:
        """Go."""
        raise ExceptionGroup("two errors", [ValueError("one"), KeyError("two")])

    single.metadata = {"readOnlyHint": True}
    assert (await run([single], task("a", "single")), len(tried)) == ({"a": "reached"}, 2)
    assert "two errors: ValueError: one; KeyError: 'two'" in str(await run([both], task("a", "both")))


async def _refuse() -> None:
    raise ConnectionRefusedError("nobody there")


async def test_a_command_that_only_has_messages_gives_what_they_say(run):
    @tool
    def count_up(n: int) -> Any:
        """Count."""
        return Command(update={"messages": [ToolMessage("counted", tool_call_id="1", artifact={"n": n})]})

    two = {"n": {"output_of": "a", "path": ["n"]}}
    out = await run([count_up], task("a", "count_up", n=1), task("b", "count_up", **two))
    assert out == {"a": {"n": 1}, "b": {"n": 1}}


class Args(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        if n == 3:
            raise ValueError("three is taken")
        return n


async def test_what_a_validator_says_is_one_line(run):
    checked = StructuredTool.from_function(lambda n: n, name="take", description="Take.", args_schema=Args)
    told = (await run([checked], task("a", "take", n=3)))["a"]
    assert "n: Value error, three is taken" in told
    assert "\n" not in told
    assert "pydantic.dev" not in told


async def test_names_that_no_pattern_allows_are_a_problem_of_the_plan(run):
    closed = schema_tool({}, patternProperties={"^x-": {"type": "string"}}, additionalProperties=False)
    assert await run([closed], {"id": "a", "tool": "take", "args": {"x-a": "1"}}) == {"a": {"x-a": "1"}}
    [told] = await run([closed], task("a", "take", y="1"))
    assert told.startswith("Task 'a', args: 'y' does not match")
