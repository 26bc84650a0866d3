"""Numbers that are written as text: thousands separators, decimal commas, currencies, percent signs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CURRENCY_SYMBOLS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}

#: What exports write for a missing number.
_MISSING: Final = frozenset({"", "-", "\u2013", "\u2014", "n/a", "#n/a", "na", "nan", "null", "none", "nil", "?"})
_SPACES: Final = re.compile(r"[\u00a0\u2007\u2009\u202f]")
_UNITS: Final = "|".join(["%", *map(re.escape, CURRENCY_SYMBOLS.values()), *CURRENCY_SYMBOLS, "CHF"])
_AMOUNT: Final = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-])?\s*(?P<before>{_UNITS})?\s*(?P<inner>[+-])?(?P<body>[\d.][\d., ']*(?:[eE][+-]?\d+)?)"
    rf"\s*(?P<after>{_UNITS})?(?P<close>\))?"
)
_POINT: Final = re.compile(r"(\d+|[1-9]\d{0,2}([, ']\d{2,3})*[, ']\d{3})?(\.\d+)?([eE][+-]?\d+)?")
_COMMA: Final = re.compile(r"(\d+|[1-9]\d{0,2}([. ']\d{3})+)(,\d+)?")
_THREE_DECIMALS: Final = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_EITHER: Final = re.compile(r"[1-9]\d{0,2},\d{3}")


@dataclass(frozen=True)
class NumberTexts:
    """The numbers that texts say, and the unit that is written with all of them."""

    values: tuple[float | int | None, ...]
    unit: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Amount:
    body: str
    negative: bool
    unit: str | None


def parse_number_texts(texts: Sequence[str | None], *, title: str) -> NumberTexts | str:
    """Return the numbers of a column, or a sentence about why they are none, which is empty if no text is like one.

    All are read with the same decimal sign: a point, unless only a comma fits all of them.
    """
    amounts = [None if text is None or _is_missing(text) else _split_amount(text) for text in texts]
    for text, amount in zip(texts, amounts, strict=True):
        if amount is None and text is not None and not _is_missing(text):
            return f"Its value {text[:40]!r} is not a number." if any(amounts) else ""
    found = [amount for amount in amounts if amount]
    if not found:
        return "It has no number."
    units = sorted({amount.unit or "no unit" for amount in found})
    if len(units) > 1:
        return f"Its values have several units: {', '.join(units)}."
    decimal = next((style for style in (_POINT, _COMMA) if all(style.fullmatch(each.body) for each in found)), None)
    if decimal is None:
        odd = next(each.body for each in found if not _POINT.fullmatch(each.body))
        return f"Its value {odd!r} is not written like the other numbers."
    values = tuple(None if each is None else _convert(each, point=decimal is _POINT) for each in amounts)
    notes = tuple(_describe_commas([each.body for each in found], point=decimal is _POINT, title=title))
    return NumberTexts(values, None if units == ["no unit"] else units[0], notes)


def _describe_commas(bodies: Sequence[str], *, point: bool, title: str) -> Iterator[str]:
    """Yield a sentence on how commas are read, if they could be read otherwise."""
    if not point:
        example = next((body for body in bodies if "," in body), bodies[0])
        value = _convert(_Amount(example, negative=False, unit=None), point=False)
        yield f"{title} is read with a decimal comma: {example} is {value}."
    elif all(map(_THREE_DECIMALS.fullmatch, bodies)):
        yield f"The point in {title} is read as a decimal point: {bodies[0]} is not {bodies[0].replace('.', '')}."
    elif not any("." in body or body.count(",") > 1 for body in bodies):
        doubtful = next((body for body in bodies if _EITHER.fullmatch(body)), None)
        if doubtful:
            yield f"The comma in {title} separates thousands: {doubtful} is {doubtful.replace(',', '')}."


def has_fraction(text: str) -> bool:
    """Whether a text is a plain number with decimals, which counts no things."""
    return re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", text.strip()) is not None


def _is_missing(text: str) -> bool:
    return text.strip().casefold() in _MISSING


def _split_amount(text: str) -> _Amount | None:
    plain = _SPACES.sub(" ", text.strip()).replace("\u2212", "-").replace("\u2019", "'")
    match = _AMOUNT.fullmatch(plain)
    if match is None or bool(match["open"]) != bool(match["close"]) or (match["before"] and match["after"]):
        return None
    body = match["body"].strip()
    if not (_POINT.fullmatch(body) or _COMMA.fullmatch(body)) or not any(map(str.isdigit, body)):
        return None
    unit = match["before"] or match["after"]
    negative = bool(match["open"]) != ("-" in (match["sign"] or "") + (match["inner"] or ""))
    symbols = {symbol: code for code, symbol in CURRENCY_SYMBOLS.items()}
    return _Amount(body, negative, symbols.get(unit, unit) if unit else None)


def _convert(amount: _Amount, *, point: bool) -> float | int:
    groups, decimal = (", '", ".") if point else (". '", ",")
    plain = amount.body.translate({ord(sign): None for sign in groups}).replace(decimal, ".")
    value: float | int = int(plain) if plain.isdigit() else float(plain)
    return -value if amount.negative else value
