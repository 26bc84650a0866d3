"""Replies heard while they are written, from servers that stream well, badly or not at all."""

import json

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from agent.errors import ModelReplyError
from agent.llm.models import resolve_model
from agent.llm.replies import MalformedReply, ParsedReply, Usage
from agent.llm.structured_output import ask_json
from tests.support.openai_endpoint import Body, Endpoint, Failure, Refusal, Text, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}}},
    "required": ["title", "steps"],
    "additionalProperties": False,
}
GOOD = {"title": "Top five", "steps": ["query the orders", "draw a chart of them"]}
REPLY = Text(json.dumps(GOOD), input_tokens=120, output_tokens=34)


class Asked:
    """What came of questions to one endpoint, and what was heard of the last."""

    def __init__(self, endpoint, **options):
        self.model = resolve_model("openai:scripted", env=endpoint.env, timeout_s=20.0, **options)
        self.endpoint = endpoint
        self.heard = []

    async def reply(self):
        self.heard.clear()
        return await ask_json(
            self.model, [HumanMessage("Plan it.")], schema=SCHEMA, name="plan", on_text=self.heard.append
        )

    @property
    def streamed(self):
        return [bool(request.body.get("stream")) for request in self.endpoint.requests]


async def test_a_reply_is_heard_in_pieces_and_read_as_without_a_stream():
    with Endpoint([REPLY]) as endpoint:
        asked = Asked(endpoint)
        reply = await asked.reply()
    assert isinstance(reply, ParsedReply)
    assert (reply.value, reply.usage) == (GOOD, Usage(input_tokens=120, output_tokens=34))
    assert "".join(asked.heard) == json.dumps(GOOD)
    assert len(asked.heard) > 5
    assert asked.streamed == [True]


async def test_nobody_who_does_not_listen_is_sent_a_stream():
    with Endpoint([REPLY]) as endpoint:
        asked = Asked(endpoint)
        await ask_json(asked.model, [HumanMessage("Plan it.")], schema=SCHEMA, name="plan")
    assert asked.streamed == [False]


async def test_the_arguments_of_a_call_are_heard_too():
    with Endpoint([ToolCall("plan", json.dumps(GOOD))], supports=["function"]) as endpoint:
        asked = Asked(endpoint)
        reply = await asked.reply()
    assert isinstance(reply, ParsedReply)
    assert "".join(asked.heard) == json.dumps(GOOD)
    assert len(asked.heard) > 5


STREAMLESS = {"refused": [True, True, False, False], "ignored": [True, False, False]}


@pytest.mark.parametrize(("streams", "asked_for"), STREAMLESS.items())
async def test_a_server_without_streams_is_asked_for_one_once(streams, asked_for):
    # A server that ignores the wish for a stream has spent an answer on it.
    with Endpoint([REPLY] * 3, streams=streams) as endpoint:
        asked = Asked(endpoint)
        for _ in range(2):
            reply = await asked.reply()
            assert isinstance(reply, ParsedReply)
            assert (reply.value, asked.heard) == (GOOD, [])
    assert asked.streamed == asked_for
    assert "stream" in asked.model.unsupported


async def test_a_server_that_does_not_count_tokens_in_streams_still_streams():
    with Endpoint([REPLY] * 2, streams="uncounted") as endpoint:
        asked = Asked(endpoint)
        for _ in range(2):
            reply = await asked.reply()
            assert isinstance(reply, ParsedReply)
            assert "".join(asked.heard) == json.dumps(GOOD)
    assert ["stream_options" in request.body for request in endpoint.requests] == [True, False, False]
    assert asked.model.unsupported == {"stream_usage"}


async def test_a_stream_that_breaks_is_asked_for_again_as_a_whole_and_heard_once():
    with Endpoint([REPLY] * 2, streams="cut") as endpoint:
        asked = Asked(endpoint)
        reply = await asked.reply()
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    assert json.dumps(GOOD).startswith("".join(asked.heard))
    assert asked.streamed == [True, False]


async def test_a_page_in_the_place_of_a_stream_is_explained_as_without_one():
    with Endpoint([Body(b"<html>Please log in</html>")] * 2) as endpoint:
        asked = Asked(endpoint)
        with pytest.raises(ModelReplyError, match="does not follow the OpenAI protocol"):
            await asked.reply()
    assert asked.model.unsupported == set()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Text('{"title": "a', finish_reason="length"), "cut off at the token limit"),
        (Text("", finish_reason="content_filter"), "content filter"),
        (Refusal("I would rather not."), "refused: 'I would rather not.'"),
        (Text(""), "empty"),
        (Text("{"), "not JSON"),
    ],
    ids=["cut off", "filtered", "refused", "empty", "bad JSON"],
)
@pytest.mark.parametrize("way", ["json_schema", "function", "json_object", "text"])
async def test_a_streamed_reply_that_cannot_be_used_says_so_as_without_a_stream(answer, reason, way):
    with Endpoint(lambda _: answer, supports=[way]) as endpoint:
        reply = await Asked(endpoint).reply()
    assert isinstance(reply, MalformedReply)
    assert reason in reply.reason or (reason == "not JSON" and "no complete JSON" in reply.reason)
    assert reply.usage == Usage(input_tokens=11, output_tokens=7)


@pytest.mark.parametrize(("status", "times"), [(401, 1), (429, 3), (500, 3), (400, 12)])
async def test_a_refusal_that_is_not_about_the_stream_is_not_taken_for_one(status, times):
    with Endpoint(lambda _: Failure(status, headers={"Retry-After": "0"})) as endpoint:
        asked = Asked(endpoint)
        with pytest.raises(ModelReplyError):
            await asked.reply()
    assert len(endpoint.requests) == times
    assert asked.model.unsupported == set()


async def test_a_chat_model_made_not_to_stream_does_not():
    with Endpoint([REPLY]) as endpoint:
        chat = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="k", disable_streaming=True)
        asked = Asked(endpoint)
        asked.model = resolve_model(chat)
        assert isinstance(await asked.reply(), ParsedReply)
    assert asked.streamed == [False]
    assert asked.heard == []
