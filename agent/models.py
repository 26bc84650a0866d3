"""The only place that makes a chat model."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import openai
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent.errors import NoModelError, UsageError, WeightsError
from agent.local.parts import Progress
from agent.local.server import installed, serve
from agent.local.weights import QWEN_CODER, pull, weights_path

#: Taken where there is a key or a base URL and no model is named; PLANWAVE_MODEL names another.
DEFAULT_OPENAI_MODEL: Final = "gpt-5-mini"
LOCAL: Final = "local"
_OPENAI: Final = "openai:"
#: Seconds that one question may take in all, its retries included.
_TIMEOUT_S: Final = 300.0
#: The embedded model reads some 50 to 90 tokens a second on two cores, and its context holds 8,192.
_LOCAL_TIMEOUT_S: Final = 600.0
_MAX_RETRIES: Final = 2
_SEED: Final = 7
#: A server that wants no key still gets one, because the client sends none without.
_NO_KEY: Final = "none"

#: A `small` model plans in stages, a `large` one in one call.
Scale = Literal["small", "large"]
#: How a reply is held to a schema, from the surest way to the last.
Way = Literal["json_schema", "function", "json_object", "text"]
Say = Callable[[str], None]

_THREE_WAYS: Final = (
    "Set OPENAI_API_KEY (and choose with `--model openai:NAME`); or set OPENAI_BASE_URL to any server that speaks "
    "the OpenAI protocol; or use the embedded model, which needs no key: `pip install 'planwave[local]'` or "
    "`uv run --extra local planwave ...`, and `planwave models pull`."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A chat model and what the callers must know of it."""

    chat: BaseChatModel
    #: As it is named to people: `"local"`, `"openai:gpt-5-mini"`, or the class of a model given from Python.
    name: str
    scale: Scale
    #: The surest way to hold its replies to a schema.
    structured: Way
    #: Seconds that one question may take in all.
    timeout_s: float
    #: The ways that its server has turned down, learnt while asking.
    refused: set[Way] = field(default_factory=set, compare=False, repr=False)


def resolve_model(
    choice: str | BaseChatModel | None,
    *,
    env: Mapping[str, str] = os.environ,
    say: Say | None = None,
    progress: Progress | None = None,
    scale: Scale | None = None,
    timeout_s: float | None = None,
) -> Model:
    """Make the model that `choice` names: `"openai:NAME"`, `"local"`, a model of LangChain's, or None.

    None is PLANWAVE_MODEL; without it the default of OpenAI if `env` has a key or a base URL; else `local`. The
    first use of `local` fetches its weights, of which `say` is told before and `progress` meanwhile, and starts its
    server: both block, so a coroutine calls this in a thread. Raises `UsageError` for a choice that is none of
    these, `NoModelError` if nothing is set up, `WeightsError` if the weights cannot be had.
    """
    match _decided(choice, env=env):
        case "local":
            return _local(env, say=say or _quiet, progress=progress or _no_progress, scale=scale, timeout_s=timeout_s)
        case str(name):
            return _openai(name, env=env, scale=scale, timeout_s=timeout_s)
        case chat:
            return Model(
                chat=chat,
                name=type(chat).__name__,
                scale=scale or "large",
                structured="json_schema" if isinstance(chat, ChatOpenAI) else "text",
                timeout_s=timeout_s or _TIMEOUT_S,
            )


def available(choice: str | BaseChatModel | None, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `resolve_model` can make a model at once: nothing is downloaded, started or asked.

    A key is not tried out. Raises `UsageError` for a choice that names no model.
    """
    match _decided(choice, env=env):
        case "local":
            return installed() and _local_weights(env) is not None
        case str():
            return _has_server(env)
        case _:
            return True


def _decided(choice: str | BaseChatModel | None, *, env: Mapping[str, str]) -> str | BaseChatModel:
    """Return a model, `"local"`, or the name of a model of the OpenAI protocol's."""
    if isinstance(choice, BaseChatModel):
        return choice
    wanted = choice or env.get("PLANWAVE_MODEL") or ""
    if wanted == LOCAL:
        return LOCAL
    if wanted.startswith(_OPENAI) and wanted != _OPENAI:
        return wanted.removeprefix(_OPENAI)
    if wanted:
        raise UsageError(f"{wanted!r} names no model: say 'openai:NAME' or 'local'. {_THREE_WAYS}")
    return DEFAULT_OPENAI_MODEL if _has_server(env) else LOCAL


def _has_server(env: Mapping[str, str]) -> bool:
    return bool(env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"))


def _openai(name: str, *, env: Mapping[str, str], scale: Scale | None, timeout_s: float | None) -> Model:
    if not _has_server(env):
        raise NoModelError(
            f"'openai:{name}' needs OPENAI_API_KEY or OPENAI_BASE_URL, and neither is set. {_THREE_WAYS}"
        )
    patience = timeout_s or _TIMEOUT_S
    chat = ChatOpenAI(
        model=name,
        base_url=env.get("OPENAI_BASE_URL") or None,
        api_key=SecretStr(env.get("OPENAI_API_KEY") or _NO_KEY),
        timeout=patience,
        max_retries=_MAX_RETRIES,
        use_responses_api=False,
        # A reply is checked as a whole before anybody sees a word of it.
        disable_streaming=True,
        # A kept connection belongs to one event loop, and a model outlives many.
        default_headers={"Connection": "close"},
    )
    return Model(chat=chat, name=f"openai:{name}", scale=scale or "large", structured="json_schema", timeout_s=patience)


def _local(
    env: Mapping[str, str], *, say: Say, progress: Progress, scale: Scale | None, timeout_s: float | None
) -> Model:
    if not installed():
        raise NoModelError(f"No model is set up. There are three ways. {_THREE_WAYS}")
    weights = weights_path(env)
    if weights is None:
        say(f"Fetching the embedded model's weights once ({QWEN_CODER.size / 1e9:.1f} GB) into the cache.")
        weights = pull(env=env, progress=progress)
    endpoint = serve(weights)
    patience = timeout_s or _LOCAL_TIMEOUT_S
    chat = ChatOpenAI(
        model=LOCAL,
        base_url=endpoint.url,
        api_key=endpoint.key,
        timeout=patience,
        max_retries=0,
        temperature=0,
        seed=_SEED,
        use_responses_api=False,
        disable_streaming=True,
        default_headers={"Connection": "close"},
        # A proxy of the environment has no way to this process.
        http_client=openai.DefaultHttpxClient(trust_env=False),
        http_async_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )
    return Model(chat=chat, name=LOCAL, scale=scale or "small", structured="json_schema", timeout_s=patience)


def _local_weights(env: Mapping[str, str]) -> Path | None:
    try:
        return weights_path(env)
    except WeightsError:
        return None


def _quiet(_sentence: str) -> None:
    pass


def _no_progress(_done: int, _total: int) -> None:
    pass
