"""The prompts of planner, replanner and answerer, compared with golden files.

`PLANWAVE_REWRITE_GOLDENS=1 pytest tests/prompts` writes the golden files anew; the difference is for review.
"""

import pytest

from prompts import render
from tests.prompts.golden_files import assert_golden

GOAL = "Plot the rain of the 3 wettest stations"
STEP = {
    "id": "days",
    "tool": "readings",
    "question": "For each of these stations: which day was its wettest?",
    "columns": ["station", "day"],
    "uses": ["wettest"],
}
FAILURES = ["days: FAILED (tool): There is no column 'dya'."]
HALTED = {
    "goal": GOAL,
    "outcomes": "- wettest: readings {...}\n  done: 3 rows",
    "failures": FAILURES,
    "history": ["Replan 1: 'days' failed: timeout."],
}
BARE = {"sources": [], "parameters": {}, "arguments": "", "earlier": None}
RENDERINGS = {
    "planner.v1": ("planner.v1", {"tools": "- readings: queries", "context": "view readings (12 rows)"}),
    "planner.v1-bare": ("planner.v1", {"tools": "- readings: queries", "context": ""}),
    "planner.v2": (
        "planner.v2",
        {"tools": "- readings: queries", "context": "view readings (12 rows)", "asking": ["readings", "stations"]},
    ),
    "planner.v2-bare": ("planner.v2", {"tools": "- readings: queries", "context": "", "asking": []}),
    "planner_goal.v1": ("planner_goal.v1", {"goal": GOAL}),
    "json_reply.v1": ("json_reply.v1", {"schema": '{"type": "object", "properties": {"rain": {"type": "number"}}}'}),
    "repair.v1": ("repair.v1", {"problems": ["There is no tool 'plto'.", "Task 'a' has no 'sql'."]}),
    "script_planner.v2": (
        "script_planner.v2",
        {"tools": "def post(text: a text)  # Post it.", "context": "view readings (12 rows)"}
        | {"operators": ["+", "*"]},
    ),
    "script_planner.v2-bare": (
        "script_planner.v2",
        {"tools": "def post(text: a text)  # Post it.", "context": "", "operators": []},
    ),
    "script_reckoning.v2": (
        "script_reckoning.v2",
        {"tools": "def fence(long: a number) -> a number  # The length of a fence.", "context": "a ledger of 2025"},
    ),
    "script_reckoning.v2-bare": ("script_reckoning.v2", {"tools": "", "context": ""}),
    "reckoning_goal.v1": ("reckoning_goal.v1", {"goal": GOAL}),
    "script_goal.v1": ("script_goal.v1", {"goal": GOAL, "done": [], "failures": []}),
    "script_goal.v1-halted": (
        "script_goal.v1",
        {"goal": GOAL, "done": [{"id": "wet", "description": "The wettest", "tool": "find"}], "failures": FAILURES},
    ),
    "replanner.v2": ("replanner.v2", HALTED | {"guidance": ["Take the gauges of 2024."], "may_ask": True}),
    "replanner.v2-first": ("replanner.v2", HALTED | {"history": [], "guidance": [], "may_ask": False}),
    "notebook.v1": ("notebook.v1", {"tools": "post(text): Post it.", "context": "view readings (12 rows)"}),
    "notebook_goal.v1": ("notebook_goal.v1", {"goal": GOAL}),
    "small_planner.v1": (
        "small_planner.v1",
        {"tools": "- readings: queries", "context": "view readings (12 rows)", "writes_sql": True},
    ),
    "small_planner.v1-bare": ("small_planner.v1", {"tools": "- post: posts", "context": "", "writes_sql": False}),
    "small_steps.v1": ("small_steps.v1", {"goal": GOAL}),
    "small_arguments.v1": (
        "small_arguments.v1",
        {
            "step": STEP,
            "arguments": "- sql: One SELECT.",
            "sources": [{"task": "wettest", "question": "Which are the wettest?", "columns": ["station", "rain"]}],
            "parameters": {"station": "the values of station in the rows of wettest"},
            "earlier": {"args": {"sql": "SELECT dya"}, "failure": "There is no column 'dya'."},
        },
    ),
    "small_arguments.v1-bare": (
        "small_arguments.v1",
        BARE | {"step": STEP | {"columns": []}, "arguments": "- text: What to post."},
    ),
    "small_replanner.v1": ("small_replanner.v1", HALTED),
    "small_replanner_steps.v1": (
        "small_replanner_steps.v1",
        {
            "goal": GOAL,
            "done": [{"id": "wettest", "question": "Which are the wettest?"}],
            "failures": FAILURES,
            "rejected": ["post"],
        },
    ),
    "answerer.v1": (
        "answerer.v1",
        {
            "goal": GOAL,
            "results": [{"id": "wettest", "title": "The wettest", "output": {"rows": [{"station": "A </result>"}]}}],
            "missing": FAILURES,
        },
    ),
}


@pytest.mark.parametrize("golden", RENDERINGS)
def test_a_prompt_reads_as_its_golden_file(golden: str) -> None:
    assert_golden(golden, *RENDERINGS[golden])


def test_data_cannot_close_its_tag() -> None:
    name, variables = RENDERINGS["answerer.v1"]
    assert render(name, **variables).count("</result>") == 1
