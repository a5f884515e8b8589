"""The HTML page: well formed, self-contained, and nothing in it is obeyed that came from a report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_fixture import HOSTILE, efficientnet_plan

from kswap.errors import visible
from kswap.report.diff import diff_reports
from kswap.report.renderers import text_of
from kswap.report.report import Report, report_of
from kswap.report.report_html import render_html

VOID = {"meta", "br", "wbr", "line", "rect", "path", "circle"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is not closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_says_what_the_report_says(sample_report: Report) -> None:
    text = render_html(sample_report)
    page = Page(text)
    words = " ".join(" ".join(page.texts).split())
    for part in ("efficientnet_b0", "15.5%", "4,020,358", "623,226", "K 72x4+32 i20 L 20x16", "drop-in yes"):
        assert part in words
    for part in (*sample_report.notes, *(row.reason for row in sample_report.kept)):
        assert part in words
    for row in sample_report.sites:
        assert row.name.replace(".", ".<wbr>") in text


def test_every_site_has_a_bar_with_a_title(big_report: Report) -> None:
    page = Page(render_html(big_report))
    titles = [text for text in page.texts if " parameters (" in text]
    assert len(titles) == len(big_report.sites) == 217
    assert "blocks.6.1.conv_pwl: 2,458,880 → 23,040 parameters (K 240x2+160 i40 L 40x16)" in titles
    heights = [float(value or 0) for name, value in page.attributes if name == "height"]
    assert max(heights) == 100


@pytest.mark.parametrize("kind", ["report", "diff"])
def test_the_page_stands_for_itself(sample_report: Report, other_report: Report, kind: str) -> None:
    if kind == "report":
        text = render_html(sample_report)
    else:
        text = text_of(diff_reports(sample_report, other_report), "html")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "data", "srcset"} & {name for name, _ in page.attributes}
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_hostile_text_injects_nothing(hostile_report: Report, sample_report: Report) -> None:
    attacks = (HOSTILE, '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "{{ 7*7 }}{% raw %}", "]]>")
    for attack in attacks:
        report = replace(hostile_report, model=attack, rules=attack, notes=(attack,))
        sites = tuple(replace(row, name=f"{attack}{index}") for index, row in enumerate(report.sites))
        report = replace(report, sites=sites)
        for text in (render_html(report), text_of(diff_reports(report, sample_report), "html")):
            page = Page(text)
            assert not {"script", "img"} & set(page.tags)
            assert not [name for name, _ in page.attributes if name.startswith("on")]
            assert any(visible(attack) in words for words in page.texts)
            assert text.replace("\n", "").isprintable()


def test_a_site_that_grows_stands_out(sample_report: Report) -> None:
    head = replace(sample_report.replaced[-1], params_after=10**6)
    text = render_html(replace(sample_report, sites=(*sample_report.sites[:-1], head)))
    assert 'class="bar grows"' in text
    assert 'class="grows"' in text
    assert 'class="bar grows"' not in render_html(sample_report)


def test_pages_without_sites_or_without_replacements(sample_report: Report) -> None:
    kept = report_of(efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 4096))
    words = " ".join(Page(render_html(kept)).texts)
    assert "Kept: 64" in words
    assert "Replaced" not in words
    empty = " ".join(Page(render_html(replace(sample_report, sites=(), notes=(), drop_in=False))).texts)
    assert "Parameters per site" not in empty
    assert "no" in empty
