"""Questions to a model whose replies must fit a JSON Schema, by whatever method its server supports."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

import openai
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from agent.core.plan.tool_spec import JsonSchema
from agent.errors import PlanwaveError
from agent.llm.chat_wrappers import ChatRunnable, apply_configuration, change_models, find_bound_value
from agent.llm.models import Model
from agent.llm.native_output import NativeReply, ask_natively, dump_value, find_token_limit, limit_native_reply
from agent.llm.openai_client import enable_streaming, limit_reply
from agent.llm.provider_errors import CallFailedError, ProviderFailure, explain_failure, read_failure
from agent.llm.replies import MalformedReply, Reply, TextReply, Usage, drop_reasoning, parse_reply
from agent.llm.response_schema import add_size_limits, to_strict_schema
from agent.llm.server_limits import FittedRequest, OutputMethod, ServerFeature, fit_request, learn_limit
from agent.llm.streaming import NOT_STREAMED, STREAM_REFUSED_STATUSES, NotStreamedError, OnText, stream_reply
from agent.llm.usage import begin_call, count_call, extract_usage, parse_cost
from agent.logging_context import get_logger
from prompts import render

OnUsage = Callable[[Usage], None]
#: Is called with a sentence that the user should know of.
OnNote = Callable[[str], None]
_logger = get_logger(__name__)

#: The most reliable first.
_OUTPUT_METHODS: Final[tuple[OutputMethod, ...]] = ("json_schema", "function", "json_object", "text")
_NATIVE_METHODS: Final[tuple[OutputMethod, ...]] = ("native", "text")
#: Attempts of a call that fails for a moment, if the client makes no second one itself.
_ATTEMPTS: Final = 3
_FIRST_WAIT_S: Final = 0.5
#: Refusals of one request that are answered by a smaller one.
_MAX_ADJUSTMENTS: Final = 10
_TOKEN_PARAMETERS: Final = ("max_tokens", "max_completion_tokens")
_TRUNCATED_FAULT: Final = "The reply was cut off at the token limit: make it shorter."
_FILTERED_FAULT: Final = "The reply was withheld by the server's content filter."
_EMPTY_FAULT: Final = "The reply was empty."


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a model, as it is asked by any method."""

    messages: Sequence[BaseMessage]
    #: As it is sent; the reply is checked against the caller's schema.
    schema: JsonSchema
    name: str
    strict: bool
    max_tokens: int | None
    on_text: OnText | None
    on_note: OnNote | None
    #: Constrains a text, in GBNF.
    grammar: str | None = None


@dataclass(frozen=True, slots=True)
class RawReply:
    """What the server sent, by whatever method it was asked."""

    text: str
    usage: Usage
    #: Why the text cannot be used, as a sentence.
    fault: str | None = None
    truncated: bool = False


async def ask_json(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    schema: JsonSchema,
    name: str,
    strict: bool = True,
    max_tokens: int | None = None,
    on_usage: OnUsage | None = None,
    on_text: OnText | None = None,
    on_note: OnNote | None = None,
) -> Reply:
    """Ask for one JSON object that fits `schema`, and return the reply.

    `name` is the object's name to the model (letters, digits, `_` and `-`). `strict` uses the server's strict mode if
    the schema can be expressed in it. `on_usage` is called with the tokens. `on_text` is called with the text piece by
    piece while the model writes it, if its server streams: with no piece twice, but not with all if the stream breaks.
    `on_note` is told in a sentence if the prompt had to be cut. A reply that cannot be used is a value,
    `MalformedReply`. Raises `ModelReplyError` if there is no reply: the server refused, failed, could not be reached,
    or did not answer in time.
    """
    sent = add_size_limits(schema) if model.scale == "small" else schema
    question = Question(messages, sent, name, strict=strict, max_tokens=max_tokens, on_text=on_text, on_note=on_note)
    try:
        method, received = await _try_methods(model, question, methods=_list_open_methods(model))
    except CallFailedError as error:
        raise explain_failure(error.failure, speaks_openai=model.speaks_openai) from error.__cause__ or error
    if on_usage is not None:
        on_usage(received.usage)
    if received.fault is not None:
        return MalformedReply(reason=received.fault, raw=received.text, usage=received.usage)
    return parse_reply(received.text, schema=schema, tolerant=method != "json_schema", usage=received.usage)


