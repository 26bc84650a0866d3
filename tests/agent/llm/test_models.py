"""Which model a choice and an environment lead to, and what is said where none is."""

import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI

from agent.errors import NoModelError, UsageError, WeightsError
from agent.llm.models import DEFAULT_OPENAI_MODEL, is_model_available, resolve_model
from tests.support.openai_endpoint import Endpoint

KEY = {"OPENAI_API_KEY": "sk-test"}
SERVER = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
DEFAULT = f"openai:{DEFAULT_OPENAI_MODEL}"


@pytest.mark.parametrize(
    ("choice", "env", "name"),
    [
        ("openai:gpt-x", KEY, "openai:gpt-x"),
        ("openai:gpt-x", SERVER, "openai:gpt-x"),
        ("openai:local", SERVER, "openai:local"),
        ("openai:org/model:tag", SERVER, "openai:org/model:tag"),
        ("openai:gpt-x", KEY | {"PLANWAVE_MODEL": "openai:other"}, "openai:gpt-x"),
        (None, KEY | {"PLANWAVE_MODEL": "openai:other"}, "openai:other"),
        (None, KEY, DEFAULT),
        (None, SERVER, DEFAULT),
        (None, KEY | {"PLANWAVE_MODEL": ""}, DEFAULT),
        ("", KEY, DEFAULT),
    ],
)
def test_the_choice_goes_first_then_the_variable_then_what_there_is(choice, env, name):
    model = resolve_model(choice, env=env)
    assert (model.name, model.scale, model.output_method) == (name, "large", "json_schema")
    assert isinstance(model.chat, ChatOpenAI)
    assert model.chat.model_name == name.removeprefix("openai:")
    assert is_model_available(choice, env=env)


def test_what_the_caller_sets_goes_before_the_defaults():
    model = resolve_model("openai:gpt-x", env=KEY, scale="small", timeout_s=3)
    assert (model.scale, model.timeout_s) == ("small", 3)


def test_a_model_of_langchains_is_taken_as_it_is():
    chat = FakeListChatModel(responses=["x"])
    model = resolve_model(chat, env={})
    assert model.chat is chat
    assert (model.name, model.scale, model.output_method) == ("FakeListChatModel", "large", "text")
    assert is_model_available(chat, env={})


@pytest.mark.parametrize("choice", ["gpt-5", "antropic:x", "openai:", "Local", "local:x", ":x", "claude-4"])
@pytest.mark.parametrize("ask", [resolve_model, is_model_available])
def test_a_choice_that_names_no_model_is_misuse(ask, choice):
    with pytest.raises(UsageError, match=rf"'{choice}' names no model.*OPENAI_API_KEY.*OPENAI_BASE_URL.*models pull"):
        ask(choice, env=KEY)


def test_a_named_model_without_key_and_server_is_told_the_three_ways():
    with pytest.raises(NoModelError, match=r"OPENAI_API_KEY.*OPENAI_BASE_URL.*--extra local.*models pull"):
        resolve_model("openai:gpt-x", env={})
    assert not is_model_available("openai:gpt-x", env={})


def test_without_the_extra_and_without_a_key_there_is_one_message_with_three_ways(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(NoModelError, match=r"OPENAI_API_KEY.*OPENAI_BASE_URL.*--extra local.*models pull"):
        resolve_model(None, env={})
    assert not is_model_available(None, env={})


def test_local_is_available_only_with_its_weights_and_asking_fetches_nothing(tmp_path):
    pytest.importorskip("xllamacpp")
    env = {"PLANWAVE_CACHE": str(tmp_path / "cache")}
    assert not is_model_available(None, env=env)
    assert not (tmp_path / "cache").exists()
    own = tmp_path / "own.gguf"
    assert not is_model_available("local", env=env | {"PLANWAVE_LOCAL_GGUF": str(own)})
    own.write_bytes(b"GGUF")
    assert is_model_available("local", env=env | {"PLANWAVE_LOCAL_GGUF": str(own)})


def test_weights_that_cannot_be_loaded_are_named(tmp_path):
    pytest.importorskip("xllamacpp")
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF and then nothing that fits")
    with pytest.raises(WeightsError, match=r"own.gguf.*cannot be loaded"):
        resolve_model("local", env={"PLANWAVE_LOCAL_GGUF": str(own)})


async def test_a_server_that_wants_no_key_needs_none():
    with Endpoint(["Good day."]) as endpoint:
        model = resolve_model("openai:scripted", env={"OPENAI_BASE_URL": endpoint.url})
        reply = await model.chat.ainvoke("Hello")
    assert reply.text == "Good day."


def test_asking_for_what_is_available_does_not_load_the_runtime():
    code = "import sys, agent.llm.models as m; m.is_model_available('local'); sys.exit('xllamacpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


PACKAGES = {
    "anthropic:claude-x": "langchain-anthropic",
    "google_genai:gemini-x": "langchain-google-genai",
    "mistralai:small": "langchain-mistralai",
    "bedrock:amazon.nova": "langchain-aws",
    "groq:llama": "langchain-groq",
}


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
@pytest.mark.parametrize("ask", [resolve_model, is_model_available])
def test_a_missing_package_of_a_provider_is_one_sentence(ask, name, package):
    with pytest.raises(UsageError, match=rf"{name}.*not installed: pip install {package}$") as raised:
        ask(name, env={})
    assert "\n" not in str(raised.value)


def test_a_misspelt_provider_is_told_the_nearest():
    with pytest.raises(UsageError, match=r"no provider 'antropic'; did you mean 'anthropic:x'\?"):
        resolve_model("antropic:x", env={})


def test_without_langchain_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(UsageError, match=r"the extra `models`.*langchain-cohere"):
        resolve_model("cohere:x", env={})


def test_a_provider_whose_key_is_missing_is_told_as_a_model_that_is_not_set_up(monkeypatch):
    monkeypatch.delenv("AZURE_OPENAI_API_KEY", raising=False)
    with pytest.raises(NoModelError, match=r"'azure_openai:d' cannot be made.*wants a key or an address"):
        resolve_model("azure_openai:d", env={})
    assert not is_model_available("azure_openai:d", env={})


async def test_a_model_of_another_provider_is_made_by_its_name(monkeypatch):
    with Endpoint(["Good day."], any_path=True) as endpoint:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint.url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
        model = resolve_model("azure_openai:deployed", env={})
        reply = await model.chat.ainvoke("Hello")
    assert (model.name, model.output_method, reply.text) == ("azure_openai:deployed", "json_schema", "Good day.")


@pytest.mark.parametrize("choice", [42, ChatOpenAI, ["openai:x"], object()])
def test_what_is_no_model_at_all_is_misuse(choice):
    with pytest.raises(UsageError, match=r"The model is .*give 'openai:NAME'"):
        resolve_model(choice, env={})
