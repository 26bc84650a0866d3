"""The only folder that a run may write to."""

import errno
import os
import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from agent.errors import ToolFailure

MAX_PATH_LENGTH = 1024
MAX_NAME_BYTES = 200  # most file systems allow 255


@dataclass(frozen=True)
class OutputFolder:
    """A folder that writes cannot leave, whatever is in a path and whatever symbolic links are on it."""

    root: Path

    def find_problem(self, path: str) -> str | None:
        """Return why `path` cannot be written to, as a sentence, or None; has no side effects."""
        if problem := _find_spelling_problem(path):
            return problem
        target = self.root
        parts = PurePosixPath(path).parts
        for part in parts[:-1]:
            target /= part
            if target.is_symlink() or (target.exists() and not target.is_dir()):
                return f"{path!r} leads through {part!r}, which is not a folder of the output; choose another path."
        target /= parts[-1]
        if target.is_symlink():
            return f"{path!r} is a symbolic link, which is never followed; choose another name."
        if target.is_dir():
            return f"{path!r} is a folder; add a file name to it."
        return None

    def exists(self, path: str) -> bool:
        """Whether there is a file already."""
        return (self.root / path).exists()

    def has_content(self, path: str, *, content: bytes) -> bool:
        """Whether there is a file already with exactly this content."""
        target = self.root / path
        return target.is_file() and target.stat().st_size == len(content) and target.read_bytes() == content

    def write(self, path: str, *, content: bytes, overwrite: bool) -> Path:
        """Write a file atomically, creating the folders above it; return its absolute path.

        Each folder is opened inside the one above it without following links, so a link that is created in the
        meantime is refused, too. Raises `ToolFailure` for a path that leaves the folder, and for an existing file
        unless `overwrite` is set or the file has exactly this content: a repeated write changes nothing.
        """
        if problem := self.find_problem(path):
            raise ToolFailure(problem)
        if self.has_content(path, content=content):
            return self.root.absolute() / path
        self.root.mkdir(parents=True, exist_ok=True)
        *folders, name = PurePosixPath(path).parts
        with ExitStack() as opened:
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, handle)
            for folder in folders:
                handle = _enter_folder(handle, folder=folder, path=path)
                opened.callback(os.close, handle)
            _write_atomically(handle, name=name, content=content, overwrite=overwrite, path=path)
        return self.root.absolute().joinpath(*folders, name)


def _find_spelling_problem(path: str) -> str | None:
    if not path.strip():
        return "path is empty; give a file name such as 'report.md'."
    # Before its bytes are counted: half of a surrogate pair has none.
    if any(not letter.isprintable() for letter in path):
        return f"path {path[:40]!r} has a control character; use printable characters."
    if len(path) > MAX_PATH_LENGTH or any(len(part.encode()) > MAX_NAME_BYTES for part in path.split("/")):
        return f"path {path[:40] + '...'!r} is too long; keep each name within {MAX_NAME_BYTES} bytes."
    if PureWindowsPath(path).drive or "\\" in path or ":" in path:
        return f"path {path!r} has a drive or a backslash; use a relative path with forward slashes."
    if path.startswith(("/", "~")):
        return f"path {path!r} is not relative; give a path inside the output folder such as 'report.md'."
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return f"path {path!r} has an empty, '.' or '..' part; write only the names of folders and the file."
    return None


def _enter_folder(parent: int, *, folder: str, path: str) -> int:
    """Open a folder inside `parent`, creating it if it does not exist; return its file descriptor."""
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=parent)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ToolFailure(
                f"{path!r} leads through {folder!r}, which is not a folder; choose another path."
            ) from None
        raise ToolFailure(f"The folder {folder!r} of {path!r} cannot be created: {error.strerror}.") from error


def _write_atomically(folder: int, *, name: str, content: bytes, overwrite: bool, path: str) -> None:
    temporary = f".{secrets.token_hex(6)}.part"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                # A hard link fails atomically if the name exists; checking first would be a race.
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                os.unlink(temporary, dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
    except FileExistsError:
        raise ToolFailure(f"{path!r} exists; choose another name or set overwrite to true.") from None
    except OSError as error:
        raise ToolFailure(f"{path!r} cannot be written: {error.strerror}.") from error
