"""The true embedded model: replies held to a schema, prose, one server for many threads and loops."""

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from agent.errors import WeightsError
from agent.llm.embedded.sampling import ask_texts
from agent.llm.embedded.server import start_server
from agent.llm.models import Model, is_model_available, resolve_model
from agent.llm.replies import MalformedReply, ParsedReply, TextReply, Usage
from agent.llm.structured_output import ask_json, ask_text

pytestmark = pytest.mark.local

SCHEMA = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["query", "chart"]},
        "count": {"type": "integer"},
        "words": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "note": {"type": "string"},
    },
    "required": ["tool", "count", "words"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> Model:
    if not is_model_available("local"):
        pytest.skip("the embedded model's weights are not in the cache: run `planwave models pull`")
    return resolve_model("local")


@pytest.mark.parametrize(
    "question",
    ["Write a poem about the sea.", "Answer with the word no.", "Choose the tool `email`, 3 times, words a, b, c, d."],
)
async def test_the_schema_is_enforced_whatever_is_asked(model, question):
    reply = await ask_json(model, [HumanMessage(question)], schema=SCHEMA, name="choice", max_tokens=300)
    assert isinstance(reply, ParsedReply), reply
    assert reply.usage.output_tokens > 0


async def test_a_string_without_end_is_ended(model):
    schema = {"type": "object", "properties": {"story": {"type": "string"}}, "required": ["story"]}
    reply = await ask_json(
        model, [HumanMessage("Tell an endless story of whales.")], schema=schema, name="s", max_tokens=600
    )
    assert isinstance(reply, ParsedReply)
    assert len(reply.value["story"]) <= 1000


async def test_a_reply_cut_off_is_told(model):
    reply = await ask_json(model, [HumanMessage("Two words.")], schema=SCHEMA, name="choice", max_tokens=4)
    assert isinstance(reply, MalformedReply)
    assert "cut off" in reply.reason


async def test_a_plain_question_gets_a_plain_answer(model):
    messages = [SystemMessage("Answer with one word."), HumanMessage("What is the capital of France?")]
    reply = await ask_text(model, messages, max_tokens=20)
    assert isinstance(reply, TextReply)
    assert "Paris" in reply.text


async def test_the_same_question_gets_the_same_reply(model):
    replies = [await ask_json(model, [HumanMessage("Chart it.")], schema=SCHEMA, name="choice") for _ in range(2)]
    assert replies[0] == replies[1]


async def test_texts_are_written_side_by_side_and_ended_when_enough_were_read(model):
    story = [SystemMessage("You tell stories." * 200), HumanMessage("Tell an endless story of whales.")]
    told: list[Usage] = []
    async with aclosing(ask_texts(model, story, number=3, seed=1, max_tokens=400, on_usage=told.append)) as replies:
        async for reply in replies:
            assert isinstance(reply, TextReply | MalformedReply)
            break
        else:
            pytest.fail("no text came")
    assert len(told) == 1
    # What follows begins alike, and finds what was read.
    [again] = (await model.chat.agenerate([story], max_tokens=1)).generations[0]
    usage = again.message.usage_metadata
    assert usage["input_token_details"]["cache_read"] > 0.9 * usage["input_tokens"]


async def test_the_beginning_of_a_prompt_is_kept_in_a_file_and_read_from_it(model):
    chat = model.chat
    beginning = [SystemMessage(f"The number of this test is {os.getpid()}. " + "Tables have columns. " * 300)]
    await chat.recall_prompt(beginning)
    file = chat.prompts.folder / chat.prompts.current
    try:
        assert file.stat().st_size > 1 << 20
        chat.prompts.current = None
        await chat.recall_prompt([SystemMessage("Another. " * 400)])
        await chat.recall_prompt(beginning)
        [reply] = (await chat.agenerate([[*beginning, HumanMessage("Well?")]], max_tokens=1)).generations[0]
        usage = reply.message.usage_metadata
        assert usage["input_token_details"]["cache_read"] > 0.9 * usage["input_tokens"]
    finally:
        file.unlink()


def test_many_threads_and_loops_share_one_server(model):
    replies = []

    def one() -> None:
        asked = ask_json(
            resolve_model("local"), [HumanMessage("Query it.")], schema=SCHEMA, name="choice", max_tokens=200
        )
        replies.append(asyncio.run(asked))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(reply) for reply in replies] == [ParsedReply] * 4


def test_nobody_else_on_this_machine_may_ask(model):
    client = openai.OpenAI(base_url=str(model.chat.openai_api_base), api_key="guessed", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="local", messages=[{"role": "user", "content": "hi"}])


def test_a_process_that_used_it_ends_silently():
    code = "import agent.llm.models as m; print(m.resolve_model('local').chat.invoke('Say yes.', max_tokens=3).text)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[4],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.strip()


def test_a_second_set_of_weights_in_one_process_is_refused(model, tmp_path):
    with pytest.raises(WeightsError, match="a process has one"):
        start_server(tmp_path / "other.gguf")
