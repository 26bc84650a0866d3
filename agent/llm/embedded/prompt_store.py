"""The beginnings of prompts that the embedded model has read, kept as files: reading them again takes many seconds.

All questions about one database begin alike, with some 2,000 tokens that take 20 s to read on two cores. The server
writes what it has made of them into a file of 28 KB a token, and reads it back in a tenth of a second.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Final

#: Bytes of all files together; beyond it, those that were not used for longest are deleted.
_MAX_BYTES: Final = 512 << 20
#: Characters that two beginnings have in common at least if one is of use to the other.
_SHARED_LENGTH: Final = 1_500
_PARTIAL_PREFIX: Final = "partial-"


class PromptStore:
    """The files of one set of weights in one folder, which is the user's alone: a prompt names tables and values."""

    def __init__(self, folder: Path, *, model: str) -> None:
        """Take the folder, which is made, and a text that is another for another model. Raises `OSError`."""
        self.folder = folder
        self._model = model
        #: The name of the file that the server was given last.
        self.current: str | None = None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def name_file(self, beginning: str) -> str:
        """Return the name of the file of a beginning."""
        first, whole = (
            hashlib.sha256(f"{self._model}\n{text}".encode()).hexdigest()[:24]
            for text in (beginning[:_SHARED_LENGTH], beginning)
        )
        return f"{first}-{whole}"

    def find_file(self, name: str) -> str | None:
        """Return the file `name`, else the one used last of those that begin as it does; it counts as used now."""
        try:
            if not (self.folder / name).is_file():
                files = list(self.folder.glob(f"{name.partition('-')[0]}-*"))
                name = max(files, key=lambda file: file.stat().st_mtime_ns).name if files else ""
            if name:
                (self.folder / name).touch()
        except OSError:
            return None
        return name or None

    def name_partial(self) -> str:
        """Return a name for a file that is being written, so that no half of one is read."""
        return f"{_PARTIAL_PREFIX}{secrets.token_hex(8)}"

    def keep(self, partial: str, *, name: str) -> None:
        """Give a file that is whole its name, and delete those for which there is no room. Raises `OSError`."""
        written = self.folder / partial
        written.chmod(0o600)
        written.replace(self.folder / name)
        sizes = [(file, file.stat()) for file in self.folder.iterdir()]
        total = 0
        for file, stat in sorted(sizes, key=lambda each: -each[1].st_mtime_ns):
            total += stat.st_size
            if total > _MAX_BYTES:
                file.unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """Delete a file that cannot be used."""
        (self.folder / name).unlink(missing_ok=True)
