"""Failed calls of models, whichever library they are from, each explained in one sentence to whoever can fix it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

import httpx
import httpx2
import openai
from langchain_core.exceptions import ContextOverflowError

from agent.errors import ModelReplyError

#: What kind of failure: an error status, no answer in time, no connection, or an answer that cannot be read.
_Kind = Literal["status", "timeout", "connection", "protocol", "other"]

#: Statuses by which servers refuse a parameter that they do not know.
PARAMETER_REFUSED_STATUSES: Final = frozenset((400, 422))
_TRANSIENT_STATUSES: Final = frozenset((408, 409, 425, 429))
_MAX_CHARACTERS: Final = 300
_MAX_RETRY_AFTER_S: Final = 60.0
_TIMEOUTS: Final = (openai.APITimeoutError, httpx.TimeoutException, httpx2.TimeoutException, TimeoutError)
_BROKEN_CONNECTIONS: Final = (httpx.HTTPError, httpx2.HTTPError, ConnectionError)
#: Names of exceptions of other libraries that say so by nothing else.
_TIMEOUT_NAME: Final = re.compile(r"Timeout|DeadlineExceeded")
_CONNECTION_NAME: Final = re.compile(r"Connection|ServiceUnavailable|EndpointConnection")
_RATE_WORDS: Final = re.compile(
    r"rate.?limit|too many requests|resource.?exhausted|throttl|over(?:loaded|.?capacity)", re.IGNORECASE
)
_TOO_LONG_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_TOO_LONG_WORDS: Final = re.compile(
    r"context (?:length|window|size)|max_model_len|prompt is too long|input is too long|reduce the length of",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """A call of a model that gave no reply."""

    kind: _Kind
    #: In the provider's own words.
    message: str
    #: HTTP status, or the code of an error inside a reply with status 200; None if there is none.
    status: int | None = None
    #: Seconds to wait before the next attempt, as the server says.
    retry_after_s: float | None = None
    #: The client has not tried again itself, because it took the error for a reply.
    is_in_reply: bool = False
    #: The prompt does not fit into the model's context.
    is_too_long: bool = False
    #: The name of the exception, for logs; its message may repeat the prompt.
    name: str = ""

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed a moment later."""
        match self.kind:
            case "connection":
                return True
            case "status":
                status = self.status or 0
                return status in _TRANSIENT_STATUSES or status >= 500
            case "other":
                return bool(_RATE_WORDS.search(self.message))
            case "timeout" | "protocol":
                return False

    @property
    def is_refused_parameter(self) -> bool:
        """Whether the server may have refused the form of the request and not the question."""
        return self.status in PARAMETER_REFUSED_STATUSES and not self.is_too_long


class CallFailedError(Exception):
    """Raised inside this room for a call of a model that gave no reply."""

    def __init__(self, failure: ProviderFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def read_failure(error: Exception, *, speaks_openai: bool) -> ProviderFailure:
    """Return what an exception of a model's client means."""
    name = type(error).__name__
    if (inside := _find_error_in_reply(error)) is not None:
        return inside
    causes = list(_list_causes(error))
    status = next((found for each in causes if (found := _find_status(each)) is not None), None)
    if status is not None:
        message = _get_message(error)
        return ProviderFailure(
            "status",
            message,
            status=status,
            retry_after_s=next((wait for each in causes if (wait := _find_retry_after(each)) is not None), None),
            is_too_long=_is_too_long(error, message, status),
            name=name,
        )
    message = _get_message(error)
    if isinstance(error, ContextOverflowError):
        return ProviderFailure("status", message, status=400, is_too_long=True, name=name)
    if any(isinstance(each, _TIMEOUTS) for each in causes) or _TIMEOUT_NAME.search(name):
        return ProviderFailure("timeout", message, name=name)
    if isinstance(error, openai.APIConnectionError):
        return ProviderFailure("connection", str(error.__cause__ or error), name=name)
    if any(isinstance(each, _BROKEN_CONNECTIONS) for each in causes) or _CONNECTION_NAME.search(name):
        return ProviderFailure("connection", message, name=name)
    is_misread = isinstance(error, AttributeError | LookupError | TypeError | ValueError | AssertionError)
    return ProviderFailure("protocol" if speaks_openai and is_misread else "other", message, name=name)


def explain_failure(failure: ProviderFailure, *, speaks_openai: bool) -> ModelReplyError:
    """Return the error of ours for a failed call: what it means, what helps, and the provider's own words."""
    quoted = f"Its message: {truncate_message(failure.message)!r}."
    match failure.kind:
        case "status":
            return ModelReplyError(f"{_describe_status(failure, speaks_openai=speaks_openai)} {quoted}")
        case "timeout":
            return ModelReplyError("The model server did not answer in time: try again, or allow it more time.")
        case "connection":
            remedy = "check OPENAI_BASE_URL and the network" if speaks_openai else "check its address and the network"
            cause = truncate_message(failure.message)
            return ModelReplyError(f"The model server cannot be reached, or the connection broke ({cause}): {remedy}.")
        case "protocol":
            cause = truncate_message(failure.message)
            return ModelReplyError(
                f"The model server's reply does not follow the OpenAI protocol ({cause}): check OPENAI_BASE_URL."
            )
        case "other":
            return ModelReplyError(f"The model failed with {failure.name}: {truncate_message(failure.message)}")


def truncate_message(text: str) -> str:
    """Return the beginning of a message."""
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


def _describe_status(failure: ProviderFailure, *, speaks_openai: bool) -> str:
    if failure.is_too_long:
        return "The prompt is too long for the model: give it less, or use a model with a larger context."
    key = "a valid OPENAI_API_KEY for this server" if speaks_openai else "a valid key for this provider"
    retried = ", also when it was retried"
    match failure.status:
        case 401 | 403:
            return f"The model server refused the key: set {key}."
        case 402:
            return "The model server wants to be paid first: add credits, or ask for fewer tokens."
        case 404:
            places = "`--model` and OPENAI_BASE_URL" if speaks_openai else "`--model`"
            return f"The model server does not know this model or address: check {places}."
        case 429:
            return (
                f"The model server refused the call because of its rate limit or quota{retried}: wait, or raise the "
                "quota."
            )
        case int(status) if status >= 500:
            return f"The model server failed with status {status}{retried}: try again later."
        case None:
            return "The model server answered with an error."
        case status:
            return f"The model server rejected the request with status {status}."


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from: libraries wrap the errors of the client that they use."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        yield error
        if error.__cause__ is None:
            return
        error = error.__cause__


def _find_status(error: BaseException) -> int | None:
    """Return the HTTP status of an exception, by the attributes in which the clients of providers keep it."""
    response = getattr(error, "response", None)
    kept = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}  # of botocore
    values = (
        getattr(error, "status_code", None),
        getattr(error, "code", None),
        getattr(error, "http_status", None),
        getattr(error, "status", None),
        kept.get("HTTPStatusCode") if isinstance(kept, dict) else None,
        # An openai client puts the response on an error of its own parsing too, and that has status 200.
        getattr(response, "status_code", None),
    )
    return next((status for value in values if (status := _as_error_status(value)) is not None), None)


