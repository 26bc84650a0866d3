"""Every kind of reply, by every way, from a real HTTP server and from models made in Python."""

import asyncio
import json

import anyio
import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

from agent.errors import ModelReplyError
from agent.llm.models import Model, resolve_model
from agent.llm.replies import MalformedReply, ParsedReply, TextReply, Usage
from agent.llm.structured_output import ask_json, ask_text
from tests.support.openai_endpoint import Body, Cut, Endpoint, Failure, Refusal, Request, Stall, Text, ToolCall

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "steps": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
    "required": ["title", "steps"],
    "additionalProperties": False,
}
GOOD = {"title": "Top five", "steps": ["query", "chart"]}
MESSAGES = [HumanMessage("Plan it.")]


def model_at(endpoint: Endpoint, *, timeout_s: float = 20.0) -> Model:
    return resolve_model("openai:scripted", env=endpoint.env, timeout_s=timeout_s)


async def reply_to(model: Model, **options):
    return await ask_json(model, MESSAGES, schema=SCHEMA, name="plan", **options)


async def test_a_good_reply_is_parsed_and_its_tokens_are_told():
    told: list[Usage] = []
    with Endpoint([Text(json.dumps(GOOD), input_tokens=120, output_tokens=34)]) as endpoint:
        reply = await reply_to(model_at(endpoint), on_usage=told.append, max_tokens=500)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    assert told == [Usage(input_tokens=120, output_tokens=34)] == [reply.usage]
    [request] = endpoint.requests
    sent = request.body["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"]) == ("plan", True)
    assert sent["schema"]["required"] == ["title", "steps", "note"]
    assert request.body["max_completion_tokens"] == 500


async def test_an_optional_property_left_out_as_null_is_absent_again():
    with Endpoint([{**GOOD, "note": None}]) as endpoint:
        reply = await reply_to(model_at(endpoint))
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD


MALFORMED = {
    "bad JSON": ('{"title": ', "not JSON"),
    "text around": ("Here: " + json.dumps(GOOD), "not JSON"),
    "a list": ("[1]", "one JSON object"),
    "wrong type": ({"title": 3, "steps": []}, "At title: 3 is not of type 'string'"),
    "missing": ({"title": "x"}, "'steps' is a required property"),
    "extra": ({**GOOD, "surprise": 1}, "'surprise' was unexpected"),
    "repeated key": ('{"title": "a", "title": "b", "steps": []}', "'title' appears twice"),
    "NaN": ('{"title": NaN, "steps": []}', "NaN is not a JSON number"),
    "lone surrogate": ('{"title": "\\ud800", "steps": []}', "half a character"),
    "too large": ('{"title": 1e999, "steps": []}', "a number that is too large"),
    "too deep": ("[" * 100_000, "nested too deeply"),
    "long integer": ('{"title": ' + "9" * 5000 + ', "steps": []}', "not JSON"),
    "empty": ("", "empty"),
    "blank": (" \n", "empty"),
    "cut off": (Text('{"title": "a', finish_reason="length"), "cut off at the token limit"),
    "filtered": (Text("", finish_reason="content_filter"), "content filter"),
    "refused": (Refusal("I would rather not."), "refused: 'I would rather not.'"),
}


@pytest.mark.parametrize(("answer", "reason"), MALFORMED.values(), ids=MALFORMED)
async def test_a_reply_that_cannot_be_used_is_a_value_with_its_reason(answer, reason):
    told: list[Usage] = []
    with Endpoint([answer]) as endpoint:
        reply = await reply_to(model_at(endpoint), on_usage=told.append)
    assert isinstance(reply, MalformedReply)
    assert reason in reply.reason
    assert reply.usage == Usage(input_tokens=11, output_tokens=7)
    assert told == [reply.usage]
    assert len(endpoint.requests) == 1


