"""Models of other makers: their own structured output, their streams, their errors, and wrappers around them."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import ConfigurableField, Runnable, RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import Field

from agent.errors import ModelReplyError
from agent.llm import structured_output
from agent.llm.models import resolve_model
from agent.llm.replies import MalformedReply, ParsedReply, TextReply, Usage
from agent.llm.structured_output import ask_json, ask_text
from tests.support.openai_endpoint import Endpoint, Failure

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}}},
    "required": ["title", "steps"],
    "additionalProperties": False,
}
GOOD = {"title": "Top five", "steps": ["query the orders", "draw a chart of them"]}
MESSAGES = [SystemMessage("You plan."), HumanMessage("Plan it.")]
TOKENS = UsageMetadata(input_tokens=21, output_tokens=9, total_tokens=30)


class Made(BaseChatModel):
    """A model of another maker: it calls tools, and answers by a script of values, texts and errors."""

    script: Any = Field(default_factory=list)
    seen: Any = Field(default_factory=list)
    max_output_tokens: int | None = None
    temperature: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "made"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable:
        return self.bind(tools=list(tools), **kwargs)

    def _next(self, kwargs: dict[str, Any], stop: list[str] | None = None) -> AIMessage:
        limits = {"max_output_tokens": self.max_output_tokens, "temperature": self.temperature}
        self.seen.append({**kwargs, **limits, "stop": stop})
        entry = self.script.pop(0) if self.script else RuntimeError("the script is over")
        if isinstance(entry, Exception):
            raise entry
        if isinstance(entry, AIMessage):
            return entry
        if isinstance(entry, dict) and "tools" in kwargs:
            call = {"name": "plan", "args": entry, "id": "c1"}
            return AIMessage("", tool_calls=[call], usage_metadata=TOKENS)
        return AIMessage(entry if isinstance(entry, str) else json.dumps(entry), usage_metadata=TOKENS)

    def _generate(self, messages: list[BaseMessage], stop=None, run_manager=None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(kwargs, stop))])


class Streaming(Made):
    """The same with streams."""

    async def _astream(
        self, messages, stop=None, run_manager=None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        whole = self._next({**kwargs, "streamed": True}, stop)
        text = json.dumps(whole.tool_calls[0]["args"]) if whole.tool_calls else str(whole.text)
        for start in range(0, len(text), 8):
            piece = text[start : start + 8]
            if whole.tool_calls:
                call = {
                    "name": "plan" if not start else None,
                    "args": piece,
                    "id": "c1" if not start else None,
                    "index": 0,
                }
                message = AIMessageChunk("", tool_call_chunks=[{**call, "type": "tool_call_chunk"}])
            else:
                message = AIMessageChunk(piece)
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                await run_manager.on_llm_new_token(str(message.text), chunk=chunk)
            yield chunk
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=TOKENS, chunk_position="last"))


class OwnWay(Made):
    """A model whose `with_structured_output` is its own, and returns the value without a message."""

    asked: list[Any] = Field(default_factory=list)

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable:
        self.asked.append(schema)
        return RunnableLambda(lambda _: self.script.pop(0))


class ProviderError(Exception):
    """As the clients of Anthropic and others raise it."""

    def __init__(self, status: int, message: str = "scripted failure", **headers: str) -> None:
        super().__init__(message)
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers=headers)


class GoogleError(Exception):
    """As the clients of Google raise it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message = code, message


class WrappedError(Exception):
    pass


def wrapped(error: Exception) -> Exception:
    outer = WrappedError("The call failed.")
    outer.__cause__ = error
    return outer


class BotoError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(structured_output, "_pause", sleep)
    return waits


async def ask(chat: Any, **options):
    return await ask_json(resolve_model(chat, env={}), MESSAGES, schema=SCHEMA, name="plan", **options)


@pytest.mark.parametrize("kind", [Made, Streaming])
async def test_its_own_structured_output_is_used(kind):
    told: list[Usage] = []
    chat = kind(script=[GOOD])
    reply = await ask(chat, on_usage=told.append)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    assert told == [Usage(input_tokens=21, output_tokens=9)]
    [tool] = chat.seen[0]["tools"]
    assert "steps" in json.dumps(tool.get("function", tool))
    assert resolve_model(chat, env={}).output_method == "native"


async def test_a_structured_output_of_its_own_is_called_with_the_schema():
    chat = OwnWay(script=[GOOD])
    reply = await ask(chat)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    [schema] = chat.asked
    assert (schema["title"], schema["required"]) == ("plan", ["title", "steps"])


async def test_an_own_way_that_returns_nothing_is_told():
    with pytest.raises(ModelReplyError, match="returned NoneType, not a message"):
        await ask(OwnWay(script=[None]))


async def test_an_own_way_that_returns_the_message_beside_no_value_is_malformed():
    reply = await ask(OwnWay(script=[{"raw": AIMessage("No."), "parsed": None, "parsing_error": ValueError()}]))
    assert isinstance(reply, MalformedReply)
    assert reply.raw == "No."


