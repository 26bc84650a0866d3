"""The command where a run cannot go on by itself: what it shows, what a person types, and budgets raised by options."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.command_line import CommandLine, query
from tests.support.openai_endpoint import Endpoint

READ = query("read", "SELECT 42 AS answer")
OFFER = "[g]ive guidance, [m]ore of the budget, [p]artial results are enough, [x] abort and undo, [q]uit? "


def broken(name: str, kind: str) -> dict[str, Any]:
    return query(name, f"SELECT CAST(product_name AS {kind}) AS n FROM products")


FIRST, SECOND = broken("first", "INTEGER"), broken("second", "DATE")
MENDED = {"tasks": [READ, query("third", "SELECT 3 AS n")]}


@pytest.fixture
def asked(planwave: CommandLine, make_endpoint: Callable[..., Endpoint]) -> Callable[..., list[str]]:
    """Return what makes the words of a run that fails twice, with a model that answers by a script after that."""

    def words(*script: Any) -> list[str]:
        endpoint = make_endpoint([{"tasks": [READ, SECOND]}, *script])
        planwave.env.update(endpoint.env)
        plan = planwave.plan_file(READ, FIRST)
        model = ["--model", "openai:scripted", "--max-replans", "1"]
        return ["run", "Find it", "--plan", plan, "--thread", "t", *model]

    return words


def test_guidance_is_typed_and_read_by_the_replanner(planwave: CommandLine, asked: Callable[..., list[str]]) -> None:
    terminal = planwave.at_terminal(*asked(MENDED, "It is 3 [third]."))
    shown = terminal.until(OFFER)
    assert "1 replans were not enough" in " ".join(shown.split())
    terminal.type("a\n")
    assert "'a' is not one of these" in terminal.until(OFFER)
    terminal.type("m\n")
    terminal.until("how much more (empty: 1): ")
    terminal.type("many\n")
    assert "'many' is not a number" in terminal.until(OFFER)
    terminal.type("m\n")
    terminal.until("how much more (empty: 1): ")
    terminal.type("0.5\n")
    assert "raised by a whole number" in " ".join(terminal.until(OFFER).split())
    terminal.type("g\n")
    terminal.until("(empty: back): ")
    terminal.type("Say 3.\n")
    status, shown = terminal.end()
    assert status == 0, shown
    found = planwave.thread("t")
    assert (found["replans"], [change["revision"] for change in found["changes"]]) == (2, [2, 3])
    assert found["changes"][1]["difference"] == {
        "kept": ["read"],
        "changed": [],
        "new": ["third"],
        "dropped": ["second"],
    }
    assert [told.partition(" (")[0] for told in found["history"]] == ["Replan 1: 'first'", "Replan 2: 'second'"]
    shown = planwave.here("show", "t").stdout
    assert "revised  to revision 3 by openai:scripted: kept read; new third; dropped second" in shown
    assert "replan   Replan 1: 'first' (query_database" in shown


@pytest.mark.parametrize(
    ("typed", "status", "says"), [("p\n", 1, "A person chose to end with what there is."), ("q\n", 3, "resume t")]
)
def test_partial_results_will_do_and_a_question_can_be_left(
    planwave: CommandLine, asked: Callable[..., list[str]], typed: str, status: int, says: str
) -> None:
    terminal = planwave.at_terminal(*asked("It is 42 [read]."))
    terminal.until(OFFER)
    terminal.type(typed)
    ended, shown = terminal.end()
    assert ended == status, shown
    assert says in shown


def test_without_a_terminal_it_waits_and_goes_on_once_an_option_allows_more(
    planwave: CommandLine, asked: Callable[..., list[str]]
) -> None:
    waits = planwave.here(*asked(MENDED, "It is 3 [third]."), "--json")
    assert waits.exit_code == 3, waits.output
    record = json.loads(waits.stdout)
    assert record["interrupt"]["impasse"]["budget"] == {"name": "replans", "limit": 1, "used": 1}
    told = planwave.here("resume", "t", "--yes")
    assert (told.exit_code, "--yes does not answer this" in told.stdout) == (3, True)
    assert "The run cannot continue by itself" in planwave.here("show", "t").stdout
    ended = planwave.here("resume", "t", "--max-replans", "2", "--json")
    assert ended.exit_code == 0, ended.output
    record = json.loads(ended.stdout)
    assert (record["status"], record["replans"], "budget" in record) == ("completed", 2, False)
    assert record["results"]["read"]["attempts"] == 1


def test_unattended_it_fails_with_the_budget_and_is_resumed_with_more(
    planwave: CommandLine, make_endpoint: Callable[..., Endpoint]
) -> None:
    plan = {"tasks": [{**READ, "depends_on": []}]}
    endpoint = make_endpoint(["no json", plan, "It is 42 [read]."])
    planwave.env |= {**endpoint.env, "PLANWAVE_ESCALATE": "false"}
    words = ["run", "Find it", "--thread", "t", "--model", "openai:scripted", "--max-model-calls", "1"]
    failed = planwave.here(*words, "--json")
    assert failed.exit_code == 1, failed.output
    assert json.loads(failed.stdout)["budget"] == {"name": "model_calls", "limit": 1, "used": 1}
    again = planwave.here("resume", "t")
    assert (again.exit_code, "has already ended" in again.stdout, len(endpoint.requests)) == (1, True, 1)
    ended = planwave.here("resume", "t", "--max-model-calls", "3")
    assert ended.exit_code == 0, ended.output
    assert "It is 42" in ended.stdout


def test_a_question_of_the_replanner_is_answered_at_the_terminal(
    planwave: CommandLine, make_endpoint: Callable[..., Endpoint]
) -> None:
    ask = {"reason": "It is not said.", "decision": {"action": "ask", "question": "Which year?"}}
    endpoint = make_endpoint([ask, MENDED, "It is 3 [third]."])
    planwave.env.update(endpoint.env)
    plan = planwave.plan_file(READ, FIRST)
    terminal = planwave.at_terminal("run", "Find it", "--plan", plan, "--model", "openai:scripted")
    assert "Which year?" in terminal.until("[a]nswer, [n]o answer, [q]uit? ")
    terminal.type("a\n")
    terminal.until("(empty: back): ")
    terminal.type("2024\n")
    status, shown = terminal.end()
    assert status == 0, shown
    assert "Which year? Answer: 2024" in endpoint.requests[1].text
