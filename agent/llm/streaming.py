"""Replies heard while a model writes them, from servers that stream well, badly or not at all."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import httpx
import httpx2
import openai
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI

from agent.llm.models import Model

#: Is told each piece of a reply's text as it comes.
Heard = Callable[[str], None]

#: By these statuses servers turn down a stream, or the count of tokens at its end.
TURNED_DOWN: Final = frozenset((400, 403, 422))
#: Would not be better without a stream, or is read as without one.
_AS_WITHOUT: Final = (
    openai.APIStatusError,
    openai.APITimeoutError,
    openai.LengthFinishReasonError,
    openai.ContentFilterFinishReasonError,
    httpx.TimeoutException,
    httpx2.TimeoutException,
)
_BROKEN: Final = (openai.APIError, httpx.HTTPError, httpx2.HTTPError, ConnectionError)


class NotStreamedError(Exception):
    """No whole reply came as a stream; asked without one, the server may give it."""

    def __init__(self, *, for_good: bool) -> None:
        """`for_good`: the server does not stream at all; otherwise this stream broke."""
        super().__init__("The server does not stream." if for_good else "The stream broke.")
        self.for_good = for_good


def streaming(model: Model, *, counted: bool) -> ChatOpenAI | None:
    """Return the chat model of `model` set to stream, with its tokens told at the end if `counted`; None if it cannot.

    https://platform.openai.com/docs/api-reference/chat/create, `stream` and `stream_options.include_usage`.
    """
    if not isinstance(model.chat, ChatOpenAI) or not model.streams:
        return None
    # A model that thinks first sends nothing for minutes; `Model.timeout_s` bounds the whole as without a stream.
    changes = {"disable_streaming": False, "stream_usage": counted, "stream_chunk_timeout": None}
    return model.chat.model_copy(update=changes)


async def hear(
    chat: Runnable[LanguageModelInput, AIMessage], messages: Sequence[BaseMessage], *, heard: Heard
) -> AIMessage:
    """Return the whole reply of `chat`, and tell `heard` each piece of its text or of its call's arguments as it comes.

    Raises `NotStreamedError`, and the client's own errors where the server refuses the question.
    """
    chunks: list[AIMessageChunk] = []
    async with aclosing(_chunks(chat, messages)) as coming:
        async for chunk in coming:
            chunks.append(chunk)
            arguments = (call["args"] or "" for call in chunk.tool_call_chunks[:1])
            if piece := "".join(arguments) or str(chunk.text):
                heard(piece)
    if not chunks:
        raise NotStreamedError(for_good=True)
    whole = add_ai_message_chunks(*chunks)
    match whole.response_metadata.get("finish_reason"):
        case None:
            # It may have been cut off without a word.
            raise NotStreamedError(for_good=True)
        case "stop" if not (
            str(whole.text).strip() or whole.tool_call_chunks or whole.additional_kwargs.get("refusal")
        ):
            # Of a refusal the client keeps nothing in some ways of asking.
            raise NotStreamedError(for_good=False)
    return whole


async def _chunks(
    chat: Runnable[LanguageModelInput, AIMessage], messages: Sequence[BaseMessage]
) -> AsyncGenerator[AIMessageChunk]:
    """Yield the chunks of a stream, which the client makes of anything that a server sends."""
    begun = False
    try:
        async for chunk in chat.astream(list(messages)):
            begun = True
            yield chunk  # type: ignore[misc]  # what a chat model streams
    except _AS_WITHOUT:
        raise
    except _BROKEN as error:
        raise NotStreamedError(for_good=False) from error
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # The client takes a whole completion, or a page, for a stream without chunks and trips over that.
        raise NotStreamedError(for_good=not begun) from error
