"""Several texts to one question, written side by side in one call of the embedded model, and read one by one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import ensure_config

from agent.errors import PlanwaveError
from agent.llm.embedded.chat import EmbeddedChat, ParallelTexts
from agent.llm.models import Model
from agent.llm.openai_client import enable_sampling
from agent.llm.provider_errors import explain_failure, read_failure
from agent.llm.replies import MalformedReply, TextReply, Usage
from agent.llm.streaming import NOT_STREAMED, OnText
from agent.llm.structured_output import OnUsage, Question, build_parameters, log_call, parse_message
from agent.llm.usage import begin_call, count_call


async def ask_texts(
    model: Model,
    messages: Sequence[BaseMessage],
    *,
    number: int,
    seed: int,
    max_tokens: int,
    grammar: str | None = None,
    on_usage: OnUsage | None = None,
    on_text: OnText | None = None,
) -> AsyncGenerator[TextReply | MalformedReply]:
    """Sample `number` texts in one call, for a model whose server can write so many at once.

    The same `seed` gives the same texts again; seeds that are `number` apart give others. They are yielded in their
    order, each as soon as it is whole; closing the generator ends the others. `grammar` as for `ask_text`; `on_text` is
    called with the pieces of all of them. Raises `ModelReplyError` as `ask_json` does.
    """
    question = Question(
        messages,
        schema={},
        name="reply",
        strict=False,
        max_tokens=max_tokens,
        on_text=on_text,
        on_note=None,
        grammar=grammar if model.supports_grammar else None,
    )
    texts = ParallelTexts(number, on_text=on_text)
    call = asyncio.create_task(_sample_texts(model, question, texts, seed=seed, on_usage=on_usage))
    call.add_done_callback(lambda _call: texts.finish())
    try:
        for place in range(number):
            message = await texts.wait_for_text(place)
            if message is None:
                break
            reply = parse_message(message)
            fault = reply.fault
            yield (
                TextReply(text=reply.text, usage=Usage())
                if fault is None
                else MalformedReply(reason=fault, raw=reply.text, usage=Usage())
            )
    except asyncio.CancelledError:
        call.cancel()
        raise
    finally:
        texts.is_enough = True
        await call


async def _sample_texts(
    model: Model, question: Question, texts: ParallelTexts, *, seed: int, on_usage: OnUsage | None
) -> None:
    """Make the call whose texts go to `texts` and count it."""
    config = ensure_config()
    chat = cast("BaseChatModel", enable_sampling(model.chat, seed=seed))
    if isinstance(chat, EmbeddedChat):
        chat = chat.model_copy(update={"texts": texts})
    begin_call()
    with log_call(model, f"text, {texts.number} at once") as log_reply:
        try:
            async with asyncio.timeout(model.timeout_s):
                result = await chat.agenerate(
                    [list(question.messages)],
                    callbacks=config.get("callbacks"),
                    tags=[*(config.get("tags") or ()), NOT_STREAMED],
                    metadata=config.get("metadata"),
                    n=texts.number,
                    max_tokens=question.max_tokens,
                    **build_parameters(model, question, None),
                )
        except PlanwaveError:
            raise
        except Exception as error:
            failure = read_failure(error, speaks_openai=model.speaks_openai)
            raise explain_failure(failure, speaks_openai=model.speaks_openai) from error
        received = [
            each.message
            for each in result.generations[0]
            if isinstance(each, ChatGeneration) and isinstance(each.message, AIMessage)
        ]
        # The first has the tokens of all.
        for first in map(parse_message, received[:1]):
            log_reply(first)
            count_call(first.usage)
            if on_usage is not None:
                on_usage(first.usage)
    for place, message in enumerate(received):
        texts.finish_text(place, message)
