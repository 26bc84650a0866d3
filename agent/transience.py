"""Errors that may pass, and how long to wait before the next attempt.

What may pass: timeouts, broken connections, and answers with status 408, 409, 425, 429 or 5xx. The status is read from
`status_code` of the error or of its `response`, where httpx, requests and the OpenAI client keep it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import RetryCallState, wait_random_exponential
from tenacity.wait import wait_base

_MAY_PASS = frozenset({408, 409, 425, 429})
_TURNED_AWAY = frozenset({425, 429})
_LONGEST_WAIT_S = 60.0


def may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed where this one met `error`."""
    if isinstance(error, TimeoutError | ConnectionError | httpx.TransportError):
        return True
    status = _status(error)
    return status is not None and (status in _MAY_PASS or 500 <= status < 600)


def without_effect(error: BaseException) -> bool:
    """Whether a call that met `error` surely changed nothing: it never arrived, or was turned away unread."""
    if isinstance(error, ConnectionRefusedError | httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return True
    return _status(error) in _TURNED_AWAY


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def retry_after_s(error: BaseException | None) -> float | None:
    """Return the seconds that the answer's Retry-After header asks for (RFC 9110, 10.2.3), at most 60."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if isinstance(headers, Mapping) else None
    if not isinstance(value, str):
        return None
    if value.strip().isdigit():
        return min(float(value), _LONGEST_WAIT_S)
    try:
        wait = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(wait, 0.0), _LONGEST_WAIT_S)


class WaitAsAsked(wait_base):
    """Wait as long as the answer asks for, else exponentially with full jitter: 0 to 0.5, 1, 2, ... 30 seconds."""

    def __init__(self) -> None:
        self._otherwise = wait_random_exponential(multiplier=0.5, max=30)

    def __call__(self, retry_state: RetryCallState) -> float:  # noqa: D102 - tenacity's protocol
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = retry_after_s(error)
        return asked if asked is not None else self._otherwise(retry_state)
