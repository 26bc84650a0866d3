"""Finds the numbers and names in a text that do not appear in the data it is about."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from pydantic import JsonValue

_SCALES = {"k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "b": 9, "bn": 9, "billion": 9, "trillion": 12}
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "(?:" + "|".join(f"{month}|{month[:3]}" for month in _MONTHS) + "|sept)"

_DATES = (
    re.compile(
        r"\b(?P<year>\d{4})-(?P<month>\d{2})(?:-(?P<day>\d{2}))?"
        r"(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![\d-])"
    ),
    re.compile(
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?(?P<word>{_MONTH})\b\.?(?:,?\s+(?P<year>\d{{4}}))?",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<word>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\.?\d)(?:,?\s+(?P<year>\d{{4}}))?",
        re.IGNORECASE,
    ),
    re.compile(rf"\b(?P<word>{_MONTH})\.?,?\s+(?P<year>\d{{4}})\b", re.IGNORECASE),
)
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-\u2212])?(?P<digits>\d{1,3}(?:[,\u00a0\u202f' ]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s?(?P<percent>%|percent\b|per cent\b)|\s?(?P<scale>thousand|million|billion|trillion|mn|bn|[kKmMbB])\b)?"
    r"(?P<ordinal>(?:st|nd|rd|th)\b)?"
)
_LIST_MARKER = re.compile(r"^[ \t]*(?:[-*>#]+[ \t]*)*\d{1,3}[.)](?=\s)", re.MULTILINE)
# Headings, lines entirely in bold, and table headers.
_HEADING = re.compile(
    r"^[ \t]*#{1,6}[ \t].*$|^[ \t]*\*\*[^*\n]+\*\*:?[ \t]*$|^[ \t]*\|.*(?=\n[ \t]*\|[ \t]*:?-{3})", re.MULTILINE
)
_WORD = re.compile(r"(?<!\w)[^\W\d_](?:[\w\u2019'&-]*\w)?")
_SENTENCE_START = re.compile(
    r"(?:^|[.!?:;\u2014|])[\s\"'\u201c\u2018(\[*_>#|\-\u2013]*(?:\d{1,3}[.)]\s+)?[*_\"\u201c]*$", re.MULTILINE
)
_FOLLOWED_BY_SMALL = re.compile(r"[*_\"\u201d]*,?\s+(?:[^\W\d_A-Z\u00c0-\u00de]|[\d$\u20ac\u00a3(]+[^|\n]*[a-z])")
#: "- **Acme**: 42", "2. Acme (42 orders)": the label of a number in a list is checked like any other name.
_LABEL = re.compile(
    r"^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])?[ \t]+[*_]*"
    r"(?P<label>[^:\u2013\u2014(|\n*_]{1,80}?)"
    r"[*_:]*\s*[:\u2013\u2014(-]\s*[*_]*[$\u20ac\u00a3]?\d",
    re.MULTILINE,
)

# Words that English writes with a capital although they are not names in the data: the calendar, abbreviations, and
# words that often start a sentence with a name after them.
_COMMON_WORDS = """
    mr mrs ms dr prof source january february march april may june july august september october
    november december jan feb mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday
    thursday friday saturday sunday q1 q2 q3 q4 h1 h2 english usd eur gbp jpy chf id ids sku csv sql
    json png svg html pdf url n/a na i i'm i've i'd i'll a an the this that these those it its he
    she they their we our you your in on at by for from of to with without within over under after
    before since until during between among and or but nor so yet if as while although though
    because when where whereas unless whether once here there then thus hence however also only even
    still both each every all any some no not none neither overall total sum average mean median top
    best most least other others yes true false what which who whose how why please note see is are
    was were has have had do does did can will
