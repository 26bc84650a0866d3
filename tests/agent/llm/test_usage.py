"""Calls of a model counted: begun against a budget, ended with tokens and cost, taken to be stored once."""

import threading

import pytest
from langchain_core.messages import AIMessage

from agent.core.engine.budgets import ExhaustedBudget, Spending
from agent.core.plan.limits import Limits
from agent.errors import BudgetError
from agent.llm.replies import Usage
from agent.llm.usage import Meter, MeterRegistry, begin_call, count_call, extract_usage, parse_cost, use_meter

FREE = (0.0, 0.0)


def held(stored=None, *, prices=FREE, **limits):
    return Meter().begin_step(Limits(**limits), stored or Spending(), prices=prices)


def test_what_is_stored_counts_and_what_is_taken_is_taken_once():
    meter = held(Spending(calls=2), max_model_calls=4)
    for _ in range(2):
        meter.start_call()
    with pytest.raises(BudgetError) as refused:
        meter.start_call()
    assert refused.value.budget == meter.exhausted_budget == ExhaustedBudget(name="model_calls", limit=4, used=4)
    assert (meter.take_spending(), meter.take_spending()) == (Spending(calls=2), Spending())
    with pytest.raises(BudgetError):
        meter.start_call()
    meter.begin_step(Limits(max_model_calls=5), Spending(calls=4), prices=FREE).start_call()
    assert (meter.exhausted_budget, meter.take_spending()) == (None, Spending(calls=1))


@pytest.mark.parametrize(
    ("usage", "limits"),
    [
        (Usage(input_tokens=60, output_tokens=40), {"max_tokens": 100}),
        (Usage(input_tokens=1, cost=0.5), {"max_cost": 0.5}),
        (Usage(input_tokens=1_000_000, output_tokens=500_000), {"max_cost": 4.0}),
    ],
)
def test_what_a_call_took_bounds_the_next_one(usage, limits):
    meter = held(prices=(2.0, 4.0), **limits)
    meter.start_call()
    meter.count_usage(usage)
    with pytest.raises(BudgetError):
        meter.start_call()


def test_threads_together_begin_no_more_than_is_allowed():
    meter, refused = held(max_model_calls=50), []

    def work():
        for _ in range(20):
            try:
                meter.start_call()
            except BudgetError as error:
                refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (meter.take_spending().calls, len(refused)) == (50, 110)


def test_calls_are_counted_by_the_meter_of_their_context_alone():
    meter = held()
    begin_call()
    count_call(Usage(input_tokens=5))
    with use_meter(meter):
        begin_call()
        count_call(Usage(input_tokens=7))
    begin_call()
    assert meter.take_spending() == Spending(calls=1, input_tokens=7)


def test_a_run_keeps_its_meter():
    meters = MeterRegistry()
    first = meters.get_meter("a")
    assert meters.get_meter("a") is first
    for number in range(64):
        meters.get_meter(str(number))
    assert meters.get_meter("a") is not first


@pytest.mark.parametrize(
    ("value", "cost"),
    [(0.25, 0.25), (1, 1.0), (0, 0.0), ("0.25", None), (True, None), (-1, None), (float("nan"), None)],
)
def test_a_cost_is_taken_from_a_server_only_where_it_is_one(value, cost):
    assert parse_cost(value) == cost
    said = AIMessage("x", response_metadata={"token_usage": {"cost": value}})
    assert extract_usage(said) == Usage(cost=cost)
