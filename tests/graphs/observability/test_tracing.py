"""What LangSmith is told: nothing unasked, what is useful when asked, a secret never."""

import os
import subprocess
import sys

import pytest

from tests.support.collector import Collector
from tests.support.openai_endpoint import Endpoint
from tests.support.processes import ROOT

KEY, TOKEN, PASSWORD, COLLECTOR_KEY = "sk-model-key-1", "vault-token-2", "db-password-3", "collector-key-4"
PLAN = {
    "execution_mode": "parallel",
    "tasks": [{"id": "v", "description": "Look", "reasoning": "r", "tool": "vault", "args": {"name": "door"}}],
}


def run(collector: Collector, **tracing: str) -> Collector:
    """Run the script against a scripted model; `tracing` are the variables that switch tracing on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OPENAI_", "PLANWAVE_"))}
    with Endpoint([PLAN, "The vault at the door is open [v]."], key=KEY) as model:
        env = {**kept, "PYTHONPATH": str(ROOT), "OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": KEY, **tracing}
        arguments = [f"postgresql://reader:{PASSWORD}@127.0.0.1:9/shop", TOKEN]
        command = [sys.executable, "-m", "tests.graphs.observability.traced_run", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return collector


@pytest.fixture(scope="module")
def traced():
    with Collector() as collector:
        yield run(
            collector, LANGSMITH_TRACING="true", LANGSMITH_ENDPOINT=collector.url, LANGSMITH_API_KEY=COLLECTOR_KEY
        )


def named(collector: Collector, name: str) -> list[dict]:
    return [each for each in collector.runs.values() if each["name"] == name]


def test_a_run_is_a_tree_of_nodes_and_tasks_under_its_thread(traced):
    planned, *given = sorted(named(traced, "planwave"), key=lambda each: each["start_time"])
    assert planned["extra"]["metadata"]["thread_id"] == "planned"
    assert [each["extra"]["metadata"]["thread_id"] for each in given] == ["given", "given"]
    assert planned["inputs"]["goal"] == "Open the vault"
    assert planned["outputs"]["status"] == "completed"
    below = [each["name"] for each in traced.runs.values() if each.get("parent_run_id") == planned["id"]]
    assert sorted(below) == ["answer", "gather_context", "planner", "tool_executor", "wave_dispatch", "wave_dispatch"]


def test_a_task_tells_its_thread_plan_revision_and_tool(traced):
    [task] = named(traced, "v: vault")
    parent = traced.runs[task["parent_run_id"]]
    # It began while the plan was being written.
    assert (task["run_type"], parent["name"]) == ("tool", "planner")
    assert "planwave:task" in task["tags"]
    told = task["extra"]["metadata"]
    assert {name: told[name] for name in ("thread_id", "plan_revision", "task_id", "tool")} == {
        "thread_id": "planned",
        "plan_revision": 1,
        "task_id": "v",
        "tool": "vault",
    }
    assert "door" in str(task["inputs"])


def test_a_failed_task_has_its_error_and_an_approved_one_ran_in_the_run_that_answered(traced):
    [failed] = named(traced, "db: connect")
    assert "127.0.0.1:9" in failed["error"]
    [written] = named(traced, "w: write")
    first, second = sorted(
        (each for each in named(traced, "planwave") if each["extra"]["metadata"]["thread_id"] == "given"),
        key=lambda each: each["start_time"],
    )
    assert (failed["trace_id"], written["trace_id"]) == (first["id"], second["id"])


def test_the_questions_to_the_model_stand_under_the_nodes_that_ask(traced):
    asked = [each for each in traced.runs.values() if each["run_type"] == "llm"]
    nodes = {each["extra"]["metadata"]["langgraph_node"] for each in asked}
    assert nodes == {"planner", "answer"}
    assert {each["extra"]["metadata"]["ls_model_name"] for each in asked} == {"scripted"}


@pytest.mark.parametrize("secret", [KEY, TOKEN, PASSWORD, COLLECTOR_KEY])
def test_no_secret_is_in_any_byte_sent(traced, secret):
    assert len(traced.received) > 10_000
    assert secret.encode() not in traced.received


@pytest.mark.parametrize("tracing", [{}, {"LANGSMITH_API_KEY": COLLECTOR_KEY}, {"LANGSMITH_TRACING": "false"}])
def test_without_the_variable_nothing_is_sent(tracing):
    with Collector() as collector:
        run(collector, LANGSMITH_ENDPOINT=collector.url, **tracing)
        assert collector.requests == []
