"""The HTML pages in headless Chromium. Skipped where there is no Chromium: the other tests need none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report_fixture import HOSTILE

from kswap.errors import visible
from kswap.report.diff import diff_reports
from kswap.report.projection import ProjectionRecord, SiteError
from kswap.report.renderers import text_of
from kswap.report.report import Report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Opens the page of a value from its file; every message of its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_(value: object, address: str = "", **settings: object) -> Page:
        file = tmp_path / "page.html"
        file.write_text(text_of(value, "html"), encoding="utf-8")
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: complaints.append(request.url) if request.url != page.url else None)
        page.goto(file.as_uri() + address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith("file:")] == []


@pytest.fixture(scope="module")
def fitted_report(sample_report: Report) -> Report:
    errors = tuple(SiteError(row.name, index / 40) for index, row in enumerate(sample_report.replaced))
    return sample_report.with_projection(ProjectionRecord(8, 0, 1.0, errors).with_accuracy("original", 0.8, 100))


def shown_names(page: Page) -> list[str]:
    return page.locator("tr.site:visible th").all_inner_texts()


def test_a_site_opens_and_closes_and_the_address_leads_there(opened: Opened, sample_report: Report) -> None:
    page = opened(sample_report)
    detail = page.locator("tr.detail:visible")
    expect(detail).to_have_count(0)
    link = page.get_by_role("link", name="blocks.1.0.conv_pwl", exact=True).first
    expect(link).to_have_attribute("aria-expanded", "false")
    link.focus()
    page.keyboard.press("Enter")
    expect(link).to_have_attribute("aria-expanded", "true")
    expect(detail).to_contain_text("6 groups of 4 filters")
    assert page.url.endswith("#site-blocks.1.0.conv_pwl")
    page.keyboard.press("Enter")
    expect(detail).to_have_count(0)
    page.get_by_role("button", name="Open all shown").click()
    expect(detail).to_have_count(30)
    page.get_by_role("button", name="Close all").click()
    expect(detail).to_have_count(0)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_an_address_opens_a_folded_site(opened: Opened, sample_report: Report, script: bool) -> None:
    page = opened(sample_report, "#site-conv_head", java_script_enabled=script)
    expect(page.locator("tr.detail:visible")).to_contain_text("20 groups of 64 filters")
    expect(page.locator("#site-conv_head")).to_be_in_viewport()
    expect(page.locator("tr.site:visible")).to_have_count(64 if script else 31)


def test_without_script_nothing_is_missing(opened: Opened, sample_report: Report) -> None:
    page = opened(sample_report, java_script_enabled=False)
    expect(page.locator(".needs-script:visible")).to_have_count(0)
    expect(page.locator("tr.site:visible")).to_have_count(30)
    page.get_by_label("Show all 64 sites").check()
    expect(page.locator("tr.site:visible")).to_have_count(64)
    expect(page.locator("#treemap .tile").first).to_be_visible()
    page.locator("#site-conv_head a").click()
    expect(page.locator("tr.detail:visible")).to_have_count(1)


def test_sites_are_searched_filtered_ordered_and_unfolded(opened: Opened, fitted_report: Report) -> None:
    page = opened(fitted_report)
    search, order = page.get_by_label("Search"), page.get_by_label("Order", exact=True)
    assert len(shown_names(page)) == 30
    page.get_by_label("Show all 64 sites").check()
    assert shown_names(page) == [row.name for row in fitted_report.sites]
    search.fill("blocks.6 SE.")
    assert shown_names(page) == ["blocks.6.0.se.conv_reduce", "blocks.6.0.se.conv_expand"]
    expect(page.get_by_role("status")).to_have_text("2 of 64 sites")
    search.fill("no such site")
    expect(page.get_by_role("status")).to_have_text("0 of 64 sites")
    search.fill("")
    page.get_by_label("Show", exact=True).select_option("kept")
    assert shown_names(page) == [row.name for row in fitted_report.kept]
    page.get_by_label("Show", exact=True).select_option("")

    def by_after(descending: bool) -> list[int]:
        return sorted((row.params_after for row in fitted_report.sites), reverse=descending)

    head = page.get_by_role("button", name="after").first
    for descending, sort in ((True, "descending"), (False, "ascending")):
        head.click()
        cells = page.locator("tr.site td.is:not(.macs)").all_inner_texts()
        assert [int(text.replace(",", "")) for text in cells] == by_after(descending)
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", sort)
    order.select_option("error|down")
    assert shown_names(page)[0] == "conv_head"
    order.select_option("")
    assert shown_names(page) == [row.name for row in fitted_report.sites]


def test_the_map_moves_to_another_measure(opened: Opened, sample_report: Report) -> None:
    page = opened(sample_report)
    tile = page.locator("#treemap a[href='#site-conv_head']")
    share = sample_report.sites[-1].params_before / sample_report.params.before

    def area() -> float:
        # After the transition.
        return tile.evaluate("tile => parseFloat(tile.style.width) * parseFloat(tile.style.height) / 10000")

    assert area() == pytest.approx(share, rel=0.2)
    page.get_by_label("MACs", exact=True).check()
    row = sample_report.sites[-1]
    assert area() == pytest.approx(row.macs_before / sample_report.macs.before, rel=0.2)
    expect(tile).to_have_attribute("title", f"conv_head: {row.macs_before:,} → {row.macs_after:,} MACs")
    page.get_by_label("as they are").check()
    assert area() == pytest.approx(row.macs_after / sample_report.macs.after, rel=0.2)
    tile.click()
    expect(page.locator("tr.detail:visible")).to_contain_text("20 groups of 64 filters")


def test_a_phone_never_scrolls_sideways(opened: Opened, big_report: Report, hostile_report: Report) -> None:
    long = replace(hostile_report, sites=(replace(hostile_report.sites[-1], name="layer" * 60, type="T" * 300),))
    for report, most in ((big_report, 12_000), (long, 12_000)):
        page = opened(report, viewport=PHONE)
        assert page.evaluate("document.documentElement.scrollHeight") < most
        page.evaluate("document.querySelectorAll('details').forEach(part => (part.open = true))")
        page.get_by_role("button", name="Open all shown").click()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_paper_has_all_sites_and_their_macs(opened: Opened, sample_report: Report) -> None:
    page = opened(sample_report, viewport={"width": 700, "height": 1000})
    page.emulate_media(media="print")
    expect(page.locator("tr.site:visible")).to_have_count(64)
    expect(page.locator("td.macs:visible")).to_have_count(128)
    expect(page.locator(".needs-script:visible")).to_have_count(0)
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(opened: Opened, fitted_report: Report, scheme: str, width: int) -> None:
    few = replace(fitted_report, sites=(fitted_report.sites[0], *fitted_report.sites[-2:]), projection=None)
    few = few.with_projection(fitted_report.projection and replace(fitted_report.projection, sites=()))
    for value in (few, diff_reports(replace(few, sites=few.sites[1:]), fitted_report)):
        # The policy of the page would keep the checker out as well.
        page = opened(value, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
        if value is few:
            page.get_by_role("button", name="Open all shown").click()
        found = Axe().run(page).response
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []


def test_the_policy_lets_no_other_script_run(browser: Browser, tmp_path: Path, sample_report: Report) -> None:
    file = tmp_path / "page.html"
    file.write_text(text_of(sample_report, "html").replace("</body>", "<script>window.ran = 1</script></body>"))
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.evaluate("window.ran") is None
    expect(page.locator("html")).to_have_class("js")
    page.close()


def test_hostile_names_are_text(opened: Opened, hostile_report: Report) -> None:
    page = opened(hostile_report)
    page.get_by_role("button", name="Open all shown").click()
    page.get_by_label("MACs", exact=True).check()
    assert visible(HOSTILE) in shown_names(page)[0].replace("\n", "")
