"""JSON values as XML, as XPath's `json-to-xml` writes them.

https://www.w3.org/TR/xpath-functions-31/#json-to-xml-mapping: `map`, `array`, `string`, `number`, `boolean` and `null`
in one namespace. Text that XML cannot hold is written with JSON's escapes and marked `escaped`.
"""

import json
import re
from xml.etree import ElementTree as ET

from pydantic import JsonValue

NAMESPACE = "http://www.w3.org/2005/xpath-functions"
#: What is no character of XML 1.0 (https://www.w3.org/TR/xml/#charsets), the backslash that begins an escape, and the
#: carriage return, which a parser makes a line feed.
_TO_ESCAPE = re.compile(r"[^\t\n\x20-\x5b\x5d-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INVALID_IN_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_xml(value: JsonValue) -> str:
    """Return `value` as an XML document, indented."""
    root = _build_element(value)
    root.set("xmlns", NAMESPACE)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _build_element(value: JsonValue, *, key: str | None = None) -> ET.Element:
    match value:
        case None:
            made = ET.Element("null")
        case bool():
            made = _build_text_element("boolean", "true" if value else "false")
        case int() | float():
            made = _build_text_element("number", json.dumps(value))
        case str():
            text, escaped = _escape_text(value)
            made = _build_text_element("string", text)
            if escaped:
                made.set("escaped", "true")
        case list():
            made = ET.Element("array")
            made.extend(_build_element(inner) for inner in value)
        case dict():
            made = ET.Element("map")
            made.extend(_build_element(inner, key=name) for name, inner in value.items())
    if key is not None:
        text, escaped = _escape_text(key)
        made.set("key", text)
        if escaped:
            made.set("escaped-key", "true")
    return made


def _build_text_element(tag: str, text: str) -> ET.Element:
    made = ET.Element(tag)
    made.text = text
    return made


def _escape_text(text: str) -> tuple[str, bool]:
    """Return `text` as XML can hold it, and whether it has escapes now."""
    if _INVALID_IN_XML.search(text) is None:
        return text, False
    return _TO_ESCAPE.sub(lambda found: json.dumps(found[0])[1:-1], text), True
