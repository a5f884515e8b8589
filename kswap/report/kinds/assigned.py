"""The assigned kind explained: K alone, with the channels that each group reads and makes."""

from __future__ import annotations

from collections.abc import Iterator

from kswap.planner.kinds.assigned import AssignedPlan, plan_assigned
from kswap.planner.kinds.kind import BlockSettings
from kswap.report.channel_paths import ChannelPath, drawing
from kswap.report.glyphs import Glyphs
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.kinds.grouped import layout_lines
from kswap.report.panels import groups_panel
from kswap.report.wording import plural


def _settings(plan: AssignedPlan) -> tuple[str, ...]:
    return ("groups assigned", f"scheme {plan.scheme}", f"{plural(plan.ch, 'channel')} per group (Ch)")


def steps_of(plan: AssignedPlan, glyphs: Glyphs) -> list[ExplanationStep]:
    """What the block does, one step after the other; empty when the layer is kept."""
    if plan.k is None:
        return []
    groups = plan.groups()
    reads = [tuple(sorted(reads)) for reads, _ in groups]
    path = ChannelPath(
        "group", tuple(reads), tuple(tuple(sorted(makes)) for _, makes in groups), tuple(_read_before(reads))
    )
    numbers = (
        f"{plan.k.short()}   {plan.in_channels}{glyphs.arrow}{plan.out_channels}   {plan.k.group_width} inputs "
        f"{glyphs.times} {plan.out_channels} filters = {plan.k.weights:,} weights"
    )
    drawn = drawing([path], "reads inputs", "makes outputs", glyphs)
    lines = (*layout_lines(plan.k, plan.is_assigned), _assigned(plan))
    return [ExplanationStep("K, grouped pointwise convolution", numbers, lines, tuple(drawn), groups_panel([path]))]


def _read_before(groups: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """The places of each group whose channels a group before it reads."""
    seen: set[int] = set()
    for channels in groups:
        yield tuple(place for place, channel in enumerate(channels) if channel in seen)
        seen.update(channels)


def _assigned(plan: AssignedPlan) -> str:
    if plan.is_assigned:
        return "Which inputs form a group and which outputs go to it was assigned by a fit; the plan holds both orders."
    return "Nothing is assigned yet: until a fit to data, the groups read and make their channels in order."


def _closing(plan: AssignedPlan) -> str:
    return "There is no L. Norm and activation of the layer stay where they are, after the block."


def _hint(plan: AssignedPlan) -> str:
    smaller = range(min(plan.ch - 1, plan.in_channels), 0, -1)
    settings = (BlockSettings("assigned", ch, plan.scheme) for ch in smaller)
    found = next((s.ch for s in settings if plan_assigned(plan.in_channels, plan.out_channels, s).replaces), None)
    return f"A Ch of {found} or less would replace it." if found else "No smaller Ch would replace it."


EXPLANATION = KindExplanation(
    name="assigned",
    legend=(
        (
            "assigned 12x96",
            "a grouped convolution of 12 groups with 96 filters each, whose groups read and make the channels that a "
            "fit assigned to them",
        ),
    ),
    settings=_settings,
    steps=steps_of,
    closing=_closing,
    hint=_hint,
)
