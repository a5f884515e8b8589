"""The report in terminals and pipes of several widths."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from report_fixture import HOSTILE, efficientnet_plan
from rich.console import Console

from kswap.report.glyphs import Glyphs
from kswap.report.report import Report, SiteRow, report_of
from kswap.report.report_terminal import render_terminal


def shown(report: Report, width: int, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system="truecolor")
    if not terminal:
        console = Console(file=io.StringIO(), width=width)
    render_terminal(report, console)
    return console.file.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_totals_are_exact(sample_report: Report) -> None:
    text = shown(sample_report, 80)
    assert line_of(text, "parameters").split()[:4] == ["parameters", "4,020,358", "623,226", "15.5%"]
    for key, label in (("macs", "MACs"), ("computations", "computations")):
        change = sample_report.totals[key]
        assert line_of(text, label).split()[1:3] == [f"{change.before:,}", f"{change.after:,}"]
    assert "55 of 64 pointwise convolutions replaced, 9 kept" in text
    assert "scheme v2 | ch 16 | rules keffnet-v2 | input 3x224x224" in text
    assert "drop-in: yes" in text


def test_a_site_at_80_columns(sample_report: Report) -> None:
    cells = line_of(shown(sample_report, 80), "blocks.6.0.conv_pwl").split()
    assert " ".join(cells[:7]) == "blocks.6.0.conv_pwl 1152->320 K 72x4+32 i20 L 20x16"
    assert cells[7:] == ["369K", "->", "11.5K", "3.1%"]


@pytest.mark.parametrize("width", [60, 80, 100, 160, 200])
def test_no_line_is_wider_than_the_terminal(sample_report: Report, big_report: Report, width: int) -> None:
    for report in (sample_report, big_report):
        for line in plain(shown(report, width, terminal=True)).splitlines():
            assert len(line) <= width or " " not in line, line


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_replaced_site_has_one_line_of_its_own(big_report: Report, width: int) -> None:
    table = shown(big_report, width).split("Replaced\n")[1].split("\n\n")[0].splitlines()[2:]
    names = [line.split()[0] for line in table]
    assert len(set(names)) == len(big_report.replaced) == 199
    for name, row in zip(names, big_report.replaced, strict=True):
        assert row.name.endswith(name.removeprefix("..."))


def test_wide_consoles_show_more(sample_report: Report) -> None:
    narrow, wide = shown(sample_report, 80), shown(sample_report, 160)
    head = next(line for line in wide.splitlines() if line.startswith("site"))
    assert re.sub(" +", " ", head).strip() == "site channels plan parameters left MACs stride norm activation role"
    assert "stride" not in narrow
    row = line_of(wide, "blocks.5.1.se.conv_reduce")
    assert row.split()[-4:] == ["1", "none", "SiLU", "squeeze-excite"]


def test_a_pipe_gets_plain_ascii(sample_report: Report, big_report: Report, hostile_report: Report) -> None:
    for report in (sample_report, big_report, replace(hostile_report, model="modèle→")):
        for width in (40, 80, 160):
            text = shown(report, width)
            assert text.isascii()
            assert "\x1b" not in text


def test_a_terminal_gets_colour_and_blocks(sample_report: Report) -> None:
    text = shown(sample_report, 80, terminal=True)
    assert "\x1b[" in text
    assert "█" in text
    assert "1152→320" in plain(text)
    assert "…5.1.se.conv_reduce" in plain(text)


def test_escape_sequences_and_markup_in_names_are_shown_not_obeyed(hostile_report: Report) -> None:
    text = shown(hostile_report, 200, terminal=True)
    assert "\x1b[31m" not in text
    assert r"[red]**x**\x1b[31m\n=cmd" in plain(text)


def test_every_kept_site_and_reason_is_readable(big_report: Report, sample_report: Report) -> None:
    for report in (big_report, sample_report):
        kept = plain(shown(report, 80, terminal=True)).split("\nKept\n")[1]
        for row in report.kept:
            assert re.search(rf"(?m)(^|\s){re.escape(row.name)}(,|$)", kept)
            assert f"  {row.reason}  (" in " ".join(kept.split("\n")).replace("      ", " ")
    assert "  - conv_head: the activation is shared, so it stays behind the block" in shown(sample_report, 80)


def test_columns_that_differ_between_sites_come_first(sample_report: Report) -> None:
    changed = tuple(replace(row, ch=8) if row.name == "conv_head" else row for row in sample_report.sites)
    text = shown(replace(sample_report, sites=changed), 120)
    head = next(line for line in text.splitlines() if line.startswith("site"))
    assert head.split()[5] == "ch"
    assert "8" in line_of(text, "conv_head").split()


def test_a_site_that_grows_is_over_100_percent(sample_report: Report) -> None:
    first, *others = sample_report.replaced
    grown = replace(first, params_after=first.params_before + 40)
    text = shown(replace(sample_report, sites=(grown, *others)), 100)
    assert "110.3% ###" in text


def test_names_that_cannot_be_told_apart_cost_a_column(sample_report: Report) -> None:
    def renamed(row: SiteRow, index: int) -> SiteRow:
        return replace(row, name=f"encoder{index}.features.denseblock.denselayer.conv")

    sites = tuple(renamed(row, index) for index, row in enumerate(sample_report.replaced))
    text = shown(replace(sample_report, sites=sites), 80)
    names = [line.split()[0] for line in text.splitlines() if "denselayer.conv" in line]
    assert len(names) == len(set(names)) == len(sites)


def test_nothing_replaced_and_nothing_kept() -> None:
    kept = report_of(efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 4096))
    text = shown(replace(kept, drop_in=False), 80)
    assert "Replaced" not in text
    assert "0 of 64 pointwise convolutions replaced, 64 kept" in text
    assert "drop-in: no" in text
    assert "0 of 0 pointwise convolutions" in shown(replace(kept, sites=(), input_size=()), 80)


def test_shorten_keeps_the_end() -> None:
    glyphs = Glyphs(ascii_only=False)
    assert glyphs.shorten("conv_head", 12) == "conv_head"
    assert glyphs.shorten("blocks.12.se.conv_reduce", 17) == "…2.se.conv_reduce"
    for width in range(6, 30):
        assert len(glyphs.shorten("stages.2.blocks.26.mlp.fc1", width)) <= width


@pytest.mark.parametrize(("ratio", "bar"), [(0, "    "), (0.001, "#   "), (0.5, "##  "), (1, "####"), (3, "####")])
def test_bars(ratio: float, bar: str) -> None:
    assert Glyphs(ascii_only=True).bar(ratio, 4) == bar
    assert len(Glyphs(ascii_only=False).bar(ratio, 4)) == 4


def test_hostile_text_is_what_the_fixture_promises(hostile_report: Report) -> None:
    assert "\x1b" in HOSTILE
    assert hostile_report.model == hostile_report.kept[0].reason == HOSTILE


def test_a_pipe_has_one_record_a_line(big_report: Report, sample_report: Report) -> None:
    for report in (big_report, sample_report):
        lines = shown(report, 80).splitlines()
        for row in report.sites:
            (line,) = [line for line in lines if line.startswith(f"{row.name} ")]
            assert row.replaced or line.rstrip().endswith(row.reason)
        for note in report.notes:
            assert f"  - {note}" in lines


def test_a_long_report_ends_with_what_it_comes_to(big_report: Report) -> None:
    end = shown(big_report, 80).splitlines()[-1]
    assert end == (
        f"{big_report.model}: 4,585,154 of 63,812,570 parameters (7.2% left), "
        f"{big_report.macs.after:,} of {big_report.macs.before:,} MACs ({big_report.macs.ratio:.1%} left), "
        "199 of 217 pointwise convolutions replaced, 18 kept, drop-in"
    )
    short = replace(big_report, sites=big_report.sites[:5])
    assert shown(short, 80).splitlines()[-1].startswith("drop-in: yes")


def test_a_legend_says_how_plans_are_read(sample_report: Report) -> None:
    assert "The plan K 72x4+32 i20 L 20x16 reads: K has 72 groups of 4 filters and 32 extra groups" in shown(
        sample_report, 80
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_the_largest_sites(sample_report: Report, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    render_terminal(sample_report, console, top=3)
    text = console.file.getvalue()
    sizes = sorted(sample_report.sites, key=lambda row: -row.params_before)
    table = text.split("Replaced\n")[1].split("\n\n")[0].splitlines()[2:]
    assert [line.split()[0] for line in table] == [row.name for row in sizes[:3]]
    left_out = sum(row.params_before for row in sizes[3:]) / sum(row.params_before for row in sizes)
    assert f"61 smaller sites left out, with {left_out:.1%} of the parameters that all sites had" in text
    assert "\nKept\n" not in text  # they are small
