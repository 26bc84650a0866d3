"""Texts and pictures that a run did not write for a browser cannot do anything in one."""

import pytest

from agent.report.answer_html import render_answer
from agent.report.model import RunReport
from agent.report.picture import clean_picture, read_picture
from agent.report.report_page import render_report
from tests.agent.report.html_tags import find_tags

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "![a](http://example.com/a.png)",
        "<http://example.com>",
        "[a]: http://example.com\n\n[a]",
        "| <b onclick=x> | 2 |\n| --- | ---: |\n| <script> | 1 |",
        "```html\n<script>\n```",
        '["><script>]',
    ],
)
def test_an_answer_has_only_text_tables_and_links_to_tasks(markdown):
    html = render_answer(markdown, anchors={"t1": "task-0"}, number_sources={})
    tags = list(find_tags(html))
    assert {name for name, _ in tags} <= {"p", "div", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    assert {name for _, attributes in tags for name in attributes} <= {"class", "tabindex", "role", "aria-label"}


def test_numbers_and_citations_lead_to_the_result_that_they_rest_on():
    found = {"t1": ("1,234", "7")}
    html = render_answer("Sold 1,234 of 99 [t1].\n\nAlso 7.", anchors={"t1": "task-0"}, number_sources=found)
    assert '<a class="cite" href="#task-0">t1</a>' in html
    assert 'href="#task-0" aria-label="1,234, from the result of t1"' in html
    assert ">7</a>" in html, "a paragraph without a citation rests on what the one before it cites"
    assert ">99</a>" not in html
    names = render_answer("[t1] /out/1,234 x7 7b", anchors={"t1": "task-0"}, number_sources=found)
    assert 'class="num"' not in names, "digits of a path or a name are no number"


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        "<foreignObject><body/></foreignObject>",
        '<image href="http://example.com/a.png"/>',
        '<a xlink:href="javascript:alert(1)"><rect/></a>',
        '<rect fill="url(http://example.com/#a)"/>',
        "<style>@import 'http://example.com'</style>",
        '<use href="http://example.com/a.svg#a"/>',
    ],
)
def test_a_picture_keeps_what_draws_and_nothing_else(inside):
    clean = clean_picture(SVG.format(inside + '<path d="M0,0L1,1"/>'))
    assert 'd="M0,0L1,1"' in clean
    for part in ("script", "alert", "example.com", "foreignObject", "onload"):
        assert part not in clean


def test_what_is_no_picture_is_not_read(tmp_path):
    file = tmp_path / "a.svg"
    for text in ("no xml", "<html/>", '<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG.format("&a;")):
        file.write_text(text)
        assert read_picture(str(file)) == ""
    other = tmp_path / "secret.txt"
    other.write_text(SVG.format(""))
    assert read_picture(str(other)) == ""
    assert read_picture(str(tmp_path / "none.svg")) == ""


def test_the_policy_allows_the_pages_own_script_and_style_by_digest_and_no_network():
    page = render_report(RunReport(thread="t", goal="g", status="completed", made_at="2026-01-01T00:00:00+00:00"))
    policy = page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert "style=" not in page.partition("<body")[2]
