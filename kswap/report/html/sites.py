"""The sites of a report as the page shows them: an anchor for each, and what its block does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from kswap.report.glyphs import Glyphs
from kswap.report.html.drawing import Symbols
from kswap.report.kinds import EXPLANATIONS
from kswap.report.panels import dense_panel
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import is_linear

GLYPHS = Glyphs(ascii_only=False)
FOLDED_BEYOND = 30  # rows of the table that are shown at first


def anchors_of(names: Iterable[str]) -> list[str]:
    """An id for each name, readable and different from the others whatever the names hold.

    >>> anchors_of(["blocks.0.conv", "<b>", "-b-"])
    ['site-blocks.0.conv', 'site--b-', 'site--b--2']
    """
    taken: set[str] = set()
    anchors = []
    for name in names:
        plain = anchor = "site-" + re.sub(r"[^A-Za-z0-9._-]", "-", name)[:120]
        number = 1
        while anchor in taken:
            number += 1
            anchor = f"{plain}-{number}"
        taken.add(anchor)
        anchors.append(anchor)
    return anchors


@dataclass(frozen=True)
class Step:
    """One step of a block: its words, and its drawing."""

    title: str
    numbers: str
    sentences: tuple[str, ...]
    drawing: Markup


@dataclass(frozen=True)
class SiteView:
    """One site: its row, its id on the page, what it was and is, and the steps of its block."""

    row: SiteRow
    anchor: str
    params: Change
    macs: Change
    facts: dict[str, str]
    steps: tuple[Step, ...]

    @property
    def state(self) -> str:
        """``kept``, ``grows`` or ``replaced``: what the table filters by."""
        if not self.row.replaced:
            return "kept"
        return "grows" if self.row.grows else "replaced"

    @property
    def summary(self) -> str:
        """The site in one line."""
        row = self.row
        if not row.replaced:
            return f"{row.name}: kept, {row.params_before:,} parameters"
        return f"{row.name}: {row.params_before:,} → {row.params_after:,} parameters ({row.short()})"


def in_words_of(row: SiteRow, text: str) -> str:
    """``text`` about a pointwise convolution, said of the layer of ``row``: a linear layer computes the same map."""
    return text.replace("pointwise convolution", "linear layer") if is_linear(row) else text


def _steps(row: SiteRow, symbols: Symbols) -> tuple[Step, ...]:
    if row.block is None:
        numbers = f"{row.in_channels} → {row.out_channels}"
        panel = dense_panel(row.in_channels, row.out_channels, "unchanged")
        kept = ("Every output reads every input, as before.",)
        return (Step("Kept", numbers, kept, symbols.use(panel, "every output reads every input")),)
    return tuple(
        Step(
            in_words_of(row, step.title),
            step.numbers,
            tuple(in_words_of(row, sentence) for sentence in step.sentences),
            symbols.use(step.panel, f"{step.title}, {step.numbers}") if step.panel else Markup(""),
        )
        for step in EXPLANATIONS[row.kind].steps(row.block, GLYPHS)
    )


def _facts(row: SiteRow) -> dict[str, str]:
    """What is said of a site beside the columns of the table."""
    role = "" if row.role == "pointwise" else f", {row.role}"
    followers = " and ".join(part for part in (row.norm, row.activation) if part)
    facts = {"layer": f"{row.type}{role}", "why": row.reason}
    if row.replaced:
        facts["settings"] = f"scheme {row.scheme}, Ch {row.ch}"
        if followers:
            facts["norm and activation"] = f"{followers}, {_placed(row)}"
    if row.stride != 1:
        facts["stride"] = str(row.stride)
    if row.macs_before:
        facts["MACs"] = " → ".join(f"{count:,}" for count in dict.fromkeys((row.macs_before, row.macs_after)))
    return facts


def _placed(row: SiteRow) -> str:
    if row.placement != "absorbed" or row.block is None:
        return "after the block"
    return "inside the block" + (", after each of its layers" if row.block.copies > 1 else "")


def views_of(report: Report, symbols: Symbols) -> list[SiteView]:
    """All sites in the order of the network; what they draw is in ``symbols`` afterwards."""
    anchors = anchors_of(row.name for row in report.sites)
    return [
        SiteView(
            row,
            anchor,
            Change(row.params_before, row.params_after),
            Change(row.macs_before, row.macs_after),
            _facts(row),
            _steps(row, symbols),
        )
        for row, anchor in zip(report.sites, anchors, strict=True)
    ]


@dataclass(frozen=True)
class Example:
    """The site that shows one form of blocks: of all with that form, it saves most."""

    view: SiteView
    sites: int

    @property
    def title(self) -> str:
        """The kind of block and its steps."""
        kind = self.view.row.kind.replace("-", " ").capitalize()
        return f"{kind}: {' + '.join(step.title.partition(',')[0] for step in self.view.steps)}"


def examples_of(views: Iterable[SiteView]) -> list[Example]:
    """One example for each form of blocks that the model really has, the form of most sites first.

    Blocks have the same form when they have the same steps: those with K alone have another than those with L.
    """
    forms: dict[tuple[str, ...], list[SiteView]] = {}
    for view in views:
        if view.row.replaced:
            form = (view.row.kind, *(step.title for step in view.steps))
            forms.setdefault(form, []).append(view)
    ordered = sorted(forms.values(), key=len, reverse=True)
    return [Example(max(form, key=lambda view: view.params.before - view.params.after), len(form)) for form in ordered]
