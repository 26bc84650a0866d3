"""Plans that a small model is not sure of, put to a person before they run: every answer, in both dispatch modes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine
from tests.support.openai_endpoint import Endpoint, Text

FIRST, SECOND, THIRD = "a = add(2, 3)\n", "a = add(2, 9)\n", "a = add(3, 9)\n"
SAME = "b = add(3, 9)\n"
DOUBT = (
    "3 plans were tried for this goal, and each finds something else: (1) 5.0; (2) 11.0; (3) 12.0. Taken: the first."
)
SETTINGS: dict[str, Any] = {"ask_if_unsure": True, "max_repairs": 0, "model_scale": "small", "plan_variants": 3}
CONFIG: Any = {"configurable": {"thread_id": "t"}}
MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


def answer(kind: str, **more: Any) -> Command[Any]:
    return Command(resume={"decisions": [{"type": kind, **more}]})


class Sum:
    """A tool that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float]] = []

    def tools(self) -> list[StructuredTool]:
        def add(a: float, b: float) -> float:
            self.calls.append((a, b))
            return a + b

        reads = {"readOnlyHint": True, "openWorldHint": False}
        return [StructuredTool.from_function(add, description="The sum.", metadata=reads)]


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch, *script: str, **settings: Any) -> Iterator[tuple[PlanwaveGraph, Endpoint]]:
    """Yield a graph over a small model that writes the scripts one after the other."""
    with Endpoint([*map(Text, script), Text("Done.")]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        chosen = Settings(**{**SETTINGS, **settings})
        tools, saver = Sum().tools(), InMemorySaver()
        yield build_graph(tools=tools, model="openai:scripted", settings=chosen, checkpointer=saver), endpoint


def question(out: dict[str, Any]) -> dict[str, Any]:
    assert out["status"] == "awaiting_approval", out
    [waiting] = out["__interrupt__"]
    return waiting.value


def outputs(out: dict[str, Any]) -> list[Any]:
    return [record["output"] for record in out["results"].values()]


@MODES
async def test_a_person_is_shown_what_the_plans_find_and_the_plan_and_confirms_it(
    dispatch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD, dispatch=dispatch) as (graph, _):
        found = question(await graph.ainvoke({"goal": "2 + 3?"}, CONFIG))
        assert found["impasse"]["kind"] == "unsure"
        assert found["impasse"]["reason"] == DOUBT
        assert [task["args"] for task in found["plan"]["tasks"]] == [{"a": 2, "b": 3}]
        assert found["action_requests"][0]["args"] == {"choice": "run"}
        out = await graph.ainvoke(answer("approve"), CONFIG)
    assert (out["status"], outputs(out), out["revision"]) == ("completed", [5.0], 1)
    assert "Not certain" not in out["answer"]


@MODES
async def test_words_lead_to_another_plan_which_is_asked_about_if_it_is_no_surer(
    dispatch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD, SECOND, FIRST, THIRD, THIRD, SAME, dispatch=dispatch) as asking:
        graph, endpoint = asking
        await graph.ainvoke({"goal": "How much?"}, CONFIG)
        again = question(await graph.ainvoke(answer("respond", message="Of two and nine."), CONFIG))
        assert again["impasse"]["reason"].startswith("3 plans were tried for this goal")
        assert [task["args"] for task in again["plan"]["tasks"]] == [{"a": 2, "b": 9}]
        out = await graph.ainvoke(answer("respond", message="No, three and nine."), CONFIG)
        planned = [request.text for request in endpoint.requests]
    assert (out["status"], outputs(out), out["revision"]) == ("completed", [12.0], 3)
    assert "Of two and nine." not in planned[2]
    assert "How much? Of two and nine." in planned[3]
    assert "How much? Of two and nine. No, three and nine." in planned[6]


async def test_a_rejected_plan_ends_the_run_with_nothing_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD) as (graph, _):
        await graph.ainvoke({"goal": "2 + 3?"}, CONFIG)
        out = await graph.ainvoke(answer("reject", message="Not that."), CONFIG)
    assert (out["status"], outputs(out)) == ("cancelled", [None])
    assert "Not that." in out["answer"]


