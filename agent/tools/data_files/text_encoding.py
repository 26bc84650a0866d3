"""The encoding of a text file: found by its bytes, and brought to UTF-8, which is what the engine reads."""

import codecs
import gzip
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from agent.errors import DataError

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

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
#: How files of other formats begin, what they are, and what their names end with if they can be read.
_OTHER_FORMATS: Final = (
    (re.compile(rb"PK\x03\x04"), "an Excel workbook or another archive", ".xlsx"),
    (re.compile(rb"PAR1"), "Parquet", ".parquet"),
    (re.compile(rb"SQLite format 3\x00"), "an SQLite database", ".db"),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "an old Excel workbook", ""),
    (re.compile(rb"%PDF-"), "a PDF", ""),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|table|\?xml)\b", re.IGNORECASE),
        "a web page or XML",
        "",
    ),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*\{|\{\s*\"[^\"]*\"\s*:)"), "JSON", ".json"),
)
_LATIN_ENCODINGS: Final = frozenset({"cp1252", "cp1250", "cp1254", "cp1257"})
_USUAL_ENCODINGS: Final = ("cp1251", "cp1253", "shift_jis", "gb18030")
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


def require_text(path: Path) -> None:
    """Raise `DataError` if a file that is called text is of another format by its first bytes."""
    with open_bytes(path) as file:
        head = file.read(512)
    for pattern, what, ending in _OTHER_FORMATS:
        if pattern.match(head):
            renamed = f"give it a name that ends with {ending!r}, or " if ending else ""
            raise DataError(f"The file {path.name!r} is {what}, not CSV. Remedy: {renamed}save it as CSV.")


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
    if _has_latin_words(evidence, "cp1252"):
        return _describe_guess("cp1252", evidence)
    from charset_normalizer import from_bytes  # noqa: PLC0415 - slow to import

    matches = list(from_bytes(evidence))
    # In a short text many encodings have letters everywhere; only a language that is recognized tells them apart.
    likely = [match.encoding for match in matches if match.coherence > 0]
    latin = [match.encoding for match in matches if _has_latin_words(evidence, match.encoding)]
    if likely or latin:
        return _describe_guess((likely or latin)[0], evidence)
    ways = [f"?encoding={name} reads {_show_word(name, evidence)!r}" for name in _list_ways(evidence, matches)]
    raise DataError(
        f"The file {path.name!r} is not UTF-8 (line {line}), and its encoding cannot be told. Remedy: give it after "
        f"the file's name: {', '.join(ways) or '?encoding=NAME'}."
    )


def _describe_guess(name: str, evidence: bytes) -> TextEncoding:
    return TextEncoding(name, f"it is not UTF-8; a word of it is then {_show_word(name, evidence)!r}")


def _show_word(name: str, evidence: bytes) -> str:
    words = re.findall(r"[^\s,;|\"]+", evidence.decode(name, "replace"))
    return next((word for word in words if not word.isascii()), "")[:30]


def _list_ways(evidence: bytes, matches: Iterable["CharsetMatch"]) -> list[str]:
    """Return encodings that the text may have, the usual ones first."""
    found = []
    for name in (*_USUAL_ENCODINGS, *(match.encoding for match in matches)):
        with suppress(UnicodeDecodeError):
            if name not in found and evidence.decode(name).strip():
                found.append(name)
    return found[:6]


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


def _has_latin_words(evidence: bytes, encoding: str) -> bool:
    """Whether the bytes beyond ASCII are then single letters in words of ASCII, or signs like €."""
    if encoding not in _LATIN_ENCODINGS:
        return False
    try:
        text = evidence.decode(encoding)
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in _HIGH_BYTES.findall(evidence)]
    in_words = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])", text)
    is_wordlike = all(letter.isalpha() or letter in "\u2019\u2018\u00b7" for letter in in_words)
    return sum(run for run in runs if run > 2) * 4 <= sum(runs) and is_wordlike  # äöü are rarely three


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
                    f"The file {path.name!r} is not {encoding.name}: after line {lines} it has bytes that stand for no "
                    "letter. Remedy: give its encoding after the file's name, as ?encoding=cp1252 or ?encoding=utf-16."
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
