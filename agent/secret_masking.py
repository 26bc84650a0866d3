"""Finds secret values in text, in whatever form they are written, and masks them.

A text is looked at as it is and decoded, level by level: HTML entities, URL escapes, the escapes of JSON, JavaScript
and Python. At each level a value is also looked for in hex, in Base64 and in UTF-16. What is found is masked in the
text as it was written.
"""

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from html.entities import html5
from typing import Final, NamedTuple
from weakref import WeakSet

from pydantic import JsonValue

MASK: Final = "**********"
SECRET_VARIABLE_PREFIX: Final = "PLANWAVE_SECRET_"  # noqa: S105 - not a secret but how their names begin
#: Shorter texts occur in too many others to be masked, and cannot be secrets.
MIN_SECRET_LENGTH: Final = 4
#: Of a Base64 form: it has no blanks and few punctuation marks, so that a short one occurs by chance more easily.
_MIN_BASE64_LENGTH: Final = 6
#: Digits alone are numbers, which occur everywhere, unless there are more of them.
_MIN_DIGITS: Final = 6
#: A text of letters alone that is shorter than this may be a word.
_MAX_WORD_LENGTH: Final = 16
_COMMON_TEXTS: Final = frozenset(
    {
        *("true", "false", "null", "none", "yes", "test", "tests", "user", "users", "admin", "root", "name", "value"),
        *("password", "passwd", "secret", "token", "default", "local", "localhost", "http", "https", "error", "data"),
        *("text", "type", "task", "tool", "done", "failed", "string", "number", "object", "date", "time", "local"),
    }
)
#: Levels of decoding: JSON in JSON in a URL and so on.
_MAX_LEVELS: Final = 12

_TOKEN: Final = re.compile(
    rb"""\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}"""
    rb"""|\\[nrtbf\\/"']|%u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}"""
    rb"""|&\#[xX][0-9a-fA-F]{1,16};?|&\#[0-9]{1,16};?|&[A-Za-z][A-Za-z0-9]{1,31};"""
)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_MAX_CODE_POINT: Final = 0x10FFFF
_BLANKS: Final = b" \t\r\n"
_HEX_SEPARATORS: Final = b" \t\r\n:,._-"


def is_common(text: str) -> bool:
    """Whether masking a text would mangle others: it is too short, a common word or a small number."""
    is_small_number = text.isdigit() and len(text) < _MIN_DIGITS
    return len(text) < MIN_SECRET_LENGTH or text.lower() in _COMMON_TEXTS or is_small_number


def is_word(text: str) -> bool:
    """Whether a text may be an ordinary word, as the settings of a server often are."""
    return is_common(text) or (text.isalpha() and text.isascii() and len(text) < _MAX_WORD_LENGTH)


