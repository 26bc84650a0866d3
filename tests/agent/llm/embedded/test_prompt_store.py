"""The beginnings of the embedded model's prompts: read once, kept as files, recalled by later processes."""

import os
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import SecretStr

from agent.llm.embedded.prompt_store import PromptStore
from agent.llm.embedded.server import LocalEndpoint
from agent.llm.embedded.weights import get_prompt_folder
from agent.llm.openai_client import build_embedded_model
from tests.support.openai_endpoint import Endpoint, Text

RULES = "You reach a goal by a short script. " * 60
SHOP = [SystemMessage(f"{RULES} CREATE TABLE orders (order_id INTEGER);")]
CLINIC = [SystemMessage(f"{RULES} CREATE TABLE patients (patient_id INTEGER);")]
OTHER = [SystemMessage("You write an answer. " * 150), HumanMessage("Facts:")]


def open_store(folder: Path, *, weights: str = "coder") -> PromptStore:
    return PromptStore(folder / "prompts", model=weights)


def chat_at(endpoint: Endpoint, store: PromptStore | None):
    """Return the embedded model as a new process has it."""
    local = LocalEndpoint(url=endpoint.url, key=SecretStr("any"), weights=Path("model.gguf"), prompts=store)
    return build_embedded_model(local, name="local", timeout_s=20.0)


def endpoint_at(folder: Path) -> Endpoint:
    return Endpoint(lambda _request: Text("-"), slot_folder=folder / "prompts")


async def recall(folder: Path, *beginnings, weights: str = "coder") -> tuple[list[str], int]:
    """Recall beginnings in a new process; return what was done with slots, and how many texts were read."""
    with endpoint_at(folder) as endpoint:
        chat = chat_at(endpoint, open_store(folder, weights=weights))
        for beginning in beginnings:
            await chat.recall_prompt(beginning)
    assert all(request.body["max_completion_tokens"] == 1 for request in endpoint.requests)
    return [action for action, _ in endpoint.slots], len(endpoint.requests)


async def test_a_beginning_is_read_once_for_all_processes(tmp_path):
    assert await recall(tmp_path, SHOP, SHOP) == (["save"], 1)
    assert await recall(tmp_path, SHOP, SHOP) == (["restore"], 0)
    assert await recall(tmp_path, SHOP, weights="another model") == (["save"], 1)


async def test_one_that_begins_alike_is_read_from_where_it_differs(tmp_path):
    await recall(tmp_path, SHOP)
    assert await recall(tmp_path, CLINIC) == (["restore", "save"], 1)
    assert await recall(tmp_path, OTHER) == (["save"], 1)
    assert await recall(tmp_path, CLINIC, SHOP, CLINIC) == (["restore"] * 3, 0)


async def test_a_file_that_the_server_refuses_is_made_again(tmp_path):
    await recall(tmp_path, SHOP)
    [file] = (tmp_path / "prompts").iterdir()
    file.write_text("broken")
    assert await recall(tmp_path, SHOP) == (["restore", "save"], 1)
    assert file.read_text() == "state"


async def test_the_files_are_for_the_user_alone(tmp_path):
    await recall(tmp_path, SHOP)
    [file] = (tmp_path / "prompts").iterdir()
    assert [each.stat().st_mode & 0o077 for each in (file, file.parent)] == [0, 0]


async def test_those_not_used_for_longest_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.llm.embedded.prompt_store._MAX_BYTES", 2 * len("state"))
    store = open_store(tmp_path)
    for age, beginning in ((300, SHOP), (200, OTHER)):
        await recall(tmp_path, beginning)
        file = store.folder / store.name_file("\n".join(str(each.text) for each in beginning))
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    await recall(tmp_path, SHOP)
    await recall(tmp_path, CLINIC)
    assert (await recall(tmp_path, SHOP))[1] == 0
    assert (await recall(tmp_path, OTHER))[1] == 1


async def test_what_cannot_be_kept_only_costs_time(tmp_path):
    with Endpoint(lambda _request: Text("-")) as endpoint:
        chat = chat_at(endpoint, open_store(tmp_path))
        await chat.recall_prompt(SHOP)
        assert (await chat.ainvoke("Well?")).text == "-"
    assert list((tmp_path / "prompts").iterdir()) == []
    with endpoint_at(tmp_path) as endpoint:
        await chat_at(endpoint, None).recall_prompt(SHOP)
        await chat_at(endpoint, open_store(tmp_path)).recall_prompt([SystemMessage("Short.")])
    assert endpoint.requests == []


@pytest.mark.parametrize(("value", "kept"), [("", True), ("true", True), ("OFF", False), ("0", False)])
def test_a_variable_says_that_nothing_is_kept(tmp_path, value, kept):
    env = {"PLANWAVE_CACHE": str(tmp_path), "PLANWAVE_PROMPT_CACHE": value}
    assert get_prompt_folder(env) == (tmp_path / "prompts" if kept else None)
