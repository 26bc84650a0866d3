"""The files of a chart: PNG, SVG and an HTML page that needs no network."""

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template

import altair as alt
import vl_convert

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.files.output_folder import OutputFolder

VEGA_LITE = alt.SCHEMA_VERSION.rpartition(".")[0]
PIXELS_PER_UNIT = 2  # sharp on high-density screens and in print

# The content security policy keeps a page with private figures from contacting any server. It allows eval because
# Vega compiles its expressions with it.
_PAGE_TEMPLATE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>body { margin: 1rem; background: white; font-family: Arimo, Helvetica, Arial, sans-serif; }</style>
<script>$library</script>
</head>
<body>
<div id="chart" role="img" aria-label="$title"></div>
<script id="spec" type="application/json">$spec</script>
<script>
const actions = { export: true, source: false, compiled: false, editor: false };
const spec = JSON.parse(document.getElementById("spec").textContent);
vegaEmbed("#chart", spec, { renderer: "svg", actions });
</script>
</body>
</html>
""")


_BUNDLE_SNIPPET = "window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite;"


@dataclass(frozen=True)
class ChartFiles:
    """The paths of a chart's files."""

    png: Path
    svg: Path
    html: Path


def write_chart(spec: JsonSchema, *, title: str, stem: str, folder: OutputFolder) -> ChartFiles:
    """Write the three files, named by a hash of their content, so that drawing the same chart again is idempotent."""
    canonical = json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    name = f"{slugify(stem)}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"
    contents: dict[str, Callable[[], bytes]] = {
        "png": lambda: vl_convert.vegalite_to_png(
            canonical, vl_version=VEGA_LITE, scale=PIXELS_PER_UNIT, allowed_base_urls=[]
        ),
        "svg": lambda: vl_convert.vegalite_to_svg(canonical, vl_version=VEGA_LITE, allowed_base_urls=[]).encode(),
        "html": lambda: render_page(spec, title=title).encode(),
    }
    paths = {}
    for ending, content in contents.items():
        paths[ending] = folder.write(f"{name}.{ending}", content=content(), overwrite=True)
    return ChartFiles(**paths)


def render_page(spec: JsonSchema, *, title: str) -> str:
    """Return an HTML page with the chart, its data and the libraries that draw it."""
    # In a script element only "<" can end the script or start a comment; in JSON it can be escaped.
    data = json.dumps(spec, sort_keys=True, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE_TEMPLATE.substitute(title=html.escape(title), library=_bundle_javascript(), spec=data)


@lru_cache(maxsize=1)
def _bundle_javascript() -> str:
    bundle: str = vl_convert.javascript_bundle(snippet=_BUNDLE_SNIPPET, vl_version=VEGA_LITE)
    return bundle


def slugify(text: str) -> str:
    """Return `text` as a short file name of ASCII letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].rstrip("-") or "chart"
