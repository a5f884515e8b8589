"""The HTML pages: well formed, self-contained, complete, and nothing in them is obeyed that came from a report."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from html_reader import Element, read
from report_fixture import HOSTILE, efficientnet_plan

from kswap.errors import visible
from kswap.planner import BlockSettings, plan_block
from kswap.report.diff import diff_reports
from kswap.report.html.sites import anchors_of
from kswap.report.projection import ProjectionRecord, SiteError
from kswap.report.renderers import text_of
from kswap.report.report import Change, Report, report_of


def sites_of(page: Element) -> list[tuple[Element, Element]]:
    """The rows of the sites, each with the row that opens below it."""
    rows = page.one("table", id="site-table").one("tbody").children
    return list(zip(rows[::2], rows[1::2], strict=True))


def as_linear(report: Report, every: int = 1) -> Report:
    """The report with linear layers at its sites."""
    sites = (replace(row, type="Linear") if index % every == 0 else row for index, row in enumerate(report.sites))
    return replace(report, sites=tuple(sites))


def test_the_page_says_what_the_report_says(sample_report: Report) -> None:
    page = read(text_of(sample_report, "html"))
    for part in ("efficientnet_b0", "15.5%", "4,020,358", "623,226", "K 72x4+32 i20 L 20x16", "drop-in yes"):
        assert part in page.text
    for part in (*sample_report.notes, *(row.reason for row in sample_report.kept)):
        assert part in page.text
    assert "This file holds names, shapes and counts: no weights, no pictures, no data." in page.text


def test_the_table_has_the_numbers_of_the_json_report(sample_report: Report) -> None:
    data = json.loads(text_of(sample_report, "json"))["sites"]
    rows = sites_of(read(text_of(sample_report, "html")))
    assert len(rows) == len(data)
    for (row, detail), site in zip(rows, data, strict=True):
        name, channels, plan, before, after, left, macs_before, macs_after = row.children
        assert name.text == site["name"]
        assert channels.text == f"{site['in_channels']}→{site['out_channels']}"
        assert [int(cell.text.replace(",", "")) for cell in (before, after)] == [
            site["params_before"],
            site["params_after"],
        ]
        assert float(left.attributes["data-v"] or "") == pytest.approx(
            site["params_after"] / site["params_before"], abs=1e-5
        )
        assert [int(cell.attributes["data-v"] or "") for cell in (macs_before, macs_after)] == [
            site["macs_before"],
            site["macs_after"],
        ]
        assert (plan.text == "kept") == (site["action"] == "keep") == row.has("kept")
        for part in (site["type"], site["reason"], site["norm"], site["activation"]):
            assert part is None or site["action"] == "keep" or part in detail.text


def test_every_section_and_every_site_has_an_address(sample_report: Report) -> None:
    page = read(text_of(sample_report, "html"))
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    links = {element.attributes["href"] or "" for tag in ("a", "use") for element in page.all(tag)}
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert {f"site-{row.name}" for row in sample_report.sites} <= set(ids)
    assert {f"#{section.attributes['aria-labelledby']}" for section in page.all("section")} <= links
    for row, _ in sites_of(page):
        assert row.one("a").attributes["href"] == f"#{row.attributes['id']}"


def test_addresses_are_plain_and_differ_whatever_the_names_are() -> None:
    anchors = anchors_of(["a b", "a-b", "a\nb", "", "é", "x" * 10_000])
    assert len(set(anchors)) == 6
    assert all(re.fullmatch(r"site-[A-Za-z0-9._-]*", anchor) for anchor in anchors)
    assert max(map(len, anchors)) < 200


def test_headings_go_down_one_step_at_a_time_and_tables_name_their_cells(sample_report: Report) -> None:
    record = ProjectionRecord(8, 0, 1.0, (SiteError("conv_head", 0.25),)).with_accuracy("original", 0.8, 100)
    for value in (sample_report.with_projection(record), diff_reports(sample_report, as_linear(sample_report))):
        page = read(text_of(value, "html"))
        levels = [int(element.tag[1]) for element in page.all() if re.fullmatch(r"h[1-6]", element.tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert all(cell.attributes.get("scope") for cell in page.all("th"))
        for table in page.all("table"):
            assert all(row.children[0].tag == "th" or row.has("detail") for row in table.one("tbody").all("tr"))
        assert all(drawing.attributes.get("aria-label") for drawing in page.all("svg", role="img"))


@pytest.mark.parametrize("kind", ["report", "diff"])
def test_the_page_stands_for_itself(sample_report: Report, other_report: Report, kind: str) -> None:
    text = text_of(sample_report if kind == "report" else diff_reports(sample_report, other_report), "html")
    page = read(text)
    assert not {"link", "img", "iframe", "object", "base", "form"} & {element.tag for element in page.all()}
    assert not {"src", "xlink:href", "data", "srcset"} & {name for e in page.all() for name in e.attributes}
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\(|@import|@font-face", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert page.one("meta", name="viewport")


def test_only_the_script_of_the_package_may_run(sample_report: Report, other_report: Report) -> None:
    text = text_of(sample_report, "html")
    page = read(text)
    (script,) = (element for element in page.all("script") if "type" not in element.attributes)
    digest = base64.b64encode(hashlib.sha256("".join(script.texts).encode()).digest()).decode()
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'; " in policy
    assert not any(name.startswith("on") for element in page.all() for name in element.attributes)
    diff = read(text_of(diff_reports(sample_report, other_report), "html"))
    assert not diff.all("script")
    assert "script-src" not in str(diff.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes)


ATTACKS = (HOSTILE, '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "{{ 7*7 }}{% raw %}", "]]>", "<!--")


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_injects_nothing(hostile_report: Report, sample_report: Report, attack: str) -> None:
    report = replace(hostile_report, model=attack, rules=attack, notes=(attack,))
    sites = tuple(replace(row, name=f"{attack}{index}", type=attack) for index, row in enumerate(report.sites))
    report = replace(report, sites=sites)
    harmless = len(read(text_of(sample_report, "html")).all("script"))
    for value, scripts in ((report, harmless), (diff_reports(report, sample_report), 0)):
        text = text_of(value, "html")
        page = read(text)
        assert len(page.all("script")) == scripts
        assert not page.all("img")
        assert not [name for element in page.all() for name in element.attributes if name.startswith("on")]
        assert visible(attack) in "".join(page.texts)
        assert text.replace("\n", "").isprintable()
        assert all(attack not in "".join(script.texts) for script in page.all("script"))


def test_the_largest_network_of_the_papers_is_under_a_megabyte(big_report: Report) -> None:
    text = text_of(big_report, "html")
    assert len(text.encode()) < 10**6
    page = read(text)
    rows = sites_of(page)
    assert len(rows) == len(big_report.sites) == 217
    assert sum(row.has("beyond") for row, _ in rows) == 217 - 30
    assert "Show all 217 sites" in page.text
    drawings, symbols = page.all("use"), page.all("symbol")
    assert len(symbols) < len(drawings) / 4
    assert {f"#{symbol.attributes['id']}" for symbol in symbols} == {use.attributes["href"] for use in drawings}


def test_every_site_has_a_bar_that_can_be_seen_before_and_after(big_report: Report) -> None:
    chart = next(svg for svg in read(text_of(big_report, "html")).all("svg") if "Parameters" in str(svg.attributes))
    groups = chart.all("g")
    assert len(groups) == 217
    titles = [group.one("title").text for group in groups]
    assert "blocks.6.1.conv_pwl: 2,458,880 → 23,040 parameters (K 240x2+160 i40 L 40x16)" in titles
    heights = [[float(rect.attributes["height"] or 0) for rect in group.all("rect")[1:]] for group in groups]
    assert [max(side) for side in zip(*heights, strict=True)] == [100, 100]
    assert min(min(pair) for pair in heights) > 0.5


def test_a_site_opens_to_its_own_block(sample_report: Report) -> None:
    page = read(text_of(sample_report, "html"))
    details = {row.attributes["id"]: detail for row, detail in sites_of(page)}
    drawn = {symbol.attributes["id"]: symbol for symbol in page.all("symbol")}

    def drawing(step: Element) -> Element:
        return drawn[str(step.one("use").attributes["href"])[1:]]

    k, interleave, second, total = details["site-blocks.6.0.conv_pwl"].all("li")
    assert "72 groups of 4 filters" in k.text
    assert "a second path of 32 extra groups of 1 filter" in k.text
    assert [path.tag for path in drawing(k).all("path") if path.has("extra")] == ["path"]
    assert "extra 32" in drawing(k).text
    assert "0, 20, …, 300" in interleave.text
    assert len([path for path in drawing(interleave).all("path") if path.has("wire")]) == 3
    assert "20 groups of 16 filters" in second.text
    assert "K (in its own order) + L" in total.text
    (alone,) = details["site-conv_head"].all("li")
    assert "20 groups of 64 filters" in alone.text
    replicated = details["site-blocks.1.1.conv_pw"].all("li")[0]
    assert "the first 8 are read twice" in replicated.text
    assert [path for path in drawing(replicated).all("path") if path.has("again")]
    assert not [path for path in drawing(k).all("path") if path.has("again")]
    (kept,) = details["site-blocks.0.0.conv_pw"].all("li")
    assert "Every output reads every input, as before." in kept.text


def test_the_forms_that_the_model_has_are_explained_and_no_others(sample_report: Report) -> None:
    def forms(report: Report) -> list[str]:
        return [form.one("h3").text for form in read(text_of(report, "html")).all("article")]

    assert forms(sample_report) == [
        "Grouped: K at 25 sites",
        "Grouped: K + Interleave + L + Sum at 17 sites",
        "Grouped: K + L + Sum at 13 sites",
    ]
    alone = report_of(efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 16, second_layer=False))
    assert forms(alone) == ["Grouped: K at 55 sites"]
    row = sample_report.replaced[0]
    for kind, form in (("low-rank", "Low rank: Reduce + Expand"), ("assigned", "Assigned: K")):
        block = plan_block(row.in_channels, row.out_channels, BlockSettings(kind=kind, ch=4))
        one = replace(row, kind=kind, block=block, placement="linear")
        assert forms(replace(sample_report, sites=(one,))) == [f"{form} at 1 site"]


def test_linear_layers_are_not_called_convolutions(sample_report: Report) -> None:
    linear = as_linear(sample_report)
    page = read(text_of(linear, "html"))
    assert "convolution" not in page.text.replace("A MAC is one multiply-accumulate of a convolution", "")
    assert "What replaces a linear layer" in page.text
    assert "55 of 64 linear layers replaced, 9 kept" in page.text
    assert "K, grouped linear layer" in page.text
    for format_ in ("md", "html"):
        both = text_of(as_linear(sample_report, every=2), format_)
        assert "55 of 64 pointwise convolutions and linear layers replaced, 9 kept" in both


def test_the_map_has_a_tile_for_each_site_and_the_places_for_each_measure(sample_report: Report) -> None:
    page = read(text_of(sample_report, "html"))
    tiles = [element for element in page.one(id="treemap").children if element.has("tile")]
    assert len(tiles) == len(sample_report.sites) + 1
    data = json.loads("".join(page.one("script", id="treemap-data").texts))
    assert list(data)[:2] == ["params", "macs"]
    for key, total in (("params", sample_report.params), ("macs", sample_report.macs)):
        counts = data[key]["counts"]
        assert [sum(count[side] for count in counts) for side in (0, 1)] == [total.before, total.after]
        for side in ("before", "after"):
            places = data[key][side]["tiles"]
            assert len(places) == len(tiles)
            assert all(0 <= number <= 100.01 for place in places for number in place)
            area = sum(width * height for _, _, width, height in places)
            assert 9000 < area < 10_010
    assert "in the table below" in page.text
    table = next(table for table in page.all("table") if table.has("parts"))
    assert [row.children[0].text for row in table.one("tbody").all("tr")][-3:] == ["conv_head", "not at a site", "all"]


def test_the_map_measures_bytes_of_a_model_that_was_built(sample_report: Report) -> None:
    assert 'value="bytes"' not in text_of(sample_report, "html")
    rows = [
        replace(row, bytes_before=4 * row.params_before, bytes_after=4 * row.params_after)
        for row in sample_report.sites
    ]
    built = replace(sample_report, sites=tuple(rows), bytes=Change(20_000_000, 4_000_000))
    page = read(text_of(built, "html"))
    counts = json.loads("".join(page.one("script", id="treemap-data").texts))["bytes"]["counts"]
    assert [sum(count[side] for count in counts) for side in (0, 1)] == [20_000_000, 4_000_000]
    assert "bytes on disk" in page.text


def test_a_site_that_grows_stands_out(sample_report: Report) -> None:
    head = replace(sample_report.replaced[-1], params_after=10**6)
    text = text_of(replace(sample_report, sites=(*sample_report.sites[:-1], head)), "html")
    assert 'class="bar grows"' in text
    assert 'class="grows"' in text
    assert "larger than before" in text
    assert 'class="bar grows"' not in text_of(sample_report, "html")


def test_errors_of_a_fit_have_a_column(sample_report: Report) -> None:
    record = ProjectionRecord(8, 0, 1.0, (SiteError("conv_head", 0.25), SiteError("blocks.6.0.conv_pwl", 1.5)))
    page = read(text_of(sample_report.with_projection(record), "html"))
    cells = {row.children[0].text: row.children[-1] for row, _ in sites_of(page)}
    assert [cells[name].text for name in ("conv_head", "blocks.6.0.conv_pwl", "blocks.0.0.conv_pw")] == [
        "0.250",
        "1.500",
        "-",
    ]
    assert cells["blocks.6.0.conv_pwl"].children[0].has("beyond")


def test_pages_without_sites_or_without_replacements(sample_report: Report) -> None:
    kept = read(text_of(report_of(efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 4096)), "html"))
    assert "Kept: 64" in kept.text
    assert "What replaces" not in kept.text
    empty = read(text_of(replace(sample_report, sites=(), notes=(), drop_in=False), "html"))
    assert "Sites" not in empty.text
    assert not empty.all("script")
    assert "drop-in no" in empty.text
