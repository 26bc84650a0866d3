"""A set as a LangSmith experiment, held against a server on loopback."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.evals import __main__ as command
from tests.evals.cases import Case, Verdict, final_call
from tests.evals.langsmith_server import LangSmithServer
from tests.evals.records import read_lines
from tests.evals.sets import SETS
from tests.evals.sets.arithmetic import tool
from tests.support.openai_endpoint import Endpoint

NUMBERS = {name: {"description": name, "type": "int"} for name in ("arg_0", "arg_1")}
CASE = Case(
    id="a",
    goal="What is 3 and 4?",
    tools=lambda _output, _writer: [tool("add", {"description": "adds", "parameters": NUMBERS})],
    judge=lambda attempt, _output: Verdict(
        right=(last := final_call(attempt.calls)) is not None and last.output == {"result": 7}, scores={"sequence": 0.5}
    ),
)


def plan(number):
    return {"tasks": [{"id": "s", "does": "Add", "tool": "add", "args": {"arg_0": 3, "arg_1": number}}]}


def test_an_experiment_has_its_dataset_its_runs_and_their_figures(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setitem(SETS, "nestful", lambda: [replace(CASE, id=name) for name in ("a", "b")])
    with LangSmithServer() as langsmith, Endpoint(lambda request: plan(4)) as model:
        for name, value in {
            **model.env,
            "LANGSMITH_ENDPOINT": langsmith.url,
            "LANGSMITH_API_KEY": "collector-key",
        }.items():
            monkeypatch.setenv(name, value)
        words = ["nestful", "oneshot", "--model", "openai:scripted", "--out", str(tmp_path / "l.jsonl"), "--langsmith"]
        assert command.main(words) == 0
        assert command.main(words) == 0
    assert langsmith.unknown == []
    assert langsmith.keys == {"collector-key"}
    [dataset] = langsmith.datasets.values()
    assert dataset["name"] == "planwave-evals-nestful"
    # The second experiment is on the same examples.
    assert sorted(each["inputs"]["id"] for each in langsmith.examples.values()) == ["a", "b"]
    assert len(langsmith.experiments) == 2
    assert {each["reference_dataset_id"] for each in langsmith.experiments.values()} == {dataset["id"]}
    scores = [(each["key"], each["score"]) for each in langsmith.feedback]
    assert scores.count(("right", 1.0)) == 4
    assert scores.count(("sequence", 0.5)) == 4
    assert scores.count(("tokens", 18)) == 4
    assert len(read_lines([tmp_path / "l.jsonl"])) == 2
    assert "LangSmith has the experiment as 'nestful oneshot" in capsys.readouterr().err


def test_without_a_key_nothing_is_run(monkeypatch, capsys):
    monkeypatch.setitem(SETS, "nestful", lambda: [CASE])
    monkeypatch.delenv("LANGSMITH_API_KEY", raising=False)
    with Endpoint([]) as model:
        for name, value in model.env.items():
            monkeypatch.setenv(name, value)
        assert command.main(["nestful", "oneshot", "--model", "openai:scripted", "--langsmith"]) == 2
        assert model.requests == []
    assert "LANGSMITH_API_KEY" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def fresh_environment():
    """LangSmith keeps what it read of the environment."""
    from langsmith import utils

    utils.get_env_var.cache_clear()
    yield
    utils.get_env_var.cache_clear()