async def test_a_plan_made_anew_may_come_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD, *["a = nothing(1)\n"] * 3) as (graph, _):
        await graph.ainvoke({"goal": "2 + 3?"}, CONFIG)
        out = await graph.ainvoke(answer("respond", message="Otherwise."), CONFIG)
    assert (out["status"], out["plan"], out["results"]) == ("failed", None, {})
    assert out["problems"]


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        ([FIRST, SECOND, THIRD], {"ask_if_unsure": False}),
        ([FIRST, SECOND, THIRD], {"approve": "never"}),
        ([FIRST, SECOND, THIRD], {"escalate": False}),
        ([THIRD, SAME], {}),
    ],
    ids=["off", "unattended", "nobody is asked", "sure"],
)
async def test_nobody_is_asked_where_nobody_is_to_be_or_the_plans_agree(
    script: list[str], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked(monkeypatch, *script, **settings) as (graph, _):
        out = await graph.ainvoke({"goal": "How much?"}, CONFIG)
    assert out["status"] == "completed"
    assert ("Not certain" in out["answer"]) == (script[0] == FIRST)


async def test_without_a_checkpointer_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD) as (_, endpoint):
        settings = Settings(**SETTINGS)
        graph = build_graph(tools=Sum().tools(), model="openai:scripted", settings=settings)
        out = await graph.ainvoke({"goal": "2 + 3?"})
        assert len(endpoint.requests) >= 3
    assert out["status"] == "completed"
    assert DOUBT in out["answer"]


async def test_the_question_waits_over_a_restart(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with asked(monkeypatch, FIRST, SECOND, THIRD) as (_, endpoint):
        settings = Settings(**SETTINGS)

        async def step(given: Any) -> dict[str, Any]:
            async with open_persistence(f"sqlite:///{tmp_path / 'p.db'}") as stored:
                graph = build_graph(tools=Sum().tools(), model="openai:scripted", settings=settings, persistence=stored)
                return await graph.ainvoke(given, CONFIG)

        await step({"goal": "2 + 3?"})
        assert question(await step(None))["impasse"]["reason"] == DOUBT
        assert len(endpoint.requests) == 3
        out = await step(answer("approve"))
    assert (out["status"], outputs(out)) == ("completed", [5.0])


QUERIES = [f"-- n: it\nSELECT {number} AS n;\n" for number in (1, 2, 3)]


@pytest.fixture
def unsure(planwave: CommandLine, make_endpoint: Callable[..., Endpoint]) -> Callable[..., list[str]]:
    """Return what makes the words of a run whose model finds something else each time, and then what is added."""

    def words(*more: str) -> list[str]:
        steps = json.dumps({"steps": [{"id": "n", "question": "it", "tool": "query_database"}]})
        again = [json.dumps({"sql": f"SELECT {number} AS n"}) for number in (4, 5, 6)]
        endpoint = make_endpoint([*map(Text, [*QUERIES, steps, *again, *more])])
        planwave.env |= {**endpoint.env, "PLANWAVE_MODEL_SCALE": "small", "PLANWAVE_PLAN_VARIANTS": "3"}
        planwave.env |= {"PLANWAVE_MAX_REPAIRS": "0"}
        return ["run", "Which number is it?", "--thread", "t", "--model", "openai:scripted"]

    return words


def test_at_a_terminal_the_command_asks(planwave: CommandLine, unsure: Callable[..., list[str]]) -> None:
    terminal = planwave.at_terminal(*unsure("It is 1 [n]."))
    shown = terminal.until("[r]un it, [g]ive guidance, [x] abort, [q]uit? ")
    assert "The planner is not sure" in shown
    assert "each finds something else" in " ".join(shown.split())
    assert "SELECT 1 AS n" in " ".join(shown.split())
    terminal.type("r\n")
    status, shown = terminal.end()
    assert status == 0, shown
    assert "Not certain" not in shown


def test_without_a_terminal_the_command_says_that_it_is_not_sure(
    planwave: CommandLine, unsure: Callable[..., list[str]]
) -> None:
    ended = planwave.here(*unsure("It is 1 [n]."))
    assert ended.exit_code == 0, ended.output
    assert "Not certain. 3 plans were tried" in " ".join(ended.stdout.split())


def test_without_a_terminal_a_question_that_is_wanted_waits(
    planwave: CommandLine, unsure: Callable[..., list[str]]
) -> None:
    words = unsure("It is 1 [n].")
    planwave.env |= {"PLANWAVE_ASK_IF_UNSURE": "true"}
    waits = planwave.here(*words, "--json")
    assert waits.exit_code == 3, waits.output
    assert json.loads(waits.stdout)["interrupt"]["impasse"]["kind"] == "unsure"
    shown = planwave.here("show", "t").stdout
    assert "The planner is not sure" in shown
    assert "SELECT 1 AS n" in shown
