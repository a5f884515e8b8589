"""The low-rank kind explained: two dense pointwise convolutions with few channels between them."""

from __future__ import annotations

from kswap.planner.kinds.low_rank import LowRankPlan
from kswap.report.glyphs import Glyphs
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.panels import dense_panel
from kswap.report.wording import plural


def _settings(plan: LowRankPlan) -> tuple[str, ...]:
    return ("low rank", f"scheme {plan.scheme}", f"{plural(plan.ch, 'channel')} per group (Ch)")


def _step(title: str, inputs: int, outputs: int, sentence: str, glyphs: Glyphs) -> ExplanationStep:
    numbers = (
        f"{inputs}{glyphs.arrow}{outputs}   {inputs} inputs {glyphs.times} {outputs} filters = "
        f"{inputs * outputs:,} weights"
    )
    line = "-->" if glyphs.ascii_only else "──▶"
    drawing = (f"reads all {inputs:,}  {line}  makes {outputs:,}",)
    return ExplanationStep(title, numbers, (sentence,), drawing, dense_panel(inputs, outputs, "one group"))


def steps_of(plan: LowRankPlan, glyphs: Glyphs) -> list[ExplanationStep]:
    """What the block does, one step after the other; empty when the layer is kept."""
    rank = plan.rank
    if rank is None:
        return []
    few = f"Every filter reads all {plural(plan.in_channels, 'input')}; only {plural(rank, 'channel')} come out."
    many = f"Every output is made from the same {plural(rank, 'channel')}, so the whole map has rank {rank:,} or less."
    return [
        _step("Reduce, pointwise convolution", plan.in_channels, rank, few, glyphs),
        _step("Expand, pointwise convolution", rank, plan.out_channels, many, glyphs),
    ]


def _closing(plan: LowRankPlan) -> str:
    return f"The rank is {plan.reason}. Norm and activation of the layer stay where they are, after the block."


def _hint(plan: LowRankPlan) -> str:
    largest = (plan.dense_weights - 1) // (plan.in_channels + plan.out_channels)
    return f"A rank of {largest:,} or less saves weights." if largest else "No rank saves weights."


EXPLANATION = KindExplanation(
    name="low-rank",
    legend=(("rank 24", "a pointwise convolution to 24 channels, and one from them to all outputs"),),
    settings=_settings,
    steps=steps_of,
    closing=_closing,
    hint=_hint,
)
