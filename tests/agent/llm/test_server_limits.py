"""Servers that refuse a parameter, a size or a role: the request is changed as they say, and that is remembered."""

import json
import re

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from agent.errors import ModelReplyError
from agent.llm.models import resolve_model
from agent.llm.replies import MalformedReply, ParsedReply, TextReply
from agent.llm.structured_output import ask_json, ask_text
from tests.support.openai_endpoint import Body, Endpoint, Failure, Request, Text

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
GOOD = {"title": "Top five"}
MESSAGES = [SystemMessage("You plan."), HumanMessage("Plan it.")]


def model_at(endpoint: Endpoint, **options):
    return resolve_model("openai:scripted", env=endpoint.env, timeout_s=20.0, **options)


async def ask(model, messages=MESSAGES, *, max_tokens=12_000, **options):
    return await ask_json(model, messages, schema=SCHEMA, name="plan", max_tokens=max_tokens, **options)


def sizes(endpoint: Endpoint) -> list[dict[str, int]]:
    names = ("max_completion_tokens", "max_tokens")
    return [{name: each.body[name] for name in names if name in each.body} for each in endpoint.requests]


PARAMETER = "max_completion_tokens"
PARAMETER_REFUSALS = {
    "mistral": Failure(422, json.dumps({"type": "extra_forbidden", "loc": ["body", PARAMETER]})),
    "older openai": Failure(400, f"Unrecognized request argument supplied: {PARAMETER}"),
    "proxy": Failure(400, f"{PARAMETER}: unknown field"),
    "vllm": Failure(400, f"[{{'type': 'extra_forbidden', 'loc': ('body', '{PARAMETER}'), 'msg': 'Extra inputs'}}]"),
    "other": Failure(422, f"The parameter `{PARAMETER}` is not supported by this model."),
}


@pytest.mark.parametrize("refusal", PARAMETER_REFUSALS.values(), ids=PARAMETER_REFUSALS)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_server_that_knows_the_older_parameter_only_is_sent_that_one(refusal, streams):
    def reply(request: Request):
        return refusal if PARAMETER in request.body else GOOD

    with Endpoint(reply) as endpoint:
        model = model_at(endpoint)
        for _ in range(2):
            reply = await ask(model, **({"on_text": [].append} if streams else {}))
            assert isinstance(reply, ParsedReply)
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert sizes(endpoint) == [{PARAMETER: 12_000}, *[{"max_tokens": 12_000}] * 3]
    assert [each.way for each in endpoint.requests] == ["json_schema"] * 4


async def test_a_server_that_knows_neither_parameter_is_sent_none():
    def reply(request: Request):
        known = [name for name in (PARAMETER, "max_tokens") if name in request.body]
        return Failure(400, f"Unknown parameter: '{known[0]}'.") if known else GOOD

    with Endpoint(reply) as endpoint:
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert sizes(endpoint) == [{PARAMETER: 12_000}, {"max_tokens": 12_000}, {}]


SIZE_REFUSALS = {
    "openai": "max_tokens is too large: {n}. This model supports at most 4096 completion tokens, whereas you gave {n}.",
    "anthropic": "max_tokens: {n} > 4096, which is the maximum allowed number of output tokens for claude-3-5-haiku",
    "deepseek": "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]",
    "groq": "`max_completion_tokens` must be less than or equal to `4096`, the maximum value for it",
    "thousands": "max_tokens cannot exceed 4,096",
    "bedrock": "The maximum tokens you requested exceeds the model limit of 4096. Try a lower value.",
    "cohere": "too many tokens: max tokens must be less than or equal to 4096",
}


@pytest.mark.parametrize("words", SIZE_REFUSALS.values(), ids=SIZE_REFUSALS)
@pytest.mark.parametrize("status", [400, 422])
async def test_the_servers_own_number_is_taken_and_remembered(words, status):
    def reply(request: Request):
        asked = request.body[PARAMETER]
        return Failure(status, words.format(n=asked)) if asked > 4096 else GOOD

    with Endpoint(reply) as endpoint:
        model = model_at(endpoint)
        for _ in range(2):
            assert isinstance(await ask(model), ParsedReply)
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert sizes(endpoint) == [{PARAMETER: 12_000}, *[{PARAMETER: 4096}] * 3]


