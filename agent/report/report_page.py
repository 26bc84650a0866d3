"""The page of a report: one HTML file with everything in it, which loads and sends nothing.

The content security policy allows the one style sheet and the one script that are in the page, by their digests, and
pictures that are in it. What comes from a run is escaped by the template, or by `render_answer`.
"""

import hashlib
import html
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from agent.report.answer_html import render_answer
from agent.report.graph_layout import NODE_HEIGHT, NODE_WIDTH, GraphEdge, GraphLayout, lay_out_graph
from agent.report.model import RunReport, TaskReport
from agent.report.timeline import ROW_HEIGHT, WIDTH, draw_timeline, format_seconds

#: `file`: a page of its own; `live`: asks its own server for a newer one; `frame`: inside a notebook.
PageKind = Literal["file", "live", "frame"]

#: A sign for each status, so that no colour is needed to tell them apart.
STATUS_SIGNS: Final = {
    "done": "\u2713",
    "failed": "\u2717",
    "rejected": "\u2298",
    "skipped": "\u2013",
    "cancelled": "\u25a0",
    "blocked": "\u00d7",
    "in_doubt": "?",
    "rolled_back": "\u21b6",
    "running": "\u25b6",
    "retrying": "\u21bb",
    "awaiting_approval": "!",
    "waiting": "\u2026",
    "ready": "\u25cb",
}
#: What a node of several tasks shows, if one of them has it.
_WORST_FIRST: Final = ("failed", "rejected", "in_doubt", "awaiting_approval", "running", "retrying")
_MAX_LABEL: Final = 22


def render_report(report: RunReport, *, kind: PageKind = "file") -> str:
    """Return the HTML of a report."""
    parts = _load_parts()
    anchors = {task.task: f"task-{place}" for place, task in enumerate(report.tasks)}
    needs = {task.task: tuple(each.task for each in task.inputs) for task in report.tasks}
    graph = lay_out_graph(needs, {task.task: _get_kind(task) for task in report.tasks}) if report.tasks else None
    nodes = list(_view_nodes(graph, report)) if graph else []
    page: str = (
        _load_environment()
        .from_string(parts["template"])
        .render(
            report=report,
            kind=kind,
            policy=_build_policy(parts, kind),
            css=Markup(parts["css"]),  # noqa: S704 - our own file
            script=Markup(parts["script"]),  # noqa: S704 - as above
            data=Markup(_build_data(report)),  # noqa: S704 - JSON with every `<` escaped
            answer=Markup(  # noqa: S704 - escaped by `render_answer`
                render_answer(report.answer, anchors=anchors, number_sources=report.number_sources)
            ),
            anchors=anchors,
            graph=graph,
            nodes=nodes,
            edges=[_view_edge(edge, nodes) for edge in graph.edges] if graph else [],
            timeline=draw_timeline(report),
            counts=Counter(task.status for task in report.tasks),
            sizes={"node": (NODE_WIDTH, NODE_HEIGHT), "row": ROW_HEIGHT, "width": WIDTH},
        )
    )
    return page


def render_frame(report: RunReport) -> str:
    """Return a frame with the page of a report, for a notebook: nothing of it reaches the notebook around it."""
    page = html.escape(render_report(report, kind="frame"))
    height = 560 if report.status == "planned" else 720
    return (
        f'<iframe title="{html.escape(report.goal or "Plan")}" sandbox="allow-scripts" width="100%" height="{height}"'
        f' frameborder="0" srcdoc="{page}"></iframe>'
    )


def _get_kind(task: TaskReport) -> str:
    """Return what tasks must have in common to be drawn as one."""
    return "\0".join((task.tool, task.phase, str(task.is_undo), str(task.is_current)))


@dataclass(frozen=True, slots=True)
class _NodeView:
    """A node of the graph as the template draws it."""

    x: float
    y: float
    tasks: tuple[TaskReport, ...]
    #: Their positions in the report, with blanks between them.
    places: str
    #: Of all of them, or the one that a reader must see first.
    status: str
    counts: str
    is_critical: bool


