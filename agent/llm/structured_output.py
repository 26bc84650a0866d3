"""Questions to a model whose replies are held to a JSON Schema, by whatever way its server offers."""

import asyncio
import json
from collections.abc import Callable, Sequence
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
from agent.llm.models import Extra, Model, Way
from agent.llm.openai_client import by_chance
from agent.llm.provider_errors import FAILURES, explain, too_long
from agent.llm.replies import Malformed, Reply, TextReply, Usage, read_reply
from agent.llm.response_schema import bounded, strict_schema
from agent.llm.streaming import TURNED_DOWN, Heard, NotStreamedError, hear, streaming
from agent.llm.usage import begin_call, count_call, reported_cost, usage_of
from prompts import render

OnUsage = Callable[[Usage], None]

#: From the surest to the last.
_WAYS: Final[tuple[Way, ...]] = ("json_schema", "function", "json_object", "text")
#: By these statuses servers turn down a parameter that they do not know.
_TURNED_DOWN: Final = frozenset((400, 422))
_SEVERAL_SEED: Final = 1
_CUT_OFF: Final = "The reply was cut off at the token limit: make it shorter."
_FILTERED: Final = "The reply was withheld by the server's content filter."
_EMPTY: Final = "The reply was empty."


@dataclass(frozen=True, slots=True)
class _Question:
    messages: Sequence[BaseMessage]
    #: As it is sent; the reply is checked against the caller's own.
    schema: JsonSchema
    name: str
    strict: bool
    max_tokens: int | None
    heard: Heard | None


@dataclass(frozen=True, slots=True)
class _Received:
    """What the server sent, whatever way it was asked."""

    text: str
    usage: Usage
    #: Why the text cannot be used, as a sentence.
    fault: str | None = None
    truncated: bool = False


async def ask(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    schema: JsonSchema,
    name: str,
    strict: bool = True,
    max_tokens: int | None = None,
    usage: OnUsage | None = None,
    heard: Heard | None = None,
) -> Reply:
    """Ask for one JSON object that fits `schema`, and say what came of it.

    `name` is what the object is called to the model (letters, digits, `_` and `-`). `strict` takes the server's
    strict mode where the schema can be said in it. `usage` is told the tokens. `heard` is told the text piece by piece
    while the model writes it, if its server streams: never twice, but not to the end where the stream breaks. A reply
    that cannot be used is a value, `Malformed`; raises `ModelReplyError` where there is none: refused, unreachable,
    failed or silent.
    """
    sent = bounded(schema) if model.scale == "small" else schema
    question = _Question(messages, sent, name, strict=strict, max_tokens=max_tokens, heard=heard)
    try:
        way, received = await _first_way_that_works(model, question, ways=_open_ways(model))
    except openai.APIStatusError as error:
        raise _explained(error) from error
    if usage is not None:
        usage(received.usage)
    if received.fault is not None:
        return Malformed(reason=received.fault, raw=received.text, usage=received.usage)
    return read_reply(received.text, schema=schema, tolerant=way != "json_schema", usage=received.usage)


async def ask_text(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    max_tokens: int | None = None,
    grammar: str | None = None,
    usage: OnUsage | None = None,
) -> TextReply | Malformed:
    """Ask for a text. One cut off at the token limit is kept and marked; raises `ModelReplyError` as `ask` does.

    `grammar`, in GBNF, is what the text is held to by a server that knows grammars; others are not told of it.
    """
    chat = _limited(model.chat, max_tokens=max_tokens)
    if grammar is not None and model.grammar:
        chat = chat.bind(extra_body={"grammar": grammar})
    try:
        received = await _call(model, chat, messages)
    except openai.APIStatusError as error:
        raise _explained(error) from error
    if usage is not None:
        usage(received.usage)
    if received.text.strip() and (received.fault is None or received.truncated):
        return TextReply(text=received.text, usage=received.usage, truncated=received.truncated)
    return Malformed(reason=received.fault or _EMPTY, raw=received.text, usage=received.usage)


async def ask_texts(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    number: int,
    max_tokens: int,
    grammar: str | None = None,
    usage: OnUsage | None = None,
) -> list[TextReply | Malformed]:
    """Ask once for several texts, each by chance; for a model whose server writes so many at once.

    `grammar` as for `ask_text`. Raises `ModelReplyError` as `ask` does.
    """
    held: dict[str, Any] = {"extra_body": {"grammar": grammar}} if grammar is not None and model.grammar else {}
    chat = by_chance(model.chat, seed=_SEVERAL_SEED)
    config = ensure_config()
    begin_call()
    try:
        async with asyncio.timeout(model.timeout_s):
            result = await chat.agenerate(
                [list(messages)],
                callbacks=config.get("callbacks"),
                tags=config.get("tags"),
                metadata=config.get("metadata"),
                n=number,
                max_tokens=max_tokens,
                **held,
            )
    except (*FAILURES, openai.APIStatusError) as error:
        raise _explained(error) from error
    received = [
        _received(each.message)
        for each in result.generations[0]
        if isinstance(each, ChatGeneration) and isinstance(each.message, AIMessage)
    ]
    for spent in (each.usage for each in received[:1]):
        count_call(spent)
        if usage is not None:
            usage(spent)
    return [
        Malformed(reason=each.fault, raw=each.text, usage=Usage())
        if each.fault is not None
        else TextReply(text=each.text, usage=Usage())
        for each in received
    ]


def _open_ways(model: Model) -> tuple[Way, ...]:
    return tuple(way for way in _WAYS[_WAYS.index(model.structured) :] if way not in model.refused)


