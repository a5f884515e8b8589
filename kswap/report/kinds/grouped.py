"""The grouped kind explained: K, the interleave, L and the sum, with a drawing of which channels feed which."""

from __future__ import annotations

from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes import plan_layer
from kswap.report.channel_paths import drawing, paths_of, span
from kswap.report.glyphs import Glyphs
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.panels import Colour, SumPanel, groups_panel, interleave_panel, maker_of
from kswap.report.wording import plural

LEGEND = (
    ("K 72x4+32", "K has 72 groups of 4 filters and 32 extra groups of one filter"),
    ("i20", "interleave with step 20"),
    ("L 20x16", "L has 20 groups of 16 filters"),
)


def layout_lines(layout: GroupedLayout, assigned: bool = False) -> list[str]:
    """What a grouped layer is, in sentences; ``assigned`` if its inputs are not read in their own order."""
    width = layout.group_width
    if layout.is_dense:
        return [f"One group: a plain dense pointwise convolution, every filter reads all {width} channels."]
    first = layout.groups * layout.filters_per_group
    lines = [
        f"{plural(layout.groups, 'group')} of {plural(layout.filters_per_group, 'filter')}; each filter reads the "
        f"{plural(width, 'channel')} of its group, not all {layout.in_channels:,}."
    ]
    if layout.replicated:
        which = f"the first {layout.replicated:,} are read twice (replicated after the last)"
        if assigned:
            which = f"{plural(layout.replicated, 'place')} read what another group reads too"
        lines.append(f"{layout.groups:,} x {width} = {layout.groups * width:,} channels are needed: {which}.")
    if layout.extra_groups:
        extra = plural(layout.extra_groups, "extra group")
        lines.append(
            f"{layout.groups:,} x {layout.filters_per_group} = {first:,} filters, and {layout.out_channels:,} are "
            f"wanted: a second path of {extra} of 1 filter makes the other {layout.extra_groups:,}."
        )
    return lines


def _largest_ch(plan: LayerPlan) -> int | None:
    """The largest Ch below the plan's with which the convolution would be replaced."""
    for ch in range(min(plan.ch - 1, plan.in_channels), 0, -1):
        if plan_layer(plan.in_channels, plan.out_channels, ch, plan.scheme, plan.second_layer).k:
            return ch
    return None


def _layout_step(
    letter: str, layout: GroupedLayout, source: list[int], read: str, glyphs: Glyphs, colour: Colour | None = None
) -> ExplanationStep:
    numbers = (
        f"{layout.short()}   {layout.in_channels}{glyphs.arrow}{layout.out_channels}   {layout.group_width} inputs "
        f"{glyphs.times} {layout.out_channels} filters = {layout.weights:,} weights"
    )
    paths = paths_of(layout, source)
    drawn = drawing(paths, f"reads {read}", f"makes {letter}'s channels", glyphs)
    title = f"{letter}, grouped pointwise convolution"
    panel = groups_panel(paths, colour)
    return ExplanationStep(title, numbers, tuple(layout_lines(layout)), tuple(drawn), panel)


def _interleave_step(plan: LayerPlan, step: int, glyphs: Glyphs) -> ExplanationStep:
    order = interleave_order(plan.out_channels, step)
    turn = -(-plan.out_channels // step)
    turns = [span(tuple(order[start : start + turn]), glyphs) for start in (0, turn)]
    more = ", and so on" if step > 2 else ""
    if plan.l:
        why = "So each group of L reads results of many groups of K. It has no weights."
    else:
        why = "Scheme v1 interleaves also where no L follows: the block's outputs come in this order."
    how = f"K's channels in the order {', then '.join(turns)}{more}."
    return ExplanationStep("Interleave", f"step {step}", (how, why), panel=interleave_panel(plan.out_channels, step))


def steps_of(plan: LayerPlan, glyphs: Glyphs) -> list[ExplanationStep]:
    """What the block does, one step after the other; empty when the convolution is kept."""
    if plan.k is None:
        return []
    steps = [_layout_step("K", plan.k, list(range(plan.in_channels)), "inputs", glyphs)]
    if plan.interleave_step:
        steps.append(_interleave_step(plan, plan.interleave_step, glyphs))
    if plan.l:
        source = interleave_order(plan.out_channels, plan.interleave_step or 1)
        steps.append(_layout_step("L", plan.l, source, "K's channels", glyphs, maker_of(plan.k)))
        total = f"K (in its own order) + L, channel by channel: {plural(plan.out_channels, 'output channel')}."
        if plan.sum:
            steps.append(ExplanationStep("Sum", "K + L", (total,), panel=SumPanel()))
        else:
            steps.append(ExplanationStep("Output", "only L", ("K is not added: the output is that of L alone.",)))
    return steps


def _settings(plan: LayerPlan) -> tuple[str, ...]:
    return (f"scheme {plan.scheme}", f"{plural(plan.ch, 'channel')} per group (Ch)")


def _closing(plan: LayerPlan) -> str:
    aligned = f" Inputs and filters of every group are multiples of {plan.align}." if plan.is_aligned else ""
    if not plan.l:
        return f"There is no L ({plan.reason}).{aligned}"
    unaligned = f" Groups are {plan.reason.partition('; ')[2]}." if plan.align and not plan.is_aligned else ""
    return f"In a network K and L each have their own norm and activation.{aligned}{unaligned}"


def _hint(plan: LayerPlan) -> str:
    ch = _largest_ch(plan)
    return f"A Ch of {ch} or less would replace it." if ch else "No smaller Ch would replace it."


EXPLANATION = KindExplanation(
    name="grouped",
    legend=LEGEND,
    settings=_settings,
    steps=steps_of,
    closing=_closing,
    hint=_hint,
)