async def test_its_reply_is_heard_while_it_streams():
    heard: list[str] = []
    chat = Streaming(script=[GOOD])
    reply = await ask(chat, on_text=heard.append)
    assert isinstance(reply, ParsedReply)
    assert (reply.value, reply.usage) == (GOOD, Usage(input_tokens=21, output_tokens=9))
    assert "".join(heard) == json.dumps(GOOD)
    assert len(heard) > 5
    assert chat.seen[0]["streamed"]


async def test_a_model_without_streams_is_asked_for_the_whole():
    heard: list[str] = []
    reply = await ask(Made(script=[GOOD]), on_text=heard.append)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD


@pytest.mark.parametrize("kind", [Made, Streaming])
async def test_prose_in_place_of_a_call_is_parsed_as_text(kind):
    good = await ask(kind(script=[f"<think>{{}}</think>Sure:\n```json\n{json.dumps(GOOD)}\n```"]))
    bad = await ask(kind(script=["I would rather not."]))
    assert isinstance(good, ParsedReply)
    assert good.value == GOOD
    assert isinstance(bad, MalformedReply)
    assert bad.usage == Usage(input_tokens=21, output_tokens=9)


async def test_a_value_that_does_not_fit_is_malformed():
    reply = await ask(Made(script=[{"title": 3, "steps": []}]))
    assert isinstance(reply, MalformedReply)
    assert "3 is not of type 'string'" in reply.reason


async def test_a_reply_that_was_cut_off_says_so():
    cut = AIMessage('{"title": "a', response_metadata={"stop_reason": "max_tokens"})
    reply = await ask(Made(script=[cut]))
    assert isinstance(reply, MalformedReply)
    assert "cut off" in reply.reason


async def test_a_refused_tool_gives_way_to_text_and_is_remembered():
    class NoTools(Made):
        def _next(self, kwargs, stop=None):
            if "tools" in kwargs:
                self.seen.append({**kwargs})
                raise ProviderError(400, "tool use is not supported by this model")
            return super()._next(kwargs, stop)

    chat = NoTools(script=[GOOD, GOOD])
    model = resolve_model(chat, env={})
    for _ in range(2):
        assert isinstance(await ask_json(model, MESSAGES, schema=SCHEMA, name="plan"), ParsedReply)
    assert ["tools" in each for each in chat.seen] == [True, False, False]


TRANSIENT: dict[str, Callable[[], Exception]] = {
    "429": lambda: ProviderError(429),
    "529": lambda: ProviderError(529, "Overloaded"),
    "503": lambda: GoogleError(503, "UNAVAILABLE"),
    "google 429": lambda: GoogleError(429, "RESOURCE_EXHAUSTED"),
    "wrapped": lambda: wrapped(ProviderError(500)),
    "botocore": lambda: BotoError(429, "ThrottlingException"),
    "words only": lambda: RuntimeError("Rate limit reached for requests"),
    "connection": lambda: ConnectionResetError("reset by peer"),
}


@pytest.mark.parametrize("make", TRANSIENT.values(), ids=TRANSIENT)
@pytest.mark.parametrize("streams", [False, True])
async def test_what_may_pass_is_tried_again_and_then_told(make, streams):
    options = {"on_text": [].append} if streams else {}
    chat = Streaming(script=[make(), make(), GOOD])
    assert isinstance(await ask(chat, **options), ParsedReply)
    chat = Streaming(script=[make() for _ in range(9)])
    with pytest.raises(ModelReplyError):
        await ask(chat, **options)
    assert len(chat.seen) == 3 + streams


FINAL = {
    "401": (ProviderError(401, "invalid x-api-key"), "refused the key.*invalid x-api-key"),
    "403": (GoogleError(403, "PERMISSION_DENIED"), "refused the key"),
    "404": (ProviderError(404, "no such model"), "does not know this model"),
    "402": (ProviderError(402, "no credits"), "add credits"),
    "a bug": (ValueError("bad input"), "failed with ValueError: bad input"),
    "a key": (KeyError("x"), "failed with KeyError"),
    "a timeout": (TimeoutError(), "did not answer in time"),
}


@pytest.mark.parametrize(("error", "sentence"), FINAL.values(), ids=FINAL)
async def test_what_will_not_pass_is_an_error_of_ours_at_once(error, sentence):
    chat = Made(script=[error, GOOD])
    with pytest.raises(ModelReplyError, match=sentence) as raised:
        await ask_text(resolve_model(chat, env={}), MESSAGES)
    assert len(chat.seen) == 1
    assert "OPENAI" not in str(raised.value)


async def test_the_time_that_a_provider_asks_for_is_waited(no_waiting):
    chat = Made(script=[ProviderError(429, **{"retry-after": "7"}), GOOD])
    assert isinstance(await ask(chat), ParsedReply)
    assert no_waiting == [7.0]


async def test_a_client_that_tries_again_itself_is_not_doubled():
    class Persistent(Made):
        max_retries: int = 2

    chat = Persistent(script=[ProviderError(529) for _ in range(5)])
    with pytest.raises(ModelReplyError, match="529"):
        await ask(chat)
    assert len(chat.seen) == 1


