"""What OpenTelemetry is told: a tree of runs, tasks, models and approvals; no payload unasked; a secret never."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import agent.telemetry
from agent.errors import SettingsError
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.collector import Collector
from tests.support.openai_endpoint import Endpoint
from tests.support.processes import ROOT

PLAN = {"tasks": [{"id": "a", "tool": "look", "args": {"place": "the cellar"}}]}
MADE = {
    "execution_mode": "parallel",
    "tasks": [{"id": "a", "description": "Look", "reasoning": "r", "tool": "look", "args": {"place": "the cellar"}}],
}


@tool
def look(place: str) -> str:
    """Look."""
    with trace.get_tracer("own").start_as_current_span("own work"):
        return f"seen {place}"


@tool
def paint(place: str) -> str:
    """Paint."""
    return f"painted {place}"


look.metadata = {"readOnlyHint": True}


class Shaky:
    """Fails as often as it is told."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error = failures, error

    def tool(self) -> Any:
        @tool
        def look(place: str) -> str:
            """Look."""
            if self.left:
                self.left -= 1
                raise self.error
            return f"seen {place}"

        look.metadata = {"readOnlyHint": True}
        return look


class Spans:
    """What was exported."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self.exporter = exporter

    def all(self, start: str = "") -> list[ReadableSpan]:
        found = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in found if span.name.startswith(start)]

    def one(self, start: str) -> ReadableSpan:
        [span] = self.all(start)
        return span

    @property
    def text(self) -> str:
        return "".join(span.to_json() for span in self.all())


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Set a provider as an application does."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield Spans(exporter)
    provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_run_is_a_tree_below_the_span_of_its_caller(spans: Spans) -> None:
    with trace.get_tracer("app").start_as_current_span("request") as request:
        out = await build_graph(tools=[look]).ainvoke({"goal": "Look", "plan": PLAN})
        assert trace.get_current_span() is request
    assert out["status"] == "completed"
    run, task, own = spans.one("invoke_agent"), spans.one("execute_tool"), spans.one("own work")
    assert parent_of(run) == spans.one("request").context.span_id
    assert (parent_of(task), parent_of(own)) == (run.context.span_id, task.context.span_id)
    assert attributes(run)["gen_ai.operation.name"] == "invoke_agent"
    assert attributes(run)["gen_ai.agent.name"] == "planwave"
    assert attributes(run)["planwave.run.status"] == "completed"
    assert task.name == "execute_tool look"
    assert (
        attributes(task).items()
        >= {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "look",
            "planwave.task.id": "a",
            "planwave.task.status": "done",
        }.items()
    )
    assert [event.name for event in task.events] == ["planwave.attempt"]
    assert "cellar" not in spans.text


def test_a_run_without_an_event_loop_is_traced_alike(spans: Spans) -> None:
    with trace.get_tracer("app").start_as_current_span("request"):
        build_graph(tools=[look]).invoke({"goal": "Look", "plan": PLAN})
    assert parent_of(spans.one("invoke_agent")) == spans.one("request").context.span_id
    assert parent_of(spans.one("execute_tool")) == spans.one("invoke_agent").context.span_id


async def test_attempts_are_events_and_a_failure_is_an_error(spans: Spans) -> None:
    shaky = Shaky(1, ConnectionError("gone for a moment"))
    out = await build_graph(tools=[shaky.tool()]).ainvoke({"goal": "Look", "plan": PLAN})
    assert out["status"] == "completed"
    task = spans.one("execute_tool")
    assert [event.name for event in task.events] == ["planwave.attempt", "planwave.attempt.failed", "planwave.attempt"]
    assert task.status.status_code is StatusCode.UNSET
    assert attributes(task)["planwave.task.attempts"] == 2
    spans.exporter.clear()
    broken = Shaky(9, ValueError("it is broken"))
    out = await build_graph(tools=[broken.tool()]).ainvoke({"goal": "Look", "plan": PLAN})
    assert out["status"] == "failed"
    for span in (spans.one("execute_tool"), spans.one("invoke_agent")):
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"]
    assert "it is broken" in str(spans.one("execute_tool").status.description)


async def test_calls_of_models_have_model_tokens_and_parent(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint([MADE, "I saw the cellar [a]."]) as model:
        for name, value in model.env.items():
            monkeypatch.setenv(name, value)
        out = await build_graph(tools=[look], model="openai:scripted").ainvoke({"goal": "Look around"})
    assert out["status"] == "completed", out["problems"]
    run, calls = spans.one("invoke_agent"), spans.all("chat ")
    assert len(calls) == 2
    for call in calls:
        assert parent_of(call) == run.context.span_id
        assert call.kind is trace.SpanKind.CLIENT
        told = attributes(call)
        assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "openai")
        assert told["gen_ai.request.model"] == "scripted"
        assert told["gen_ai.usage.input_tokens"] > 0
        assert told["gen_ai.usage.output_tokens"] > 0
    assert "Look around" not in spans.text
    assert "cellar" not in spans.text


async def test_a_model_that_fails_is_an_error_of_its_call(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint([MADE], key="right") as model:
        for name, value in {**model.env, "OPENAI_API_KEY": "sk-wrong-key-of-mine"}.items():
            monkeypatch.setenv(name, value)
        out = await build_graph(tools=[look], model="openai:scripted").ainvoke({"goal": "Look"})
    assert out["status"] == "failed"
    for call in spans.all("chat "):
        assert (call.status.status_code, attributes(call)["error.type"]) == (StatusCode.ERROR, "401")
    assert spans.one("invoke_agent").status.status_code is StatusCode.ERROR
    assert "sk-wrong-key-of-mine" not in spans.text


@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_an_approval_is_asked_in_one_run_and_decided_in_the_next(spans: Spans, decision: str) -> None:
    graph = build_graph(tools=[paint], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    plan = {"tasks": [{"id": "wall", "tool": "paint", "args": {"place": "the cellar"}}]}
    await graph.ainvoke({"goal": "Paint", "plan": plan}, config)
    asked = spans.one("invoke_agent")
    assert attributes(asked)["planwave.run.status"] == "awaiting_approval"
    [event] = asked.events
    assert (event.name, dict(event.attributes or {})["planwave.task.id"]) == ("planwave.approval.requested", "wall")
    assert asked.status.status_code is StatusCode.UNSET
    spans.exporter.clear()
    await graph.ainvoke(Command(resume={"decisions": [{"type": decision}]}), config)
    run, approval = spans.one("invoke_agent"), spans.one("approval")
    assert parent_of(approval) == run.context.span_id
    told = attributes(approval)
    assert (told["planwave.approval.decision"], told["gen_ai.tool.name"]) == (decision, "paint")
    assert told["planwave.approval.wait_s"] >= 0
    assert {attributes(one)["gen_ai.conversation.id"] for one in (asked, run)} == {"t"}
    assert len(spans.all("execute_tool")) == (decision == "approve")


async def test_content_is_told_if_asked_for_without_secrets(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    monkeypatch.setenv("PLANWAVE_SECRET_DOOR", "the-secret-of-the-door")
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"place": "the-secret-of-the-door"}}]}
    await build_graph(tools=[look]).ainvoke({"goal": "Look", "plan": plan})
    task = attributes(spans.one("execute_tool"))
    assert set(json.loads(task["gen_ai.tool.call.arguments"])) == {"place"}
    assert "seen" in task["gen_ai.tool.call.result"]
    assert "Look" in attributes(spans.one("invoke_agent"))["gen_ai.input.messages"]
    assert "a" in attributes(spans.one("invoke_agent"))["gen_ai.output.messages"]
    assert "the-secret-of-the-door" not in spans.text


async def test_runs_side_by_side_keep_their_own_tasks(spans: Spans) -> None:
    graph = build_graph(tools=[look])
    await graph.abatch([{"goal": str(number), "plan": PLAN} for number in range(5)])
    runs = {span.context.span_id for span in spans.all("invoke_agent")}
    assert {parent_of(span) for span in spans.all("execute_tool")} == runs
    assert len(runs) == 5


async def test_a_consumer_that_stops_early_ends_the_span(spans: Spans) -> None:
    stream = build_graph(tools=[look]).astream({"goal": "Look", "plan": PLAN}, stream_mode="updates")
    async for _ in stream:
        break
    await stream.aclose()
    assert len(spans.all("invoke_agent")) == 1


async def test_it_is_off_unless_it_is_set_up(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    await build_graph(tools=[look], settings=Settings(otel=False)).ainvoke({"goal": "Look", "plan": PLAN})
    assert spans.all("invoke_agent") == []
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert agent.telemetry.get_tracer(Settings()) is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    assert agent.telemetry.get_tracer(Settings()) is None
    monkeypatch.setattr(agent.telemetry, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"needs the extra `otel` \(uv run --extra otel"):
        agent.telemetry.get_tracer(Settings(otel=True))


SCRIPT = """
from tests.graphs.observability.test_otel import PLAN, look
from graphs.plan_execute import build_graph
assert build_graph(tools=[look]).invoke({"goal": "Look", "plan": PLAN})["status"] == "completed"
"""


@pytest.mark.parametrize("langsmith", [False, True])
def test_the_environment_alone_sends_spans_to_a_collector(langsmith: bool) -> None:
    with Collector() as collector:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OTEL", "PLANWAVE_"))}
        beside = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": collector.url,
            "LANGSMITH_API_KEY": "key",
        }
        env = {
            **kept,
            **(beside if langsmith else {}),
            "PYTHONPATH": str(ROOT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "shop",
        }
        ran = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        sent = [
            ExportTraceServiceRequest.FromString(body) for path, _, body in collector.requests if path == "/v1/traces"
        ]
        assert ("planwave" in {run["name"] for run in collector.runs.values()}) == langsmith
    resources = [resource for request in sent for resource in request.resource_spans]
    named = {span.name for resource in resources for scope in resource.scope_spans for span in scope.spans}
    assert named >= {"invoke_agent planwave", "execute_tool look"}
    services = {
        pair.value.string_value for one in resources for pair in one.resource.attributes if pair.key == "service.name"
    }
    assert services == {"shop"}
