"""Reads the SVG of a chart and leaves in it only what draws: no script, no style sheet of others, nothing to load."""

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

_SVG: Final = "http://www.w3.org/2000/svg"
_MAX_BYTES: Final = 4_000_000
#: The elements that charts are made of.
_DRAWING: Final = frozenset(
    {
        *("svg", "g", "defs", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("text", "tspan", "clipPath", "linearGradient", "radialGradient", "stop", "mask", "pattern", "marker"),
    }
)
_REFERENCE: Final = re.compile(r"url\(\s*['\"]?(?!#)|javascript:|expression\(|@import|data:", re.IGNORECASE)


def read_picture(path: str) -> str:
    """Return the SVG of a file with only its drawing; empty if there is no such file, or it is no SVG."""
    try:
        file = Path(path)
        if file.suffix.lower() != ".svg" or file.stat().st_size > _MAX_BYTES:
            return ""
        return clean_picture(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""


def clean_picture(text: str) -> str:
    """Return an SVG without scripts, handlers, and references to anything outside it; empty if it is not an SVG."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return ""  # entities may grow without end
    try:
        root = ET.fromstring(text)  # noqa: S314 - it has no entities
    except ET.ParseError:
        return ""
    if root.tag not in {f"{{{_SVG}}}svg", "svg"}:
        return ""
    _clean_element(root)
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _clean_element(element: ET.Element) -> None:
    for name, value in [*element.attrib.items()]:
        local = name.rpartition("}")[2].lower()
        if local.startswith("on") or (local == "href" and not value.startswith("#")) or _REFERENCE.search(value):
            del element.attrib[name]
    for child in [*element]:
        local = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if local in _DRAWING:
            _clean_element(child)
        else:
            element.remove(child)
