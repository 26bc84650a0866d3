"""Errors of a model's server, each explained in one sentence to whoever can fix it."""

from typing import Final

import httpx
import httpx2
import openai
from langchain_core.exceptions import ContextOverflowError, ModelError

from agent.errors import ModelReplyError

#: What a failed call raises, whichever library the model is from; none of these is a bug of ours.
PROVIDER_ERRORS: Final = (
    openai.OpenAIError,
    httpx.HTTPError,
    httpx2.HTTPError,
    ModelError,
    ConnectionError,
    TimeoutError,
)
_MAX_CHARACTERS: Final = 300


def explain_error(error: Exception) -> ModelReplyError | None:
    """Return what a failed call to a model means and what helps; None if `error` is not one of `PROVIDER_ERRORS`."""
    sentence = (
        _describe_status_error(error) if isinstance(error, openai.APIStatusError) else _describe_transport_error(error)
    )
    return None if sentence is None else ModelReplyError(sentence)


def is_prompt_too_long(error: openai.APIStatusError) -> bool:
    """Return whether the prompt did not fit into the model's context, as OpenAI or llama.cpp report it."""
    return (
        isinstance(error, ContextOverflowError)
        or error.code == "context_length_exceeded"
        or error.type == "exceed_context_size_error"
    )


def _describe_status_error(error: openai.APIStatusError) -> str:
    message = f"Its message: {_truncate(error.message)!r}."
    if is_prompt_too_long(error):
        return f"The prompt is too long for the model: give it less, or use a model with a larger context. {message}"
    match error.status_code:
        case 401 | 403:
            return f"The model server refused the key: set a valid OPENAI_API_KEY for this server. {message}"
        case 404:
            return (
                f"The model server does not know this model or address: check `--model` and OPENAI_BASE_URL. {message}"
            )
        case 429:
            return (
                "The model server refused the call because of its rate limit or quota, also when it was retried: wait, "
                f"or raise the quota. {message}"
            )
        case status if status >= 500:
            return f"The model server failed with status {status}, also when it was retried: try again later. {message}"
        case status:
            return f"The model server rejected the request with status {status}. {message}"


def _describe_transport_error(error: Exception) -> str | None:
    match error:
        case openai.APITimeoutError() | httpx.TimeoutException() | httpx2.TimeoutException() | TimeoutError():
            return "The model server did not answer in time: try again, or allow it more time."
        case openai.APIConnectionError():
            cause = _truncate(str(error.__cause__ or error))
            return f"The model server cannot be reached ({cause}): check OPENAI_BASE_URL and the network."
        case httpx.HTTPError() | httpx2.HTTPError() | ConnectionError():
            return f"The connection to the model server broke ({_truncate(str(error))}): try again."
        case openai.OpenAIError() | ModelError():
            return f"The model server's reply cannot be used: {_truncate(str(error))}"
        case _:
            return None


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