FAILED = {
    "wrong key": (Failure(401, "Incorrect API key."), "refused the key"),
    "forbidden": (Failure(403, "Not yours."), "refused the key"),
    "unknown model": (Failure(404, "No such model."), "does not know this model"),
    "no answer left": (Failure(418, "Short and stout."), "rejected the request with status 418"),
    "not the protocol": (Body(b"<html>Please log in</html>"), "does not follow the OpenAI protocol"),
    "no choices": (Body(b'{"id": "1"}', "application/json"), "does not follow the OpenAI protocol"),
}


@pytest.mark.parametrize(("answer", "sentence"), FAILED.values(), ids=FAILED)
async def test_a_server_that_gives_no_reply_is_explained(answer, sentence):
    with Endpoint([answer]) as endpoint:
        with pytest.raises(ModelReplyError, match=sentence):
            await reply_to(model_at(endpoint))
        assert len(endpoint.requests) == 1


RETRIED = {
    "server error": (Failure(500), "failed with status 500"),
    "rate": (Failure(429, headers={"Retry-After": "0"}), "rate limit or quota"),
    "cut connection": (Cut(), "cannot be reached|broke"),
}


@pytest.mark.parametrize(("answer", "sentence"), RETRIED.values(), ids=RETRIED)
async def test_what_may_pass_is_tried_again_and_then_explained(answer, sentence):
    with Endpoint([answer, GOOD, answer, answer, answer]) as endpoint:
        model = model_at(endpoint)
        assert isinstance(await reply_to(model), ParsedReply)
        with pytest.raises(ModelReplyError, match=sentence):
            await reply_to(model)
        assert len(endpoint.requests) == 5


async def test_retry_after_is_waited_for(monkeypatch):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)  # by which the client waits
    with Endpoint([Failure(429, headers={"Retry-After": "7"}), GOOD]) as endpoint:
        assert isinstance(await reply_to(model_at(endpoint)), ParsedReply)
    assert waits == [7.0]


async def test_a_stall_ends_with_the_time_of_the_question():
    # Who waits for as long as other questions may take hears instead that the connection broke.
    with Endpoint([Stall(10)]) as endpoint, pytest.raises(ModelReplyError, match="did not answer in time"):
        await reply_to(model_at(endpoint, timeout_s=0.4))


async def test_nobody_at_the_address_is_explained():
    endpoint = Endpoint().open()
    endpoint.close()
    with pytest.raises(ModelReplyError, match="cannot be reached"):
        await reply_to(model_at(endpoint))


WAYS = {
    "function": ({"function", "json_object"}, ToolCall("plan", json.dumps(GOOD))),
    "json_object": ({"json_object"}, json.dumps(GOOD)),
    "text": (set(), f"Of course! Here is {{the plan}}:\n```json\n{json.dumps(GOOD)}\n```\nAnything else?"),
}


@pytest.mark.parametrize(("supports", "answer"), WAYS.values(), ids=WAYS)
async def test_a_way_that_is_turned_down_gives_way_to_the_next_and_is_remembered(supports, answer, request):
    way = request.node.callspec.id
    with Endpoint([answer, answer], supports=supports) as endpoint:
        model = model_at(endpoint)
        first = await reply_to(model)
        asked = [each.way for each in endpoint.requests]
        second = await reply_to(model)
    assert isinstance(first, ParsedReply)
    assert isinstance(second, ParsedReply)
    assert first.value == second.value == GOOD
    assert asked[-1] == way
    assert asked[0] == "json_schema"
    assert [each.way for each in endpoint.requests][len(asked) :] == [way]


@pytest.mark.parametrize("way", ["json_object", "text"])
async def test_the_schema_is_in_the_prompt_where_the_server_is_not_told_it(way):
    with Endpoint([GOOD], supports={way}) as endpoint:
        assert isinstance(await reply_to(model_at(endpoint)), ParsedReply)
    assert '"additionalProperties": false' in endpoint.requests[-1].text


async def test_broken_tool_arguments_are_malformed():
    with Endpoint([ToolCall("plan", '{"title": ')], supports={"function"}) as endpoint:
        reply = await reply_to(model_at(endpoint))
    assert isinstance(reply, MalformedReply)
    assert reply.raw == '{"title": '


