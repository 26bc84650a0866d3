"""The commands `models` and `models pull`."""

import os
from urllib.parse import urlsplit

from agent.errors import WeightsError
from agent.local.server import installed
from agent.local.weights import QWEN_CODER, cache_folder, weights_path
from agent.models import DEFAULT_OPENAI_MODEL, LOCAL, available
from graphs.console.manner import Manner
from graphs.console.screen import print_json
from graphs.console.weights import announce, pull_weights


def list_models(*, manner: Manner) -> int:
    """Print which model is used, what is set for a server, and what is there of the embedded one; return 0."""
    default = f"openai:{DEFAULT_OPENAI_MODEL}"
    chosen = os.environ.get("PLANWAVE_MODEL") or (default if available(default) else LOCAL)
    weights, problem = _weights()
    found = {
        "model": chosen,
        "ready": available(chosen),
        "key_set": bool(os.environ.get("OPENAI_API_KEY")),
        "base_url": _address(os.environ.get("OPENAI_BASE_URL")),
        "local_installed": installed(),
        "local_weights": weights,
        "local_problem": problem,
        "local_cache": os.fspath(cache_folder(os.environ)),
    }
    if manner.as_json:
        print_json(found)
        return 0
    say = manner.screen.say
    say(f"model    {chosen} ({'ready' if found['ready'] else 'not ready'})")
    say(f"server   {_server(key=bool(found['key_set']), address=found['base_url'])}")
    extra = "installed" if installed() else "not installed: pip install 'planwave[local]'"
    say(f"local    {extra}")
    absent = f"not fetched ({QWEN_CODER.size / 1e9:.2f} GB): planwave models pull"
    say(f"weights  {problem or weights or absent}")
    return 0


def pull_model(*, manner: Manner) -> int:
    """Fetch the embedded model's weights unless they are there; return 0. Raises `WeightsError`, `Interrupted`."""
    with manner.stopper().catching():
        if weights_path(os.environ) is None:
            announce(manner.screen)
        file = pull_weights(manner.screen)
    if manner.as_json:
        print_json({"weights": file})
    else:
        manner.screen.say(f"The weights are in {file}.")
    return 0


def _weights() -> tuple[str | None, str | None]:
    try:
        found = weights_path(os.environ)
    except WeightsError as error:
        return None, str(error)
    return (os.fspath(found) if found else None), None


def _server(*, key: bool, address: object) -> str:
    if not key and not address:
        return "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
    return f"{address or 'api.openai.com'}, {'with' if key else 'without'} a key"


def _address(url: str | None) -> str | None:
    """Return a server's address without user, password and query."""
    if not url:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
