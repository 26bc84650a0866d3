"""The choice of a chat model. Models are made nowhere else."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from agent.errors import NoModelError, UsageError, WeightsError, describe_extra
from agent.llm.chat_wrappers import ChatRunnable, list_models
from agent.llm.embedded.download import OnProgress
from agent.llm.embedded.server import MAX_PARALLEL_TEXTS, is_local_installed, start_server
from agent.llm.embedded.weights import QWEN_CODER, fetch_weights, find_weights, get_prompt_folder
from agent.llm.server_limits import OutputMethod, ServerFeature, ServerLimits

#: The default if there is a key or a base URL and no model is named; PLANWAVE_MODEL names another.
DEFAULT_OPENAI_MODEL: Final = "gpt-5-mini"
LOCAL: Final = "local"
_OPENAI_PREFIX: Final = "openai:"
_PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*:.+", re.DOTALL)
#: Seconds that one question may take in all, including its retries.
_TIMEOUT_S: Final = 300.0
#: The embedded model reads about 50 to 90 tokens a second on two cores, and its context is 8,192 tokens.
_LOCAL_TIMEOUT_S: Final = 600.0
_SIMILARITY_CUTOFF: Final = 0.6

#: A `small` model plans in stages, a `large` one in one call.
Scale = Literal["small", "large"]
#: A name, a chat model, or a LangChain runnable around one; None for the configured one.
ModelChoice: TypeAlias = str | BaseChatModel | Runnable[object, object] | None
#: A model for a tool: a choice, or a function that returns the model when it is called.
ModelSource: TypeAlias = ModelChoice | Callable[[], ChatRunnable]
OnMessage = Callable[[str], None]

_SETUP_HELP: Final = (
    "Set OPENAI_API_KEY (and choose with `--model openai:NAME`); or set OPENAI_BASE_URL to any server that "
    "speaks the OpenAI protocol; or name a model of another provider, as `anthropic:NAME`; "
    f"or use the embedded model of {describe_extra('local')}, which needs no key, "
    "after `planwave models pull`."
)


@dataclass(frozen=True, slots=True)
class Model:
    """A chat model and what its callers need to know of it."""

    chat: ChatRunnable
    #: Its name in messages: `"local"`, `"openai:gpt-5-mini"`, or the class of a model passed from Python.
    name: str
    scale: Scale
    #: The most reliable method to make its replies fit a schema.
    output_method: OutputMethod
    #: Seconds that one question may take in all.
    timeout_s: float
    #: Whether a reply may be asked for as a stream.
    can_stream: bool = True
    #: Whether it speaks the OpenAI protocol to a server.
    speaks_openai: bool = True
    #: Whether its client makes a call again that failed for a moment.
    retries_itself: bool = True
    #: Tokens of one reply as the user set them, in place of what the question allows.
    max_output_tokens: int | None = None
    #: Whether its server can constrain a text by a grammar.
    supports_grammar: bool = False
    #: How many texts its server can sample at once for one question.
    max_parallel_texts: int = 1
    #: What its server has refused and which limits it gave, learned by asking.
    limits: ServerLimits = field(default_factory=ServerLimits, compare=False, repr=False)

    @property
    def unsupported(self) -> set[OutputMethod | ServerFeature]:
        """What its server has refused."""
        return self.limits.unsupported


def resolve_model(
    choice: ModelChoice,
    *,
    env: Mapping[str, str] = os.environ,
    on_message: OnMessage | None = None,
    on_progress: OnProgress | None = None,
    scale: Scale | None = None,
    timeout_s: float | None = None,
    max_output_tokens: int | None = None,
) -> Model:
    """Make the model that `choice` names: `"PROVIDER:NAME"`, `"local"`, a LangChain chat model, or None.

    None means PLANWAVE_MODEL; without it, OpenAI's default model if `env` has a key or a base URL; else `local`.
    `openai:` is any server that speaks the OpenAI protocol; other providers are those of LangChain's `init_chat_model`.
    The first use of `local` downloads its weights, announced by `on_message` and reported by `on_progress`, and starts
    its server. Both block, so a coroutine must call this in a thread. `timeout_s` is for one question, in seconds.
    `max_output_tokens` is for one reply; a limit that a chat model brings along goes first.
    Raises `UsageError` for any other choice, `NoModelError` if no model is set up, and `WeightsError` if the weights
    cannot be obtained.
    """
    chosen = _choose_model(choice, env=env)
    if not isinstance(chosen, str):
        return _wrap_chat(
            chosen,
            type(list_models(chosen)[0]).__name__,
            scale=scale,
            timeout_s=timeout_s,
            max_output_tokens=max_output_tokens,
        )
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
            max_output_tokens=max_output_tokens,
            supports_grammar=True,
            max_parallel_texts=MAX_PARALLEL_TEXTS,
        )
    if not chosen.startswith(_OPENAI_PREFIX):
        chat = _build_provider_model(chosen)
        return _wrap_chat(chat, chosen, scale=scale, timeout_s=timeout_s, max_output_tokens=max_output_tokens)
    timeout_s = timeout_s or _TIMEOUT_S
    chat = _build_openai_model(chosen, env=env, timeout_s=timeout_s)
    from agent.llm.openai_client import find_server_limits  # noqa: PLC0415 - `openai` takes a second to load

    return Model(
        chat,
        chosen,
        scale or "large",
        "json_schema",
        timeout_s,
        max_output_tokens=max_output_tokens,
        limits=find_server_limits(chat),
    )


def is_model_available(choice: ModelChoice, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `resolve_model` can make a model immediately; nothing is downloaded, started or asked.

    A key is not tested. Raises `UsageError` for a choice that names no model, or one whose package is not installed.
    """
    chosen = _choose_model(choice, env=env)
    if not isinstance(chosen, str):
        return True
    if chosen == LOCAL:
        return is_local_installed() and _has_weights(env)
    if chosen.startswith(_OPENAI_PREFIX):
        return _has_server(env)
    try:
        _check_provider(chosen)
    except NoModelError:
        return False
    return True


