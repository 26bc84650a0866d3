"""Scripts that no font of this computer has: the PNG shows boxes for them, which the reader is told."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape

import vl_convert

from agent.tools.charts.theme import FONT

#: The renderer brings fonts of its own for Latin, Greek, Cyrillic and Hebrew letters.
_FIRST_DOUBTFUL: Final = 0x0590
#: A private character, which no font has a picture of.
_UNKNOWN: Final = "\U0010fffd"
_MAX_LETTERS: Final = 400
_SCRIPTS: Final = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


def describe_missing_glyphs(texts: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence if some letters of the texts have no font here; the renderer itself is asked, letter by letter.

    The renderer takes any font of the system that has a letter if its own have none.
    """
    letters = {letter for text in texts for letter in text if ord(letter) >= _FIRST_DOUBTFUL and _is_drawn(letter)}
    missing = [letter for letter in sorted(letters)[:_MAX_LETTERS] if not _has_glyph(letter)]
    if not missing:
        return ()
    scripts = list(dict.fromkeys(_name_script(letter) for letter in missing))
    listed = " and ".join([", ".join(scripts[:-1]), scripts[-1]] if len(scripts) > 1 else scripts)
    sentence = (
        f"No font on this computer has the {listed} characters ({len(missing)} different), so the PNG shows boxes. "
        "The SVG and HTML files show them wherever there is such a font."
    )
    return (sentence,)


def _is_drawn(letter: str) -> bool:
    return unicodedata.category(letter) not in {"Cc", "Cf", "Mn", "Zs", "Zl", "Zp", "Cs"}


def _name_script(letter: str) -> str:
    first = unicodedata.name(letter, "UNKNOWN").split()[0]
    if unicodedata.category(letter).startswith("S"):
        return "emoji or symbol"
    return _SCRIPTS.get(first, first.capitalize())


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    return _render_letter(letter) != _render_letter(_UNKNOWN)


@lru_cache(maxsize=512)
def _render_letter(letter: str) -> bytes:
    picture: bytes = vl_convert.svg_to_png(
        '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24">'
        f'<text x="2" y="18" font-size="16" font-family="{FONT}">{escape(letter)}</text></svg>',
        scale=1,
    )
    return picture
