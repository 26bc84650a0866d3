"""Replies that are read while a model writes them, from servers that stream well, badly or not at all."""

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

from agent.llm.replies import ReasoningFilter

#: Is called with each piece of a reply's text as it arrives.
OnText = Callable[[str], None]

#: LangGraph's tag of a call whose reply is not shown in the stream mode `messages`: a plan as JSON is no message, and
#: an answer is shown when it has been checked.
NOT_STREAMED: Final = "nostream"
#: Statuses by which servers refuse a stream, or the count of tokens at its end.
STREAM_REFUSED_STATUSES: Final = frozenset((400, 403, 422))
#: Errors that would be the same without a stream, or are handled in the same way.
_FINAL_ERRORS: Final = (
    openai.APIStatusError,
    openai.APITimeoutError,
    openai.LengthFinishReasonError,
    openai.ContentFilterFinishReasonError,
    httpx.TimeoutException,
    httpx2.TimeoutException,
)
_STREAM_ERRORS: Final = (openai.APIError, httpx.HTTPError, httpx2.HTTPError, ConnectionError)


class NotStreamedError(Exception):
    """No whole reply came as a stream; asked without a stream, the server may give one."""

    def __init__(self, *, permanent: bool) -> None:
        """Say whether the server does not stream at all (`permanent`) or only this stream broke."""
        super().__init__("The server does not stream." if permanent else "The stream broke.")
        self.permanent = permanent


async def stream_reply(
    chat: Runnable[LanguageModelInput, AIMessage], messages: Sequence[BaseMessage], *, on_text: OnText
) -> AIMessage:
    """Return the whole reply of `chat`, and call `on_text` with each piece of its text or of its call's arguments.

    Raises `NotStreamedError`, and the client's own errors if the server refuses the request.
    """
    chunks: list[AIMessageChunk] = []
    reasoning = ReasoningFilter()
    async with aclosing(_stream_chunks(chat, messages)) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            arguments = (call["args"] or "" for call in chunk.tool_call_chunks[:1])
            if piece := "".join(arguments) or reasoning.feed(str(chunk.text)):
                on_text(piece)
    if rest := reasoning.finish():
        on_text(rest)
    if not chunks:
        raise NotStreamedError(permanent=True)
    whole = add_ai_message_chunks(*chunks)
    match whole.response_metadata.get("finish_reason"):
        case None:
            # It may have been cut off without notice.
            raise NotStreamedError(permanent=True)
        case "stop" if not (
            str(whole.text).strip() or whole.tool_call_chunks or whole.additional_kwargs.get("refusal")
        ):
            # With some output methods the client drops the text of a refusal.
            raise NotStreamedError(permanent=False)
    return whole


async def _stream_chunks(
    chat: Runnable[LanguageModelInput, AIMessage], messages: Sequence[BaseMessage]
) -> AsyncGenerator[AIMessageChunk]:
    """Yield the chunks of a stream; the client makes chunks of anything that a server sends."""
    begun = False
    try:
        async for chunk in chat.astream(list(messages), {"tags": [NOT_STREAMED]}):
            begun = True
            yield chunk  # type: ignore[misc]  # what a chat model streams
    except _FINAL_ERRORS:
        raise
    except _STREAM_ERRORS as error:
        raise NotStreamedError(permanent=False) from error
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # The client takes a whole completion, or a web page, for a stream without chunks, and raises one of these.
        raise NotStreamedError(permanent=not begun) from error