def check_model_choice(choice: ModelChoice, *, env: Mapping[str, str] = os.environ) -> None:
    """Raise `UsageError` for a choice that names no model, or one whose package is not installed.

    For a name of another provider, its package is imported, which takes a second.
    """
    is_model_available(choice, env=env)


def defer_model(source: ModelSource) -> Callable[[], ChatRunnable]:
    """Return a function that makes the model of `source` at its first call, which may block.

    Raises `UsageError` for a choice that names no model, or one whose package is not installed.
    """
    if callable(source) and not isinstance(source, Runnable):
        return source
    check_model_choice(source)
    if isinstance(source, Runnable):
        return lambda: source
    return lru_cache(lambda: resolve_model(source).chat)


def needs_import(choice: ModelChoice, *, env: Mapping[str, str] = os.environ) -> bool:
    """Return whether `check_model_choice` has a package to import, so that a coroutine calls it in a thread."""
    named = choice or env.get("PLANWAVE_MODEL") or LOCAL
    return isinstance(named, str) and named != LOCAL and not named.startswith(_OPENAI_PREFIX)


def _wrap_chat(
    chat: ChatRunnable, name: str, *, scale: Scale | None, timeout_s: float | None, max_output_tokens: int | None
) -> Model:
    from agent.llm.native_output import has_native_output  # noqa: PLC0415 - as below
    from agent.llm.openai_client import (  # noqa: PLC0415 - `openai` takes a second to load
        find_server_limits,
        is_openai_compatible,
    )

    speaks_openai, models = is_openai_compatible(chat), list_models(chat)
    method: OutputMethod = "json_schema" if speaks_openai else "native" if has_native_output(chat) else "text"
    return Model(
        chat,
        name,
        scale or "large",
        method,
        timeout_s or _TIMEOUT_S,
        can_stream=all(getattr(model, "disable_streaming", False) is False for model in models),
        speaks_openai=speaks_openai,
        retries_itself=all(_retries_itself(model, speaks_openai=speaks_openai) for model in models),
        max_output_tokens=max_output_tokens,
        limits=find_server_limits(chat),
    )


