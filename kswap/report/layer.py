"""The plan of one layer, explained in words, numbers and a drawing."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.planner.block_plan import BlockPlan
from kswap.report.glyphs import Glyphs
from kswap.report.kinds import EXPLANATIONS, ExplanationStep, KindExplanation
from kswap.report.paragraph import print_text
from kswap.report.table import Column, column, print_first_fitting, what_is_left

INDENT = " " * 5


def render_layer(plan: BlockPlan, console: Console) -> None:
    """Explain one plan: the weights before and after, then what the block does, step by step.

    In the drawing channels count from 0 and groups from 1. A kept layer says why, and which setting would replace it.
    Plain ASCII where the console is not a terminal.
    """
    glyphs = Glyphs.of(console)
    explanation = EXPLANATIONS[plan.kind]
    title = f"{plan.in_channels}{glyphs.arrow}{plan.out_channels} pointwise convolution"
    settings = f" {glyphs.dot} ".join(explanation.settings(plan))
    print_text(console, Text.assemble((title, "bold"), f"   {settings}"))
    console.print()
    if not plan.replaces:
        _print_kept(plan, explanation, console)
        return
    _print_weights(plan, console, glyphs)
    for number, step in enumerate(explanation.steps(plan, glyphs), 1):
        _print_step(number, step, console)
    print_text(console, Text(explanation.closing(plan)))


def _print_kept(plan: BlockPlan, explanation: KindExplanation, console: Console) -> None:
    print_text(console, Text.assemble(("kept unchanged: ", "bold yellow"), plan.reason))
    print_text(console, Text(f"The dense convolution has {plan.dense_weights:,} weights, and all of them stay."))
    print_text(console, Text(explanation.hint(plan)))


def _print_weights(plan: BlockPlan, console: Console, glyphs: Glyphs) -> None:
    rows = (("dense convolution", plan.dense_weights), (plan.short(), plan.weights))

    def columns(bar: int) -> list[Column]:
        return [
            column("", [name for name, _ in rows]),
            column("weights", [f"{weights:,}" for _, weights in rows], "right"),
            Column("left", tuple(what_is_left(glyphs, weights / plan.dense_weights, bar) for _, weights in rows)),
        ]

    print_first_fitting(console, glyphs, [columns(bar) for bar in (30, 10, 0)])
    console.print()


def _print_step(number: int, step: ExplanationStep, console: Console) -> None:
    print_text(console, Text.assemble((f" {number} ", "reverse"), (f" {step.title}", "bold")))
    print_text(console, Text(step.numbers, "cyan"), INDENT)
    for sentence in step.sentences:
        print_text(console, Text(sentence), INDENT)
    if step.drawing:
        console.print()
    for index, line in enumerate(step.drawing):
        console.print(Text(INDENT + line, "" if index else "dim"), soft_wrap=True)
    console.print()