@dataclass(frozen=True, slots=True)
class _EdgeView:
    """An edge as the template draws it; `source` and `target` are the positions of the first tasks of its nodes."""

    path: str
    source: str
    target: str
    is_critical: bool


def _view_nodes(graph: GraphLayout, report: RunReport) -> Iterator[_NodeView]:
    place = {task.task: number for number, task in enumerate(report.tasks)}
    for node in graph.nodes:
        tasks = tuple(report.tasks[place[task]] for task in node.tasks)
        counts = Counter(task.status for task in tasks)
        yield _NodeView(
            x=node.x,
            y=node.y,
            tasks=tasks,
            places=" ".join(str(place[task]) for task in node.tasks),
            status=next(status for status in (*_WORST_FIRST, *counts) if status in counts),
            counts=", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.most_common()),
            is_critical=any(task.is_critical for task in tasks),
        )


def _view_edge(edge: GraphEdge, nodes: Sequence[_NodeView]) -> _EdgeView:
    source, target = nodes[edge.source], nodes[edge.target]
    return _EdgeView(
        path=_build_path(edge),
        source=source.places.partition(" ")[0],
        target=target.places.partition(" ")[0],
        is_critical=source.is_critical and target.is_critical,
    )


def _build_path(edge: GraphEdge) -> str:
    """Return the line of an edge as SVG path data: a curve between two columns, straight where it passes one."""
    (x, y), *others = edge.points
    steps = [f"M{x:.0f},{y:.1f}"]
    for place, (to_x, to_y) in enumerate(others):
        middle = (x + to_x) / 2
        steps.append(
            f"L{to_x:.0f},{to_y:.1f}"
            if place % 2
            else f"C{middle:.0f},{y:.1f} {middle:.0f},{to_y:.1f} {to_x:.0f},{to_y:.1f}"
        )
        x, y = to_x, to_y
    return "".join(steps)


def _build_data(report: RunReport) -> str:
    """Return what the page's script needs, as JSON that cannot end its element."""
    place = {task.task: number for number, task in enumerate(report.tasks)}
    inputs = [[[place[each.task], each.way, each.path] for each in task.inputs] for task in report.tasks]
    names = [task.task for task in report.tasks]
    text = json.dumps({"names": names, "inputs": inputs}, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _build_policy(parts: dict[str, str], kind: PageKind) -> str:
    digests = {name: b64encode(hashlib.sha256(parts[name].encode()).digest()).decode() for name in ("css", "script")}
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{digests['css']}'",
            f"script-src 'sha256-{digests['script']}'",
            "img-src data:",
            *(("connect-src 'self'",) if kind == "live" else ()),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


@lru_cache(maxsize=1)
def _load_parts() -> dict[str, str]:
    folder = files(__package__).joinpath("page")
    names = {"template": "report.html.jinja", "css": "report.css", "script": "report.js"}
    return {part: folder.joinpath(name).read_text(encoding="utf-8") for part, name in names.items()}


@lru_cache(maxsize=1)
def _load_environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "seconds": format_seconds,
        "moment": _format_moment,
        "short": _shorten,
        "picture": _encode_picture,
        "markdown": lambda text: Markup(render_answer(text, anchors={}, number_sources={})),  # noqa: S704 - escaped there
        "word": lambda text: text.replace("_", " "),
        "sign": lambda status: STATUS_SIGNS.get(status, ""),
    }
    return environment


def _format_moment(moment: str | None) -> str:
    """Return a moment in UTC, to the second."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S %Z") if moment else ""


def _shorten(text: str, length: int = _MAX_LABEL) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\u2026"


def _encode_picture(svg: str) -> str:
    """Return an SVG as the address of a picture: a browser runs no script of a picture and loads nothing for it."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
