"""Questions to a model whose replies must fit a JSON Schema, by whatever method its server supports."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable, ensure_config
from langchain_openai import ChatOpenAI

from agent.core.plan.tool_spec import JsonSchema
from agent.errors import ModelReplyError
from agent.llm.models import Model, OutputMethod, StreamFeature
from agent.llm.openai_client import enable_sampling
from agent.llm.provider_errors import PROVIDER_ERRORS, explain_error, is_prompt_too_long
from agent.llm.replies import MalformedReply, Reply, TextReply, Usage, parse_reply
from agent.llm.response_schema import add_size_limits, to_strict_schema
from agent.llm.streaming import (
    NOT_STREAMED,
    STREAM_REFUSED_STATUSES,
    NotStreamedError,
    OnText,
    build_streaming_chat,
    stream_reply,
)
from agent.llm.usage import begin_call, count_call, extract_usage, parse_cost
from agent.logging_context import get_logger
from prompts import render

OnUsage = Callable[[Usage], None]
_logger = get_logger(__name__)

#: The most reliable first.
_OUTPUT_METHODS: Final[tuple[OutputMethod, ...]] = ("json_schema", "function", "json_object", "text")
#: Statuses by which servers refuse a parameter that they do not know.
_PARAMETER_REFUSED_STATUSES: Final = frozenset((400, 422))
_SAMPLING_SEED: Final = 1
_TRUNCATED_FAULT: Final = "The reply was cut off at the token limit: make it shorter."
_FILTERED_FAULT: Final = "The reply was withheld by the server's content filter."
_EMPTY_FAULT: Final = "The reply was empty."


@dataclass(frozen=True, slots=True)
class _Question:
    messages: Sequence[BaseMessage]
    #: As it is sent; the reply is checked against the caller's schema.
    schema: JsonSchema
    name: str
    strict: bool
    max_tokens: int | None
    on_text: OnText | None


@dataclass(frozen=True, slots=True)
class _RawReply:
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
) -> Reply:
    """Ask for one JSON object that fits `schema`, and return the reply.

    `name` is the object's name to the model (letters, digits, `_` and `-`). `strict` uses the server's strict mode if
    the schema can be expressed in it. `on_usage` is called with the tokens. `on_text` is called with the text piece by
    piece while the model writes it, if its server streams: with no piece twice, but not with all if the stream breaks.
    A reply that cannot be used is a value, `MalformedReply`. Raises `ModelReplyError` if there is no reply: the server
    refused, failed, could not be reached, or did not answer in time.
    """
    sent = add_size_limits(schema) if model.scale == "small" else schema
    question = _Question(messages, sent, name, strict=strict, max_tokens=max_tokens, on_text=on_text)
    try:
        method, received = await _try_methods(model, question, methods=_list_open_methods(model))
    except openai.APIStatusError as error:
        raise _to_reply_error(error) from error
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
    on_text: OnText | None = None,
) -> TextReply | MalformedReply:
    """Ask for a text. One that was cut off at the token limit is returned as truncated.

    `grammar`, in GBNF, constrains the text if the server supports grammars; else it is not sent. `on_text` as for
    `ask_json`. Raises `ModelReplyError` as `ask_json` does.
    """

    async def send(chat: BaseChatModel, on_text: OnText | None) -> _RawReply:
        limited = _limit_tokens(chat, max_tokens=max_tokens)
        if grammar is not None and model.supports_grammar:
            limited = limited.bind(extra_body={"grammar": grammar})
        return await _call_model(model, limited, messages, method="text", on_text=on_text)

    try:
        received = await _stream_if_possible(model, send, on_text=on_text)
    except openai.APIStatusError as error:
        raise _to_reply_error(error) from error
    if on_usage is not None:
        on_usage(received.usage)
    if received.text.strip() and (received.fault is None or received.truncated):
        return TextReply(text=received.text, usage=received.usage, truncated=received.truncated)
    return MalformedReply(reason=received.fault or _EMPTY_FAULT, raw=received.text, usage=received.usage)


async def ask_texts(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    number: int,
    max_tokens: int,
    grammar: str | None = None,
    on_usage: OnUsage | None = None,
) -> list[TextReply | MalformedReply]:
    """Ask once for several sampled texts; for a model whose server can write so many at once.

    `grammar` as for `ask_text`. Raises `ModelReplyError` as `ask_json` does.
    """
    constraint: dict[str, Any] = (
        {"extra_body": {"grammar": grammar}} if grammar is not None and model.supports_grammar else {}
    )
    chat = enable_sampling(model.chat, seed=_SAMPLING_SEED)
    config = ensure_config()
    begin_call()
    with _log_call(model, f"text, {number} at once") as log_reply:
        try:
            async with asyncio.timeout(model.timeout_s):
                result = await chat.agenerate(
                    [list(messages)],
                    callbacks=config.get("callbacks"),
                    tags=[*(config.get("tags") or ()), NOT_STREAMED],
                    metadata=config.get("metadata"),
                    n=number,
                    max_tokens=max_tokens,
                    **constraint,
                )
        except (*PROVIDER_ERRORS, openai.APIStatusError) as error:
            raise _to_reply_error(error) from error
        received = [
            _parse_message(each.message)
            for each in result.generations[0]
            if isinstance(each, ChatGeneration) and isinstance(each.message, AIMessage)
        ]
        for first in received[:1]:
            log_reply(first)
    for spent in (each.usage for each in received[:1]):
        count_call(spent)
        if on_usage is not None:
            on_usage(spent)
    return [
        MalformedReply(reason=each.fault, raw=each.text, usage=Usage())
        if each.fault is not None
        else TextReply(text=each.text, usage=Usage())
        for each in received
    ]


def _list_open_methods(model: Model) -> tuple[OutputMethod, ...]:
    methods = _OUTPUT_METHODS[_OUTPUT_METHODS.index(model.output_method) :]
    return tuple(method for method in methods if method not in model.unsupported)


async def _try_methods(
    model: Model, question: _Question, *, methods: tuple[OutputMethod, ...]
) -> tuple[OutputMethod, _RawReply]:
    """Ask by the first of `methods`; if the server refuses it and accepts a later one, remember that."""
    method, *later = methods
    try:
        return method, await _ask_with_method(method, model, question)
    except openai.APIStatusError as error:
        if not later or error.status_code not in _PARAMETER_REFUSED_STATUSES or is_prompt_too_long(error):
            raise
        try:
            reached = await _try_methods(model, question, methods=tuple(later))
        except openai.APIStatusError:
            # Every method was refused, so the method is not the reason, and the first error explains it best.
            raise error from None
        _logger.warning("Model %s refused the output method %s and took %s", model.name, method, reached[0])
        if "Invalid schema" not in error.message:
            model.unsupported.add(method)
        return reached


async def _ask_with_method(method: OutputMethod, model: Model, question: _Question) -> _RawReply:
    """Ask by `method`: as a stream if `on_text` is given and the server streams, else for the whole reply at once."""

    async def send(chat: BaseChatModel, on_text: OnText | None) -> _RawReply:
        return await _send_question(method, model, question, chat=chat, on_text=on_text)

    return await _stream_if_possible(model, send, on_text=question.on_text)


async def _stream_if_possible(
    model: Model, send: Callable[[BaseChatModel, OnText | None], Awaitable[_RawReply]], *, on_text: OnText | None
) -> _RawReply:
    """Return what `send` receives from a chat model that streams to `on_text`, or from one that does not."""
    unused: list[StreamFeature] = []
    extras: tuple[StreamFeature, ...] = (
        ("stream_usage", "stream") if on_text and "stream" not in model.unsupported else ()
    )
    for extra in extras:
        chat = build_streaming_chat(model, report_usage=extra == "stream_usage")
        if chat is None or extra in model.unsupported:
            continue
        try:
            received = await send(chat, on_text)
        except NotStreamedError as error:
            _logger.warning("Model %s did not stream its reply, asking for the whole: %s", model.name, error)
            unused = ["stream"] if error.permanent else []
            break
        except openai.APIStatusError as error:
            if error.status_code not in STREAM_REFUSED_STATUSES or is_prompt_too_long(error):
                raise
            _logger.warning("Model %s refused %s, asking without it", model.name, extra)
            unused.append(extra)
        else:
            model.unsupported.update(unused)
            return received
    received = await send(model.chat, None)
    # Only now is it certain that the server refused the stream and not the question.
    model.unsupported.update(unused)
    return received


async def _send_question(
    method: OutputMethod, model: Model, question: _Question, *, chat: BaseChatModel, on_text: OnText | None = None
) -> _RawReply:
    limited = _limit_tokens(chat, max_tokens=question.max_tokens)
    messages = question.messages
    match method:
        case "json_schema":
            strict = to_strict_schema(question.schema) if question.strict and model.scale == "large" else None
            form = {"name": question.name, "schema": strict or question.schema, "strict": strict is not None}
            limited = limited.bind(response_format={"type": "json_schema", "json_schema": form})
        case "function":
            function = {"type": "function", "function": {"name": question.name}}
            offered = {**function, "function": {"name": question.name, "parameters": question.schema}}
            limited = limited.bind(tools=[offered], tool_choice=function)
        case "json_object":
            messages = _append_schema(messages, schema=question.schema)
            limited = limited.bind(response_format={"type": "json_object"})
        case "text":
            messages = _append_schema(messages, schema=question.schema)
        case _:
            assert_never(method)
    return await _call_model(model, limited, messages, method=method, on_text=on_text)


def _append_schema(messages: Sequence[BaseMessage], *, schema: JsonSchema) -> list[BaseMessage]:
    return [*messages, HumanMessage(render("json_reply.v1", schema=json.dumps(schema, ensure_ascii=False)))]


def _limit_tokens(chat: BaseChatModel, *, max_tokens: int | None) -> Runnable[LanguageModelInput, AIMessage]:
    """Return `chat` with a limit of tokens; a model of another maker names it differently and keeps its own limit."""
    return chat.bind(max_tokens=max_tokens) if max_tokens and isinstance(chat, ChatOpenAI) else chat


async def _call_model(
    model: Model,
    chat: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[BaseMessage],
    *,
    method: OutputMethod,
    on_text: OnText | None = None,
) -> _RawReply:
    """Ask `chat` if the budget allows it; a status error is passed on, so that another method may be tried."""
    begin_call()
    with _log_call(model, "a stream, " + method if on_text else method) as log_reply:
        received = await _receive_reply(model, chat, messages, on_text=on_text)
        log_reply(received)
    count_call(received.usage)
    return received


@contextmanager
def _log_call(model: Model, method: str) -> Iterator[Callable[[_RawReply], None]]:
    """Log that a call is made and how it ends, without the server's own words: they may repeat the prompt."""
    started = time.monotonic()

    def log_reply(reply: _RawReply) -> None:
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
        seconds, cause = time.monotonic() - started, error.__cause__ or error
        status = cause.status_code if isinstance(cause, openai.APIStatusError) else None
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


