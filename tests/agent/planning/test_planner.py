"""The planner against a scripted server: plans of both strategies, repairs, and every way to give up."""

from agent.events import Thinking
from agent.planning.planner import PlanningFailure, PlanningResult, make_plan
from agent.planning.session import DraftFailure, PlanDraft, as_document
from agent.planning.small_model.stepwise import plan_in_stages
from agent.planning.tool_prompts import describe_tools
from tests.support.openai_endpoint import Endpoint, Failure, Text
from tests.support.planning_kit import LIMITS, SETTINGS, model_at, session_at, toolbox

GOAL = "Plot the rain of the 3 wettest stations"
QUERY = {
    "id": "wettest",
    "description": "The wettest stations",
    "reasoning": "They are asked for.",
    "tool": "readings",
    "args": {"sql": "SELECT station, rain", "params": None},
    "expected_outcome": "",
    "phase": None,
    "depends_on": [],
    "condition": None,
    "for_each": None,
}
PLOT = {
    **QUERY,
    "id": "picture",
    "tool": "plot",
    "args": {
        "rows": {"output_of": "wettest", "path": ["rows"]},
        "x": "station",
        "title": {"template": "{n} wettest", "values": [{"name": "n", "value": 3}]},
    },
    "condition": "wettest.row_count > 0",
}


async def planned(
    endpoint: Endpoint, *, small: bool = False, told: list[str] | None = None
) -> PlanningResult | PlanningFailure:
    return await make_plan(
        GOAL,
        context="stations: 12",
        toolbox=toolbox(),
        model=model_at(endpoint, small=small),
        settings=SETTINGS,
        limits=LIMITS,
        emit=lambda event: told.append(event.text) if told is not None and isinstance(event, Thinking) else None,
    )


def whole(*tasks: dict) -> dict:
    return {"execution_mode": "parallel", "tasks": list(tasks)}


async def test_a_plan_in_one_answer_becomes_a_plan_document():
    told: list[str] = []
    with Endpoint([whole(QUERY, PLOT)]) as endpoint:
        found = await planned(endpoint, told=told)
    assert isinstance(found, PlanningResult)
    query, plot = found.plan["tasks"]
    assert query == {
        "id": "wettest",
        "description": "The wettest stations",
        "reasoning": "They are asked for.",
        "tool": "readings",
        "args": {"sql": "SELECT station, rain"},
    }
    assert plot["args"] == {
        "rows": {"output_of": "wettest", "path": ["rows"]},
        "x": "station",
        "title": {"template": "{n} wettest", "values": {"n": 3}},
    }
    assert plot["condition"] == "wettest.row_count > 0"
    assert (found.repairs, found.usage.calls, found.usage.input_tokens) == (0, 1, 11)
    assert set(found.findings) == {"wettest"}
    assert told


async def test_the_server_is_given_a_strict_schema_and_the_prompt_names_tools_and_context():
    with Endpoint([whole(QUERY)]) as endpoint:
        await planned(endpoint)
    [request] = endpoint.requests
    sent = request.body["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["$defs"]["args_readings"]["required"] == ["sql", "params"]
    for part in (
        GOAL,
        "stations: 12",
        "post (writes: a person is asked first)",
        describe_tools(toolbox().specs.values()),
    ):
        assert part in request.text


async def test_a_map_is_written_as_pairs():
    params = [{"name": "station", "value": {"output_of": "wettest", "path": ["rows", "*", "station"]}}]
    again = {**QUERY, "id": "again", "args": {"sql": "SELECT day WHERE $station", "params": params}}
    with Endpoint([whole(QUERY, again)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningResult)
    assert found.plan["tasks"][1]["args"]["params"] == {
        "station": {"output_of": "wettest", "path": ["rows", "*", "station"]}
    }


async def test_problems_of_every_kind_go_back_and_are_mended():
    bad_sql = {**QUERY, "args": {"sql": "DROP", "params": None}}
    with Endpoint([Text('{"tasks": [', finish_reason="length"), whole(bad_sql), whole(QUERY)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningResult)
    assert (found.repairs, found.usage.calls) == (2, 3)
    assert "cut off" in endpoint.requests[1].text
    assert "The SQL 'DROP' is no SELECT." in endpoint.requests[2].text


async def test_a_name_that_stands_twice_in_a_map_is_a_problem_not_a_loss():
    pairs = [{"name": "a", "value": 1}, {"name": "a", "value": 2}]
    with Endpoint([whole({**QUERY, "args": {"sql": "SELECT station", "params": pairs}}), whole(QUERY)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningResult)
    assert "'a' occurs twice" in endpoint.requests[1].text


async def test_it_gives_up_after_the_repairs_with_the_last_problems():
    with Endpoint([whole({**QUERY, "args": {"sql": f"DROP {n}", "params": None}}) for n in range(5)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningFailure)
    assert found.usage.calls == SETTINGS.max_repairs + 1
    assert any("'DROP 2'" in problem for problem in found.problems)


async def test_a_server_that_fails_is_a_problem_in_a_sentence():
    with Endpoint([Failure(401, "no")]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningFailure)
    assert "OPENAI_API_KEY" in found.problems[0]


STEPS = {
    "steps": [
        {
            "id": "Wettest Stations",
            "tool": "readings",
            "uses": ["nothing"],
            "question": "Wettest?",
            "columns": ["station"],
        },
        {"id": "days", "tool": "readings", "uses": ["Wettest Stations"], "question": "Days of each?", "columns": []},
        {"id": "picture", "tool": "plot", "uses": ["days"], "question": "Plot them", "columns": []},
    ]
}


async def test_a_small_model_plans_in_stages_and_code_fills_the_references_in():
    script = [
        STEPS,
        {"from": "readings", "sql": "SELECT station, rain"},
        {"from": "readings", "sql": "SELECT station, day WHERE station IN (SELECT unnest($station))"},
        {"x": "day"},
    ]
    with Endpoint(script) as endpoint:
        found = await plan_in_stages(session_at(endpoint, toolbox(), goal=GOAL))
    assert isinstance(found, PlanDraft)
    first, days, picture = as_document(found.checked.compiled.plan)["tasks"]
    assert (first["id"], first.get("depends_on")) == ("wettest_stations", None)
    assert days["depends_on"] == ["wettest_stations"]
    assert days["args"]["params"] == {"station": {"output_of": "wettest_stations", "path": ["rows", "*", "station"]}}
    assert picture["args"] == {"rows": {"output_of": "days", "path": ["rows"]}, "x": "day"}
    columns = endpoint.requests[3].body["response_format"]["json_schema"]["schema"]["properties"]["x"]
    assert columns["enum"] == ["day", "station"]
    assert len(endpoint.requests) == 4


async def test_a_small_model_is_told_the_problem_of_the_one_call():
    script = [{"steps": STEPS["steps"][:1]}, {"from": "x", "sql": "DROP"}, {"from": "x", "sql": "SELECT station"}]
    with Endpoint(script) as endpoint:
        found = await plan_in_stages(session_at(endpoint, toolbox(), goal=GOAL))
    assert isinstance(found, PlanDraft)
    assert found.repairs == 1
    assert "The SQL 'DROP' is no SELECT." in endpoint.requests[2].text


async def test_a_small_model_that_cannot_mend_a_call_ends_with_its_problem():
    with Endpoint([{"steps": STEPS["steps"][:1]}, *({"from": "x", "sql": "DROP"} for _ in range(5))]) as endpoint:
        found = await plan_in_stages(session_at(endpoint, toolbox(), goal=GOAL))
    assert isinstance(found, DraftFailure)
    assert "is no SELECT" in found.problems[0]