async def ask_text(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    max_tokens: int | None = None,
    grammar: str | None = None,
    on_usage: OnUsage | None = None,
    on_note: OnNote | None = None,
    on_text: OnText | None = None,
) -> TextReply | MalformedReply:
    """Ask for a text, without the model's reasoning. One that was cut off at the token limit is returned as truncated.

    `grammar`, in GBNF, constrains the text if the server supports grammars; else it is not sent. `on_text` and
    `on_note` as for `ask_json`. Raises `ModelReplyError` as `ask_json` does.
    """
    supported = grammar if model.supports_grammar else None
    question = Question(
        messages, {}, "", strict=False, max_tokens=max_tokens, on_text=on_text, on_note=on_note, grammar=supported
    )
    try:
        received = await _ask_with_method(None, model, question)
    except CallFailedError as error:
        raise explain_failure(error.failure, speaks_openai=model.speaks_openai) from error.__cause__ or error
    if on_usage is not None:
        on_usage(received.usage)
    text = drop_reasoning(received.text)
    if text.strip() and (received.fault is None or received.truncated):
        return TextReply(text=text, usage=received.usage, truncated=received.truncated)
    return MalformedReply(reason=received.fault or _EMPTY_FAULT, raw=received.text, usage=received.usage)


def _list_open_methods(model: Model) -> tuple[OutputMethod, ...]:
    ordered = _OUTPUT_METHODS if model.speaks_openai else _NATIVE_METHODS
    methods = ordered[ordered.index(model.output_method) :]
    return tuple(method for method in methods if method not in model.unsupported)


async def _try_methods(
    model: Model, question: Question, *, methods: tuple[OutputMethod, ...]
) -> tuple[OutputMethod, RawReply]:
    """Ask by the first of `methods`; if the server refuses it and accepts a later one, remember that."""
    method, *later = methods
    try:
        return method, await _ask_with_method(method, model, question)
    except CallFailedError as error:
        if not later or not error.failure.is_refused_parameter:
            raise
        try:
            reached = await _try_methods(model, question, methods=tuple(later))
        except CallFailedError as last:
            if not last.failure.is_refused_parameter:
                raise
            # Every method was refused, so the method is not the reason, and the first error explains it best.
            raise error from error.__cause__
        _logger.warning("Model %s refused the output method %s and took %s", model.name, method, reached[0])
        if "Invalid schema" not in error.failure.message:
            model.unsupported.add(method)
        return reached


async def _ask_with_method(method: OutputMethod | None, model: Model, question: Question) -> RawReply:
    """Ask by `method`, None: for a text; as a stream if `on_text` is given and the server streams.

    Otherwise for the whole reply at once.
    """
    unused: list[ServerFeature] = []
    wants_stream = question.on_text is not None and model.can_stream and "stream" not in model.unsupported
    extras: tuple[ServerFeature, ...] = (
        ("stream_usage", "stream") if model.speaks_openai else ("stream",)
    ) * wants_stream
    for extra in extras:
        if extra in model.unsupported:
            continue
        try:
            received = await _send_within_limits(model, question, method=method, stream=extra)
        except NotStreamedError as error:
            _logger.warning("Model %s did not stream its reply, asking for the whole: %s", model.name, error)
            unused = ["stream"] if error.permanent else []
            break
        except CallFailedError as error:
            failure = error.failure
            if not model.speaks_openai or failure.status not in STREAM_REFUSED_STATUSES or failure.is_too_long:
                raise
            _logger.warning("Model %s refused %s, asking without it", model.name, extra)
            unused.append(extra)
        else:
            model.unsupported.update(unused)
            return received
    received = await _send_within_limits(model, question, method=method)
    # Only now is it certain that the server refused the stream and not the question.
    model.unsupported.update(unused)
    return received


async def _send_within_limits(
    model: Model, question: Question, *, method: OutputMethod | None, stream: ServerFeature | None = None
) -> RawReply:
    """Ask with as many tokens and as much of the prompt as the server takes, learning both from its refusals."""
    chat, before = apply_configuration(model.chat), model.limits.copy()
    messages = question.messages
    if method in {"json_object", "text"}:
        messages = _append_schema(messages, schema=question.schema)
    wanted = _find_token_limit(model, chat, question)
    for _ in range(_MAX_ADJUSTMENTS):
        request = fit_request(messages, model.limits, max_tokens=wanted)
        try:
            received = await _send_with_retries(
                model, _build_call(model, chat, question, request, method=method, stream=stream), method, stream
            )
        except CallFailedError as error:
            change = learn_limit(error.failure, model.limits, request)
            if change is None:
                model.limits.restore(before)
                raise
            _logger.warning("Model %s refused a request with status %s: %s", model.name, error.failure.status, change)
        else:
            if request.left_out and question.on_note is not None:
                question.on_note(_describe_cut(request, model))
            return received
    model.limits.restore(before)
    raise CallFailedError(ProviderFailure("other", "It refuses requests of every size.", name="LimitError"))


