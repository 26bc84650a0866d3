"""What a person may choose where a run cannot go on: the request as front ends show it, and how answers are read."""

import json

import pytest
from jsonschema import Draft202012Validator

from agent.core.engine.budgets import ExhaustedBudget, get_budget_limit, get_budget_setting, raise_limits
from agent.core.engine.escalations import (
    AbortRun,
    AcceptResult,
    ConfirmPlan,
    DeclineQuestion,
    Escalation,
    GiveGuidance,
    RaiseBudget,
    build_escalation_payload,
    hash_escalation,
    parse_escalation_answer,
)
from agent.core.plan.limits import Limits

REPLANS = Escalation(
    kind="budget", reason="Enough.", tasks=("a",), budget=ExhaustedBudget(name="replans", limit=3, used=3)
)
CALLS = Escalation(kind="budget", reason="Enough.", budget=ExhaustedBudget(name="model_calls", limit=20, used=20))
COST = Escalation(
    kind="budget", reason="Enough.", budget=ExhaustedBudget(name="cost", limit=0.5, used=0.7), planned=False
)
QUESTION = Escalation(kind="question", reason="Which year?", tasks=("a",))
STUCK = Escalation(kind="no_way_on", reason="No plan.", tasks=("a",))
UNSURE = Escalation(kind="unsure", reason="Each finds something else.")
MARK = "0" * 64


def edit(**args):
    return {"type": "edit", "edited_action": {"name": "go_on", "args": args}}


def read(decision, impasse):
    return parse_escalation_answer({"decisions": [decision]}, impasse, mark=MARK)


@pytest.mark.parametrize("impasse", [REPLANS, CALLS, COST, QUESTION, STUCK, UNSURE], ids=lambda one: one.kind)
def test_the_payload_is_a_request_of_langchains_that_says_what_each_word_does(impasse):
    payload = build_escalation_payload(impasse, mark=MARK)
    assert json.loads(json.dumps(payload)) == payload
    [action], [config] = payload["action_requests"], payload["review_configs"]
    assert config["action_name"] == action["name"]
    assert set(config["allowed_decisions"]) <= {"approve", "edit", "reject", "respond"}
    for word in config["allowed_decisions"]:
        assert f"{word.capitalize()}:" in action["description"]
    Draft202012Validator.check_schema(config["args_schema"])
    Draft202012Validator(config["args_schema"]).validate(action["args"])
    assert Escalation.model_validate(payload["impasse"]) == impasse


@pytest.mark.parametrize(
    ("impasse", "decision", "chosen"),
    [
        (REPLANS, {"type": "approve"}, RaiseBudget(by=1)),
        (CALLS, {"type": "approve"}, RaiseBudget(by=20)),
        (COST, {"type": "approve"}, RaiseBudget(by=0.5)),
        (REPLANS, edit(choice="raise", by=4), RaiseBudget(by=4)),
        (COST, edit(choice="raise", by=0.25), RaiseBudget(by=0.25)),
        (STUCK, edit(choice="raise"), RaiseBudget(by=1)),
        (REPLANS, {"type": "respond", "message": " Take 2024. "}, GiveGuidance(text="Take 2024.")),
        (REPLANS, edit(choice="guide", guidance="Take 2024."), GiveGuidance(text="Take 2024.")),
        (CALLS, edit(choice="accept"), AcceptResult()),
        (CALLS, {"type": "reject", "message": "No more."}, AbortRun(message="No more.")),
        (CALLS, edit(choice="abort", guidance="No more."), AbortRun(message="No more.")),
        (QUESTION, {"type": "respond", "message": "2024"}, GiveGuidance(text="2024")),
        (QUESTION, {"type": "reject"}, DeclineQuestion()),
        (STUCK, {"type": "approve", "digest": MARK}, RaiseBudget(by=1)),
        (UNSURE, {"type": "approve"}, ConfirmPlan()),
        (UNSURE, edit(choice="run"), ConfirmPlan()),
        (UNSURE, {"type": "respond", "message": "By revenue."}, GiveGuidance(text="By revenue.")),
        (UNSURE, edit(choice="guide", guidance="By revenue."), GiveGuidance(text="By revenue.")),
        (UNSURE, {"type": "reject", "message": "No."}, AbortRun(message="No.")),
    ],
)
def test_every_choice_can_be_made(impasse, decision, chosen):
    assert read(decision, impasse) == chosen


@pytest.mark.parametrize(
    ("impasse", "decision", "says"),
    [
        (QUESTION, {"type": "approve"}, "'approve' is not allowed here"),
        (QUESTION, edit(choice="raise"), "'edit' is not allowed here"),
        (QUESTION, {"type": "respond", "message": "  "}, "is empty"),
        (CALLS, {"type": "respond", "message": "More."}, "'respond' is not allowed here"),
        (CALLS, edit(choice="guide", guidance="More."), "'guide' cannot be chosen here"),
        (COST, edit(choice="accept"), "'accept' cannot be chosen here"),
        (UNSURE, edit(choice="accept"), "'accept' cannot be chosen here; choose one of: run, guide, abort"),
        (STUCK, edit(choice="run"), "'run' cannot be chosen here"),
        (REPLANS, edit(choice="guide"), "'guide' needs 'guidance'"),
        (REPLANS, edit(choice="raise", by=0), "by: Input should be greater than 0"),
        (REPLANS, edit(choice="raise", by=-1), "by: Input should be greater than 0"),
        (REPLANS, edit(choice="raise", by=1.5), "a whole number"),
        (COST, edit(choice="raise", by=float("inf")), "finite"),
        (REPLANS, edit(choice="more"), "choice: Input should be"),
        (REPLANS, edit(choice="raise", much=3), "much: Extra inputs"),
        (REPLANS, {"type": "maybe"}, "cannot be read"),
        (REPLANS, {"type": "approve", "digest": "1" * 64}, "answers another call"),
    ],
)
def test_a_wrong_answer_is_a_sentence(impasse, decision, says):
    found = read(decision, impasse)
    assert isinstance(found, str)
    assert says in found


def test_an_answer_is_bound_to_one_impasse():
    marks = {
        hash_escalation(impasse, thread=thread, revision=revision, turn=turn)
        for impasse in (REPLANS, UNSURE)
        for thread in ("t", "u")
        for revision in (1, 2)
        for turn in (1, 2)
    }
    assert len(marks) == 16


def test_a_raised_budget_counts_where_the_settings_allow_less():
    limits = Limits(max_replans=3, max_model_calls=10)
    more = raise_limits(limits, {"replans": 5, "model_calls": 4, "tokens": 9, "wall_time_s": 7.5})
    assert (more.max_replans, more.max_model_calls, more.max_tokens, more.deadline_s) == (5, 10, None, None)
    for name in ("replans", "tasks", "model_calls", "tokens", "cost", "wall_time_s"):
        assert get_budget_limit(name, limits) == getattr(limits, get_budget_setting(name))