def _retries_itself(model: ChatRunnable, *, speaks_openai: bool) -> bool:
    """Whether a client makes a failed call again, by the field in which all of LangChain's have their retries."""
    retries = getattr(model, "max_retries", None)
    return isinstance(retries, int) and retries > 0 if retries is not None else speaks_openai


def _choose_model(choice: ModelChoice, *, env: Mapping[str, str]) -> str | ChatRunnable:
    """Return a model, `"local"` or `"PROVIDER:NAME"`."""
    if isinstance(choice, Runnable) and not isinstance(choice, BaseTool):
        return choice
    if choice is not None and not isinstance(choice, str):
        raise UsageError(
            f"The model is {choice!r:.100}; give 'openai:NAME', another provider's 'PROVIDER:NAME', 'local', or a "
            "LangChain chat model."
        )
    name = choice or env.get("PLANWAVE_MODEL")
    if not name:
        return _OPENAI_PREFIX + DEFAULT_OPENAI_MODEL if _has_server(env) else LOCAL
    if name != LOCAL and not _PROVIDER_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} names no model: use 'openai:NAME', another 'PROVIDER:NAME' or 'local'. {_SETUP_HELP}"
        )
    if name.startswith(f"{LOCAL}:"):
        raise UsageError(f"{name!r} names no model: the embedded one is 'local'. {_SETUP_HELP}")
    return name


def _build_provider_model(name: str) -> BaseChatModel:
    """Return a model of a provider that LangChain knows. Raises `UsageError` and `NoModelError`."""
    provider, _, model = name.partition(":")
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - takes a second to load, and is an extra
    except ImportError:
        raise UsageError(
            f"The model {name!r} needs {describe_extra('models')} and the package of its provider, "
            f"such as langchain-{provider}."
        ) from None
    try:
        return init_chat_model(model, model_provider=provider)
    except ImportError as error:
        found = re.search(r"`pip install ([^`]+)`", str(error))
        if found is None:
            raise UsageError(f"The package for the model {name!r} cannot be loaded: {error}") from error
        raise UsageError(
            f"The model {name!r} needs a package that is not installed: pip install {found.group(1)}"
        ) from error
    except ValueError as error:
        _, found_list, providers = str(error).partition("providers are: ")
        if not found_list:
            raise _describe_setup_error(name, error) from error
        known = providers.split(", ")
        close = get_close_matches(provider, known, n=1, cutoff=_SIMILARITY_CUTOFF)
        hint = f"did you mean '{close[0]}:{model}'? " if close else ""
        raise UsageError(
            f"{name!r} names no model: there is no provider {provider!r}; {hint}The providers are {providers}. "
            f"{_SETUP_HELP}"
        ) from error
    except Exception as error:
        # Each provider has its own way to miss a key or an address.
        raise _describe_setup_error(name, error) from error


def _describe_setup_error(name: str, error: Exception) -> NoModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return NoModelError(
        f"The model {name!r} cannot be made with what is set up; its provider wants a key or an address. "
        f"Its message: {' '.join(lines)[:300]!r}."
    )


@lru_cache
def _check_provider(name: str) -> None:
    """Raise as `_build_provider_model` does; only success is remembered."""
    _build_provider_model(name)


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

    endpoint = start_server(weights, prompts=get_prompt_folder(env))
    return build_embedded_model(endpoint, name=LOCAL, timeout_s=timeout_s)


def _ignore_message(_sentence: str) -> None:
    pass


def _ignore_progress(_done: int, _total: int) -> None:
    pass
