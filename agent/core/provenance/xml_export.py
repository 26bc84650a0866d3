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
_ESCAPED = re.compile(r"[^\t\n\x20-\x5b\x5d-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OUTSIDE = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_xml(value: JsonValue) -> str:
    """Return `value` as an XML document, indented."""
    root = _element(value)
    root.set("xmlns", NAMESPACE)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _element(value: JsonValue, *, key: str | None = None) -> ET.Element:
    match value:
        case None:
            made = ET.Element("null")
        case bool():
            made = _with_text("boolean", "true" if value else "false")
        case int() | float():
            made = _with_text("number", json.dumps(value))
        case str():
            text, escaped = _storable(value)
            made = _with_text("string", text)
            if escaped:
                made.set("escaped", "true")
        case list():
            made = ET.Element("array")
            made.extend(_element(inner) for inner in value)
        case dict():
            made = ET.Element("map")
            made.extend(_element(inner, key=name) for name, inner in value.items())
    if key is not None:
        text, escaped = _storable(key)
        made.set("key", text)
        if escaped:
            made.set("escaped-key", "true")
    return made


def _with_text(tag: str, text: str) -> ET.Element:
    made = ET.Element(tag)
    made.text = text
    return made


def _storable(text: str) -> tuple[str, bool]:
    """Return `text` as XML can hold it, and whether it has escapes now."""
    if _OUTSIDE.search(text) is None:
        return text, False
    return _ESCAPED.sub(lambda found: json.dumps(found[0])[1:-1], text), True
