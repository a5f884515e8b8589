"""The grouped kind explained: K, the interleave, L and the sum, with a drawing of which channels feed which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes import plan_layer
from kswap.report.glyphs import Glyphs
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.wording import plural

SHOWN_GROUPS = 3  # groups of a path that the drawing shows before it elides
SHOWN_RUNS = 3  # runs of channels that one line of the drawing shows before it elides
EXAMPLE_CHANNELS, EXAMPLE_STEP = 16, 4  # the block that the drawing in HTML shows

GLOSSARY = (
    "The plan K 72x4+32 i20 L 20x16 reads: K has 72 groups of 4 filters and 32 extra groups of one filter, interleave "
    "with step 20, L has 20 groups of 16 filters."
)


@dataclass(frozen=True)
class ChannelPath:
    """One path of a grouped layer as it is drawn: the channels that each group reads and makes."""

    name: str
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]


def paths_of(layout: GroupedLayout, source: list[int]) -> list[ChannelPath]:
    """The paths of a layer whose input channel ``i`` is channel ``source[i]`` of what the drawing names.

    >>> second = paths_of(GroupedLayout.of(14, 10, ch=4), list(range(14)))[1]
    >>> second.reads, second.makes
    (((0, 1, 2, 3), (4, 5, 6, 7)), ((8,), (9,)))
    """
    order = [source[channel] for channel in layout.read_order()]
    width, filters = layout.group_width, layout.filters_per_group

    def path(name: str, groups: int, filters: int, first_output: int) -> ChannelPath:
        reads = tuple(tuple(order[g * width : (g + 1) * width]) for g in range(groups))
        starts = range(first_output, first_output + groups * filters, filters)
        return ChannelPath(name, reads, tuple(tuple(range(start, start + filters)) for start in starts))

    first = path("group", layout.groups, filters, 0)
    if not layout.extra_groups:
        return [first]
    return [first, path("extra group", layout.extra_groups, 1, layout.groups * filters)]


def _runs(channels: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Channels cut into runs of an even step."""
    runs: list[list[int]] = []
    for channel in channels:
        if runs and (len(runs[-1]) == 1 or channel - runs[-1][-1] == runs[-1][-1] - runs[-1][-2]):
            runs[-1].append(channel)
        else:
            runs.append([channel])
    return [tuple(run) for run in runs]


def span(channels: tuple[int, ...], glyphs: Glyphs) -> str:
    """Channel numbers in short: ranges, and the first numbers of an even step.

    >>> span((12, 13, 0, 1), Glyphs(ascii_only=True)), span(tuple(range(0, 320, 20)), Glyphs(ascii_only=True))
    ('12-13, 0-1', '0, 20, ..., 300')
    """

    def run_text(run: tuple[int, ...]) -> str:
        if len(run) == 1:
            return str(run[0])
        if run[1] - run[0] == 1:
            return f"{run[0]}{glyphs.dash}{run[-1]}"
        if len(run) <= 4:
            return ", ".join(map(str, run))
        return f"{run[0]}, {run[1]}, {glyphs.ellipsis}, {run[-1]}"

    runs = _runs(channels)
    shown = [run_text(run) for run in runs[:SHOWN_RUNS]]
    return ", ".join([*shown, glyphs.ellipsis] if len(runs) > SHOWN_RUNS else shown)


def drawing(paths: list[ChannelPath], inputs: str, outputs: str, glyphs: Glyphs) -> list[str]:
    """The lines of the drawing: one per group, left the channels that it reads, right those that it makes."""
    rows = [(inputs, "", outputs, "")]
    line = "-->" if glyphs.ascii_only else "──▶"
    for path in paths:
        count = len(path.reads)
        # Never elide a single line: the line that says so would be as long.
        indexes = range(count) if count <= SHOWN_GROUPS + 2 else (*range(SHOWN_GROUPS), -1, count - 1)
        for index in indexes:
            if index == -1:
                rows.append((glyphs.ellipsis, "", f"{glyphs.ellipsis} {count - SHOWN_GROUPS - 1:,} more", ""))
            else:
                makes = span(path.makes[index], glyphs)
                rows.append((span(path.reads[index], glyphs), line, makes, f"{path.name} {index + 1}"))
    left, right = (max(len(row[side]) for row in rows) for side in (0, 2))
    return [f"{reads:>{left}}  {arrow:3}  {makes:<{right}}  {label}".rstrip() for reads, arrow, makes, label in rows]


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


def _layout_step(letter: str, layout: GroupedLayout, source: list[int], read: str, glyphs: Glyphs) -> ExplanationStep:
    numbers = (
        f"{layout.short()}   {layout.in_channels}{glyphs.arrow}{layout.out_channels}   {layout.group_width} inputs "
        f"{glyphs.times} {layout.out_channels} filters = {layout.weights:,} weights"
    )
    drawn = drawing(paths_of(layout, source), f"reads {read}", f"makes {letter}'s channels", glyphs)
    title = f"{letter}, grouped pointwise convolution"
    return ExplanationStep(title, numbers, tuple(layout_lines(layout)), tuple(drawn))


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
    return ExplanationStep("Interleave", f"step {step}", (how, why))


def steps_of(plan: LayerPlan, glyphs: Glyphs) -> list[ExplanationStep]:
    """What the block does, one step after the other; empty when the convolution is kept."""
    if plan.k is None:
        return []
    steps = [_layout_step("K", plan.k, list(range(plan.in_channels)), "inputs", glyphs)]
    if plan.interleave_step:
        steps.append(_interleave_step(plan, plan.interleave_step, glyphs))
    if plan.l:
        source = interleave_order(plan.out_channels, plan.interleave_step or 1)
        steps.append(_layout_step("L", plan.l, source, "K's channels", glyphs))
        total = f"K (in its own order) + L, channel by channel: {plural(plan.out_channels, 'output channel')}."
        steps.append(ExplanationStep("Sum", "K + L", (total,)))
    return steps


def _settings(plan: LayerPlan) -> tuple[str, ...]:
    return (f"scheme {plan.scheme}", f"{plural(plan.ch, 'channel')} per group (Ch)")


def _closing(plan: LayerPlan) -> str:
    if plan.l:
        return "In a network K and L each have their own norm and activation."
    return f"There is no L ({plan.reason})."


def _hint(plan: LayerPlan) -> str:
    ch = _largest_ch(plan)
    return f"A Ch of {ch} or less would replace it." if ch else "No smaller Ch would replace it."


def _section_values() -> dict[str, Any]:
    return {"interleaved": interleave_order(EXAMPLE_CHANNELS, EXAMPLE_STEP)}


EXPLANATION = KindExplanation(
    name="grouped",
    glossary=GLOSSARY,
    settings=_settings,
    steps=steps_of,
    closing=_closing,
    hint=_hint,
    section="kinds/grouped.html.jinja",
    section_values=_section_values,
)
