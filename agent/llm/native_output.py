"""Models that do not speak the OpenAI protocol: structured output and streams in LangChain's own way for each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs
from pydantic import BaseModel, ValidationError

from agent.core.plan.tool_spec import JsonSchema
from agent.llm.chat_wrappers import ChatRunnable, change_models, list_models
from agent.llm.provider_errors import CallFailedError, ProviderFailure
from agent.llm.replies import ReasoningFilter
from agent.llm.streaming import NOT_STREAMED, OnText

#: The fields in which the chat models of providers have the limit of a reply.
_TOKEN_FIELDS: Final = ("max_tokens", "max_output_tokens", "max_completion_tokens", "num_predict", "max_new_tokens")
_PARSED_KEYS: Final = frozenset({"raw", "parsed", "parsing_error"})


@dataclass(frozen=True, slots=True)
class NativeReply:
    """What a model returned: a message, the value that was parsed from it, or both."""

    message: AIMessage | None
    value: dict[str, Any] | None


def has_native_output(chat: ChatRunnable) -> bool:
    """Return whether every model in `chat` has its own way to make a reply fit a schema."""
    return all(map(_has_own_output, list_models(chat)))


def find_token_limit(chat: ChatRunnable) -> int | None:
    """Return the limit of a reply that the first model in `chat` was made with."""
    first = list_models(chat)[0]
    values = (getattr(first, name, None) for name in _TOKEN_FIELDS)
    return next((value for value in values if isinstance(value, int)), None)


def limit_native_reply(chat: ChatRunnable, *, max_tokens: int) -> ChatRunnable:
    """Return `chat` with a limit for the tokens of a reply, as far as its models have a field for it."""

    def limit_model(model: ChatRunnable) -> ChatRunnable:
        fields = type(model).model_fields if isinstance(model, BaseChatModel) else {}
        name = next((each for each in _TOKEN_FIELDS if each in fields), None)
        return model.model_copy(update={name: max_tokens}) if name and isinstance(model, BaseChatModel) else model

    return change_models(chat, limit_model)


async def ask_natively(
    chat: ChatRunnable,
    messages: Sequence[BaseMessage],
    *,
    schema: JsonSchema | None,
    name: str,
    on_text: OnText | None,
) -> NativeReply:
    """Ask `chat`, and hold its reply to `schema` by its own `with_structured_output`, if a schema is given.

    With `on_text` the reply is streamed. Raises `CallFailedError` if the model has no such way, and whatever its client
    raises.
    """
    asked = chat if schema is None else _structure(chat, {"title": name, "description": f"The {name}.", **schema})
    recorder = _Recorder(on_text)
    # Joined with the run's own, or whoever watches the run would see nothing of the call.
    config = merge_configs(ensure_config(), RunnableConfig(callbacks=[recorder], tags=[NOT_STREAMED]))
    try:
        returned = await _collect(asked, list(messages), config, stream=on_text is not None)
    except (OutputParserException, ValidationError):
        # The message says better what is wrong.
        if recorder.message is None:
            raise
        returned = None
    recorder.finish()
    return _read_returned(returned, recorder.message)


async def _collect(chat: ChatRunnable, messages: list[BaseMessage], config: RunnableConfig, *, stream: bool) -> object:
    if not stream:
        return await chat.ainvoke(messages, config)
    returned: Any = None
    async for part in chat.astream(messages, config):
        # Messages come in pieces; a parser returns all that it has up to now.
        is_piece = isinstance(part, AIMessageChunk) and isinstance(returned, AIMessageChunk)
        returned = returned + part if is_piece else part
    return returned


def _read_returned(returned: object, message: AIMessage | None) -> NativeReply:
    match returned:
        case AIMessage():
            return NativeReply(message or returned, None)
        case BaseModel():
            return NativeReply(message, returned.model_dump(mode="json"))
        case dict() if returned.keys() >= _PARSED_KEYS:
            raw = returned["raw"]
            return _read_returned(returned["parsed"], raw if isinstance(raw, AIMessage) else message)
        case dict():
            return NativeReply(message, cast("dict[str, Any]", returned))
        case str():
            return NativeReply(message or AIMessage(returned), None)
        case _ if message is not None:
            return NativeReply(message, None)
        case _:
            raise CallFailedError(
                ProviderFailure("other", f"It returned {type(returned).__name__}, not a message.", name="ReplyError")
            )


def _structure(chat: ChatRunnable, schema: JsonSchema) -> ChatRunnable:
    def structure_model(model: ChatRunnable) -> ChatRunnable:
        return cast("ChatRunnable", cast("Any", model).with_structured_output(schema))

    try:
        return change_models(chat, structure_model)
    except NotImplementedError as error:
        failure = ProviderFailure("status", f"It has no structured output ({error}).", status=400, name="NotSupported")
        raise CallFailedError(failure) from error
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        failure = ProviderFailure("status", f"Invalid schema: {error}", status=400, name=type(error).__name__)
        raise CallFailedError(failure) from error


def _has_own_output(model: ChatRunnable) -> bool:
    if not isinstance(model, BaseChatModel):
        return hasattr(model, "with_structured_output")
    kind = type(model)
    return any(
        getattr(kind, name) is not getattr(BaseChatModel, name) for name in ("with_structured_output", "bind_tools")
    )


class _Recorder(AsyncCallbackHandler):
    """Keeps the last message of a model, wherever it is inside a runnable, and hands on its text while it streams."""

    raise_error = True

    def __init__(self, on_text: OnText | None) -> None:
        self.message: AIMessage | None = None
        self._on_text = on_text
        self._reasoning = ReasoningFilter()

    async def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        **_details: Any,  # noqa: ANN401 - as the base class has it
    ) -> None:
        """Hand on a piece of the text, or of the arguments of the first tool call."""
        if self._on_text is None:
            return
        message = chunk.message if isinstance(chunk, ChatGenerationChunk) else None
        calls = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
        arguments = "".join(call["args"] or "" for call in calls[:1])
        text = str(message.text if message is not None else token)
        if piece := arguments or self._reasoning.feed(text):
            self._on_text(piece)

    async def on_llm_end(self, response: LLMResult, **_details: Any) -> None:  # noqa: ANN401 - as above
        """Keep the message."""
        found = [
            each.message
            for each in response.generations[0][:1]
            if isinstance(each, ChatGeneration) and isinstance(each.message, AIMessage)
        ]
        self.message = found[0] if found else self.message

    def finish(self) -> None:
        """Hand on what the filter has held back."""
        if self._on_text is not None and (rest := self._reasoning.finish()):
            self._on_text(rest)


def dump_value(value: dict[str, Any]) -> str:
    """Return a parsed value as the text of a reply."""
    return json.dumps(value, ensure_ascii=False, default=str)
