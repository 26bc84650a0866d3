"""The embedded model's server: in this process, on loopback, until the process ends."""

import atexit
import os
import secrets
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, SecretStr

from agent.errors import WeightsError
from agent.llm.embedded.prompt_store import PromptStore

if TYPE_CHECKING:
    from xllamacpp import Server

#: Tokens of prompt and answer together; the key-value cache of 8,192 tokens takes 0.2 GB.
CONTEXT_TOKENS: Final = 8192
#: Texts that are generated in parallel. Two to one prompt take 1.5 times the time of one on two cores, three 2.1 times,
#: five 3.1 times: each layer of the weights is read once for all of them, and so is the prompt. They share the context.
MAX_PARALLEL_TEXTS: Final = 5
#: Memory for the prompts of earlier calls, which makes a call with the same beginning fast.
_PROMPT_CACHE_MIB: Final = 512
#: The load (processes ready to run) per core above which a machine counts as overloaded.
_BUSY_LOAD_PER_CORE: Final = 1.5
#: llama.cpp's own scale: below its lowest level nothing is written to standard error.
_SILENT_VERBOSITY: Final = -1


class LocalEndpoint(BaseModel):
    """The address of the embedded model's server, which speaks the OpenAI protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    url: str
    key: SecretStr
    weights: Path
    #: Where it keeps what it read of prompts; None: nowhere.
    prompts: PromptStore | None = None


#: The slot into which the beginnings of prompts are read: others are taken first.
PROMPT_SLOT: Final = MAX_PARALLEL_TEXTS - 1


class _RunningServer:
    """The server of one process; a forked child has none, because threads are not inherited."""

    def __init__(self, server: "Server", *, endpoint: LocalEndpoint) -> None:
        self.server = server
        self.endpoint = endpoint
        self.process = os.getpid()


_lock = threading.Lock()
_running: _RunningServer | None = None


def is_local_installed() -> bool:
    """Return whether the extra `local` is installed."""
    return find_spec("xllamacpp") is not None


def start_server(weights: Path, *, context: int = CONTEXT_TOKENS, prompts: Path | None = None) -> LocalEndpoint:
    """Start the server unless it is running, and return its address. It may keep what it read of prompts in `prompts`.

    It blocks for the seconds that loading takes, so a coroutine must call it in a thread. A process has one server for
    all its threads and event loops. Raises `WeightsError` if `weights` cannot be loaded, or if the server is already
    running with other weights.
    """
    global _running  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _running is None or _running.process != os.getpid():
            _running = _launch_server(weights, context=context, prompts=prompts)
            atexit.register(_stop)
        if _running.endpoint.weights != weights:
            raise WeightsError(
                f"The embedded model already runs with {str(_running.endpoint.weights)!r}; a process has one. "
                f"Start another process for {str(weights)!r}."
            )
        return _running.endpoint


def _launch_server(weights: Path, *, context: int, prompts: Path | None) -> _RunningServer:
    import xllamacpp  # noqa: PLC0415 - slow to load, and the extra may be missing

    store = _open_prompt_store(prompts, weights, context=context, runtime=xllamacpp.__version__)
    key = secrets.token_urlsafe(32)
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = _SILENT_VERBOSITY
    params.n_ctx = context
    params.n_parallel = MAX_PARALLEL_TEXTS
    params.kv_unified = True
    params.cache_prompt = True
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    if store is not None:
        params.slot_save_path = f"{store.folder}{os.sep}"
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _get_thread_count()
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights {str(weights)!r} cannot be loaded: {error}. Name another GGUF file by "
            "PLANWAVE_LOCAL_GGUF, or delete this one and run `planwave models pull`."
        ) from error
    endpoint = LocalEndpoint(url=f"{server.listening_address}/v1", key=SecretStr(key), weights=weights, prompts=store)
    return _RunningServer(server, endpoint=endpoint)


def _open_prompt_store(folder: Path | None, weights: Path, *, context: int, runtime: str) -> PromptStore | None:
    """Return the store of these weights in this version of the runtime; None if there is none or it cannot be made."""
    try:
        stat = weights.stat()
        model = f"{weights.name} {stat.st_size} {stat.st_mtime_ns} {context} {runtime}"
        return None if folder is None else PromptStore(folder, model=model)
    except OSError:
        return None


def _get_thread_count() -> int:
    """Return the number of the model's threads: that of the cores this process may use, half of it under high load.

    llama.cpp's threads wait for each other in a busy loop at each of a token's many steps. On an overloaded machine,
    where not all of them run at the same time, they are slower than half as many.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, cores // 2) if load > _BUSY_LOAD_PER_CORE * cores else cores


def _stop() -> None:
    """Release the server before the interpreter shuts down, which its threads must not outlive."""
    global _running  # noqa: PLW0603
    with _lock:
        if _running is not None and _running.process == os.getpid():
            _running = None
