"""What the name of a column says about its values: identifiers, periods, parts of a whole, sums."""

import re
from typing import Final, Literal

TimeUnit = Literal["year", "quarter", "month", "day", "instant"]


def _split_list(text: str) -> list[str]:
    return text.split()


_WORD_BREAK: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\s]+")
_SEPARATORS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+")
_ACRONYMS: Final = {
    "id": "ID",
    "url": "URL",
    "usd": "USD",
    "eur": "EUR",
    "gbp": "GBP",
    "vat": "VAT",
    "sku": "SKU",
    "plz": "PLZ",
}

_COUNTING: Final = frozenset(
    _split_list(
        "count counts n num number no total sum avg average mean distinct unique nunique anzahl share pct percent"
    )
)
_IDENTIFIERS: Final = frozenset(
    _split_list(
        "id ids uid uuid guid code codes plz zip zips zipcode postcode postalcode postleitzahl sku skus ean upc gtin"
        " isbn issn iban bic phone telephone telefon mobile fax tel barcode ssn vin imei asin cusip isin siret siren"
        " naics fips serial key account acct konto nr no ref reference"
    )
)
_NUMBERED: Final = re.compile(
    r"(customer|client|order|product|user|account|item|article|store|shop|branch|employee|invoice|transaction|session|"
    r"member|vendor|supplier|postal|post|zip|area|country|phone)(id|no|nr|code|num|number)|\w+nummer|\w+nr"
)
_NUMBER_WORDS: Final = frozenset({"number", "num", "nummer", "numero", "número"})
_ORDINALS: Final = frozenset(_split_list("week month day hour quarter year period minute page line round step"))
#: Identifiers whose values look like decimals: 1.9 comes before 1.10.
_DOTTED: Final = frozenset({"version", "ver", "release", "build", "section", "chapter", "ip", "paragraph"})
_PHRASES: Final = (
    {"code", "postal"}, {"código", "postal"}, {"codigo", "postal"}, {"id", "cliente"}, {"code", "client"},
)  # fmt: skip

_PERIODS: Final[dict[str, TimeUnit]] = {
    **dict.fromkeys(_split_list("year years yr fy yearly annual jahr année annee año ano anno vintage"), "year"),
    **dict.fromkeys(_split_list("quarter quarters qtr quartal trimestre quarterly"), "quarter"),
    **dict.fromkeys(_split_list("month months monthly mon monat mois mes mese"), "month"),
    **dict.fromkeys(_split_list("day days daily date dates dt tag datum jour fecha data week woche weekly"), "day"),
    **dict.fromkeys(_split_list("time timestamp ts at hour"), "instant"),
}
_PERIOD_WORDS: Final = frozenset({*_PERIODS, "period", "cohort", "season", "zeitraum", "periode"}) - {
    "at",
    "data",
    "mes",
}

_PERCENT: Final = frozenset({"percent", "pct", "percentage", "perc", "prozent"})
_FRACTION: Final = frozenset(
    _split_list(
        "share ratio fraction proportion rate anteil quote probability likelihood growth margin utilization utilisation"
        " discount conversion"
    )
)
_NOT_ADDITIVE: Final = _PERCENT | frozenset(
    _split_list(
        "avg average averages mean median mittelwert durchschnitt schnitt max maximum highest lowest minimum"
        " smallest largest rate rates ratio ratios share proportion fraction anteil quote distinct unique uniq"
        " nunique std stddev sd variance percentile quantile p50 p75 p90 p95 p99 rank ranking cumulative"
        " cumsum running kumuliert index score rating temperature temp speed per growth age latency humidity"
        " pressure latitude longitude lat lon probability dau wau mau moyenne promedio media"
    )
)
_PRICES: Final = frozenset(
    {"price", "prices", "preis", "preise", "prix", "precio", "prezzo", "einzelpreis", "stückpreis"}
)
_TOTALS: Final = frozenset({"total", "sum", "totals", "gesamt", "summe", "amount", "revenue"})
_MINUTES_OF: Final = frozenset(_split_list("delay duration time wait waiting play talk call runtime downtime total"))
_AVERAGE_PREFIX: Final = re.compile(r"(avg|average|median|mean)[a-z]{3,}")
_UNIT_COLUMNS: Final = frozenset(
    {"currency", "ccy", "unit", "uom", "einheit", "währung", "waehrung", "devise", "moneda"}
)


def split_words(name: str) -> list[str]:
    """Return the words of a column's name in lower case: "totalRevenue (EUR)" has "total", "revenue" and "eur"."""
    return [word.casefold() for word in _SEPARATORS.split(name) if word]


def humanize_name(name: str) -> str:
    """Return a column's name as a heading; a name that already has spaces is returned unchanged."""
    if " " in name.strip():
        return name.strip()
    words = [word for word in _WORD_BREAK.split(name) if word]
    if not words:
        return name
    first, *rest = [_ACRONYMS.get(word.lower(), word if word.isupper() else word.lower()) for word in words]
    return " ".join([first[:1].upper() + first[1:], *rest])


def names_identifier(name: str) -> bool:
    """Whether a name is one of identifiers: "customer_id", "PLZ", "Account number", but not "number of ids"."""
    words = split_words(name)
    if (
        not words
        or names_period(name)
        or set(words[:-1]) & _COUNTING
        or (len(words) > 1 and words[-1] in {"count", "n"})
    ):
        return False
    last, before = words[-1], set(words[:-1])
    if last in _NUMBER_WORDS or last in {"no", "nr"}:
        return bool(before) and not before & _ORDINALS
    if last in _IDENTIFIERS or _NUMBERED.fullmatch(last) is not None:
        return True
    return any(set(words) == phrase for phrase in _PHRASES) or names_dotted_identifier(name)


def names_dotted_identifier(name: str) -> bool:
    """Whether a name is one of identifiers with points in them, as versions have."""
    words = split_words(name)
    return bool(words) and words[-1] in _DOTTED and not set(words) & _COUNTING


def names_period(name: str) -> bool:
    """Whether a name says that the values are points in time."""
    return bool(set(split_words(name)) & _PERIOD_WORDS)


def find_named_unit(name: str) -> TimeUnit | None:
    """Return the unit of time that a name says; the last one, as in "month of the date_key"."""
    units = [_PERIODS[word] for word in split_words(name) if word in _PERIODS]
    return next((unit for unit in units if unit in ("year", "quarter", "month")), units[-1] if units else None)


def names_percent(name: str) -> bool:
    """Whether a name says percent, so that 0.5 may be meant as 0.5 %."""
    return "%" in name or bool(set(split_words(name)) & _PERCENT)


def names_fraction(name: str) -> bool:
    """Whether a name is one of parts of a whole, so that 0.5 may be meant as 50 %."""
    return bool(set(split_words(name)) & _FRACTION)


def names_additive(name: str) -> bool:
    """Whether values of this name may be added up; averages, rates, prices, extremes and distinct counts may not."""
    words = split_words(name)
    if "%" in name or set(words) & _NOT_ADDITIVE or any(map(_AVERAGE_PREFIX.fullmatch, words)):
        return False
    if "min" in words and not (words[-1] == "min" and set(words) & _MINUTES_OF):
        return False
    return not set(words) & _PRICES or bool(set(words) & _TOTALS)


def names_unit(name: str) -> bool:
    """Whether a column has the currencies or units of another."""
    words = split_words(name)
    return bool(words) and (words[-1] in _UNIT_COLUMNS or (words[0] in _UNIT_COLUMNS and words[-1] == "code"))