"""
_COMMON_CAPITALIZED = frozenset(_COMMON_WORDS.split())


def find_ungrounded(text: str, *values: JsonValue) -> list[str]:
    """Return the numbers and names in `text` that do not appear in `values`, as written, in order, each once.

    A number is grounded if a number in the values rounds to it at the precision it is written in, also as a percentage,
    in thousands, millions or billions, or without its sign; if it is the length of a list; or if it is part of a date
    or of a text in the values. The numbers of list items and ordinals up to the length of the longest list need no
    grounding. A name is a word with a capital inside a sentence; it is grounded by the same word in a value or a key.
    """
    facts = _Facts()
    for value in values:
        facts.add(value)
    body = _LIST_MARKER.sub(lambda match: " " * len(match.group()), text)
    ungrounded: list[tuple[int, str]] = []
    body = _blank_dates(body, facts=facts, ungrounded=ungrounded)
    body = _blank_known_texts(body, facts=facts)
    names = list(_find_unknown_names(body, facts=facts))
    ungrounded += [(match.start(), match.group()) for match in names]
    inside = {place for match in names for place in range(*match.span())}
    for match in _NUMBER.finditer(body):
        if match.start() not in inside and not _is_number_grounded(match, body, facts):
            ungrounded.append((match.start(), match.group().strip()))
    return list(dict.fromkeys(found for _, found in sorted(ungrounded)))


def find_grounded_numbers(text: str, value: JsonValue) -> list[str]:
    """Return the numbers in `text`, as written there, that are numbers or parts of texts in `value`, each once."""
    facts = _Facts()
    facts.add(value)
    facts.lengths.clear()  # a count is of a list, not in it
    found = [match.group().strip() for match in _NUMBER.finditer(text) if _is_number_grounded(match, text, facts)]
    return list(dict.fromkeys(found))


def split_numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of `text` in order, each with whether it is a number as `find_grounded_numbers` returns it.

    Digits within a name, a path or a digest are no number.
    """
    end = 0
    for match in _NUMBER.finditer(text):
        number = match.group().strip()
        start = match.start() + match.group().index(number)
        if _is_within_name(text, start, start + len(number)):
            continue
        yield text[end:start], False
        yield number, True
        end = start + len(number)
    yield text[end:], False


def _is_within_name(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return before.isalnum() or before in {"_", "/"} or after.isalnum() or after == "_"


@dataclass
class _Facts:
    """The contents of the values, in the forms in which a text may mention them."""

    numbers: set[Decimal] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)
    #: Year, month and day of each date; None for the day of a month.
    dates: set[tuple[int, int, int | None]] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)

    def add(self, value: JsonValue) -> None:
        match value:
            case bool() | None:
                pass
            case int() | float():
                self.numbers.add(Decimal(str(value)))
            case str():
                self._add_text(value)
            case list():
                self.lengths.add(len(value))
                for item in value:
                    self.add(item)
            case dict():
                for key, item in value.items():
                    self.words.update(_extract_stems(key.replace("_", " ")))
                    self.add(item)

    def _add_text(self, text: str) -> None:
        self.texts.add(text.casefold())
        self.words.update(_extract_stems(text))
        for pattern in _DATES:
            self.dates.update(date for match in pattern.finditer(text) if (date := _parse_date(match))[0] and date[1])
        for match in _NUMBER.finditer(text):
            self.numbers.add(_parse_number(match))


