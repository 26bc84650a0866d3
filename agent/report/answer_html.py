"""The answer as HTML: its Markdown, with each citation and each number leading to the result that it rests on."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent.core.grounding import split_numbers

_CITATION: Final = re.compile(r"\[([^\[\]\s]+(?:\s*,\s*[^\[\]\s]+)*)\]")
#: Raw HTML is shown as text; a link or a picture of an answer is no reason to contact anybody.
_MARKDOWN: Final = (
    MarkdownIt("commonmark", {"html": False, "linkify": False})
    .enable("table")
    .disable(["image", "link", "autolink", "reference", "html_block", "html_inline"])
)


def render_answer(markdown: str, *, anchors: Mapping[str, str], number_sources: Mapping[str, Sequence[str]]) -> str:
    """Return safe HTML of an answer.

    `anchors` are the ids of the elements of the tasks, `number_sources` the numbers that are in each task's output. A
    paragraph without a citation rests on what the one before it cites, as `Provenance.split_answer` has it.
    """
    tokens = _MARKDOWN.parse(markdown)
    found = {task: frozenset(numbers) for task, numbers in number_sources.items()}
    cited: tuple[str, ...] = ()
    for token in tokens:
        if token.type == "inline":
            named = [task for group in _CITATION.findall(token.content) for task in re.split(r"\s*,\s*", group)]
            cited = tuple(task for task in named if task in anchors) or cited
            token.children = list(_link_texts(token.children or [], cited, anchors=anchors, found=found))
        if token.attrs.pop("style", None) == "text-align:right":
            token.attrs["class"] = "n"  # the page allows no style of an element
    rendered: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    # A wide table scrolls by itself, and can be scrolled by keys.
    number = count(1)
    return re.sub(
        "<table>",
        lambda _: f'<div class="scroll" tabindex="0" role="group" aria-label="Table {next(number)}"><table>',
        rendered,
    ).replace("</table>", "</table></div>")


def _link_texts(
    children: Sequence[Token],
    cited: Sequence[str],
    *,
    anchors: Mapping[str, str],
    found: Mapping[str, frozenset[str]],
) -> Iterator[Token]:
    for child in children:
        if child.type != "text":
            yield child
            continue
        parts = _CITATION.split(child.content)
        for place, part in enumerate(parts):
            if place % 2:
                yield _make_html(_link_citation(part, anchors))
            else:
                for text, is_number in split_numbers(part):
                    source = next((task for task in cited if text in found.get(task, ())), None) if is_number else None
                    yield _make_text(text) if source is None else _make_html(_link_number(text, source, anchors))


def _make_text(content: str) -> Token:
    token = Token("text", "", 0)
    token.content = content
    return token


def _make_html(content: str) -> Token:
    """Return a token that is written as it is: what it has of the answer is escaped already."""
    token = Token("html_inline", "", 0)
    token.content = content
    return token


def _link_citation(group: str, anchors: Mapping[str, str]) -> str:
    tasks = re.split(r"\s*,\s*", group)
    links = [
        f'<a class="cite" href="#{anchors[task]}">{html.escape(task)}</a>' if task in anchors else html.escape(task)
        for task in tasks
    ]
    return f"[{', '.join(links)}]"


def _link_number(number: str, task: str, anchors: Mapping[str, str]) -> str:
    label = html.escape(f"{number}, from the result of {task}")
    return f'<a class="num" href="#{anchors[task]}" aria-label="{label}" title="{label}">{html.escape(number)}</a>'