def _as_error_status(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return int(value)
    return None


def _find_retry_after(error: BaseException) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return None
    try:
        return min(max(float(headers.get("retry-after") or headers["Retry-After"]), 0.0), _MAX_RETRY_AFTER_S)
    except (KeyError, TypeError, ValueError):
        return None


def _get_message(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error) or type(error).__name__


def _is_too_long(error: BaseException, message: str, status: int) -> bool:
    if isinstance(error, ContextOverflowError):
        return True
    codes = {getattr(error, "code", None), getattr(error, "type", None)}
    if not _TOO_LONG_CODES.isdisjoint(code for code in codes if isinstance(code, str)):
        return True
    return status in {400, 413, 422} and bool(_TOO_LONG_WORDS.search(message))


def _find_error_in_reply(error: BaseException) -> ProviderFailure | None:
    """Return the error that a server sent with status 200, which its client took for a completion or a chunk."""
    if isinstance(error, openai.APIStatusError):
        return None
    said: object = None
    if isinstance(error, ValueError) and error.args and isinstance(error.args[0], dict):
        said = error.args[0]
    elif isinstance(error, openai.APIError) and isinstance(error.body, dict):
        # Inside a stream.
        said = error.body.get("error") or error.body
    elif getattr(getattr(error, "response", None), "status_code", None) == HTTPStatus.OK:
        said = _read_error_body(getattr(error, "response", None))
    return read_error_object(said)


def _read_error_body(response: Any) -> object:  # noqa: ANN401 - of either HTTP library
    try:
        # Some send an event of a stream to whoever asked for none.
        body = json.loads(str(response.text).strip().removeprefix("data:"))
    except (RuntimeError, ValueError):
        return None
    if not isinstance(body, dict) or body.get("choices"):
        return None
    return body.get("error") or body


def read_error_object(said: object) -> ProviderFailure | None:
    """Return the failure that an error object means, as `{"message": ..., "code": 429}`; None if it is none."""
    if isinstance(said, str) and said:
        return ProviderFailure("status", said, status=None, is_in_reply=True, name="ErrorInReply")
    if not isinstance(said, Mapping):
        return None
    nested = said.get("base_resp")  # of MiniMax
    if isinstance(nested, Mapping) and nested.get("status_msg"):
        said = {"message": nested["status_msg"], "code": nested.get("status_code")}
    message = next((said[key] for key in ("message", "msg", "detail", "error") if isinstance(said.get(key), str)), None)
    if not message:
        return None
    details = said.get("metadata")
    raw = (
        details.get("raw") if isinstance(details, Mapping) else None
    )  # OpenRouter: the words of the provider behind it
    if isinstance(raw, str) and raw and raw != message:
        message = f"{message}: {raw}"
    codes = (said.get("code"), said.get("status"), said.get("status_code"))
    status = next((found for code in codes if (found := _as_error_status(code)) is not None), None)
    if status is None and _RATE_WORDS.search(f"{message} {said.get('type')} {said.get('code')}"):
        status = 429
    words = {str(said.get(key)) for key in ("code", "type")}
    too_long = not _TOO_LONG_CODES.isdisjoint(words) or bool(_TOO_LONG_WORDS.search(message))
    return ProviderFailure(
        "status",
        message,
        status=status,
        is_in_reply=True,
        is_too_long=too_long and status in {None, 400, 422},
        name="ErrorInReply",
    )
