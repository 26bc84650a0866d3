"""The choice of a chat model; nothing else makes one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from langchain_core.language_models import BaseChatModel

from agent.errors import NoModelError, UsageError, WeightsError
from agent.llm.embedded.download import Progress
from agent.llm.embedded.server import AT_ONCE, installed, serve
from agent.llm.embedded.weights import QWEN_CODER, pull, weights_path

#: Taken where there is a key or a base URL and no model is named; PLANWAVE_MODEL names another.
DEFAULT_OPENAI_MODEL: Final = "gpt-5-mini"
LOCAL: Final = "local"
_OPENAI: Final = "openai:"
#: Seconds that one question may take in all, its retries included.
_TIMEOUT_S: Final = 300.0
#: The embedded model reads some 50 to 90 tokens a second on two cores, and its context holds 8,192.
_LOCAL_TIMEOUT_S: Final = 600.0

#: A `small` model plans in stages, a `large` one in one call.
Scale = Literal["small", "large"]
#: How a reply is held to a schema, from the surest way to the last.
Way = Literal["json_schema", "function", "json_object", "text"]
#: What else a server may turn down: a stream, and the count of tokens at its end.
Extra = Literal["stream", "stream_usage"]
Say = Callable[[str], None]

_THREE_WAYS: Final = (
    "Set OPENAI_API_KEY (and choose with `--model openai:NAME`); or set OPENAI_BASE_URL to any server that "
    "speaks the OpenAI protocol; or use the embedded model, which needs no key: "
    "`pip install 'planwave[local]'` or `uv run --extra local planwave ...`, then `planwave models pull`."
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
    #: Whether a reply may be asked for as a stream.
    streams: bool = True
    #: Whether its server holds a text to a grammar.
    grammar: bool = False
    #: How many texts its server writes at once to one question, by chance.
    at_once: int = 1
    #: What its server has turned down, learnt while asking.
    refused: set[Way | Extra] = field(default_factory=set, compare=False, repr=False)


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

    None is PLANWAVE_MODEL; without it the default of OpenAI if `env` has a key or a base URL; else `local`.
    The first use of `local` fetches its weights, of which `say` is told before and `progress` meanwhile, and
    starts its server: both block, so a coroutine calls this in a thread. Raises `UsageError` for a choice
    that is none of these, `NoModelError` if nothing is set up, `WeightsError` if the weights cannot be had.
    """
    chosen = _decided(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        from agent.llm.openai_client import speaks_openai  # noqa: PLC0415 - `openai` takes a second to load

        way: Way = "json_schema" if speaks_openai(chosen) else "text"
        streams = chosen.disable_streaming is False
        return Model(chosen, type(chosen).__name__, scale or "large", way, timeout_s or _TIMEOUT_S, streams)
    if chosen == LOCAL:
        patience = timeout_s or _LOCAL_TIMEOUT_S
        chat = _local(env, say=say or _quiet, progress=progress or _no_progress, timeout_s=patience)
        return Model(chat, LOCAL, scale or "small", "json_schema", patience, grammar=True, at_once=AT_ONCE)
    patience = timeout_s or _TIMEOUT_S
    return Model(_openai(chosen, env=env, timeout_s=patience), chosen, scale or "large", "json_schema", patience)


def available(choice: str | BaseChatModel | None, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `resolve_model` can make a model at once: nothing is downloaded, started or asked.

    A key is not tried out. Raises `UsageError` for a choice that names no model.
    """
    chosen = _decided(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        return True
    return installed() and _has_weights(env) if chosen == LOCAL else _has_server(env)


def _decided(choice: str | BaseChatModel | None, *, env: Mapping[str, str]) -> str | BaseChatModel:
    """Return a model, `"local"` or `"openai:NAME"`."""
    if isinstance(choice, BaseChatModel):
        return choice
    wanted = choice or env.get("PLANWAVE_MODEL")
    if not wanted:
        return _OPENAI + DEFAULT_OPENAI_MODEL if _has_server(env) else LOCAL
    if wanted == LOCAL or (wanted.startswith(_OPENAI) and wanted != _OPENAI):
        return wanted
    raise UsageError(f"{wanted!r} names no model: say 'openai:NAME' or 'local'. {_THREE_WAYS}")


def _has_server(env: Mapping[str, str]) -> bool:
    return bool(env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"))


def _has_weights(env: Mapping[str, str]) -> bool:
    try:
        return weights_path(env) is not None
    except WeightsError:
        return False


def _openai(name: str, *, env: Mapping[str, str], timeout_s: float) -> BaseChatModel:
    if not _has_server(env):
        raise NoModelError(f"{name!r} needs a key or a server's address, and neither is set. {_THREE_WAYS}")
    from agent.llm.openai_client import server_model  # noqa: PLC0415 - `openai` takes a second to load

    return server_model(
        name.removeprefix(_OPENAI), url=env.get("OPENAI_BASE_URL"), key=env.get("OPENAI_API_KEY"), timeout_s=timeout_s
    )


def _local(env: Mapping[str, str], *, say: Say, progress: Progress, timeout_s: float) -> BaseChatModel:
    if not installed():
        raise NoModelError(f"No model is set up; there are three ways. {_THREE_WAYS}")
    weights = weights_path(env)
    if weights is None:
        say(f"Fetching the embedded model's weights, once: {QWEN_CODER.size / 1e9:.1f} GB into the cache.")
        weights = pull(env=env, progress=progress)
    from agent.llm.openai_client import embedded_model  # noqa: PLC0415 - `openai` takes a second to load

    return embedded_model(serve(weights), name=LOCAL, timeout_s=timeout_s)


def _quiet(_sentence: str) -> None:
    pass


def _no_progress(_done: int, _total: int) -> None:
    pass