def _describe_cut(request: FittedRequest, model: Model) -> str:
    return (
        f"The prompt was too long for the model's context of {model.limits.context_tokens:,} tokens: "
        f"{request.left_out:,} of its {request.characters:,} characters were left out."
    )


def _find_token_limit(model: Model, chat: ChatRunnable, question: Question) -> int | None:
    """Return the limit of a reply: the user's on the chat model, else that of the settings, else the question's."""
    own = find_bound_value(chat, _TOKEN_PARAMETERS)
    if isinstance(own, int):
        return own
    if not model.speaks_openai:
        return find_token_limit(chat) or model.max_output_tokens
    if model.max_output_tokens is None:
        return question.max_tokens
    # The answers of a small model are short, so that it comes to an end.
    is_short = model.scale == "small" and question.max_tokens is not None
    return min(model.max_output_tokens, question.max_tokens or 0) if is_short else model.max_output_tokens


def _build_call(
    model: Model,
    chat: ChatRunnable,
    question: Question,
    request: FittedRequest,
    *,
    method: OutputMethod | None,
    stream: ServerFeature | None,
) -> Callable[[], Any]:
    """Return a function that makes the call once and returns the message or the reply."""
    on_text = question.on_text if stream is not None else None
    if not model.speaks_openai:
        if request.max_tokens is not None and request.max_tokens != find_token_limit(chat):
            chat = limit_native_reply(chat, max_tokens=request.max_tokens)
        schema = question.schema if method == "native" else None
        return lambda: ask_natively(chat, request.messages, schema=schema, name=question.name, on_text=on_text)
    if stream is not None:
        chat = enable_streaming(chat, report_usage=stream == "stream_usage")
    chat = limit_reply(chat, model.limits, max_tokens=request.max_tokens)
    chat = change_models(chat, lambda each: each.bind(**build_parameters(model, question, method)))
    if on_text is not None:
        return lambda: stream_reply(chat, request.messages, on_text=on_text)
    return lambda: chat.ainvoke(request.messages, {"tags": [NOT_STREAMED]})


def build_parameters(model: Model, question: Question, method: OutputMethod | None) -> dict[str, Any]:
    """Return what a request to a server of the OpenAI protocol has besides its messages."""
    match method:
        case "json_schema":
            strict = to_strict_schema(question.schema) if question.strict and model.scale == "large" else None
            form = {"name": question.name, "schema": strict or question.schema, "strict": strict is not None}
            return {"response_format": {"type": "json_schema", "json_schema": form}}
        case "function":
            function = {"type": "function", "function": {"name": question.name}}
            offered = {**function, "function": {"name": question.name, "parameters": question.schema}}
            return {"tools": [offered], "tool_choice": function}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "text" | "native" | None:
            return {} if question.grammar is None else {"extra_body": {"grammar": question.grammar}}
        case _:
            assert_never(method)


def _append_schema(messages: Sequence[BaseMessage], *, schema: JsonSchema) -> list[BaseMessage]:
    return [*messages, HumanMessage(render("json_reply.v1", schema=json.dumps(schema, ensure_ascii=False)))]


async def _send_with_retries(
    model: Model, call: Callable[[], Any], method: OutputMethod | None, stream: ServerFeature | None
) -> RawReply:
    """Make a call, and again if it failed for a moment and the client does not do so itself."""
    name = method or "text"
    for attempt in range(_ATTEMPTS):
        try:
            return await _call_model(model, call, method=f"a stream, {name}" if stream else name)
        except CallFailedError as error:
            failure = error.failure
            tried_before = model.retries_itself and not failure.is_in_reply
            if attempt == _ATTEMPTS - 1 or not failure.is_transient or tried_before or stream:
                if stream and failure.is_transient and not tried_before:
                    raise NotStreamedError(permanent=False) from error
                raise
            jittered = _FIRST_WAIT_S * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            await _pause(jittered if failure.retry_after_s is None else failure.retry_after_s)
    raise AssertionError("the last attempt returns or raises")


