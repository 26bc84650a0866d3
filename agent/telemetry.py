"""Spans of OpenTelemetry, by its semantic conventions for generative AI: runs, tasks, calls of models, approvals.

On if the application has set a tracer provider, or if the environment names an OTLP endpoint, and the extra `otel` is
installed; `Settings(otel=...)` overrides that. Names and counts only: arguments, results and messages are recorded if
`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for them, and then without the secrets that are known here.
"""

import json
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs

from agent.core.engine.outcomes import Done, Failed, Outcome, Rejected
from agent.errors import SettingsError, describe_extra
from agent.events import Emit, RunEvent, TaskRetrying, TaskStarted
from agent.execution.job import Job
from agent.json_values import error_text
from agent.logging_context import get_logger
from agent.secret_masking import get_registered_masks
from agent.secret_values import redact_known_secrets, redact_value
from agent.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_logger = get_logger(__name__)
#: The semantic conventions that names and values follow.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
_CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURE_VALUES: Final = frozenset({"true", "1", "span_only", "span_and_event"})
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: Characters of an error in a span.
_MAX_ERROR_LENGTH: Final = 500
#: What LangChain's classes of chat models call their provider, and what the conventions call it.
_PROVIDERS: Final = {
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "mistralai": "mistral_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
#: The span of the run that goes on here, and the tracer whose spans go where it goes.
_current_run: ContextVar["tuple[Span, Tracer] | None"] = ContextVar("planwave_traced_run", default=None)
_lock = threading.Lock()


def get_tracer(settings: Settings) -> "Tracer | None":
    """Return the tracer of a run; None if nothing is traced. Raises `SettingsError` if a setting asks in vain."""
    if settings.otel is False or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        if settings.otel:
            raise SettingsError(f"The setting 'otel' needs {describe_extra('otel')}.")
        return None
    from opentelemetry import trace  # noqa: PLC0415 - of an extra

    provider: Any = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        if not (settings.otel or _is_exporter_configured()):
            return None
        provider = _make_provider()
    return provider.get_tracer("planwave", _get_version(), schema_url=SCHEMA_URL) if provider is not None else None


def _is_exporter_configured() -> bool:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter not in {"none", "console"} and any(os.environ.get(name, "").strip() for name in _ENDPOINTS)


def _make_provider() -> Any:  # noqa: ANN401 - of an extra
    """Return the one provider of this process that exports as the environment says; None without the extra."""
    with _lock:
        return _make_provider_once()


@cache
def _make_provider_once() -> Any:  # noqa: ANN401 - of an extra
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - of an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        exporter: Any
        if protocol == "grpc":
            # Not of the extra: it brings a large binary along.
            grpc = import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
            exporter = grpc.OTLPSpanExporter()
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            exporter = OTLPSpanExporter()
    except ImportError:
        needed = "the package opentelemetry-exporter-otlp-proto-grpc" if protocol == "grpc" else describe_extra("otel")
        _logger.warning("Nothing is traced: the OTLP endpoint of the environment needs %s", needed)
        return None
    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if is_named else {SERVICE_NAME: "planwave"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _get_version() -> str:
    try:
        return version("planwave")
    except PackageNotFoundError:
        return ""


class RunSpan:
    """The span of one invocation of the graph; without a tracer it does nothing."""

    def __init__(self, settings: Settings, *, name: str, thread: str | None) -> None:
        """Start the span, below what the caller's span is."""
        self._tracer = get_tracer(settings)
        self._span: Span | None = None
        self._context: Context | None = None
        if self._tracer is None:
            return
        from opentelemetry import trace  # noqa: PLC0415 - of an extra

        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "planwave",
            "gen_ai.agent.name": name,
            **({"gen_ai.conversation.id": thread} if thread is not None else {}),
        }
        self._span = self._tracer.start_span(
            f"invoke_agent {name}", attributes=attributes, record_exception=False, set_status_on_exception=False
        )
        self._context = trace.set_span_in_context(self._span)

    def add_to_config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config with what makes spans of the calls of models."""
        callbacks = config.get("callbacks")
        handlers = callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", ())
        if self._tracer is None or any(isinstance(handler, ModelCallTracer) for handler in handlers):
            return config
        return merge_configs(config, {"callbacks": [ModelCallTracer(self._tracer)]})

    async def follow(self, parts: AsyncGenerator[Any]) -> AsyncIterator[Any]:
        """Yield what a run streams, with the span being current while the run works, and end it with the run."""
        if self._span is None:
            async for part in parts:
                yield part
            return
        try:
            while True:
                with self._make_current():
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        return
                yield part
        finally:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """End the span, once."""
        if self._span is not None and self._span.is_recording():
            if error is not None:
                record_error(self._span, type(error).__qualname__, error_text(error))
            self._span.end()

    @contextmanager
    def _make_current(self) -> Iterator[None]:
        """Make the span current within one step of the stream: the consumer's own context stays as it is."""
        from opentelemetry import context  # noqa: PLC0415 - of an extra

        run = (self._span, self._tracer) if self._span is not None and self._tracer is not None else None
        token, run_token = context.attach(self._context or context.get_current()), _current_run.set(run)
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self.end(error)
            raise
        finally:
            _current_run.reset(run_token)
            context.detach(token)


def is_run_traced() -> bool:
    """Whether the run that goes on here is traced."""
    return _current_run.get() is not None


def describe_goal(goal: str) -> None:
    """Record the goal of the run, if content is asked for."""
    if (span := _get_run_span()) is not None and goal:
        _set_content(span, "gen_ai.input.messages", _as_messages("user", goal))


def describe_end(*, status: str, answer: str, problems: Sequence[str]) -> None:
    """Record how the run ended; a failed one is an error."""
    if (span := _get_run_span()) is None:
        return
    span.set_attribute("planwave.run.status", status)
    _set_content(span, "gen_ai.output.messages", _as_messages("assistant", answer))
    if status == "failed":
        record_error(span, "failed", " ".join(problems))


def record_request(action: Mapping[str, Any]) -> None:
    """Record that the run asks a human about a call, or about how to go on."""
    if (span := _get_run_span()) is not None:
        span.set_attribute("planwave.run.status", "awaiting_approval")
        span.add_event("planwave.approval.requested", _describe_action(action))


def record_decision(action: Mapping[str, Any], decision: str, *, asked_at: str | None, wait_s: float | None) -> None:
    """Record a human's decision as a span of its own, below the run."""
    run = _current_run.get()
    if run is None:
        return
    from opentelemetry import trace  # noqa: PLC0415 - of an extra

    parent, tracer = run
    attributes: dict[str, Any] = {**_describe_action(action), "planwave.approval.decision": decision}
    if asked_at is not None:
        attributes["planwave.approval.requested_at"] = asked_at
    if wait_s is not None:
        attributes["planwave.approval.wait_s"] = wait_s
    name = f"approval {action.get('name', '')}".strip()
    tracer.start_span(name, context=trace.set_span_in_context(parent), attributes=attributes).end()


def _describe_action(action: Mapping[str, Any]) -> dict[str, Any]:
    named = {"gen_ai.tool.name": action.get("name"), "planwave.task.id": action.get("task_id")}
    calls = {"planwave.task.calls": len(action["items"])} if action.get("items") is not None else {}
    doubt = {"planwave.approval.in_doubt": True} if action.get("doubt") else {}
    return {**{name: value for name, value in named.items() if value}, **calls, **doubt}


def _get_run_span() -> "Span | None":
    run = _current_run.get()
    return None if run is None else run[0]


class TaskSpan:
    """The span of one task: its attempts are events, and its tool's own spans are below it."""

    def __init__(self, job: Job) -> None:
        """Start the span below that of the run; without one nothing is recorded."""
        self._span: Span | None = None
        run = _current_run.get()
        if run is None:
            return
        from opentelemetry import trace  # noqa: PLC0415 - of an extra

        (parent, tracer), task = run, job.task
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": task.tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": f"{task.id}.{job.revision}",
            "planwave.task.id": task.id,
            "planwave.plan.revision": job.revision,
        }
        self._span = tracer.start_span(
            f"execute_tool {task.tool}", context=trace.set_span_in_context(parent), attributes=attributes
        )
        _set_content(self._span, "gen_ai.tool.call.arguments", task.args)

    @contextmanager
    def make_current(self) -> Iterator["TaskSpan"]:
        """Make the span current within the block, and end it with the block."""
        if self._span is None:
            yield self
            return
        from opentelemetry import trace  # noqa: PLC0415 - of an extra

        try:
            with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
                yield self
        except BaseException as error:
            # An interrupt or a stop is no failure: the task goes on later.
            if isinstance(error, Exception) and "Interrupt" not in type(error).__name__:
                record_error(self._span, type(error).__qualname__, error_text(error))
            else:
                self._span.set_attribute("planwave.task.status", "interrupted")
            raise
        finally:
            self._span.end()

    def wrap_emit(self, emit: Emit) -> Emit:
        """Return an `emit` that records attempts too."""
        span = self._span
        if span is None:
            return emit

        def emit_and_record(event: RunEvent) -> None:
            if isinstance(event, TaskStarted):
                span.add_event("planwave.attempt", {"planwave.attempt.number": event.attempt})
            elif isinstance(event, TaskRetrying):
                about = {"planwave.attempt.number": event.attempt, "planwave.attempt.wait_s": event.wait_s}
                span.add_event("planwave.attempt.failed", {**about, "exception.message": _mask_error(event.error)})
            emit(event)

        return emit_and_record

    def finish(self, outcome: Outcome) -> None:
        """Record the outcome."""
        if self._span is None:
            return
        self._span.set_attributes({"planwave.task.status": outcome.status, "planwave.task.attempts": outcome.attempts})
        match outcome:
            case Failed(kind=kind, error=error):
                record_error(self._span, kind, error or "")
            case Rejected():
                record_error(self._span, "rejected", "A human has rejected this call.")
            case Done(output=output):
                _set_content(self._span, "gen_ai.tool.call.result", output)
            case _:
                pass


