"""The shapes that a value written as text can have: numbers of several countries, dates, times, truth values."""

import re
from dataclasses import dataclass
from typing import Final

#: Texts that stand for no value in a column of numbers, dates, times or truth values.
NULL_WORDS: Final = ("NA", "N/A", "n/a", "#N/A", "NULL", "null", "Null", "None", "NaN", "nan", "-", "--", "\u2013")

#: A whole number as computers write it; a leading zero makes it a code, a plus before many digits a phone number.
INTEGER: Final = r"-?(0|[1-9][0-9]*)|\+(0|[1-9][0-9]{0,5})"
#: An exponent needs a point or a sign: 12E4 is rather a code.
DECIMAL: Final = (
    r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)|\+[0-9]{1,6}(\.[0-9]+)?|[+-]?(0|[1-9][0-9]*)?\.?[0-9]*\.[0-9]*[eE][+-]?[0-9]+"
    r"|[+-]?(0|[1-9][0-9]*)[eE][+-][0-9]+"
)
_CURRENCY: Final = (
    r"(?:[$€£¥₹₽₩₺₫₴₦₱฿]|US\$|USD|EUR|GBP|CHF|JPY|CNY|SEK|NOK|DKK|PLN|CZK|HUF|INR|BRL|R\$|kr|zł|Kč|Ft|Fr\.?)"
)
CURRENCY: Final = re.compile(_CURRENCY)
#: What separates thousands in a style, as a character class, and what separates decimals.
_SPACES: Final = " \u00a0\u202f\u2009"
_APOSTROPHES: Final = "'\u2019"
#: A hyphen and the typographer's minus.
MINUS: Final = "-\u2212"
#: Digits that a DOUBLE always keeps, and those that it keeps of what a DOUBLE was written from.
_SAFE_DIGITS, _ROUND_TRIP_DIGITS = 15, 17
_HUGE_DIGITS: Final = 38


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a country writes numbers: what is between thousands (any one of these), and before decimals."""

    thousands: str
    decimal: str

    @property
    def pattern(self) -> str:
        """A regular expression for a number in this style, with currency, percent and accounting's parentheses."""
        mark, between = re.escape(self.decimal), _build_class(self.thousands)
        grouped = rf"[1-9][0-9]{{0,2}}(?:{between}[0-9]{{3}})+" if between else r"(?!)"
        if "," in self.thousands:
            # India's groups: 12,34,567.
            grouped += "|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}"
        whole = rf"(?:{grouped}|0|[1-9][0-9]*)" if between else r"(?:0|[1-9][0-9]*)"
        number = rf"(?:{whole}(?:{mark}[0-9]+)?|{mark}[0-9]+)"
        space = f"[{_SPACES}]?"
        minus = f"[{MINUS}]?"
        signed = rf"{minus}{space}(?:{_CURRENCY}{space})?{minus}{number}{space}(?:{_CURRENCY}|%)?-?"
        # A plus before many digits begins a phone number.
        plus = rf"\+[0-9]{{1,6}}(?:{mark}[0-9]+)?{space}%?"
        return rf"(?:{signed}|{plus}|\({space}(?:{_CURRENCY}{space})?{number}{space}(?:{_CURRENCY}|%)?\))"

    def build_plain_number(self, value: str) -> str:
        """Return SQL for a number in this style as computers write it."""
        bare = f"regexp_replace({value}, '{CURRENCY.pattern}', '', 'g')"
        kept = f"regexp_replace({bare}, '[^0-9{self.decimal}]', '', 'g')"
        sign = f"CASE WHEN regexp_matches({value}, '[{MINUS}(]') THEN '-' ELSE '' END"
        return f"({sign} || replace({kept}, '{self.decimal}', '.'))"


def choose_integer_type(digits: int) -> str:
    """Return the type of whole numbers with at most so many digits."""
    return "HUGEINT" if digits > _SAFE_DIGITS else "BIGINT"