@pytest.mark.parametrize(("own", "sent"), [(None, 3_000), (500, 500)])
async def test_the_setting_limits_its_reply_unless_it_has_a_limit(own, sent):
    chat = Made(script=[GOOD], max_output_tokens=own)
    model = resolve_model(chat, env={}, max_output_tokens=3_000)
    assert isinstance(await ask_json(model, MESSAGES, schema=SCHEMA, name="plan"), ParsedReply)
    assert chat.seen[0]["max_output_tokens"] == sent


WRAPPERS: dict[str, Callable[[Made], Any]] = {
    "bind": lambda chat: chat.bind(stop=["END"]),
    "with_config": lambda chat: chat.with_config(tags=["mine"]),
    "with_retry": lambda chat: chat.with_retry(stop_after_attempt=2),
    "with_fallbacks": lambda chat: chat.with_fallbacks([FakeListChatModel(responses=["never"])]),
    "configurable_fields": lambda chat: chat.configurable_fields(temperature=ConfigurableField(id="heat")),
    "configurable_alternatives": lambda chat: chat.configurable_alternatives(
        ConfigurableField(id="which"), other=FakeListChatModel(responses=["never"])
    ),
    "several": lambda chat: (
        chat.configurable_fields(temperature=ConfigurableField(id="heat"))
        .with_fallbacks([Made(script=[GOOD])])
        .with_retry()
    ),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_runnable_over_a_chat_model_will_do(wrap, streams):
    heard: list[str] = []
    reply = await ask(wrap(Streaming(script=[GOOD])), **({"on_text": heard.append} if streams else {}))
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    text = await ask_text(resolve_model(wrap(Streaming(script=["Five."])), env={}), MESSAGES)
    assert isinstance(text, TextReply)
    assert text.text == "Five."


async def test_what_is_bound_and_configured_reaches_the_model():
    chat = Made(script=[GOOD])
    whole = chat.configurable_fields(temperature=ConfigurableField(id="heat")).bind(stop=["END"])
    configured = whole.with_config(configurable={"heat": 0.5})
    assert isinstance(await ask(configured), ParsedReply)
    assert (chat.seen[0]["temperature"], chat.seen[0]["stop"]) == (0.5, ["END"])


async def test_a_fallback_answers_for_the_first():
    first, second = Made(script=[ProviderError(401)]), Made(script=[GOOD])
    reply = await ask(first.with_fallbacks([second]))
    assert isinstance(reply, ParsedReply)
    assert (len(first.seen), len(second.seen)) == (1, 1)


async def test_a_retry_of_langchains_tries_again():
    chat = Made(script=[ValueError("odd"), GOOD])
    assert isinstance(await ask(chat.with_retry(wait_exponential_jitter=False)), ParsedReply)
    assert len(chat.seen) == 2


OPENAI_WRAPPERS: dict[str, Callable[[ChatOpenAI], Any]] = {
    "bind": lambda chat: chat.bind(stop=["END"]),
    "with_retry": lambda chat: chat.with_retry(),
    "with_fallbacks": lambda chat: chat.with_fallbacks([chat]),
    "configurable_fields": lambda chat: chat.configurable_fields(temperature=ConfigurableField(id="heat")),
}


@pytest.mark.parametrize("wrap", OPENAI_WRAPPERS.values(), ids=OPENAI_WRAPPERS)
async def test_a_wrapped_chat_openai_is_asked_as_without(wrap):
    heard: list[str] = []
    with Endpoint([GOOD, GOOD]) as endpoint:
        chat = ChatOpenAI(model="own", base_url=endpoint.url, api_key="k")
        reply = await ask(wrap(chat), max_tokens=900)
        streamed = await ask(wrap(chat), on_text=heard.append)
    assert isinstance(reply, ParsedReply)
    assert isinstance(streamed, ParsedReply)
    assert "".join(heard) == json.dumps(GOOD)
    assert [each.way for each in endpoint.requests] == ["json_schema"] * 2
    assert endpoint.requests[0].body["max_completion_tokens"] == 900
    assert "stop" in endpoint.requests[0].body or wrap is not OPENAI_WRAPPERS["bind"]


async def test_a_sequence_that_returns_text_is_asked_for_json_as_text():
    chat = Made(script=[json.dumps(GOOD)])
    reply = await ask(RunnableLambda(lambda messages: messages) | chat | RunnableLambda(lambda message: message.text))
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD


async def test_a_runnable_that_returns_something_else_is_told():
    with pytest.raises(ModelReplyError, match="returned int, not a message"):
        await ask(RunnableLambda(lambda _: 42))


async def test_a_model_of_init_chat_model_that_is_configured_later(monkeypatch):
    from langchain.chat_models import init_chat_model

    with Endpoint([GOOD, Failure(401)]) as endpoint:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        chat = init_chat_model("openai:first", configurable_fields=("model",), base_url=endpoint.url)
        reply = await ask(chat)
        with pytest.raises(ModelReplyError, match="refused the key"):
            await ask(chat)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
