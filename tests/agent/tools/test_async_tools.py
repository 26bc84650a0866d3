"""Coroutines of tools as they are called: exits contained, parameters worked out once."""

import builtins

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool

from agent.errors import ToolFailure
from agent.tools.async_tools import prepare_tool
from agent.tools.toolbox import Toolbox

READ = {"readOnlyHint": True}


class Counting(BaseTool):
    """A tool of a class of its own, which keeps a count."""

    name: str = "counting"
    description: str = "Count."
    calls: int = 0

    def _run(self) -> int:
        raise AssertionError("it has a coroutine")

    async def _arun(self, config: RunnableConfig) -> list[object]:
        self.calls += 1
        return [self.calls, config["metadata"]["of"]]


class Unresolved(Counting):
    """A tool whose annotations name what is not there."""

    async def _arun(self, *args: "Nowhere", **kwargs: "Nowhere") -> "Nowhere":  # noqa: F821
        self.calls += 1
        return self.calls


async def test_a_tool_keeps_its_own_state_and_gets_its_config():
    given = Counting(metadata=READ)
    kept = Toolbox([given])["counting"]
    for call in (1, 2):
        assert await kept.ainvoke({}, {"metadata": {"of": "run"}}) == [call, "run"]
    assert given.calls == 2


async def test_annotations_that_mean_nothing_are_left_alone():
    assert await prepare_tool(Unresolved()).ainvoke({}) == 1


async def test_a_function_gets_its_config_and_its_arguments_checked():
    async def ask(number: int, config: RunnableConfig) -> str:
        return f"{number + 1} in {config['metadata']['of']}"

    tool = prepare_tool(StructuredTool.from_function(coroutine=ask, name="ask", description="Ask."))
    assert await tool.ainvoke({"number": "4"}, {"metadata": {"of": "run"}}) == "5 in run"


async def test_what_a_coroutine_takes_is_not_worked_out_at_each_call(monkeypatch):
    async def ask() -> str:
        return "x"

    tool = prepare_tool(StructuredTool.from_function(coroutine=ask, name="ask", description="Ask."))
    await tool.ainvoke({})
    compiled = []

    def counted(source, *args, **kwargs):
        compiled.append(source)
        return real(source, *args, **kwargs)

    real = builtins.compile
    monkeypatch.setattr(builtins, "compile", counted)
    assert await tool.ainvoke({}) == "x"
    assert compiled == []


async def test_an_exit_is_a_failure():
    class Leaving(Counting):
        async def _arun(self):
            raise SystemExit("enough")

    with pytest.raises(ToolFailure, match="'counting' raised SystemExit: enough"):
        await prepare_tool(Leaving()).ainvoke({})


def test_a_tool_without_a_coroutine_is_left_as_it_is():
    tool = StructuredTool.from_function(lambda: "x", name="plain", description="Plain.")
    assert prepare_tool(tool) is tool
