"""Chat models over the OpenAI protocol: any server's, and the embedded one's."""

from typing import Final

import openai
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import SecretStr

from agent.llm.chat_wrappers import ChatRunnable, change_models, list_models
from agent.llm.embedded.chat import EmbeddedChat
from agent.llm.embedded.server import PROMPT_SLOT, LocalEndpoint
from agent.llm.server_limits import ServerLimits, get_server_limits

_MAX_RETRIES: Final = 2
_SEED: Final = 7
#: The temperature of sampled answers: high enough that they disagree if the model is not sure.
_SAMPLING_TEMPERATURE: Final = 0.7
#: A server that needs no key still gets one, because the client makes no request without.
_PLACEHOLDER_KEY: Final = "none"
#: A connection that is kept open belongs to one event loop, and a model outlives many.
_CLOSE_CONNECTION: Final = {"Connection": "close"}


def build_server_model(name: str, *, url: str | None, key: str | None, timeout_s: float) -> ChatOpenAI:
    """Return the model `name` of the server at `url`, None: OpenAI's own. `timeout_s` is seconds for one attempt."""
    return ChatOpenAI(
        model=name,
        base_url=url or None,
        api_key=SecretStr(key or _PLACEHOLDER_KEY),
        timeout=timeout_s,
        max_retries=_MAX_RETRIES,
        use_responses_api=False,
        # A reply is checked as a whole before anybody sees any of it.
        disable_streaming=True,
        default_headers=_CLOSE_CONNECTION,
    )


def build_embedded_model(endpoint: LocalEndpoint, *, name: str, timeout_s: float) -> ChatOpenAI:
    """Return the model that this process serves at `endpoint`; it gives the same reply to the same question."""
    return EmbeddedChat(
        model=name,
        base_url=endpoint.url,
        api_key=endpoint.key,
        prompts=endpoint.prompts,
        prompt_slot=PROMPT_SLOT,
        timeout=timeout_s,
        max_retries=0,
        temperature=0,
        seed=_SEED,
        use_responses_api=False,
        disable_streaming=True,
        default_headers=_CLOSE_CONNECTION,
        # A proxy of the environment cannot reach this process.
        http_client=openai.DefaultHttpxClient(trust_env=False),
        http_async_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def is_openai_compatible(chat: ChatRunnable) -> bool:
    """Return whether every model in `chat` speaks the OpenAI protocol to a server; Azure's do too."""
    return all(isinstance(model, BaseChatOpenAI) for model in list_models(chat))


def find_server_limits(chat: ChatRunnable) -> ServerLimits:
    """Return what was learned about the server and the model in `chat`; a new record if it is not a server's."""
    first = list_models(chat)[0]
    if not isinstance(first, BaseChatOpenAI):
        return ServerLimits()
    address = getattr(first, "azure_endpoint", None) or first.openai_api_base or ""
    name = getattr(first, "deployment_name", None) or first.model_name
    return get_server_limits(str(address), f"{type(first).__name__} {name}")


def limit_reply(chat: ChatRunnable, limits: ServerLimits, *, max_tokens: int | None) -> ChatRunnable:
    """Return `chat` with a limit for the tokens of a reply, under the name that the server knows; None: with its own.

    LangChain always sends `max_completion_tokens`, so the older name goes into the body as it is.
    """
    parameter = limits.token_parameter
    if max_tokens is None and parameter == "max_completion_tokens":
        return chat

    def limit_model(model: ChatRunnable) -> ChatRunnable:
        if not isinstance(model, BaseChatOpenAI):
            return model
        if parameter == "max_completion_tokens":
            return model.model_copy(update={"max_tokens": max_tokens})
        limit = {} if parameter is None or max_tokens is None else {"max_tokens": max_tokens}
        body = {**(model.extra_body or {}), **limit}
        return model.model_copy(update={"max_tokens": None, "extra_body": body or None})

    return change_models(chat, limit_model, without=("max_tokens", "max_completion_tokens"))


def enable_streaming(chat: ChatRunnable, *, report_usage: bool) -> ChatRunnable:
    """Return `chat` set to stream, with its usage at the end if `report_usage`.

    https://platform.openai.com/docs/api-reference/chat/create, `stream` and `stream_options.include_usage`.
    """
    # A model that thinks first sends nothing for minutes; `Model.timeout_s` limits the whole, as without a stream.
    changes = {"disable_streaming": False, "stream_usage": report_usage, "stream_chunk_timeout": None}
    return change_models(chat, lambda model: model.model_copy(update=changes))


def enable_sampling(chat: ChatRunnable, *, seed: int) -> ChatRunnable:
    """Return `chat` with sampling on, reproducible by `seed`; a model of another maker is returned unchanged."""
    return (
        chat.model_copy(update={"temperature": _SAMPLING_TEMPERATURE, "seed": seed})
        if isinstance(chat, BaseChatOpenAI)
        else chat
    )
