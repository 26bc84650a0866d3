"""What is masked of a private text, whatever it is written in."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.secret_values import MASK, build_masks, redact_text

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
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_a_secret_is_masked_however_it_is_written_and_wherever_it_stands(way, secret, before, after):
    if way is repr and {"'", '"'} & set(before + secret + after):
        # Which quotation marks repr escapes depends on the whole text.
        return
    assert MASK in redact_text(way(before + secret + after), build_masks([secret]))


def test_a_password_of_basic_authentication_is_masked_but_for_bits_it_shares_with_its_neighbours():
    header = "Basic " + base64.b64encode(b"planwave:hunter2-and-more!").decode()
    shown = redact_text(header, build_masks(["hunter2-and-more"]))
    assert shown == "Basic cGxhbndhdmU6" + MASK + "SE="


def test_short_words_are_left_alone():
    assert build_masks(["abc", ""]) == []
    assert (
        redact_text("A note that has nothing to hide.", build_masks(["hunter2"])) == "A note that has nothing to hide."
    )


def test_the_longer_of_two_that_begin_alike_is_masked_whole():
    assert redact_text("hunter2-long", build_masks(["hunter2", "hunter2-long"])) == MASK


@pytest.mark.parametrize("secret", [b"hunter2-\xff\xfe".decode(errors="surrogateescape"), "hunter2-\ud800"])
def test_a_secret_that_is_no_utf_8_is_masked_as_it_is(secret):
    assert redact_text(f"token={secret}", build_masks([secret])) == f"token={MASK}"
