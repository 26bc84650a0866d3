"""The choice of a chat model; nothing else makes one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from langchain_core.language_models import BaseChatModel

from agent.errors import NoModelError, UsageError, WeightsError, describe_extra
from agent.llm.embedded.download import OnProgress
from agent.llm.embedded.server import MAX_PARALLEL_TEXTS, is_local_installed, start_server
from agent.llm.embedded.weights import QWEN_CODER, fetch_weights, find_weights

#: Taken where there is a key or a base URL and no model is named; PLANWAVE_MODEL names another.
DEFAULT_OPENAI_MODEL: Final = "gpt-5-mini"
LOCAL: Final = "local"
_OPENAI_PREFIX: Final = "openai:"
#: Seconds that one question may take in all, its retries included.
_TIMEOUT_S: Final = 300.0
#: The embedded model reads some 50 to 90 tokens a second on two cores, and its context holds 8,192.
_LOCAL_TIMEOUT_S: Final = 600.0

#: A `small` model plans in stages, a `large` one in one call.
Scale = Literal["small", "large"]
#: How a reply is held to a schema, from the surest way to the last.
OutputMethod = Literal["json_schema", "function", "json_object", "text"]
#: What else a server may turn down: a stream, and the count of tokens at its end.
StreamFeature = Literal["stream", "stream_usage"]
OnMessage = Callable[[str], None]

_SETUP_HELP: Final = (
    "Set OPENAI_API_KEY (and choose with `--model openai:NAME`); or set OPENAI_BASE_URL to any server that "
    f"speaks the OpenAI protocol; or use the embedded model of {describe_extra('local')}, which needs no key, "
    "after `planwave models pull`."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A chat model and what the callers must know of it."""

    chat: BaseChatModel
    #: As it is named to people: `"local"`, `"openai:gpt-5-mini"`, or the class of a model given from Python.
    name: str
    scale: Scale
    #: The surest way to hold its replies to a schema.
    output_method: OutputMethod
    #: Seconds that one question may take in all.
    timeout_s: float
    #: Whether a reply may be asked for as a stream.
    can_stream: bool = True
    #: Whether its server holds a text to a grammar.
    supports_grammar: bool = False
    #: How many texts its server writes at once to one question, by chance.
    max_parallel_texts: int = 1
    #: What its server has turned down, learnt while asking.
    unsupported: set[OutputMethod | StreamFeature] = field(default_factory=set, compare=False, repr=False)


def resolve_model(
    choice: str | BaseChatModel | None,
    *,
    env: Mapping[str, str] = os.environ,
    on_message: OnMessage | None = None,
    on_progress: OnProgress | None = None,
    scale: Scale | None = None,
    timeout_s: float | None = None,
) -> Model:
    """Make the model that `choice` names: `"openai:NAME"`, `"local"`, a model of LangChain's, or None.

    None is PLANWAVE_MODEL; without it the default of OpenAI if `env` has a key or a base URL; else `local`.
    The first use of `local` fetches its weights, of which `say` is told before and `progress` meanwhile, and
    starts its server: both block, so a coroutine calls this in a thread. Raises `UsageError` for a choice
    that is none of these, `NoModelError` if nothing is set up, `WeightsError` if the weights cannot be had.
    """
    chosen = _choose_model(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        from agent.llm.openai_client import is_openai_compatible  # noqa: PLC0415 - `openai` takes a second to load

        way: OutputMethod = "json_schema" if is_openai_compatible(chosen) else "text"
        streams = chosen.disable_streaming is False
        return Model(chosen, type(chosen).__name__, scale or "large", way, timeout_s or _TIMEOUT_S, streams)
    if chosen == LOCAL:
        patience = timeout_s or _LOCAL_TIMEOUT_S
        chat = _build_local_model(
            env,
            on_message=on_message or _ignore_message,
            on_progress=on_progress or _ignore_progress,
            timeout_s=patience,
        )
        return Model(
            chat,
            LOCAL,
            scale or "small",
            "json_schema",
            patience,
            supports_grammar=True,
            max_parallel_texts=MAX_PARALLEL_TEXTS,
        )
    patience = timeout_s or _TIMEOUT_S
    return Model(
        _build_openai_model(chosen, env=env, timeout_s=patience), chosen, scale or "large", "json_schema", patience
    )


def is_model_available(choice: str | BaseChatModel | None, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `resolve_model` can make a model at once: nothing is downloaded, started or asked.

    A key is not tried out. Raises `UsageError` for a choice that names no model.
    """
    chosen = _choose_model(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        return True
    return is_local_installed() and _has_weights(env) if chosen == LOCAL else _has_server(env)


def _choose_model(choice: str | BaseChatModel | None, *, env: Mapping[str, str]) -> str | BaseChatModel:
    """Return a model, `"local"` or `"openai:NAME"`."""
    if isinstance(choice, BaseChatModel):
        return choice
    wanted = choice or env.get("PLANWAVE_MODEL")
    if not wanted:
        return _OPENAI_PREFIX + DEFAULT_OPENAI_MODEL if _has_server(env) else LOCAL
    if wanted == LOCAL or (wanted.startswith(_OPENAI_PREFIX) and wanted != _OPENAI_PREFIX):
        return wanted
    raise UsageError(f"{wanted!r} names no model: say 'openai:NAME' or 'local'. {_SETUP_HELP}")


def _has_server(env: Mapping[str, str]) -> bool:
    return bool(env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"))


def _has_weights(env: Mapping[str, str]) -> bool:
    try:
        return find_weights(env) is not None
    except WeightsError:
        return False


def _build_openai_model(name: str, *, env: Mapping[str, str], timeout_s: float) -> BaseChatModel:
    if not _has_server(env):
        raise NoModelError(f"{name!r} needs a key or a server's address, and neither is set. {_SETUP_HELP}")
    from agent.llm.openai_client import build_server_model  # noqa: PLC0415 - `openai` takes a second to load

    return build_server_model(
        name.removeprefix(_OPENAI_PREFIX),
        url=env.get("OPENAI_BASE_URL"),
        key=env.get("OPENAI_API_KEY"),
        timeout_s=timeout_s,
    )


def _build_local_model(
    env: Mapping[str, str], *, on_message: OnMessage, on_progress: OnProgress, timeout_s: float
) -> BaseChatModel:
    if not is_local_installed():
        raise NoModelError(f"No model is set up; there are three ways. {_SETUP_HELP}")
    weights = find_weights(env)
    if weights is None:
        on_message(f"Fetching the embedded model's weights, once: {QWEN_CODER.size / 1e9:.1f} GB into the cache.")
        weights = fetch_weights(env=env, on_progress=on_progress)
    from agent.llm.openai_client import build_embedded_model  # noqa: PLC0415 - `openai` takes a second to load

    return build_embedded_model(start_server(weights), name=LOCAL, timeout_s=timeout_s)


def _ignore_message(_sentence: str) -> None:
    pass


def _ignore_progress(_done: int, _total: int) -> None:
    pass