async def test_without_a_number_half_is_asked_for_until_it_is_taken():
    def reply(request: Request):
        return Failure(400, "max_tokens is too large for this model.") if request.body[PARAMETER] > 4000 else GOOD

    with Endpoint(reply) as endpoint:
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert [each[PARAMETER] for each in sizes(endpoint)] == [12_000, 6_000, 3_000]


async def test_credits_that_allow_fewer_tokens_are_spent_on_fewer():
    def reply(request: Request):
        asked = request.body[PARAMETER]
        words = f"This request requires more credits, or fewer max_tokens. You asked for {asked}, but can afford 3500."
        return Failure(402, words) if asked > 3500 else GOOD

    with Endpoint(reply) as endpoint:
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert [each[PARAMETER] for each in sizes(endpoint)] == [12_000, 3_500]


@pytest.mark.parametrize(
    ("own", "set_to", "sent"),
    [(500, None, 500), (500, 3_000, 500), (None, 3_000, 3_000), (None, None, 12_000), (30_000, None, 30_000)],
)
@pytest.mark.parametrize("bound", [False, True])
async def test_the_users_own_limit_goes_first_then_the_setting(own, set_to, sent, bound):
    with Endpoint(lambda _: GOOD) as endpoint:
        given = {} if own is None else {"max_tokens": own}
        chat = ChatOpenAI(model="own", base_url=endpoint.url, api_key="k", **({} if bound else given))
        model = resolve_model(chat.bind(**given) if bound else chat, env={}, max_output_tokens=set_to)
        assert isinstance(await ask(model), ParsedReply)
    assert sizes(endpoint) == [{PARAMETER: sent}]


async def test_the_users_own_limit_is_sent_by_the_older_name_too():
    def reply(request: Request):
        return PARAMETER_REFUSALS["proxy"] if PARAMETER in request.body else GOOD

    with Endpoint(reply) as endpoint:
        chat = ChatOpenAI(model="own", base_url=endpoint.url, api_key="k", extra_body={"top_k": 3})
        assert isinstance(await ask(resolve_model(chat.bind(max_tokens=700), env={})), ParsedReply)
    assert sizes(endpoint) == [{PARAMETER: 700}, {"max_tokens": 700}]
    assert endpoint.requests[-1].body["top_k"] == 3


CONTEXT_REFUSALS = {
    "vllm": "This model's maximum context length is 8192 tokens. However, you requested {all} tokens ({prompt} in the "
    "messages, {asked} in the completion). Please reduce the length of the messages or completion.",
    "newer vllm": "'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length "
    "is 8192 tokens and your request has {prompt} input tokens ({asked} > 8192 - {prompt}).",
    "sglang": "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total "
    "of {all} tokens: {prompt} tokens from the input messages and {asked} tokens for the completion.",
    "tgi": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: {prompt} `inputs` "
    "tokens and {asked} `max_new_tokens`",
    "without the prompt's": "the request exceeds the available context size (8192 tokens), try increasing it",
}


def small_context(words: str, *, tokens_per_character: float):
    def reply(request: Request):
        prompt, asked = int(len(request.text) * tokens_per_character), request.body.get(PARAMETER, 0)
        if prompt + asked <= 8192:
            return GOOD
        message = words.format(prompt=prompt, asked=asked, all=prompt + asked)
        return Failure(400, message, code="context_length_exceeded")

    return reply