def choose_number_type(digits: int, fraction: int) -> str:
    """Return the type of numbers with at most so many digits, and so many of them after the point; none is lost."""
    # Many decimals are what a program wrote of a DOUBLE, few are an amount with a long whole part.
    is_written = digits <= _ROUND_TRIP_DIGITS + 1 and fraction > 6
    if not fraction or digits <= _SAFE_DIGITS or is_written or digits > _HUGE_DIGITS:
        return "DOUBLE"
    return f"DECIMAL(38, {fraction})"


def _build_class(letters: str) -> str:
    return f"[{re.escape(letters)}]" if letters else ""


#: 1,234.50 and 1.234,50; spaces and apostrophes go with both.
POINT_STYLE: Final = NumberStyle("," + _APOSTROPHES + _SPACES, ".")
COMMA_STYLE: Final = NumberStyle("." + _APOSTROPHES + _SPACES, ",")

_DATE_TIME: Final = r"(?:[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?: ?[AaPp][Mm])?)?"


@dataclass(frozen=True, slots=True)
class DateShape:
    """A form of dates: a pattern, and the formats of `strptime` that may be meant, the likelier one first."""

    pattern: str
    formats: tuple[str, ...]

    @property
    def is_ambiguous(self) -> bool:
        """Whether the pattern does not tell day and month apart."""
        return len(self.formats) > 1


#: What 24-01-05 may be if it is not 24 January.
YEAR_FIRST: Final = "%y-%m-%d"
DATE_SHAPES: Final = (
    DateShape(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}", ("%Y-%m-%d",)),
    DateShape(r"[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}", ("%Y/%m/%d",)),
    DateShape(r"[0-9]{4}\.[0-9]{1,2}\.[0-9]{1,2}", ("%Y.%m.%d",)),
    DateShape(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", ("%d.%m.%Y",)),
    DateShape(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{2}", ("%d.%m.%y",)),
    DateShape(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    DateShape(r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    DateShape(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{2}", ("%d/%m/%y", "%m/%d/%y")),
    DateShape(r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{2}", ("%d-%m-%y", "%m-%d-%y")),
    DateShape(r"[0-9]{2}-[0-9]{2}-[0-9]{2}", (YEAR_FIRST,)),
    DateShape(r"[0-9]{1,2}[- ][A-Za-z]{3}[- ][0-9]{4}", ("%d-%b-%Y",)),
    DateShape(r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{2}", ("%d-%b-%y",)),
    DateShape(r"[A-Za-z]{3} [0-9]{1,2}, [0-9]{4}", ("%b %d, %Y",)),
    DateShape(r"[A-Za-z]{4,9} [0-9]{1,2}, [0-9]{4}", ("%B %d, %Y",)),
    DateShape(r"[0-9]{1,2} [A-Za-z]{4,9} [0-9]{4}", ("%d %B %Y",)),
)
TIME: Final = r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
#: A moment with the time zone it is of.
ZONED: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)? ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
)
TRUTH: Final = r"(?i)true|false"


def build_datetime_pattern(shape: DateShape) -> str:
    """Return the pattern of dates of a shape that may have a time behind them."""
    return shape.pattern + _DATE_TIME


def build_datetime_formats(date_format: str) -> tuple[str, ...]:
    """Return a date's format with each form of the time that may follow it, and without one."""
    times = ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p")
    return (date_format, *(f"{date_format}{between}{time}" for between in (" ", "T") for time in times))


_TYPED = re.compile(
    "|".join(
        f"(?:{each})"
        for each in (
            INTEGER,
            DECIMAL,
            POINT_STYLE.pattern,
            COMMA_STYLE.pattern,
            *(build_datetime_pattern(shape) for shape in DATE_SHAPES),
            TIME,
            ZONED,
            "true|false|TRUE|FALSE|True|False",
        )
    )
)


def looks_typed(text: str) -> bool:
    """Whether a value looks like a number, a date, a time or a truth value; a code with leading zeros does too."""
    stripped = text.strip()
    return bool(_TYPED.fullmatch(stripped)) or (stripped.isascii() and stripped.isdigit())
