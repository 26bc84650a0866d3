"""Matching of a wrong name or value to the only one that it can mean."""

import re
import unicodedata
from collections.abc import Iterable


def match_name(wrong: str, names: Iterable[str], *, of: str = "") -> str | None:
    """Return the only one of `names` that `wrong` can mean; None if none or several can.

    A name matches if it is the same except for case, spaces, underscores or a plural, if it differs by one typo, or if
    it has more words: `customer` matches `customer_name`, and so does `name` if the table `of` is `customers`.
    """
    candidates = sorted(set(names))
    for matches_name in (_is_same_name, is_one_typo_apart):
        matches = [name for name in candidates if matches_name(wrong, name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            return None
    longer = [name for name in candidates if _split_words(wrong) < _split_words(name)]
    if len(longer) > 1:
        owner = _split_words(of)
        # If there are an id and a name, `customer` means the name.
        narrower = [name for name in longer if _split_words(name) <= _split_words(wrong) | owner | {"name"}]
        longer = [name for name in narrower if "name" in _split_words(name)] or narrower
    return longer[0] if len(longer) == 1 else None


def normalize_text(text: str) -> str:
    """Return `text` without case, accents, spaces and punctuation; an ampersand becomes "and"."""
    plain = unicodedata.normalize("NFKD", text.replace("&", " and ")).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def normalize_value(text: str) -> str:
    """Return a value without case, accents, spaces and quotation marks, and with every sign that may tell two apart.

    `A+` and `A-`, `<18` and `>18`, `10%` and `10` are different values. A full stop counts only between digits.
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\s_'\"`\u2018\u2019\u201c\u201d]+|(?<!\d)\.|\.(?!\d)", "", plain)


def is_plural_variant(left: str, right: str) -> bool:
    """Whether two texts have the same words except for singular and plural."""
    one, other = ([to_singular(word) for word in re.findall(r"\w+", text.casefold())] for text in (left, right))
    return one == other


def is_one_typo_apart(left: str, right: str) -> bool:
    """Whether two words of five letters or more differ by one letter that is missing, extra, wrong or transposed.

    Different digits are never a typo: 2023 is not a misspelt 2024.
    """
    a, b = sorted((normalize_text(left), normalize_text(right)), key=len)
    if len(a) < 5 or len(b) - len(a) > 1 or re.findall(r"\d", a) != re.findall(r"\d", b):
        return False
    start = next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
    return swapped or a[start + 1 :] == b[start + 1 :]


def to_singular(word: str) -> str:
    """Return an English word without its plural ending."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    # "classes" and "statuses" lose two letters, "nurses" and "houses" one.
    is_us = word.endswith("uses") and not word.endswith(("ouses", "auses"))
    if is_us or word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _is_same_name(left: str, right: str) -> bool:
    return normalize_text(left) == normalize_text(right) or _split_words(left) == _split_words(right)


def _split_words(name: str) -> frozenset[str]:
    """Return the words of an identifier in lower case and singular; `OrderLines` and `order_line` have the same."""
    separated = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return frozenset(to_singular(word) for word in re.split(r"[^0-9a-z]+", separated.lower()) if word)