def _extract_stems(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        yield _stem_word(match.group())


def _stem_word(word: str) -> str:
    """Reduce a word to its form without case and possessive: "Acme's" is "acme"."""
    return re.sub(r"['\u2019]s?$", "", word.casefold())


def _parse_date(match: re.Match[str]) -> tuple[int, int, int | None]:
    parts = match.groupdict()
    if parts.get("word"):
        month = next(place for place, name in enumerate(_MONTHS, 1) if name.startswith(parts["word"].lower()[:3]))
    else:
        month = int(parts["month"])
    return int(parts["year"] or 0), month, int(parts["day"]) if parts.get("day") else None


def _blank_dates(body: str, *, facts: _Facts, ungrounded: list[tuple[int, str]]) -> str:
    """Blank out all dates, so that they are not read as numbers, and add those that are not in the values."""
    for pattern in _DATES:

        def check_date(match: re.Match[str]) -> str:
            year, month, day = _parse_date(match)
            known = any(
                (not year or year == known_year) and month == known_month and (day is None or day == known_day)
                for known_year, known_month, known_day in facts.dates
            )
            if not known and not _is_year_grounded(year, facts=facts, day=day):
                ungrounded.append((match.start(), match.group().strip()))
            return " " * len(match.group())

        body = pattern.sub(check_date, body)
    return body


def _is_year_grounded(year: int, *, facts: _Facts, day: int | None) -> bool:
    """Whether a month without a day is accepted because its year is a number in the values: its months may be, too."""
    return day is None and Decimal(year) in facts.numbers


def _blank_known_texts(body: str, *, facts: _Facts) -> str:
    """Blank out whole texts of the values, so that "SKU-0042" or "Acme 3000 Ltd" is not read as a number."""
    for known in sorted((text for text in facts.texts if re.search(r"\d", text)), key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){re.escape(known)}(?!\w)", re.IGNORECASE)
        body = pattern.sub(lambda match: " " * len(match.group()), body)
    return body


def _strip_separators(match: re.Match[str]) -> str:
    return re.sub(r"[,\u00a0\u202f' ]", "", match["digits"])


def _get_exponent(match: re.Match[str]) -> int:
    return _SCALES[match["scale"].lower()] if match["scale"] else 0


def _parse_number(match: re.Match[str]) -> Decimal:
    return Decimal(_strip_separators(match)).scaleb(_get_exponent(match)) * (-1 if match["sign"] else 1)


def _is_number_grounded(match: re.Match[str], body: str, facts: _Facts) -> bool:
    before = body[match.start() - 1] if match.start() else ""
    if before.isalpha() or before == "_":
        return body[: match.end()].rsplit(maxsplit=1)[-1].casefold() in facts.words
    value = abs(_parse_number(match))
    whole = value == value.to_integral_value() and not match["percent"]
    if whole and int(value) in facts.lengths:
        return True
    if whole and match["ordinal"] and 0 < value <= max(facts.lengths, default=0):
        return True
    digits = _strip_separators(match)
    decimals = len(digits.partition(".")[2])
    step = Decimal(1).scaleb(_get_exponent(match) - decimals)
    shifts = (0, -2) if match["percent"] else (0,)
    # "1,200" may be 1,234 rounded to hundreds: trailing zeros count as rounding.
    zeros = len(digits) - len(digits.rstrip("0")) if decimals == 0 and len(digits) > 3 and not match["scale"] else 0
    steps = {step, step.scaleb(zeros)} if zeros >= 2 else {step}
    return any(
        _has_rounding_match(value.scaleb(shift), facts.numbers, half=size.scaleb(shift) / 2)
        for shift in shifts
        for size in steps
    )


def _has_rounding_match(written: Decimal, known: Iterable[Decimal], *, half: Decimal) -> bool:
    return any(abs(abs(number) - written) <= half for number in known if number.is_finite())


def _find_unknown_names(body: str, *, facts: _Facts) -> Iterator[re.Match[str]]:
    body = _HEADING.sub(lambda match: " " * len(match.group()), body)
    labels = [match.span("label") for match in _LABEL.finditer(body)]
    for match in _WORD.finditer(body):
        word = match.group()
        has_digits = any(letter.isdigit() for letter in word)
        if not (word[0].isupper() or has_digits) or _is_known(word, facts=facts):
            continue
        if has_digits or _is_name(match, body=body, labels=labels):
            yield match


def _is_name(match: re.Match[str], *, body: str, labels: list[tuple[int, int]]) -> bool:
    """Whether the word is a name, and not capitalised only because it starts a sentence.

    At the start of a sentence it counts as a name only if it stands alone, is followed by a word with a capital, or is
    the label of a number in a list.
    """
    line = body.rfind("\n", 0, match.start()) + 1
    if not _SENTENCE_START.search(body[line : match.start()]):
        return True
    if any(start <= match.start() < end for start, end in labels):
        return True
    return not _FOLLOWED_BY_SMALL.match(body, match.end())


def _is_known(word: str, *, facts: _Facts) -> bool:
    stem = _stem_word(word)
    if stem in facts.words or stem in _COMMON_CAPITALIZED:
        return True
    parts = [part for part in re.split(r"[-\u2019'&]", stem) if part]
    if len(parts) > 1 and all(part in facts.words or part in _COMMON_CAPITALIZED for part in parts):
        return True
    # The plural or the singular of a word in the data.
    return f"{stem}s" in facts.words or stem.removesuffix("s") in facts.words
