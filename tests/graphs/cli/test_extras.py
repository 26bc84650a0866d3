"""The command and the graph where the extra `analytics` is not installed: who needs it is told, others do without."""

import json
from pathlib import Path

import pytest

from agent.errors import ToolError
from agent.settings import Settings
from agent.tools import analytics
from agent.tools.analytics import ANALYTICS_TOOLS, default_tools
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine, query

SENTENCE = "The default tools need the extra `analytics` (uv run --extra analytics ...)."


@pytest.fixture
def base_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the extra `analytics`."""
    monkeypatch.setattr(analytics, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("base_alone")
@pytest.mark.parametrize("words", [("tools",), ("run", "Count", "--plan", "PLAN"), ("run", "Count"), ("plan", "Count")])
def test_a_command_without_tools_says_what_to_install(planwave: CommandLine, words: tuple[str, ...]) -> None:
    plan = planwave.plan_file(query("a", "SELECT 1 AS n"))
    ended = planwave.here(*[plan if word == "PLAN" else word for word in words])
    assert ended.exit_code == 2
    assert ended.stderr == f"{SENTENCE}\n"


@pytest.mark.usefixtures("base_alone")
def test_other_tools_do_without_and_a_plan_that_does_not_is_told(planwave: CommandLine) -> None:
    (config := planwave.home / "planwave.toml").write_text("[tools]\nwriting = true\n", encoding="utf-8")
    with_config = ("--config", str(config))
    listed = planwave.here("tools", "--json", *with_config)
    assert [tool["name"] for tool in json.loads(listed.stdout)["tools"]] == ["summarise", "draft", "classify"]
    plan = planwave.plan_file(query("a", "SELECT 1 AS n"))
    for words in (("run", "Count", "--plan", plan), ("plan", "validate", plan), ("tools", "--data", "shop.csv")):
        ended = planwave.here(*words, *with_config)
        assert (ended.exit_code, ended.stderr) == (2, f"{SENTENCE}\n"), ended.output


@pytest.mark.usefixtures("base_alone")
def test_a_graph_says_at_the_first_use_of_the_default_tools_what_to_install() -> None:
    graph = build_graph()
    with pytest.raises(ToolError) as told:
        graph.invoke({"goal": "Count", "plan": {"tasks": [query("a", "SELECT 1 AS n")]}})
    assert str(told.value) == SENTENCE


def test_the_names_of_the_default_tools_are_all_of_them(shop_folder: Path) -> None:
    made = default_tools(Settings(data_folder=shop_folder), None)()
    assert {tool.name for tool in made} == ANALYTICS_TOOLS