@pytest.mark.parametrize("words", CONTEXT_REFUSALS.values(), ids=CONTEXT_REFUSALS)
@pytest.mark.parametrize("characters", [3_000, 20_000, 60_000])
@pytest.mark.parametrize("density", [0.25, 0.5])
async def test_a_small_context_gets_fewer_tokens_and_then_a_shorter_prompt(words, characters, density):
    told: list[str] = []
    messages = [SystemMessage("BEGIN " + "x" * characters + " END"), HumanMessage("The goal.")]
    with Endpoint(small_context(words, tokens_per_character=density)) as endpoint:
        model = model_at(endpoint)
        assert isinstance(await ask(model, messages, on_note=told.append), ParsedReply)
        first = len(endpoint.requests)
        assert isinstance(await ask(model, messages, on_note=told.append), ParsedReply)
    assert first <= 6
    assert len(endpoint.requests) == first + 1
    last = endpoint.requests[-1]
    assert last.body[PARAMETER] >= 1_000
    assert "The goal." in last.text
    assert "BEGIN" in last.text
    assert "END" in last.text
    whole = characters * density + 1_100 < 8192
    assert (len(told) == 0) == whole
    if not whole:
        assert re.search(r"context of 8,192 tokens: [\d,]+ of its [\d,]+ characters were left out", told[0])
        assert "characters left out here" in last.text


