"""The embedded model as a chat model of LangChain: it writes several answers to one question side by side."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import ConfigDict, Field

from agent.llm.embedded.prompt_store import PromptStore
from agent.logging_context import get_logger

#: Characters of a beginning that takes long enough to read.
_MIN_KEPT_LENGTH: Final = 2_000
_logger = get_logger(__name__)


class ParallelTexts:
    """The texts of one call, written side by side: read in their order, and ended early once enough were read."""

    def __init__(self, number: int, *, on_text: Callable[[str], None] | None = None) -> None:
        """Expect `number` texts; `on_text` is called with each piece of any of them."""
        loop = asyncio.get_running_loop()
        self._whole: list[asyncio.Future[AIMessage | None]] = [loop.create_future() for _ in range(number)]
        self._on_text = on_text
        self.number = number
        self.is_enough = False

    def count_piece(self, piece: str) -> None:
        """Pass on a piece of one of the texts."""
        if self._on_text is not None:
            self._on_text(piece)

    def finish_text(self, place: int, message: AIMessage) -> None:
        """Take a text that is whole; one that came as a stream is not taken twice."""
        if place < len(self._whole) and not self._whole[place].done():
            self._whole[place].set_result(message)

    def finish(self) -> None:
        """Let nobody wait any more: what is not whole now does not come."""
        for each in self._whole:
            if not each.done():
                each.set_result(None)

    async def wait_for_text(self, place: int) -> AIMessage | None:
        """Return a text as soon as it is whole; None if it does not come."""
        return await self._whole[place]


class EmbeddedChat(ChatOpenAI):
    """The embedded model. Several answers are streamed, so that a reader who has enough of them can end the others.

    The beginnings of its prompts are kept in files, if it has a store for them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    #: Where several answers go while they are written.
    texts: ParallelTexts | None = Field(default=None, exclude=True)
    prompts: PromptStore | None = Field(default=None, exclude=True)
    #: The slot of the server into which a beginning is read.
    prompt_slot: int = Field(default=0, exclude=True)

    async def recall_prompt(self, beginning: Sequence[BaseMessage]) -> None:
        """Have the server know how the next prompts begin: from a file of an earlier run, else by reading it now.

        What was read is kept in a file. What fails here only takes the time that it was to save.
        """
        store, text = self.prompts, "\n".join(str(each.text) for each in beginning)
        if store is None or len(text) < _MIN_KEPT_LENGTH or (name := store.name_file(text)) == store.current:
            return
        try:
            found = store.find_file(name)
            if found is not None and not await self._move_slot("restore", found):
                store.forget(found)
                found = None
            if found != name:
                await self._read_and_keep(beginning, store, name)
        except (openai.APIError, OSError) as error:
            _logger.warning("The beginning of a prompt was not kept: %s", error)
        store.current = name

    async def _read_and_keep(self, beginning: Sequence[BaseMessage], store: PromptStore, name: str) -> None:
        payload = self._get_request_payload(list(beginning), max_tokens=1) | {"stream": False}
        await self.async_client.create(**payload, extra_body={"id_slot": self.prompt_slot})
        partial = store.name_partial()
        if await self._move_slot("save", partial):
            store.keep(partial, name=name)

    async def _move_slot(self, action: Literal["save", "restore"], file: str) -> bool:
        """Have the server write a slot into a file, or read it from one; return whether it did."""
        address = f"{str(self.openai_api_base).removesuffix('/v1')}/slots/{self.prompt_slot}?action={action}"
        try:
            await self.root_async_client.post(address, cast_to=object, body={"filename": file})
        except openai.APIStatusError as error:
            _logger.warning("The embedded model could not %s the beginning of a prompt: %s", action, error)
            return False
        return True

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - as the base class has it
    ) -> ChatResult:
        number = int(kwargs.get("n") or self.n or 1)
        if number == 1:
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        return await self._write_side_by_side(
            self._get_request_payload(messages, stop=stop, **kwargs), self.texts or ParallelTexts(number), number
        )

    async def _write_side_by_side(self, payload: dict[str, Any], texts: ParallelTexts, number: int) -> ChatResult:
        """Return the texts as far as they were written when all were whole or the reader had enough.

        The server counts one text only, but with `timings_per_token` it says of each how far it is.
        """
        body = {**(payload.pop("extra_body", None) or {}), "timings_per_token": True}
        written: list[list[str]] = [[] for _ in range(number)]
        messages: dict[int, AIMessage] = {}
        tokens, read, cached = [0] * number, 0, 0
        async with await self.async_client.create(**payload | {"stream": True}, extra_body=body) as stream:
            async for chunk in stream:
                timings = (chunk.model_extra or {}).get("timings") or {}
                for choice in chunk.choices:
                    place = choice.index
                    if piece := choice.delta.content:
                        written[place].append(piece)
                        texts.count_piece(piece)
                    if timings:
                        tokens[place] = int(timings["predicted_n"])
                        cached = max(cached, int(timings["cache_n"]))
                        read = max(read, int(timings["cache_n"]) + int(timings["prompt_n"]))
                    if choice.finish_reason is not None:
                        messages[place] = _build_message("".join(written[place]), choice.finish_reason)
                        texts.finish_text(place, messages[place])
                if texts.is_enough:
                    break
        if texts.is_enough and self.prompts is not None:
            # The slot that has the prompt ends a moment later, and counts as busy to a question that comes at once.
            self.prompts.current = None
        parts = [messages.get(each) or _build_message("".join(written[each]), "stop") for each in range(number)]
        usage = UsageMetadata(input_tokens=read, output_tokens=sum(tokens), total_tokens=read + sum(tokens))
        parts[0].usage_metadata = usage | {"input_token_details": {"cache_read": cached}}
        return ChatResult(generations=[ChatGeneration(message=each) for each in parts])


def _build_message(text: str, finish_reason: str) -> AIMessage:
    return AIMessage(text, response_metadata={"finish_reason": finish_reason})
