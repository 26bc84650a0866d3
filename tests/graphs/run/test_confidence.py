"""How sure a small model's plan is: in the result of a run, in its JSON and on the console, with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.settings import Settings
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine
from tests.support.databases import library_duckdb
from tests.support.openai_endpoint import Endpoint, Text

GOAL = "What is the total price of all books?"
RIGHT = "-- a: price\nSELECT SUM(price) AS p FROM books;\n"
ALSO = "-- a: price\nSELECT SUM(b.price) AS total FROM books b;\n"
REPEATED = "-- a: price\nSELECT SUM(price) AS p FROM books JOIN loans USING (book_id);\n"


async def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *script: str, goal: str = GOAL, scale: str = "small", **settings: Any
) -> dict[str, Any]:
    with Endpoint([*map(Text, script), *[Text("Done.")] * 3]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        chosen = Settings(
            **{"approve": "never", "max_repairs": 0, "model_scale": scale, "plan_variants": 3, **settings}
        )
        tools = [
            tool for tool in database_tools(open_data_source(library_duckdb(folder))) if tool.name == "query_database"
        ]
        return dict(await build_graph(tools=tools, model="openai:scripted", settings=chosen).ainvoke({"goal": goal}))


async def test_two_that_agree_and_no_finding_are_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = await run(tmp_path, monkeypatch, RIGHT, ALSO)
    reason = "2 of 2 plans that were tried gave the same result. The checks of the plan found nothing."
    assert out["confidence"] == {"level": "sure", "reason": reason}
    assert "Not certain" not in out["answer"]


async def test_a_finding_makes_even_plans_that_agree_unsure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = await run(tmp_path, monkeypatch, REPEATED, REPEATED, REPEATED)
    assert out["confidence"]["level"] == "unsure"
    assert "the join with 'loans' repeats them" in out["confidence"]["reason"]
    assert f"Not certain. {out['confidence']['reason']}" in out["answer"]


async def test_a_filter_that_was_dropped_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = await run(tmp_path, monkeypatch, RIGHT, ALSO, ALSO, goal="What is the total price of all Novel books?")
    assert out["confidence"]["level"] == "unsure"
    assert "The goal names 'Novel'" in out["answer"]


MOST, LEAST, FIRST = (
    f"-- a: price\nSELECT {total}(price) AS p FROM books{where};\n"
    for total, where in (("MAX", ""), ("MIN", ""), ("MIN", " WHERE book_id = 3"))
)
EMPTY = "-- a: titles\nSELECT title FROM books WHERE price > 1000000;\n"
ALL = "-- a: titles\nSELECT title FROM books;\n"


@pytest.mark.parametrize(
    ("script", "level", "why"),
    [
        ([MOST, LEAST, MOST], "sure", "2 of 3"),
        ([MOST, LEAST, FIRST, MOST], "unsure", "2 of 4 plans that were tried gave the same result. Others found"),
        ([EMPTY, EMPTY], "sure", "2 of 2"),
        ([EMPTY, ALL, EMPTY], "unsure", "It finds nothing."),
    ],
    ids=["most agree", "half agree", "nothing is found", "nothing is found by most"],
)
async def test_weaker_signs_make_it_unsure_together(
    script: list[str], level: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = await run(tmp_path, monkeypatch, *script, goal="Which books are dear?", plan_variants=5)
    assert (out["confidence"]["level"], why in out["confidence"]["reason"]) == (level, True)


async def test_a_text_that_no_row_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "-- a: price\nSELECT SUM(price) AS p FROM books WHERE genre = 'Opera';\n"
    out = await run(tmp_path, monkeypatch, missing, missing, missing, goal="What is the total price of all operas?")
    assert out["confidence"] == {"level": "unsure", "reason": "No row has 'Opera' in 'genre'."}


async def test_one_plan_that_was_not_tried_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = await run(tmp_path, monkeypatch, RIGHT, plan_variants=1)
    assert out["confidence"]["level"] == "untested"


async def test_a_given_plan_has_none(tmp_path: Path) -> None:
    tools = [
        tool for tool in database_tools(open_data_source(library_duckdb(tmp_path))) if tool.name == "query_database"
    ]
    plan = {
        "tasks": [
            {
                "id": "a",
                "tool": "query_database",
                "args": {"sql": "SELECT SUM(price) AS p FROM books JOIN loans USING (book_id)"},
            }
        ]
    }
    out = await build_graph(tools=tools, model=None, settings=Settings(approve="never")).ainvoke(
        {"goal": GOAL, "plan": plan}
    )
    assert out["confidence"] is None
    assert out["warnings"] == []


def test_the_command_says_it_in_json_and_in_one_line(planwave: CommandLine) -> None:
    notebook = "-- customers: how many there are\nSELECT COUNT(*) AS customers FROM customers;\n"
    with Endpoint([Text(notebook)] * 8) as endpoint:
        planwave.env |= {**endpoint.env, "PLANWAVE_MODEL_SCALE": "small", "PLANWAVE_PLAN_VARIANTS": "3"}
        words = ("run", "How many customers are there?", "--model", "openai:scripted")
        record = json.loads(planwave.here(*words, "--json").stdout)
        shown = planwave.here(*words).stdout
    assert record["confidence"]["level"] == "sure"
    assert f"Sure. {record['confidence']['reason']}" in " ".join(shown.split())