class Masks:
    """The values to mask, prepared to be found."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        #: Each value as it is, and as it would be read by whoever decodes it.
        self._plain: list[bytes] = []
        #: Digits of a hex form; characters of a Base64 form.
        self._hex: list[bytes] = []
        self._base64: list[bytes] = []
        for text in {text for text in texts if len(text) >= MIN_SECRET_LENGTH}:
            data = [text.encode(errors="surrogatepass"), text.encode(errors="replace")]
            plain = [data[0], data[0].replace(b" ", b"+"), *(view.data for view in _decode_levels(data[0]))]
            self._plain += dict.fromkeys(each for each in plain if len(each) >= MIN_SECRET_LENGTH)
            data += [text.encode(form, errors="replace") for form in ("utf-16-le", "utf-16-be")]
            for each in dict.fromkeys(data):
                self._hex.append(each.hex().encode())
                self._base64 += _list_base64_forms(each)

    def __bool__(self) -> bool:
        return bool(self._plain)

    def redact(self, text: str) -> str:
        """Return `text` with asterisks in place of each value, in whatever form."""
        if not self._plain or len(text) < MIN_SECRET_LENGTH:
            return text
        data = text.encode(errors="surrogatepass")
        spans = [view.locate(span) for view in _decode_levels(data) for span in self._find_spans(view.data)]
        if not spans:
            return text
        parts: list[str] = []
        end = 0
        for start, stop in _merge_spans(spans):
            parts += [data[end:start].decode(errors="surrogatepass"), MASK]
            end = stop
        return "".join([*parts, data[end:].decode(errors="surrogatepass")])

    def redact_json(self, value: JsonValue) -> JsonValue:
        """Return a JSON value with all of its texts, keys and numbers masked; `value` itself if nothing was found."""
        if not self._plain or (isinstance(value, dict | list) and not self._occurs_in(value)):
            return value
        match value:
            case str():
                return self.redact(value)
            case list():
                return [self.redact_json(each) for each in value]
            case dict():
                return {self.redact(key): self.redact_json(each) for key, each in value.items()}
            case int() | float() if not isinstance(value, bool):
                shown = repr(value) if not isinstance(value, int) or value.bit_length() < _MAX_LISTED_BITS else ""
                return value if self.redact(shown) == shown else MASK
            case _:
                return value

    def _occurs_in(self, value: JsonValue) -> bool:
        """Whether a secret may occur in a value: in its JSON as one text, which is searched faster than each part."""
        try:
            data = json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")
        except (ValueError, RecursionError):
            return True
        return any(True for view in _decode_levels(data) for _ in self._find_spans(view.data))

    def _find_spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        for needle in self._plain:
            yield from _find_all(data, needle)
        if b"\0" in data:
            yield from _find_spread(data, data.replace(b"\0", b""), self._plain, _NULS)
        digits = data.lower().translate(None, _HEX_SEPARATORS).replace(b"0x", b"").replace(b"\\x", b"")
        yield from _find_spread(data, digits, self._hex, _HEX_GAPS)
        yield from _find_spread(data, data.translate(None, _BLANKS), self._base64, _BLANK_GAPS)


_MAX_LISTED_BITS: Final = 4096
_NULS: Final = (1, rb"\x00*", 0)
_HEX_GAPS: Final = (2, rb"(?:[\s:,._-]|0[xX]|\\x)*", re.IGNORECASE)
_BLANK_GAPS: Final = (1, rb"\s*", 0)


def _find_all(data: bytes, needle: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(needle)
    while start >= 0:
        yield start, start + len(needle)
        start = data.find(needle, start + len(needle))


def _find_spread(
    data: bytes, compact: bytes, needles: Iterable[bytes], gaps: tuple[int, bytes, int]
) -> Iterator[tuple[int, int]]:
    """Yield where `data` has a needle of `compact`, which is `data` without what may stand between its units."""
    width, gap, flags = gaps
    for needle in needles:
        if needle in compact:
            units = (re.escape(needle[at : at + width]) for at in range(0, len(needle), width))
            for found in re.finditer(gap.join(units), data, flags):
                yield found.span()


def _merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


TokenDecoder = Callable[[bytes], bytes]


class _Piece(NamedTuple):
    """A part of a decoded text, and the part of the text before it that it stands for."""

    start: int
    source: tuple[int, int]
    is_literal: bool


class _View:
    """A text at one level of decoding; `before` is the level above, and `decode_token` what led from there to here."""

    def __init__(self, data: bytes, before: "_View | None" = None, decode_token: TokenDecoder | None = None) -> None:
        self.data = data
        self._before = before
        self._decode_token = decode_token
        self._pieces: list[_Piece] = []

    def locate(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return where in the original text a part of this one stands."""
        if self._before is None or self._decode_token is None:
            return span
        if not self._pieces:
            self._pieces = list(_split_pieces(self._before.data, self._decode_token))
        first, last = self._find_piece(span[0]), self._find_piece(span[1] - 1)
        start = first.source[0] + (span[0] - first.start if first.is_literal else 0)
        stop = last.source[0] + span[1] - last.start if last.is_literal else last.source[1]
        return self._before.locate((start, stop))

    def _find_piece(self, position: int) -> _Piece:
        return self._pieces[bisect_right(self._pieces, position, key=lambda piece: piece.start) - 1]

    def decode(self, decode_token: TokenDecoder) -> "_View | None":
        """Return the text with one level of escapes taken off; None if it has none."""
        decoded = _TOKEN.sub(lambda found: decode_token(found[0]), self.data)
        return None if decoded == self.data else _View(decoded, self, decode_token)


