"""JSON values as XML: read back they are the same, whatever their text holds."""

import json
import math
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from agent.core.provenance.xml_export import NAMESPACE, to_xml

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def read(element):
    """Read the form back by the rules of `xml-to-json`."""
    match element.tag.removeprefix(f"{{{NAMESPACE}}}"):
        case "null":
            return None
        case "boolean":
            return element.text == "true"
        case "number":
            return json.loads(element.text)
        case "string":
            return text(element.text or "", element.get("escaped"))
        case "array":
            return [read(inner) for inner in element]
        case "map":
            return {text(inner.get("key"), inner.get("escaped-key")): read(inner) for inner in element}


def text(written, escaped):
    """An escaped text is JSON's, except for the characters that `xml-to-json` escapes itself."""
    if not escaped:
        return written
    return json.loads('"' + written.translate({ord("\n"): r"\n", ord("\t"): r"\t", ord('"'): r"\""}) + '"')


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert read(ET.fromstring(to_xml(value))) == value  # noqa: S314 - written a moment ago


def test_numbers_keep_their_kind_and_control_characters_are_escaped():
    written = to_xml({"a": 1, "b": 1.0, "c": 'bell \x07 \\ \r "quoted"', "d": math.pi})
    assert '<number key="a">1</number>' in written
    assert '<number key="b">1.0</number>' in written
    assert 'escaped="true" key="c">bell \\u0007 \\\\ \\r' in written
