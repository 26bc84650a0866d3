"""What is no tool, no saver or no model is told in one sentence when the graph is built."""

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import BaseTool, Tool
from langgraph.checkpoint.memory import InMemorySaver

import planwave
from agent.errors import ToolError, UsageError
from graphs.plan_execute import build_graph

SINGLE = Tool(name="s", description="d", func=str.upper)


def silent(q: str) -> str:
    return q


def spoken(q: str) -> str:
    """Speak."""
    return q


async def coroutine() -> list[Any]:
    """Give tools."""
    return []


@pytest.mark.parametrize(
    ("tools", "sentence"),
    [
        ("abc", "The tools are 'abc'; give a list"),
        (42, "The tools are 42; give a list"),
        ({"a": SINGLE}, "give a list"),
        ([None], "None is no tool"),
        ([{"type": "web_search"}], "is no tool"),
        ([BaseTool], "BaseTool is a class of tools; give an instance"),
        (SINGLE, "a single one, 's'; give a list"),
        ([SINGLE, SINGLE], "Two tools are named 's'; rename one of them."),
        ([silent], "'silent' needs a name and a docstring"),
        ([lambda q: q], "'<lambda>' needs a name and a docstring"),
        (spoken, "'spoken', which cannot be called without arguments"),
        (coroutine, "the coroutine function 'coroutine'"),
    ],
)
def test_what_is_no_tool(tools, sentence):
    with pytest.raises(ToolError) as caught:
        build_graph(tools=tools)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"checkpointer": True},
        {"checkpointer": "x.db"},
        {"checkpointer": InMemorySaver},
        {"persistence": "sqlite:///x.db"},
        {"settings": {"max_replans": 0}},
        {"store": {}},
        {"cache": True},
        {"library": "folder"},
    ],
    ids=lambda options: "-".join(f"{name}-{type(value).__name__}" for name, value in options.items()),
)
def test_an_option_of_another_type(options):
    with pytest.raises(UsageError, match=f"The option '{next(iter(options))}' is .*; give .*, or leave it out"):
        build_graph(tools=[], **options)


@pytest.mark.parametrize("make", [lambda model: planwave.delegate_tool([spoken], model), planwave.typed_writing_tools])
def test_a_tool_with_a_model_takes_any_choice(make, monkeypatch):
    monkeypatch.delenv("PLANWAVE_MODEL", raising=False)
    chat = FakeListChatModel(responses=["x"])
    for model in (None, "openai:any", "local", chat, chat.with_retry(), lambda: chat):
        assert make(model)
    for model in ("gpt", 42, SINGLE):
        with pytest.raises(UsageError):
            make(model)
