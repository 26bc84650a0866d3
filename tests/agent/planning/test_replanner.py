"""What a replanner is shown and may choose: a large model with a question to a person, a small one without."""

import json

import pytest

from agent.core.engine.budgets import Spending
from agent.core.engine.outcomes import Done, Failed
from agent.errors import BudgetError
from agent.llm.usage import Meter, use_meter
from agent.planning.replanner import ClarificationRequest, RevisionAbandoned, RevisionResult, make_revision
from agent.tools.plan_check import CheckedPlan, check_plan
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import LIMITS, SETTINGS, model_at, toolbox

PLAN = {
    "tasks": [
        {"id": "wet", "tool": "readings", "args": {"sql": "SELECT station"}},
        {"id": "days", "tool": "readings", "args": {"sql": "SELECT day"}},
    ]
}
OUTCOMES = {
    "wet": Done(revision=1, output={"rows": [{"station": "Cape Low"}], "row_count": 1}),
    "days": Failed(revision=1, kind="tool", error="The gauge is out."),
}
GUIDED = {"guidance": ["Take 2024."], "history": ["Replan 1: 'day' (readings {}) failed: No day."]}


async def revised(endpoint, *, small=False, **more):
    tools = toolbox()
    checked = await check_plan(PLAN, tools, limits=LIMITS)
    assert isinstance(checked, CheckedPlan)
    return await make_revision(
        "Which was the wettest day?",
        compiled=checked.compiled,
        outcomes=OUTCOMES,
        failed=("days",),
        context="",
        toolbox=tools,
        model=model_at(endpoint, small=small),
        settings=SETTINGS,
        limits=LIMITS,
        emit=lambda _event: None,
        waived=(),
        **{"history": (), **more},
    )


def decided(**decision):
    return {"reason": "The gauge is out.", "decision": decision}


@pytest.mark.parametrize("may_ask", [True, False])
async def test_a_question_is_offered_only_where_it_may_be_asked(may_ask):
    with Endpoint([decided(action="ask", question="Which gauge?"), decided(action="abort")]) as endpoint:
        found = await revised(endpoint, may_ask=may_ask, **GUIDED)
        told, schema = endpoint.requests[0].text, json.dumps(endpoint.requests[0].body["response_format"])
    assert ("- ask: put one question to a person" in told, "question" in schema) == (may_ask, may_ask)
    assert isinstance(found, ClarificationRequest if may_ask else RevisionAbandoned)
    if isinstance(found, RevisionAbandoned):
        assert (found.chosen, found.usage.calls) == (True, 2)
    for part in (
        "wettest day",
        "1 rows, such as",
        "The gauge is out.",
        "Replan 1: 'day' (readings {})",
        "- Take 2024.",
    ):
        assert part in told


async def test_a_decision_that_holds_nowhere_was_not_chosen():
    again = decided(
        action="retry",
        changes=[{"task": "days", "tool": "readings", "args": {"sql": "SELECT day", "params": None}}],
        skip=[],
    )
    with Endpoint([again] * (SETTINGS.max_repairs + 1)) as endpoint:
        found = await revised(endpoint)
    assert isinstance(found, RevisionAbandoned)
    assert (found.chosen, "makes exactly the call that failed" in found.reason) == (False, True)


async def test_a_small_model_reads_what_a_person_said_and_has_the_choices_that_were_measured():
    with Endpoint([{"reason": "It is enough.", "action": "skip"}]) as endpoint:
        found = await revised(endpoint, small=True, may_ask=True, **GUIDED)
        [request] = endpoint.requests
    schema = request.body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["action"]["enum"] == ["retry", "skip", "replan", "abort"]
    assert "A person says: Take 2024." in request.text
    assert isinstance(found, RevisionResult)
    assert found.waived == {"days"}


async def test_no_model_is_asked_beyond_the_budget():
    with Endpoint(["no json", decided(action="abort")]) as endpoint:
        meter = Meter().begin_step(LIMITS.model_copy(update={"max_model_calls": 1}), Spending(), prices=(0, 0))
        with use_meter(meter), pytest.raises(BudgetError, match="model calls is used up: 1 of 1"):
            await revised(endpoint)
        assert len(endpoint.requests) == 1
    assert meter.take_spending() == Spending(calls=1, input_tokens=11, output_tokens=7)