async def _receive_reply(
    model: Model,
    chat: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[BaseMessage],
    *,
    on_text: OnText | None,
) -> _RawReply:
    try:
        async with asyncio.timeout(model.timeout_s):
            return _parse_message(
                await (
                    stream_reply(chat, messages, on_text=on_text)
                    if on_text
                    else chat.ainvoke(list(messages), {"tags": [NOT_STREAMED]})
                )
            )
    except openai.LengthFinishReasonError as error:
        return replace(_parse_completion(error.completion), fault=_TRUNCATED_FAULT, truncated=True)
    except openai.ContentFilterFinishReasonError as error:
        found = _RawReply("", Usage()) if error.completion is None else _parse_completion(error.completion)
        return replace(found, fault=_FILTERED_FAULT)
    except openai.APIStatusError:
        raise
    except PROVIDER_ERRORS as error:
        raise _to_reply_error(error) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if not isinstance(model.chat, ChatOpenAI):
            raise
        # The client parses what it takes for a completion without validating it first.
        raise ModelReplyError(
            f"The model server's reply does not follow the OpenAI protocol ({error}): check OPENAI_BASE_URL."
        ) from error


def _parse_message(message: AIMessage) -> _RawReply:
    usage = extract_usage(message)
    text = _extract_text(message)
    ended = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
    refusal = message.additional_kwargs.get("refusal")
    if refusal:
        return _RawReply(text, usage, fault=f"The model refused: {refusal!r}.")
    if ended in {"length", "max_tokens"}:
        return _RawReply(text, usage, fault=_TRUNCATED_FAULT, truncated=True)
    if ended == "content_filter":
        return _RawReply(text, usage, fault=_FILTERED_FAULT)
    return _RawReply(text, usage, fault=None if text.strip() else _EMPTY_FAULT)


def _extract_text(message: AIMessage) -> str:
    """Return the arguments of the first tool call, else the text."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"])
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return str(message.text)


def _parse_completion(completion: openai.types.chat.ChatCompletion) -> _RawReply:
    usage = completion.usage
    return _RawReply(
        text=completion.choices[0].message.content or "" if completion.choices else "",
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cost=parse_cost((usage.model_extra or {}).get("cost")),
        )
        if usage
        else Usage(),
    )


def _to_reply_error(error: Exception) -> ModelReplyError:
    return explain_error(error) or ModelReplyError(f"The model failed: {error}")
