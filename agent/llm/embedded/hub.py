"""The publisher's own file from the Hugging Face Hub, by `huggingface_hub`.

Endpoint, offline mode, token, proxy and cache folder are those that the user has set up for that library. It reads
them (HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN, HF_HOME ...) from the environment of the process.
"""

import hashlib
import importlib.util
import re
import shutil
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

import httpx2

from agent.errors import WeightsError
from agent.llm.embedded.download import (
    CHUNK_BYTES,
    HubRepository,
    OnProgress,
    WeightsSource,
    check_disk_space,
    verify_and_rename,
)

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

#: Seconds without a byte after which a connection counts as broken.
_STALL_S: Final = 10.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def fetch_from_hub(source: WeightsSource, *, partial: Path, final: Path, on_progress: OnProgress) -> str | None:
    """Put the file at `final`, its digest checked. Return None, or why it cannot be had from the hub, as a sentence.

    A copy in the user's Hugging Face cache is linked to. Otherwise the bytes are appended to `partial`, which a later
    call goes on with: `hf_hub_download` would begin again after a killed process.
    """
    hub = source.hub
    if hub is None:
        return ""
    if importlib.util.find_spec("huggingface_hub") is None:
        return "The hub was not asked: `huggingface_hub` is not installed (it comes with the extra `local`)."
    try:
        if _link_cached_copy(source, hub=hub, final=final):
            return None
        _download(source, hub=hub, partial=partial, on_progress=on_progress)
        verify_and_rename(partial, source=source, final=final)
    except (WeightsError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"The hub did not give {hub.repo_id}/{source.name}: {reason.rstrip('.')}."
    return None


def _link_cached_copy(source: WeightsSource, *, hub: HubRepository, final: Path) -> bool:
    """Use the file of the user's Hugging Face cache if it is there and has the digest; return whether."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - the extra may be missing

    cached = try_to_load_from_cache(hub.repo_id, source.name, revision=hub.revision)
    if not isinstance(cached, str):
        return False
    blob = Path(cached).resolve()
    if blob.stat().st_size != source.size or _hash_file(blob) != source.sha256:
        return False
    final.unlink(missing_ok=True)
    try:
        final.symlink_to(blob)
    except OSError:
        # Windows lets only some users make symbolic links.
        check_disk_space(final.parent, needed=source.size)
        copy = final.with_name(f"{final.name}.copy")
        shutil.copyfile(blob, copy)
        copy.replace(final)
    return True


def _hash_file(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _download(source: WeightsSource, *, hub: HubRepository, partial: Path, on_progress: OnProgress) -> None:
    from huggingface_hub import hf_hub_url  # noqa: PLC0415 - the extra may be missing

    url = hf_hub_url(hub.repo_id, source.name, revision=hub.revision)
    _check_metadata(_look_up(url, timeout_s=hub.timeout_s), source=source)
    partial.touch()
    check_disk_space(partial.parent, needed=source.size - partial.stat().st_size)
    while (done := partial.stat().st_size) < source.size:
        on_progress(done, source.size)
        broken: httpx2.TransportError | None = None
        try:
            _append_rest(url, source=source, hub=hub, partial=partial, on_progress=on_progress)
        except httpx2.TransportError as error:
            broken = error
        # A broken connection is made again for as long as each one brings something.
        if partial.stat().st_size <= done:
            raise broken or WeightsError(f"It ends after {done} of {source.size} bytes.")


def _look_up(url: str, *, timeout_s: float) -> "HfFileMetadata":
    """Ask the hub about a file, once. Raises `TimeoutError` after `timeout_s`, whatever the hub is doing.

    Hence the thread: the client's timeout bounds each step of a request, not their sum and not the look-up of the
    host's name, and unless HF_HUB_DISABLE_TELEMETRY is set the library has a request of its own to make first.
    """
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415 - the extra may be missing

    answer: Future[HfFileMetadata] = Future()

    def ask() -> None:
        try:
            answer.set_result(get_hf_file_metadata(url, timeout=timeout_s))
        except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
            answer.set_exception(error)

    Thread(target=ask, name="planwave-hub", daemon=True).start()
    return answer.result(timeout=timeout_s)


def _check_metadata(metadata: "HfFileMetadata", *, source: WeightsSource) -> None:
    """Refuse another file before any of it is fetched. The hub's ETag of a large file is its SHA-256."""
    digest = metadata.etag if metadata.etag and _SHA256.fullmatch(metadata.etag) else source.sha256
    size = source.size if metadata.size is None else metadata.size
    if (size, digest) != (source.size, source.sha256):
        raise WeightsError(
            f"Its file is not the one we know: {size} bytes with SHA-256 {digest!r} instead of {source.size} bytes "
            f"with {source.sha256!r}."
        )


def _append_rest(
    url: str, *, source: WeightsSource, hub: HubRepository, partial: Path, on_progress: OnProgress
) -> None:
    """Append what `partial` lacks, over one connection; a server that ignores ranges sends the whole file again."""
    from huggingface_hub import get_session  # noqa: PLC0415 - the extra may be missing
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415 - as above

    # Unbuffered, so that a killed process loses at most a chunk.
    with partial.open("ab", buffering=0) as file:
        headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={file.tell()}-"}
        timeout = httpx2.Timeout(_STALL_S, connect=hub.timeout_s)
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                file.seek(file.truncate(0))
            for chunk in response.iter_bytes(CHUNK_BYTES):
                if file.tell() + len(chunk) > source.size:
                    raise WeightsError(f"It sends more than the {source.size} bytes that the weights have.")
                file.write(chunk)
                on_progress(file.tell(), source.size)
