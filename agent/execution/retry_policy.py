"""Which errors are transient, and how long to wait before the next attempt.

Transient are timeouts, broken connections, and responses with status 408, 409, 425, 429 or 5xx. Each client library has
its own errors for that; those of other clients than httpx are known by name, so that none has to be installed.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.error import HTTPError, URLError

import httpx

from agent.core.plan.limits import Backoff

_TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429})
_UNPROCESSED_STATUSES: Final = frozenset({425, 429})
_MAX_WAIT_S: Final = 60.0

#: The call itself is wrong, although the client lists the error among those of the transport.
_PERMANENT_ERRORS: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
#: There was no connection, so nothing was sent.
_CONNECT_ERRORS: Final = frozenset(
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
_CONNECTION_ERRORS: Final = _CONNECT_ERRORS | {
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


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed although this one raised `error`."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_transient, error.exceptions))
    if (status := _get_http_status(error)) is not None:
        return status in _TRANSIENT_STATUSES or 500 <= status < 600
    return any(_is_connection_error(each) for each in _iterate_causes(error))


def never_sent(error: BaseException) -> bool:
    """Whether a call that raised `error` surely changed nothing: it never arrived, or was rejected unprocessed."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(never_sent, error.exceptions))
    if (status := _get_http_status(error)) is not None:
        return status in _UNPROCESSED_STATUSES
    return any(_is_connect_error(each) for each in _iterate_causes(error))


def _is_connection_error(error: BaseException) -> bool:
    if isinstance(error, _PERMANENT_ERRORS):
        return False
    return isinstance(error, TimeoutError | ConnectionError | httpx.TransportError) or _has_class_name(
        error, _CONNECTION_ERRORS
    )


def _is_connect_error(error: BaseException) -> bool:
    known = ConnectionRefusedError | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    return isinstance(error, known) or _has_class_name(error, _CONNECT_ERRORS)


def _has_class_name(error: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and the errors that those of urllib, urllib3 and requests wrap without `from`."""
    for _ in range(5):
        yield error
        reason = error.reason if isinstance(error, URLError) else getattr(error, "reason", None)
        if not isinstance(reason, BaseException) and _has_class_name(error, _CONNECTION_ERRORS):
            reason = next(iter(error.args), None)
        if not isinstance(reason, BaseException):
            return
        error = reason


def _get_http_status(error: BaseException) -> int | None:
    """Return the status of an HTTP response of httpx, requests, aiohttp, urllib, botocore or the OpenAI client."""
    response = getattr(error, "response", None)
    candidates = [
        error.code if isinstance(error, HTTPError) else None,
        *(getattr(holder, name, None) for holder in (error, response) for name in ("status_code", "status")),
        _get_aws_metadata(response).get("HTTPStatusCode"),
    ]
    return next((int(status) for status in candidates if isinstance(status, int) and 100 <= status < 600), None)


def parse_retry_after_s(error: BaseException | None) -> float | None:
    """Return the seconds that the response's Retry-After header asks for (RFC 9110, 10.2.3); None without one."""
    value = _get_retry_after_header(error)
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def is_retry_after_too_long(error: BaseException | None) -> bool:
    """Whether the response asks for a longer wait than the longest, so that an attempt before that would be useless."""
    return (parse_retry_after_s(error) or 0.0) > _MAX_WAIT_S


def _get_retry_after_header(error: BaseException | None) -> str | None:
    response = getattr(error, "response", None)
    holders = (
        getattr(response, "headers", None),
        getattr(error, "headers", None),
        _get_aws_metadata(response).get("HTTPHeaders"),
    )
    # `HTTPError` of urllib has a message, the others have a mapping.
    headers = (each for each in holders if isinstance(each, Mapping | Message))
    return next((value for each in headers if isinstance(value := each.get("retry-after"), str)), None)


def _get_aws_metadata(response: object) -> Mapping[str, object]:
    """Return what botocore's errors keep of a response."""
    metadata = response.get("ResponseMetadata") if isinstance(response, Mapping) else None
    return metadata if isinstance(metadata, Mapping) else {}


def compute_wait_s(error: BaseException, *, retry: int, backoff: Backoff) -> float:
    """Return the seconds to wait before a retry, counted from 1, after `error`.

    As many as the response asks for, at most 60; else those of `backoff`, less a part that is drawn at random.
    """
    asked = parse_retry_after_s(error)
    if asked is not None:
        return min(asked, _MAX_WAIT_S)
    longest = backoff.compute_longest_wait_s(retry)
    return longest * (1 - backoff.jitter * random.random())  # noqa: S311 - no secret