ROLE_REFUSALS = {
    "gemma": Failure(400, "System role not supported"),
    "o1": Failure(400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    "studio": Failure(400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    "template": Failure(500, "Conversation roles must alternate user/assistant/user/assistant/..."),
    "anthropic": Failure(400, 'messages: Unexpected role "system". The Messages API accepts a top-level parameter.'),
}


@pytest.mark.parametrize("refusal", ROLE_REFUSALS.values(), ids=ROLE_REFUSALS)
async def test_without_a_system_role_its_text_begins_the_users(refusal):
    def reply(request: Request):
        roles = [message["role"] for message in request.body["messages"]]
        return refusal if roles != ["user"] else GOOD

    with Endpoint(reply) as endpoint:
        model = model_at(endpoint)
        assert isinstance(await ask(model), ParsedReply)
        assert isinstance(await ask(model), ParsedReply)
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert endpoint.requests[-1].body["messages"] == [{"role": "user", "content": "You plan.\n\nPlan it."}]
    refused = [each for each in endpoint.requests if len(each.body["messages"]) > 1]
    assert len(refused) == (3 if refusal.status == 500 else 1)  # the client tries that status again itself


async def test_what_did_not_help_is_not_remembered():
    with Endpoint(lambda _: Failure(400, "max_tokens is too large")) as endpoint:
        model = model_at(endpoint)
        with pytest.raises(ModelReplyError, match="max_tokens is too large"):
            await ask(model)
    assert (model.limits.reply_tokens, model.limits.context_tokens, model.unsupported) == (None, None, set())


def error_body(**error) -> Body:
    return Body(json.dumps({"error": error}).encode(), "application/json")


ERRORS_IN_REPLIES = {
    "credits": (error_body(message="Insufficient credits", code=402), "Insufficient credits", 1),
    "key": (error_body(message="No auth credentials found", code=401), "refused the key.*No auth credentials", 1),
    "rate": (error_body(message="Slow down", code=429), "rate limit.*Slow down", 3),
    "behind": (error_body(message="Provider returned error", code=502, metadata={"raw": "No GPU"}), "502.*No GPU", 3),
    "text code": (error_body(message="Slow down", code="rate_limit_exceeded"), "rate limit.*Slow down", 3),
    "no code": (error_body(message="Something odd"), "answered with an error.*Something odd", 1),
    "not wrapped": (
        Body(b'{"object": "error", "message": "No such model", "code": 404}', "text/json"),
        "No such model",
        1,
    ),
    "a text": (Body(b'{"error": "model is loading"}', "application/json"), "model is loading", 1),
    "an event": (
        Body(b'data: {"error": {"message": "Upstream exploded", "code": 502}}\n\n', "text/event-stream"),
        "502.*Upstream exploded",
        3,
    ),
    "minimax": (
        Body(b'{"base_resp": {"status_code": 1004, "status_msg": "login fail"}, "choices": null}', "application/json"),
        "login fail",
        1,
    ),
}


@pytest.mark.parametrize(("answer", "sentence", "calls"), ERRORS_IN_REPLIES.values(), ids=ERRORS_IN_REPLIES)
@pytest.mark.parametrize("streams", [False, True])
async def test_an_error_inside_a_good_status_is_told_in_the_providers_words(answer, sentence, calls, streams):
    with Endpoint(lambda _: answer) as endpoint, pytest.raises(ModelReplyError, match=sentence) as raised:
        await ask(model_at(endpoint), **({"on_text": [].append} if streams else {}))
    assert "OPENAI_BASE_URL" not in str(raised.value) or "404" in str(answer)
    assert len(endpoint.requests) <= calls + streams
    assert len([each for each in endpoint.requests if not each.body.get("stream")]) == calls


async def test_a_transient_error_inside_a_reply_passes():
    with Endpoint([error_body(message="Overloaded", code=529), GOOD]) as endpoint:
        assert isinstance(await ask(model_at(endpoint)), ParsedReply)
    assert len(endpoint.requests) == 2


REASONING = {
    "closed": ("<think>Let me see: {maybe}.</think>\n\nFive customers.", "Five customers."),
    "unclosed": ("<think>Let me see, the user wants", None),
    "not opened": ("Let me see.\n</think>\nFive customers.", "Five customers."),
    "in the middle": ("Five <think>or six?</think>customers.", "Five customers."),
    "other tags": ("<thinking>Hm.</thinking><reasoning>Hm.</reasoning>Five.", "Five."),
    "marks": ("[THINK]Hm.[/THINK]Five.", "Five."),
    "channels": ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Five.", "Five."),
    "upper case": ("<THINK>Hm.</THINK> Five.", "Five."),
    "no reasoning": ("a < b, [t1] and <b>bold</b> remain", "a < b, [t1] and <b>bold</b> remain"),
}


@pytest.mark.parametrize(("written", "kept"), REASONING.values(), ids=REASONING)
async def test_reasoning_is_never_in_a_text(written, kept):
    with Endpoint([written]) as endpoint:
        reply = await ask_text(model_at(endpoint), MESSAGES)
    if kept is None:
        assert isinstance(reply, MalformedReply)
    else:
        assert isinstance(reply, TextReply)
        assert reply.text.strip() == kept


@pytest.mark.parametrize("method", ["json_schema", "json_object", "text"])
@pytest.mark.parametrize(
    "begins", ['<think>Maybe {"title": "wrong"}?</think>\n', '<think>Maybe {"title": "wrong"}?', "◁think▷{}◁/think▷"]
)
async def test_reasoning_is_neither_parsed_nor_streamed(method, begins):
    heard: list[str] = []
    closed = "</think>" in begins or "/think" in begins
    written = begins + ("" if closed else "</think>") + json.dumps(GOOD)
    with Endpoint([written], supports=[method]) as endpoint:
        reply = await ask(model_at(endpoint), on_text=heard.append)
    assert isinstance(reply, ParsedReply)
    assert reply.value == GOOD
    assert json.loads("".join(heard)) == GOOD


async def test_reasoning_beside_the_text_is_not_the_text():
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Five.", "reasoning_content": "Hm, hm."},
            }
        ],
    }
    with Endpoint([Body(json.dumps(body).encode(), "application/json")]) as endpoint:
        reply = await ask_text(model_at(endpoint), MESSAGES)
    assert isinstance(reply, TextReply)
    assert reply.text == "Five."


async def test_a_string_with_a_tag_in_it_stays_whole_in_json():
    with Endpoint([{"title": "What <think> means"}]) as endpoint:
        reply = await ask(model_at(endpoint))
    assert isinstance(reply, ParsedReply)
    assert reply.value == {"title": "What <think> means"}


async def test_azure_is_asked_by_json_schema(monkeypatch):
    with Endpoint([GOOD, Text('{"title": "a', finish_reason="length")], any_path=True) as endpoint:
        chat = AzureChatOpenAI(
            azure_endpoint=endpoint.url.removesuffix("/v1"), api_key="k", api_version="2024-10-21", azure_deployment="d"
        )
        model = resolve_model(chat, env={})
        assert isinstance(await ask(model), ParsedReply)
        assert isinstance(await ask(model), MalformedReply)
    first = endpoint.requests[0]
    assert "/openai/deployments/d/chat/completions" in first.path
    assert (first.way, first.body[PARAMETER]) == ("json_schema", 12_000)
