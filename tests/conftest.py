"""What holds in every test: no network but loopback, and the same examples on every machine."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

from tests.support.postgres import database_url, postgres_server, postgres_url  # noqa: F401 - fixtures

_ALWAYS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, max_examples=60, **_ALWAYS)
settings.register_profile("nightly", max_examples=5_000, **_ALWAYS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def loopback_only():
    """Close the network to a test, but for this machine and for Unix sockets."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def unknown_servers():
    """Forget what was learned about model servers: a later test may get the port of an earlier one."""
    yield
    if (module := sys.modules.get("agent.llm.server_limits")) is not None:
        module.forget_server_limits()