class ModelCallTracer(BaseCallbackHandler):
    """Makes a span of each call of a chat model, below the span that is current where it is called."""

    #: In the context of the call, not in a thread of its own.
    run_inline = True
    raise_error = False

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self._spans: dict[UUID, Span] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,  # noqa: ARG002 - LangChain's
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        invocation_params: dict[str, Any] | None = None,
        **_: Any,  # noqa: ANN401 - LangChain's
    ) -> None:
        """Start the span."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - of an extra

        known, given = metadata or {}, invocation_params or {}
        model = str(known.get("ls_model_name") or given.get("model") or given.get("model_name") or "")
        provider = str(known.get("ls_provider") or "")
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(provider, provider) or "unknown",
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": known.get("ls_temperature"),
            "gen_ai.request.max_tokens": known.get("ls_max_tokens"),
            **_find_server(given),
        }
        attributes = {name: value for name, value in attributes.items() if value is not None and value != ""}
        span = self._tracer.start_span(f"chat {model}".strip(), kind=SpanKind.CLIENT, attributes=attributes)
        told = [message for batch in messages for message in batch]
        _set_content(span, "gen_ai.input.messages", [_as_message(message) for message in told])
        self._spans[run_id] = span

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:  # noqa: ANN401 - LangChain's
        """Record model, tokens and why it ended."""
        span = self._spans.pop(run_id, None)
        if span is None:
            return
        found = [
            generation.message
            for batch in response.generations
            for generation in batch
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage)
        ]
        for message in found:
            about, usage = message.response_metadata, message.usage_metadata
            attributes = {
                "gen_ai.response.model": about.get("model_name") or about.get("model"),
                "gen_ai.response.id": about.get("id") or message.id,
                "gen_ai.usage.input_tokens": usage["input_tokens"] if usage else None,
                "gen_ai.usage.output_tokens": usage["output_tokens"] if usage else None,
            }
            span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        reasons = [reason for message in found if (reason := message.response_metadata.get("finish_reason"))]
        if reasons:
            span.set_attribute("gen_ai.response.finish_reasons", reasons)
        _set_content(span, "gen_ai.output.messages", [_as_message(message) for message in found])
        span.end()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:  # noqa: ANN401 - LangChain's
        """Record the error."""
        span = self._spans.pop(run_id, None)
        if span is not None:
            status = getattr(error, "status_code", None)
            record_error(span, str(status or type(error).__qualname__), error_text(error))
            span.end()


def _find_server(parameters: Mapping[str, Any]) -> dict[str, Any]:
    base = parameters.get("base_url") or parameters.get("openai_api_base")
    if not isinstance(base, str):
        return {}
    with suppress(ValueError):
        place = urlsplit(base)
        return {"server.address": place.hostname, "server.port": place.port}
    return {}


def record_error(span: "Span", kind: str, text: str) -> None:
    """Mark a span as failed, with its error without secrets."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - of an extra

    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, _mask_error(text)))


def _mask_error(text: str) -> str:
    return _mask(text)[:_MAX_ERROR_LENGTH]


def _mask(text: str) -> str:
    masked = redact_value(text, masks) if (masks := get_registered_masks()) else text
    return redact_known_secrets(str(masked))


def _is_content_asked() -> bool:
    return os.environ.get(_CAPTURE, "").strip().lower() in _CAPTURE_VALUES


def _set_content(span: "Span", name: str, value: object) -> None:
    if _is_content_asked() and span.is_recording():
        span.set_attribute(name, _mask(json.dumps(value, ensure_ascii=False, default=str)))


def _as_messages(role: str, text: str) -> list[dict[str, Any]]:
    return [{"role": role, "parts": [{"type": "text", "content": text}]}]


def _as_message(message: BaseMessage) -> dict[str, Any]:
    role = {"human": "user", "ai": "assistant"}.get(message.type, message.type)
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    parts: list[dict[str, Any]] = [{"type": "text", "content": str(message.text)}] if str(message.text) else []
    parts += [
        {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]} for call in calls
    ]
    return {"role": role, "parts": parts}
