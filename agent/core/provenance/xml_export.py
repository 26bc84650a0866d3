"""Exports JSON values as XML, in the format of XPath's `json-to-xml`.

https://www.w3.org/TR/xpath-functions-31/#json-to-xml-mapping: `map`, `array`, `string`, `number`, `boolean` and `null`
in one namespace. Text with characters that XML does not allow is written with JSON escapes and marked `escaped`.
"""

import json
import re
from xml.etree import ElementTree as ET

from pydantic import JsonValue

NAMESPACE = "http://www.w3.org/2005/xpath-functions"
#: Characters that XML 1.0 does not allow (https://www.w3.org/TR/xml/#charsets), the backslash, which starts an escape,
#: and the carriage return, which XML parsers turn into a line feed.
_TO_ESCAPE = re.compile(r"[^\t\n\x20-\x5b\x5d-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: The same without the backslash: a text is escaped only if it has one of these.
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
            element = ET.Element("null")
        case bool():
            element = _build_text_element("boolean", "true" if value else "false")
        case int() | float():
            element = _build_text_element("number", json.dumps(value))
        case str():
            text, escaped = _escape_text(value)
            element = _build_text_element("string", text)
            if escaped:
                element.set("escaped", "true")
        case list():
            element = ET.Element("array")
            element.extend(_build_element(inner) for inner in value)
        case dict():
            element = ET.Element("map")
            element.extend(_build_element(inner, key=name) for name, inner in value.items())
    if key is not None:
        text, escaped = _escape_text(key)
        element.set("key", text)
        if escaped:
            element.set("escaped-key", "true")
    return element


def _build_text_element(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element


def _escape_text(text: str) -> tuple[str, bool]:
    """Return `text` in characters that XML allows, and whether it has been escaped."""
    if _INVALID_IN_XML.search(text) is None:
        return text, False
    return _TO_ESCAPE.sub(lambda found: json.dumps(found[0])[1:-1], text), True
