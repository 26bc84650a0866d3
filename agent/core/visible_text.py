"""Text as a person is shown it who decides: nothing in it is invisible, and nothing moves or covers other text."""

import re
import unicodedata
from typing import Final

#: A run of anything but plain ASCII, line breaks and tabs, which are layout. In a long text only such runs are looked
#: at letter by letter.
_UNUSUAL: Final = re.compile(r"[^ -~\n\t]+")
#: Controls, formats (bidirectional marks, joiners, tags), surrogates, private and unassigned characters, separators.
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"})
#: What Unicode has rendered as nothing, or as a blank, although its category is that of letters, marks or symbols.
_HIDDEN_RANGES: Final = (
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x2800, 0x2800),  # Braille blank
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0xE0000, 0xE0FFF),  # tags, variation selectors
)
#: Marks on one letter beyond which the rest covers the lines around it; no orthography needs more.
_MAX_MARKS: Final = 4
#: The combining class of overlays, such as a stroke through a letter.
_OVERLAY_CLASS: Final = 1


def escape_invisible(text: str) -> str:
    r"""Return `text` with each invisible or steering character as its escape, `\u200b` or `\U000e0041`."""
    return _UNUSUAL.sub(_escape_run, text)


def _escape_run(run: re.Match[str]) -> str:
    shown: list[str] = []
    marks = 0
    for letter in run.group():
        is_mark = unicodedata.category(letter) == "Mn"
        marks = marks + 1 if is_mark else 0
        # A mark at the start has no letter to stand on, and would go onto what is printed before the text.
        hidden = _is_hidden(letter) or (is_mark and (marks > _MAX_MARKS or not (shown or run.start())))
        shown.append(_escape(letter) if hidden else letter)
    return "".join(shown)


def _is_hidden(letter: str) -> bool:
    category, code = unicodedata.category(letter), ord(letter)
    if category in _HIDDEN_CATEGORIES or (category == "Zs" and letter != " "):
        return True
    is_overlay = category == "Mn" and unicodedata.combining(letter) == _OVERLAY_CLASS
    return is_overlay or any(first <= code <= last for first, last in _HIDDEN_RANGES)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
