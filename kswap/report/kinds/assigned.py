"""The assigned kind explained: K alone, with the channels that each group reads and makes."""

from __future__ import annotations

from typing import Any

from kswap.planner.kinds.assigned import AssignedPlan, plan_assigned
from kswap.planner.kinds.kind import BlockSettings
from kswap.report.glyphs import Glyphs
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.kinds.grouped import ChannelPath, drawing, layout_lines
from kswap.report.wording import plural

# The block that the drawing in HTML shows: for each of 4 groups the inputs that it reads and the outputs that it makes.
EXAMPLE_GROUPS = (
    ((0, 5, 10, 14), (1, 6, 8, 15)),
    ((1, 4, 9, 13), (0, 4, 11, 13)),
    ((2, 7, 8, 15), (2, 7, 10, 14)),
    ((3, 6, 11, 12), (3, 5, 9, 12)),
)


def _settings(plan: AssignedPlan) -> tuple[str, ...]:
    return ("groups assigned", f"scheme {plan.scheme}", f"{plural(plan.ch, 'channel')} per group (Ch)")


def steps_of(plan: AssignedPlan, glyphs: Glyphs) -> list[ExplanationStep]:
    """What the block does, one step after the other; empty when the layer is kept."""
    if plan.k is None:
        return []
    groups = plan.groups()
    path = ChannelPath(
        "group", tuple(tuple(sorted(reads)) for reads, _ in groups), tuple(tuple(sorted(makes)) for _, makes in groups)
    )
    numbers = (
        f"{plan.k.short()}   {plan.in_channels}{glyphs.arrow}{plan.out_channels}   {plan.k.group_width} inputs "
        f"{glyphs.times} {plan.out_channels} filters = {plan.k.weights:,} weights"
    )
    drawn = drawing([path], "reads inputs", "makes outputs", glyphs)
    lines = (*layout_lines(plan.k, plan.is_assigned), _assigned(plan))
    return [ExplanationStep("K, grouped pointwise convolution", numbers, lines, tuple(drawn))]


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


def _section_values() -> dict[str, Any]:
    return {"groups": EXAMPLE_GROUPS}


EXPLANATION = KindExplanation(
    name="assigned",
    glossary=(
        "The plan assigned 12x96 reads: a grouped convolution of 12 groups with 96 filters each, whose groups read and "
        "make the channels that a fit assigned to them."
    ),
    settings=_settings,
    steps=steps_of,
    closing=_closing,
    hint=_hint,
    section="kinds/assigned.html.jinja",
    section_values=_section_values,
)
