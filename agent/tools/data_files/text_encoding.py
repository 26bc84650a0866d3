"""The encoding of a text file: found by its bytes, and brought to UTF-8, which is what the engine reads."""

import codecs
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from agent.errors import DataError

_CHUNK: Final = 2**20
#: Bytes of lines with letters beyond ASCII that are looked at for a guess.
_EVIDENCE_BYTES: Final = 2**16
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH_BYTES: Final = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """The encoding of a file, by Python's name, and why it is only a guess, if it is one."""

    name: str
    doubt: str = ""

    @property
    def is_utf8(self) -> bool:
        """Whether the engine can read the file as it is."""
        return codecs.lookup(self.name).name in {"utf-8", "utf-8-sig", "ascii"}


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for its bytes, unpacked if it is gzipped."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def detect_encoding(path: Path, *, given: str | None = None) -> TextEncoding:
    """Return the encoding of a file; all of it is read. Raises `DataError` if it cannot be told."""
    if given is not None:
        return TextEncoding(given)
    with open_bytes(path) as file:
        head = file.read(4096)
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return TextEncoding(name)
    if head.count(0) > len(head) // 4:
        # Text of which every second byte is empty, without a mark at its start.
        return TextEncoding("utf-16-be" if head[:1] == b"\0" else "utf-16-le", "every second byte is empty")
    line = _find_line_not_in_utf8(path)
    return TextEncoding("utf-8") if line is None else _guess_encoding(path, line=line)


def _find_line_not_in_utf8(path: Path) -> int | None:
    decoder, lines = codecs.getincrementaldecoder("utf-8")(), 1
    for chunk in _read_chunks(path):
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return lines + error.object[: error.start].count(b"\n")
        lines += chunk.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return lines
    return None


def _read_chunks(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _guess_encoding(path: Path, *, line: int) -> TextEncoding:
    evidence = _read_evidence(path)
    text = evidence.decode("utf-8", errors="replace")
    if sum(letter > "\x7f" and letter != "\ufffd" for letter in text) > text.count("\ufffd"):
        raise DataError(
            f"The file {path.name!r} is UTF-8, but line {line} of it is not. Remedy: correct that line, or leave out "
            "such lines with ?encoding=utf-8&errors=skip after the file's name."
        )
    name = "cp1252" if _looks_western(evidence) else _recognize(evidence)
    if name is None:
        raise DataError(
            f"The file {path.name!r} is not UTF-8 (line {line}), and its encoding cannot be told. Remedy: give it after "
            "the file's name, as ?encoding=cp1252 or ?encoding=utf-16."
        )
    example = next((word for word in re.findall(r"\w+", evidence.decode(name, "replace")) if not word.isascii()), "")
    return TextEncoding(name, f"it is not UTF-8; a word of it is then {example!r}")


def _read_evidence(path: Path) -> bytes:
    found: list[bytes] = []
    size = 0
    with open_bytes(path) as file:
        for line in file:
            if not line.isascii():
                found.append(line)
                size += len(line)
                if size > _EVIDENCE_BYTES:
                    break
    return b"".join(found)


def _looks_western(evidence: bytes) -> bool:
    """Whether the bytes beyond ASCII are single letters in words of ASCII, as in Western Europe, or signs like €."""
    try:
        text = evidence.decode("cp1252")
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in _HIGH_BYTES.findall(evidence)]
    in_words = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])", text)
    is_wordlike = all(letter.isalpha() or letter in "’‘·" for letter in in_words)
    return sum(run for run in runs if run > 2) * 4 <= sum(runs) and is_wordlike  # noqa: PLR2004 - äöü are rarely three


def _recognize(evidence: bytes) -> str | None:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - slow to import

    best = from_bytes(evidence).best()
    return None if best is None else best.encoding


def write_as_utf8(path: Path, target: Path, *, encoding: TextEncoding, has_mixed_line_ends: bool = False) -> Path:
    """Write the text of `path` to `target` in UTF-8, with line ends of one kind if asked for, and return `target`.

    Raises `DataError` that names the line which the encoding cannot have.
    """
    decoder, lines = codecs.getincrementaldecoder(encoding.name)(), 1
    with target.open("w", encoding="utf-8", newline="") as copy:
        pending, is_first = "", True
        for chunk in (*_read_chunks(path), b""):
            try:
                text = pending + decoder.decode(chunk, final=not chunk)
            except UnicodeError:
                raise DataError(
                    f"The file {path.name!r} is not {encoding.name}: after line {lines} it has bytes that no letter has "
                    "there. Remedy: give its encoding after the file's name, as ?encoding=cp1252 or ?encoding=utf-16."
                ) from None
            pending = "\r" if has_mixed_line_ends and text.endswith("\r") and chunk else ""
            text = text.removesuffix(pending)
            if has_mixed_line_ends:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            lines += text.count("\n")
            copy.write(text.removeprefix("\ufeff") if is_first else text)
            is_first = is_first and not text
    return target


def read_sample(path: Path, *, size: int) -> tuple[str, bool]:
    """Return the first letters of a UTF-8 file, and whether they are all of it."""
    with open_bytes(path) as file:
        head = file.read(size)
        is_whole = not file.read(1)
    return codecs.getincrementaldecoder("utf-8-sig")("replace").decode(head), is_whole
