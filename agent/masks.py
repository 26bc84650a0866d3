"""The forms in which a private text may stand in what a tool returns or raises, and their masking."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "**********"
#: Shorter texts are in too many others to be masked, and are no secrets.
_SHORTEST = 4
#: Of Base64, which has no blanks and fewer marks, so that chance makes a short run of it sooner.
_SHORTEST_BASE64 = 6


def masks_of(texts: Iterable[str]) -> list[str]:
    """Return what is to be masked, the longest first: each text, also as in a URL, a JSON text, or Base64."""
    forms = {form for text in texts if len(text) >= _SHORTEST for form in _forms(text)}
    return sorted(forms, key=lambda form: (-len(form), form))


def masked_text(text: str, masks: Iterable[str]) -> str:
    """Return `text` with each of `masks` made unreadable."""
    for mask in masks:
        text = text.replace(mask, MASK)
    return text


def _forms(text: str) -> set[str]:
    escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    # What is no UTF-8 has surrogates in it, which cannot be encoded.
    data = text.encode(errors="replace")
    in_urls = {quote(data, safe=""), quote(data), quote_plus(data)}
    return {text, *escaped, *in_urls, *_base64(data)}


def _base64(data: bytes) -> set[str]:
    """Return what Base64 makes of `data` wherever it stands in a longer text, as in `user:password` (RFC 4648).

    Three bytes become four letters, so there are three ways to cut it; letters that hold bits of a neighbour are left
    out, since they are not known.
    """
    found = set()
    for before in range(3):
        known = slice(-(-before * 8 // 6), (before + len(data)) * 8 // 6)
        for encode in (b64encode, urlsafe_b64encode):
            found.add(encode(bytes(before) + data).decode()[known])
    return {form for form in found if len(form) >= _SHORTEST_BASE64}
