"""A case of two calls, and what runs it with a scripted model."""

from pathlib import Path

from agent.llm.models import resolve_model
from tests.evals.cases import Attempt, Case, Verdict, final_call
from tests.evals.records import Key, Line
from tests.evals.running import run_case
from tests.evals.sets.arithmetic import tool
from tests.evals.strategies import STRATEGIES
from tests.support.openai_endpoint import Endpoint

NUMBERS = {
    "arg_0": {"description": "the one number", "type": "int or float"},
    "arg_1": {"description": "the other number", "type": "int or float"},
}


def tools(_output: Path, _writer):
    return [tool(name, {"description": f"{name} numbers", "parameters": NUMBERS}) for name in ("add", "multiply")]


def judged(attempt: Attempt, _output: Path) -> Verdict:
    last = final_call(attempt.calls)
    value = last.output["result"] if last and last.done else None
    return Verdict(right=value == 14, why=f"{value}", scores={"steps": len(attempt.calls) / 10})


CASE = Case(id="twice-seven", goal="What is twice the sum of 3 and 4?", tools=tools, judge=judged)
KEY = Key("toy", "any", "scripted", "c0de")


async def run(
    strategy: str, script, monkeypatch, *, budget_s: float = 20.0, case: Case = CASE
) -> tuple[Line, Endpoint]:
    with Endpoint(script) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        choice = "openai:scripted"
        line = await run_case(
            case, STRATEGIES[strategy], choice=choice, model=resolve_model(choice), key=KEY, budget_s=budget_s
        )
        return line, endpoint


def oneshot_plan(second_args):
    return {
        "tasks": [
            {"id": "sum", "does": "Add them", "tool": "add", "args": {"arg_0": 3, "arg_1": 4}},
            {"id": "twice", "does": "Double it", "tool": "multiply", "args": second_args},
        ]
    }