async def _first_way_that_works(model: Model, question: _Question, *, ways: tuple[Way, ...]) -> tuple[Way, _Received]:
    """Ask by the first of `ways`; if the server turns it down and takes a later one, remember that."""
    way, *later = ways
    try:
        return way, await _ask_by(way, model, question)
    except openai.APIStatusError as error:
        if not later or error.status_code not in _TURNED_DOWN or too_long(error):
            raise
        try:
            reached = await _first_way_that_works(model, question, ways=tuple(later))
        except openai.APIStatusError:
            # Turned down every way, so not for the way: the first answer says best what for.
            raise error from None
        if "Invalid schema" not in error.message:
            model.refused.add(way)
        return reached


async def _ask_by(way: Way, model: Model, question: _Question) -> _Received:
    """Ask by `way`: as a stream where somebody listens and the server streams, else for the whole at once."""
    unused: list[Extra] = []
    extras: tuple[Extra, ...] = ("stream_usage", "stream") if question.heard and "stream" not in model.refused else ()
    for extra in extras:
        chat = streaming(model, counted=extra == "stream_usage")
        if chat is None or extra in model.refused:
            continue
        try:
            received = await _put(way, model, question, chat=chat, heard=question.heard)
        except NotStreamedError as error:
            unused = ["stream"] if error.for_good else []
            break
        except openai.APIStatusError as error:
            if error.status_code not in TURNED_DOWN or too_long(error):
                raise
            unused.append(extra)
        else:
            model.refused.update(unused)
            return received
    received = await _put(way, model, question, chat=model.chat)
    # Only now is it certain that it was the stream that was turned down.
    model.refused.update(unused)
    return received


async def _put(
    way: Way, model: Model, question: _Question, *, chat: BaseChatModel, heard: Heard | None = None
) -> _Received:
    limited = _limited(chat, max_tokens=question.max_tokens)
    messages = question.messages
    match way:
        case "json_schema":
            strict = strict_schema(question.schema) if question.strict and model.scale == "large" else None
            form = {"name": question.name, "schema": strict or question.schema, "strict": strict is not None}
            limited = limited.bind(response_format={"type": "json_schema", "json_schema": form})
        case "function":
            function = {"type": "function", "function": {"name": question.name}}
            offered = {**function, "function": {"name": question.name, "parameters": question.schema}}
            limited = limited.bind(tools=[offered], tool_choice=function)
        case "json_object":
            messages = _with_schema(messages, schema=question.schema)
            limited = limited.bind(response_format={"type": "json_object"})
        case "text":
            messages = _with_schema(messages, schema=question.schema)
        case _:
            assert_never(way)
    return await _call(model, limited, messages, heard=heard)


def _with_schema(messages: Sequence[BaseMessage], *, schema: JsonSchema) -> list[BaseMessage]:
    return [*messages, HumanMessage(render("json_reply.v1", schema=json.dumps(schema, ensure_ascii=False)))]


def _limited(chat: BaseChatModel, *, max_tokens: int | None) -> Runnable[LanguageModelInput, AIMessage]:
    """Return `chat` with a limit of tokens; models of other makers name theirs differently and keep their own."""
    return chat.bind(max_tokens=max_tokens) if max_tokens and isinstance(chat, ChatOpenAI) else chat


async def _call(
    model: Model,
    chat: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[BaseMessage],
    *,
    heard: Heard | None = None,
) -> _Received:
    """Put the question to `chat` if the budget allows; a status error passes, so that another way may be tried."""
    begin_call()
    received = await _heard_out(model, chat, messages, heard=heard)
    count_call(received.usage)
    return received


async def _heard_out(
    model: Model,
    chat: Runnable[LanguageModelInput, AIMessage],
    messages: Sequence[BaseMessage],
    *,
    heard: Heard | None,
) -> _Received:
    try:
        async with asyncio.timeout(model.timeout_s):
            return _received(await (hear(chat, messages, heard=heard) if heard else chat.ainvoke(list(messages))))
    except openai.LengthFinishReasonError as error:
        return replace(_from_completion(error.completion), fault=_CUT_OFF, truncated=True)
    except openai.ContentFilterFinishReasonError as error:
        found = _Received("", Usage()) if error.completion is None else _from_completion(error.completion)
        return replace(found, fault=_FILTERED)
    except openai.APIStatusError:
        raise
    except FAILURES as error:
        raise _explained(error) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if not isinstance(model.chat, ChatOpenAI):
            raise
        # The client reads what it takes for a completion without checking it first.
        raise ModelReplyError(
            f"The model server's reply does not follow the OpenAI protocol ({error}): check OPENAI_BASE_URL."
        ) from error


def _received(message: AIMessage) -> _Received:
    usage = usage_of(message)
    text = _said(message)
    ended = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
    refusal = message.additional_kwargs.get("refusal")
    if refusal:
        return _Received(text, usage, fault=f"The model refused: {refusal!r}.")
    if ended in {"length", "max_tokens"}:
        return _Received(text, usage, fault=_CUT_OFF, truncated=True)
    if ended == "content_filter":
        return _Received(text, usage, fault=_FILTERED)
    return _Received(text, usage, fault=None if text.strip() else _EMPTY)


def _said(message: AIMessage) -> str:
    """Return the arguments of the first tool call, else the text."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"])
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return str(message.text)


def _from_completion(completion: openai.types.chat.ChatCompletion) -> _Received:
    usage = completion.usage
    return _Received(
        text=completion.choices[0].message.content or "" if completion.choices else "",
        usage=Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cost=reported_cost((usage.model_extra or {}).get("cost")),
        )
        if usage
        else Usage(),
    )


def _explained(error: Exception) -> ModelReplyError:
    return explain(error) or ModelReplyError(f"The model failed: {error}")