async def test_a_request_turned_down_for_itself_is_told_in_the_first_words_and_costs_no_way():
    too_long = Failure(400, "maximum context length is 8192 tokens", code="context_length_exceeded")
    with Endpoint([too_long, GOOD, *[Failure(400, f"bad temperature {n}") for n in range(4)], GOOD]) as endpoint:
        model = model_at(endpoint)
        with pytest.raises(ModelReplyError, match="maximum context length"):
            await reply_to(model)
        assert isinstance(await reply_to(model), ParsedReply)
        with pytest.raises(ModelReplyError, match="bad temperature 0"):
            await reply_to(model)
        assert isinstance(await reply_to(model), ParsedReply)
    ways = [each.way for each in endpoint.requests]
    assert ways == ["json_schema", "json_schema", "json_schema", "function", "json_object", "text", "json_schema"]


@pytest.mark.parametrize(("status", "sentence"), [(401, "refused the key"), (404, "does not know this model")])
async def test_what_a_later_method_fails_for_is_told_and_not_that_the_first_was_refused(status, sentence):
    endpoint = Endpoint(lambda _: Failure(status), supports=["json_object"])
    with endpoint, pytest.raises(ModelReplyError, match=sentence):
        await reply_to(model_at(endpoint))


async def test_a_schema_of_free_form_is_sent_as_it_is_and_not_strict():
    schema = {"type": "object", "properties": {"args": {"type": "object"}}, "required": ["args"]}
    with Endpoint([{"args": {"any": 1}}]) as endpoint:
        reply = await ask_json(model_at(endpoint), MESSAGES, schema=schema, name="call")
    assert isinstance(reply, ParsedReply)
    sent = endpoint.requests[0].body["response_format"]["json_schema"]
    assert sent["strict"] is False
    assert sent["schema"] == schema


async def test_a_small_model_is_given_an_end_to_every_string_and_list():
    with Endpoint([GOOD]) as endpoint:
        model = resolve_model("openai:scripted", env=endpoint.env, scale="small")
        assert isinstance(await reply_to(model), ParsedReply)
    sent = endpoint.requests[0].body["response_format"]["json_schema"]["schema"]["properties"]
    assert sent["title"]["maxLength"] > 0
    assert sent["steps"]["maxItems"] > 0


PYTHON_MODELS = {
    "a list of replies": FakeListChatModel(responses=[json.dumps(GOOD)]),
    "an iterator of messages": GenericFakeChatModel(messages=iter([AIMessage(json.dumps(GOOD))])),
    "a tool call": GenericFakeChatModel(
        messages=iter([AIMessage("", tool_calls=[{"name": "plan", "args": GOOD, "id": "1"}])])
    ),
    "fenced": FakeListChatModel(responses=[f"Sure.\n```\n{json.dumps(GOOD)}\n```"]),
}


@pytest.mark.parametrize("chat", PYTHON_MODELS.values(), ids=PYTHON_MODELS)
async def test_any_model_of_langchain_will_do(chat: BaseChatModel):
    reply = await reply_to(resolve_model(chat, env={}), max_tokens=100)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD


async def test_a_streaming_chat_openai_of_the_users_own_works_too():
    with Endpoint([GOOD, Text('{"title": "a', finish_reason="length"), Refusal("No.")]) as endpoint:
        chat = ChatOpenAI(model="own", base_url=endpoint.url, api_key="any", streaming=True, stream_usage=True)
        model = resolve_model(chat, env={})
        replies = [await reply_to(model) for _ in range(3)]
    assert isinstance(replies[0], ParsedReply)
    assert replies[0].usage == Usage(input_tokens=11, output_tokens=7)
    assert isinstance(replies[1], MalformedReply)
    assert "cut off" in replies[1].reason
    assert isinstance(replies[2], MalformedReply)
    assert "refused" in replies[2].reason
    assert all(each.body["stream"] for each in endpoint.requests)


