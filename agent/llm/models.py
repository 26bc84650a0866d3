"""The choice of a chat model. Models are made nowhere else."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from langchain_core.language_models import BaseChatModel

from agent.errors import NoModelError, UsageError, WeightsError, describe_extra
from agent.llm.embedded.download import OnProgress
from agent.llm.embedded.server import MAX_PARALLEL_TEXTS, is_local_installed, start_server
from agent.llm.embedded.weights import QWEN_CODER, fetch_weights, find_weights

#: The default if there is a key or a base URL and no model is named; PLANWAVE_MODEL names another.
DEFAULT_OPENAI_MODEL: Final = "gpt-5-mini"
LOCAL: Final = "local"
_OPENAI_PREFIX: Final = "openai:"
#: Seconds that one question may take in all, including its retries.
_TIMEOUT_S: Final = 300.0
#: The embedded model reads about 50 to 90 tokens a second on two cores, and its context is 8,192 tokens.
_LOCAL_TIMEOUT_S: Final = 600.0

#: A `small` model plans in stages, a `large` one in one call.
Scale = Literal["small", "large"]
#: How a reply is made to fit a schema, the most reliable method first.
OutputMethod = Literal["json_schema", "function", "json_object", "text"]
#: What else a server may refuse: a stream, and the count of tokens at its end.
StreamFeature = Literal["stream", "stream_usage"]
OnMessage = Callable[[str], None]

_SETUP_HELP: Final = (
    "Set OPENAI_API_KEY (and choose with `--model openai:NAME`); or set OPENAI_BASE_URL to any server that "
    f"speaks the OpenAI protocol; or use the embedded model of {describe_extra('local')}, which needs no key, "
    "after `planwave models pull`."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A chat model and what its callers need to know of it."""

    chat: BaseChatModel
    #: Its name in messages: `"local"`, `"openai:gpt-5-mini"`, or the class of a model passed from Python.
    name: str
    scale: Scale
    #: The most reliable method to make its replies fit a schema.
    output_method: OutputMethod
    #: Seconds that one question may take in all.
    timeout_s: float
    #: Whether a reply may be asked for as a stream.
    can_stream: bool = True
    #: Whether its server can constrain a text by a grammar.
    supports_grammar: bool = False
    #: How many texts its server can sample at once for one question.
    max_parallel_texts: int = 1
    #: What its server has refused, learned by asking.
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
    """Make the model that `choice` names: `"openai:NAME"`, `"local"`, a LangChain chat model, or None.

    None means PLANWAVE_MODEL; without it, OpenAI's default model if `env` has a key or a base URL; else `local`.
    The first use of `local` downloads its weights, announced by `on_message` and reported by `on_progress`, and starts
    its server. Both block, so a coroutine must call this in a thread. `timeout_s` is for one question, in seconds.
    Raises `UsageError` for any other choice, `NoModelError` if no model is set up, and `WeightsError` if the weights
    cannot be obtained.
    """
    chosen = _choose_model(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        from agent.llm.openai_client import is_openai_compatible  # noqa: PLC0415 - `openai` takes a second to load

        method: OutputMethod = "json_schema" if is_openai_compatible(chosen) else "text"
        can_stream = chosen.disable_streaming is False
        return Model(chosen, type(chosen).__name__, scale or "large", method, timeout_s or _TIMEOUT_S, can_stream)
    if chosen == LOCAL:
        timeout_s = timeout_s or _LOCAL_TIMEOUT_S
        chat = _build_local_model(
            env,
            on_message=on_message or _ignore_message,
            on_progress=on_progress or _ignore_progress,
            timeout_s=timeout_s,
        )
        return Model(
            chat,
            LOCAL,
            scale or "small",
            "json_schema",
            timeout_s,
            supports_grammar=True,
            max_parallel_texts=MAX_PARALLEL_TEXTS,
        )
    timeout_s = timeout_s or _TIMEOUT_S
    chat = _build_openai_model(chosen, env=env, timeout_s=timeout_s)
    return Model(chat, chosen, scale or "large", "json_schema", timeout_s)


def is_model_available(choice: str | BaseChatModel | None, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `resolve_model` can make a model immediately; nothing is downloaded, started or asked.

    A key is not tested. Raises `UsageError` for a choice that names no model.
    """
    chosen = _choose_model(choice, env=env)
    if isinstance(chosen, BaseChatModel):
        return True
    return is_local_installed() and _has_weights(env) if chosen == LOCAL else _has_server(env)


def _choose_model(choice: str | BaseChatModel | None, *, env: Mapping[str, str]) -> str | BaseChatModel:
    """Return a model, `"local"` or `"openai:NAME"`."""
    if isinstance(choice, BaseChatModel):
        return choice
    name = choice or env.get("PLANWAVE_MODEL")
    if not name:
        return _OPENAI_PREFIX + DEFAULT_OPENAI_MODEL if _has_server(env) else LOCAL
    if name == LOCAL or (name.startswith(_OPENAI_PREFIX) and name != _OPENAI_PREFIX):
        return name
    raise UsageError(f"{name!r} names no model: use 'openai:NAME' or 'local'. {_SETUP_HELP}")


def _has_server(env: Mapping[str, str]) -> bool:
    return bool(env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"))


def _has_weights(env: Mapping[str, str]) -> bool:
    try:
        return find_weights(env) is not None
    except WeightsError:
        return False


def _build_openai_model(name: str, *, env: Mapping[str, str], timeout_s: float) -> BaseChatModel:
    if not _has_server(env):
        raise NoModelError(f"{name!r} needs an API key or a server's address, and neither is set. {_SETUP_HELP}")
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
        raise NoModelError(f"No model is set up; there are three options. {_SETUP_HELP}")
    weights = find_weights(env)
    if weights is None:
        on_message(f"Downloading the embedded model's weights, once: {QWEN_CODER.size / 1e9:.1f} GB into the cache.")
        weights = fetch_weights(env=env, on_progress=on_progress)
    from agent.llm.openai_client import build_embedded_model  # noqa: PLC0415 - `openai` takes a second to load

    return build_embedded_model(start_server(weights), name=LOCAL, timeout_s=timeout_s)


def _ignore_message(_sentence: str) -> None:
    pass


def _ignore_progress(_done: int, _total: int) -> None:
    pass