#: Waits for some seconds.
_pause: Final = asyncio.sleep


async def _call_model(model: Model, call: Callable[[], Any], *, method: str) -> RawReply:
    """Make a call if the budget allows it. Raises `CallFailedError`, so that another method may be tried."""
    begin_call()
    with log_call(model, method) as log_reply:
        received = await _receive_reply(model, call)
        log_reply(received)
    count_call(received.usage)
    return received


@contextmanager
def log_call(model: Model, method: str) -> Iterator[Callable[[RawReply], None]]:
    """Log that a call is made and how it ends, without the server's own words: they may repeat the prompt."""
    started = time.monotonic()

    def log_reply(reply: RawReply) -> None:
        seconds, usage = time.monotonic() - started, reply.usage
        _logger.log(
            logging.INFO if reply.fault is None else logging.WARNING,
            "Model call ended: %s by %s after %.3f s, tokens read: %d, written: %d%s",
            model.name,
            method,
            seconds,
            usage.input_tokens,
            usage.output_tokens,
            "" if reply.fault is None else ", no usable reply",
            extra={
                "model": model.name,
                "method": method,
                "duration_s": seconds,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
            },
        )

    _logger.debug("Model call begun: %s by %s", model.name, method)
    try:
        yield log_reply
    except Exception as error:
        seconds = time.monotonic() - started
        raised = error.__cause__ or error if isinstance(error, CallFailedError) else error
        cause = raised.__cause__ or raised
        status = error.failure.status if isinstance(error, CallFailedError) else None
        _logger.warning(
            "Model call failed: %s by %s after %.3f s: %s%s",
            model.name,
            method,
            seconds,
            type(cause).__name__,
            "" if status is None else f" with status {status}",
            extra={"model": model.name, "method": method, "duration_s": seconds},
        )
        raise


async def _receive_reply(model: Model, call: Callable[[], Any]) -> RawReply:
    try:
        async with asyncio.timeout(model.timeout_s):
            received = await call()
    except openai.LengthFinishReasonError as error:
        return replace(_parse_completion(error.completion), fault=_TRUNCATED_FAULT, truncated=True)
    except openai.ContentFilterFinishReasonError as error:
        found = RawReply("", Usage()) if error.completion is None else _parse_completion(error.completion)
        return replace(found, fault=_FILTERED_FAULT)
    except (PlanwaveError, NotStreamedError, CallFailedError, AssertionError):
        raise
    except Exception as error:
        raise CallFailedError(read_failure(error, speaks_openai=model.speaks_openai)) from error
    return _read_reply(received)


def _read_reply(received: Any) -> RawReply:  # noqa: ANN401 - what a runnable over a chat model returns
    match received:
        case NativeReply(message=AIMessage() as message, value=None):
            return parse_message(message)
        case NativeReply(message=None, value=dict() as value):
            return RawReply(dump_value(value), Usage())
        case NativeReply(message=AIMessage() as message, value=dict() as value):
            parsed = parse_message(message)
            return parsed if parsed.truncated else replace(parsed, text=dump_value(value), fault=None)
        case AIMessage():
            return parse_message(received)
        case str():
            return parse_message(AIMessage(received))
        case _:
            found = f"It returned {type(received).__name__}, not a message."
            raise CallFailedError(ProviderFailure("other", found, name="ReplyError"))


def parse_message(message: AIMessage) -> RawReply:
    """Return the text of a message, with what makes it unusable."""
    usage = extract_usage(message)
    text = _extract_text(message)
    ended = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
    refusal = message.additional_kwargs.get("refusal")
    if refusal:
        return RawReply(text, usage, fault=f"The model refused: {refusal!r}.")
    if ended in {"length", "max_tokens"}:
        return RawReply(text, usage, fault=_TRUNCATED_FAULT, truncated=True)
    if ended == "content_filter":
        return RawReply(text, usage, fault=_FILTERED_FAULT)
    return RawReply(text, usage, fault=None if text.strip() else _EMPTY_FAULT)


def _extract_text(message: AIMessage) -> str:
    """Return the arguments of the first tool call, else the text."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"])
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return str(message.text)


def _parse_completion(completion: openai.types.chat.ChatCompletion) -> RawReply:
    usage = completion.usage
    return RawReply(
        text=completion.choices[0].message.content or "" if completion.choices else "",
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cost=parse_cost((usage.model_extra or {}).get("cost")),
        )
        if usage
        else Usage(),
    )