def _split_pieces(data: bytes, decode_token: TokenDecoder) -> Iterator[_Piece]:
    at = end = 0
    for found in _TOKEN.finditer(data):
        if found.start() > end:
            yield _Piece(at, (end, found.start()), is_literal=True)
            at += found.start() - end
        yield _Piece(at, found.span(), is_literal=False)
        at += len(decode_token(found[0]))
        end = found.end()
    if end < len(data):
        yield _Piece(at, (end, len(data)), is_literal=True)


def _decode_levels(data: bytes) -> Iterator[_View]:
    r"""Yield the text as it is, then with one level of escapes less each time.

    `\xe9` is a byte where Python shows bytes, and a character where it shows text; both are tried.
    """
    original = _View(data)
    yield original
    has_bytes = False
    for decode_token in (_decode_token, _decode_text_token):
        view: _View | None = original
        for _ in range(_MAX_LEVELS):
            if view is None or (decode_token is _decode_text_token and not has_bytes):
                break
            has_bytes = has_bytes or b"\\x" in view.data
            view = view.decode(decode_token)
            if view is not None:
                yield view


def _decode_text_token(token: bytes) -> bytes:
    return _encode_code_point(_parse_hex(token[2:])) if token.startswith(b"\\x") else _decode_token(token)


@lru_cache(maxsize=4096)
def _decode_token(token: bytes) -> bytes:
    if token.startswith(b"\\u") and len(token) > 6:
        high, low = int(token[2:6], 16), int(token[8:12], 16)
        return _encode_code_point(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    if token[:2] in {b"\\u", b"\\U", b"%u"}:
        return _encode_code_point(_parse_hex(token[2:]))
    if token.startswith(b"\\x"):
        return bytes([_parse_hex(token[2:])])
    if token.startswith(b"\\"):
        return _ESCAPED.get(token[1:], token[1:])
    if token.startswith(b"%"):
        return bytes([_parse_hex(token[1:])])
    if token.startswith((b"&#x", b"&#X")):
        return _encode_code_point(int(token[3:].rstrip(b";"), 16))
    if token.startswith(b"&#"):
        return _encode_code_point(int(token[2:].rstrip(b";")))
    return html5.get(token[1:].decode(), "").encode() or token


def _parse_hex(digits: bytes) -> int:
    return int(digits, 16)


def _encode_code_point(code: int) -> bytes:
    return chr(code).encode(errors="surrogatepass") if code <= _MAX_CODE_POINT else b"?"


def _list_base64_forms(data: bytes) -> set[bytes]:
    """Return the Base64 forms of `data` at any position in a longer text, as in `user:password` (RFC 4648).

    Three bytes become four characters, so there are three alignments; characters that contain bits of a neighbouring
    byte are left out, since that byte is not known.
    """
    forms = set()
    for before in range(3):
        known = slice(-(-before * 8 // 6), (before + len(data)) * 8 // 6)
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(bytes(before) + data)[known])
    return {form for form in forms if len(form) >= _MIN_BASE64_LENGTH}


@lru_cache(maxsize=64)
def _build_masks(texts: frozenset[str]) -> Masks:
    return Masks(texts)


def build_masks(texts: Iterable[str]) -> Masks:
    """Return the masks of `texts`; a text of less than four characters is not masked."""
    return _build_masks(frozenset(texts))


class RegisteredSecrets:
    """Secrets that are masked in whatever comes from any tool, for as long as their holder lives."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Register those of `texts` that cannot be ordinary words."""
        self.texts = frozenset(text for text in texts if not is_word(text))
        if self.texts:
            _registered.add(self)


_registered: "WeakSet[RegisteredSecrets]" = WeakSet()


def get_registered_masks(more: Iterable[str] = ()) -> Masks:
    """Return the masks of all `PLANWAVE_SECRET_*` of the environment, of all registered secrets, and of `more`."""
    # Names first: it is called twice a task, and each value of the environment is decoded when it is read.
    named = {os.environ.get(name, "") for name in os.environ if name.startswith(SECRET_VARIABLE_PREFIX)}
    texts = {text for text in named if not is_common(text)}
    return build_masks(texts.union(more, *(each.texts for each in tuple(_registered))))
