"""What is masked of a private text, whatever it is written in."""

import base64
import html
import json
from textwrap import wrap
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.secret_masking import MASK, build_masks, is_common, is_word

SECRETS = st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=6, max_size=40)
AROUND = st.text(st.characters(codec="ascii"), max_size=5)
WAYS = {
    "as it is": str,
    "in a URL": lambda text: quote(text, safe=""),
    "in a path": quote,
    "in a query": quote_plus,
    "in JSON": json.dumps,
    "in JSON with its letters": lambda text: json.dumps(text, ensure_ascii=False),
    "as Python shows it": repr,
    "in Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in Base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "in HTML": html.escape,
    "in HTML by number": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "in HTML by number, with zeros": lambda text: "".join(f"&#{ord(letter):08};" for letter in text),
    "in HTML in hex": lambda text: "".join(f"&#x{ord(letter):x};" for letter in text),
    "in HTML in hex, in capitals": lambda text: "".join(f"&#X{ord(letter):04X};" for letter in text),
    "in HTML in HTML": lambda text: html.escape(html.escape(text)),
    "in JSON in JSON": lambda text: json.dumps({"a": json.dumps([text])}),
    "in JSON four levels deep": lambda text: json.dumps(json.dumps(json.dumps(json.dumps(text)))),
    "in JSON in HTML": lambda text: html.escape(json.dumps(text)),
    "in a URL, all of it": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "in a URL, in small letters": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "in a URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "in a query in a query": lambda text: quote_plus(quote_plus(text)),
    "in a URL in JSON": lambda text: json.dumps(quote(text, safe="")),
    "as JavaScript escapes": lambda text: "".join(f"\\u{unit:04X}" for unit in units_of(text)),
    "as bytes": lambda text: repr(text.encode()),
    "as bytes, all escaped": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "in hex": lambda text: text.encode().hex(),
    "in hex, in capitals": lambda text: text.encode().hex().upper(),
    "in hex with colons": lambda text: text.encode().hex(":"),
    "in hex with blanks": lambda text: text.encode().hex(" ").upper(),
    "in hex, byte by byte": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()),
    "in Base64 over lines": lambda text: base64.encodebytes(text.encode() * 5).decode(),
    "in Base64 over lines of 64": lambda text: "\r\n".join(wrap(base64.b64encode(text.encode() * 5).decode(), 64)),
    "in Base64 over lines, in JSON": lambda text: json.dumps(base64.encodebytes(text.encode() * 5).decode()),
    "in Base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "in UTF-16 in hex": lambda text: text.encode("utf-16-be").hex(" "),
    "in UTF-16 in Base64": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
}


def units_of(text: str) -> list[int]:
    """Return the UTF-16 code units of a text."""
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_a_secret_is_masked_however_it_is_written_and_wherever_it_stands(way, secret, before, after):
    if way is repr and {"'", '"'} & set(before + secret + after):
        # Which quotation marks repr escapes depends on the whole text.
        return
    assert MASK in build_masks([secret]).redact(way(before + secret + after))


def test_what_stands_around_a_secret_stays():
    masks = build_masks(["hunter2-canary"])
    for text, shown in {
        "a &lt;hunter2&#45;canary&gt; &amp; b": f"a &lt;{MASK}&gt; &amp; b",
        "x%20hunter2%2Dcanary%20y": f"x%20{MASK}%20y",
        '{"a": "q\\"hunter2-canary\\"q"}': f'{{"a": "q\\"{MASK}\\"q"}}',
        "5 68 75 6e 74 65 72 32 2d 63 61 6e 61 72 79 !": f"5 {MASK} !",
        "h\0u\0n\0t\0e\0r\0" + "2\0-\0c\0a\0n\0a\0r\0y\0!": f"{MASK}\0!",
        "no canary, 50% &c. \\n": "no canary, 50% &c. \\n",
    }.items():
        assert masks.redact(text) == shown


def test_numbers_keys_and_nested_values_are_masked_too():
    masks = build_masks(["31415926", "hunter2-canary"])
    value = {"hunter2-canary": [31415926, 3, True, None, 1.5, {"deep": "x hunter2-canary y"}]}
    assert masks.redact_json(value) == {MASK: [MASK, 3, True, None, 1.5, {"deep": f"x {MASK} y"}]}
    unchanged = {"a": ["nothing", 1]}
    assert masks.redact_json(unchanged) is unchanged


@pytest.mark.parametrize("text", ["", "1", "abc", "true", "False", "null", "1234", "2024", "admin", "localhost"])
def test_what_would_mangle_other_text_is_common(text):
    assert is_common(text)


def test_settings_of_a_server_that_may_be_words_are_not_masked_everywhere():
    assert [text for text in ("info", "production", "8080", "sk-123456", "hunter2x") if not is_word(text)] == [
        "sk-123456",
        "hunter2x",
    ]


def test_a_password_of_basic_authentication_is_masked_but_for_bits_it_shares_with_its_neighbours():
    header = "Basic " + base64.b64encode(b"planwave:hunter2-and-more!").decode()
    shown = build_masks(["hunter2-and-more"]).redact(header)
    assert shown == "Basic cGxhbndhdmU6" + MASK + "SE="


def test_short_words_are_left_alone():
    assert not build_masks(["abc", ""])
    assert build_masks(["hunter2"]).redact("A note that has nothing to hide.") == "A note that has nothing to hide."


def test_the_longer_of_two_that_begin_alike_is_masked_whole():
    assert build_masks(["hunter2", "hunter2-long"]).redact("hunter2-long") == MASK


@pytest.mark.parametrize("secret", [b"hunter2-\xff\xfe".decode(errors="surrogateescape"), "hunter2-\ud800"])
def test_a_secret_that_is_no_utf_8_is_masked_as_it_is(secret):
    assert build_masks([secret]).redact(f"token={secret}") == f"token={MASK}"
