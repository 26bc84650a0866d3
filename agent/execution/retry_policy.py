"""Errors that may pass, and how long to wait before the next attempt.

What may pass: timeouts, broken connections, and answers with status 408, 409, 425, 429 or 5xx. Each client has its own
errors for that; those of other clients than httpx are known by their names, so that none has to be installed.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.error import HTTPError, URLError

import httpx
from tenacity import RetryCallState, wait_random_exponential
from tenacity.wait import wait_base

_MAY_PASS: Final = frozenset({408, 409, 425, 429})
_TURNED_AWAY: Final = frozenset({425, 429})
_LONGEST_WAIT_S: Final = 60.0

#: The call was at fault, though the client lists it among the failures of transport.
_LASTING: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
#: No connection came about, so nothing was sent.
_UNCONNECTED: Final = frozenset(
    {
        "aiohttp.client_exceptions.ClientConnectorError",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.EndpointConnectionError",
        "httpx2.ConnectError",
        "httpx2.ConnectTimeout",
        "httpx2.PoolTimeout",
        "requests.exceptions.ConnectTimeout",
        "socket.gaierror",
        "urllib3.exceptions.ConnectTimeoutError",
        "urllib3.exceptions.NewConnectionError",
    }
)
_BROKEN: Final = _UNCONNECTED | {
    "aiohttp.client_exceptions.ClientConnectionError",
    "aiohttp.client_exceptions.ClientPayloadError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "http.client.IncompleteRead",
    "httpx2.NetworkError",
    "httpx2.RemoteProtocolError",
    "httpx2.TimeoutException",
    "openai.APIConnectionError",
    "requests.exceptions.ChunkedEncodingError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "urllib3.exceptions.ProtocolError",
    "urllib3.exceptions.TimeoutError",
}


def may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed where this one met `error`."""
    if (status := _status(error)) is not None:
        return status in _MAY_PASS or 500 <= status < 600
    return any(_is_broken(each) for each in _with_reasons(error))


def without_effect(error: BaseException) -> bool:
    """Whether a call that met `error` surely changed nothing: it never arrived, or was turned away unread."""
    if (status := _status(error)) is not None:
        return status in _TURNED_AWAY
    return any(_never_arrived(each) for each in _with_reasons(error))


def _is_broken(error: BaseException) -> bool:
    if isinstance(error, _LASTING):
        return False
    return isinstance(error, TimeoutError | ConnectionError | httpx.TransportError) or _named(error, _BROKEN)


def _never_arrived(error: BaseException) -> bool:
    known = ConnectionRefusedError | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    return isinstance(error, known) or _named(error, _UNCONNECTED)


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _with_reasons(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and what the errors of urllib, urllib3 and requests wrap without saying `from`."""
    for _ in range(5):
        yield error
        reason = error.reason if isinstance(error, URLError) else getattr(error, "reason", None)
        if not isinstance(reason, BaseException) and _named(error, _BROKEN):
            reason = next(iter(error.args), None)
        if not isinstance(reason, BaseException):
            return
        error = reason


def _status(error: BaseException) -> int | None:
    """Return the status of an HTTP answer: of httpx, requests, aiohttp, urllib, botocore and the OpenAI client."""
    response = getattr(error, "response", None)
    candidates = [
        error.code if isinstance(error, HTTPError) else None,
        *(getattr(holder, name, None) for holder in (error, response) for name in ("status_code", "status")),
        _aws(response).get("HTTPStatusCode"),
    ]
    return next((int(status) for status in candidates if isinstance(status, int) and 100 <= status < 600), None)


def retry_after_s(error: BaseException | None) -> float | None:
    """Return the seconds that the answer's Retry-After header asks for (RFC 9110, 10.2.3)."""
    value = _retry_after(error)
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def asks_too_long(error: BaseException | None) -> bool:
    """Whether the answer asks for a longer wait than is waited, so that an earlier attempt would be in vain."""
    return (retry_after_s(error) or 0.0) > _LONGEST_WAIT_S


def _retry_after(error: BaseException | None) -> str | None:
    response = getattr(error, "response", None)
    holders = (getattr(response, "headers", None), getattr(error, "headers", None), _aws(response).get("HTTPHeaders"))
    # `HTTPError` of urllib keeps a message, the others a mapping.
    headers = (each for each in holders if isinstance(each, Mapping | Message))
    return next((value for each in headers if isinstance(value := each.get("retry-after"), str)), None)


def _aws(response: object) -> Mapping[str, object]:
    """Return what botocore's errors keep of an answer."""
    metadata = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    return metadata if isinstance(metadata, Mapping) else {}


class WaitAsAsked(wait_base):
    """Wait as long as the answer asks for, else exponentially with full jitter: 0 to 0.5, 1, 2, ... 30 seconds."""

    def __init__(self) -> None:
        self._otherwise = wait_random_exponential(multiplier=0.5, max=30)

    def __call__(self, retry_state: RetryCallState) -> float:  # noqa: D102 - tenacity's protocol
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = retry_after_s(error)
        return min(asked, _LONGEST_WAIT_S) if asked is not None else self._otherwise(retry_state)