async def test_many_questions_at_once_get_their_own_replies():
    def echo(request: Request) -> dict[str, object]:
        return {"title": request.body["messages"][0]["content"], "steps": []}

    with Endpoint(echo) as endpoint:
        model = model_at(endpoint)
        asked = (ask_json(model, [HumanMessage(f"goal {n}")], schema=SCHEMA, name="plan") for n in range(20))
        replies = await asyncio.gather(*asked)
    assert [reply.value["title"] for reply in replies] == [f"goal {n}" for n in range(20)]


def test_one_model_serves_one_event_loop_after_another():
    with Endpoint(lambda _: GOOD) as endpoint:
        model = model_at(endpoint)
        for _ in range(5):
            assert isinstance(asyncio.run(reply_to(model)), ParsedReply)


async def test_prose_is_returned_with_its_tokens():
    with Endpoint(["Five customers.", Text("Five cust", finish_reason="length")]) as endpoint:
        model = model_at(endpoint)
        whole = await ask_text(model, MESSAGES)
        part = await ask_text(model, MESSAGES, max_tokens=2)
    assert whole == TextReply(text="Five customers.", usage=Usage(input_tokens=11, output_tokens=7))
    assert part == TextReply(text="Five cust", usage=whole.usage, truncated=True)


@pytest.mark.parametrize("answer", ["", Refusal("No."), Text("", finish_reason="length")])
async def test_no_prose_is_malformed(answer):
    with Endpoint([answer]) as endpoint:
        reply = await ask_text(model_at(endpoint), MESSAGES)
    assert isinstance(reply, MalformedReply)


async def test_prose_from_a_server_that_refuses_the_key_is_explained():
    with Endpoint(["never"], key="right") as endpoint:
        model = resolve_model("openai:scripted", env={**endpoint.env, "OPENAI_API_KEY": "wrong"})
        with pytest.raises(ModelReplyError, match="refused the key"):
            await ask_text(model, MESSAGES)


async def test_each_call_is_logged_with_its_way_its_tokens_and_its_time(caplog):
    caplog.set_level("INFO", logger="agent.llm")
    with Endpoint([GOOD, Refusal("SECRET"), Failure(404, "SECRET")], supports={"json_object"}) as endpoint:
        model = model_at(endpoint)
        for _ in range(2):
            await reply_to(model)
        with pytest.raises(ModelReplyError):
            await reply_to(model)
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert [level for level, _ in told] == [*["WARNING"] * 2, "INFO", *["WARNING"] * 4]
    assert [text.split(" after ")[0] for _, text in told] == [
        "Model call failed: openai:scripted by json_schema",
        "Model call failed: openai:scripted by function",
        "Model call ended: openai:scripted by json_object",
        "Model openai:scripted refused the output method function and took json_object",
        "Model openai:scripted refused the output method json_schema and took json_object",
        "Model call ended: openai:scripted by json_object",
        "Model call failed: openai:scripted by json_object",
    ]
    ended = caplog.records[2]
    assert ended.getMessage().endswith(" s, tokens read: 11, written: 7")
    assert (ended.model, ended.method, ended.input_tokens, ended.output_tokens) == (model.name, "json_object", 11, 7)
    assert ended.duration_s >= 0
    assert told[0][1].endswith(" s: BadRequestError with status 400")
    assert told[5][1].endswith(", no usable reply")
    assert told[6][1].endswith(" s: NotFoundError with status 404")
    assert not [text for _, text in told if "SECRET" in text or "Plan it" in text]


async def test_a_call_that_the_client_makes_again_is_logged_by_the_client(caplog):
    caplog.set_level("INFO")
    with Endpoint([Failure(500), GOOD]) as endpoint:
        assert isinstance(await reply_to(model_at(endpoint)), ParsedReply)
    assert [each.name for each in caplog.records if each.getMessage().startswith("Retrying request")] == [
        "openai._base_client"
    ]
