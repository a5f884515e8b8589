"""What a kind of block brings to reports: words, steps of an explanation, and a drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kswap.report.glyphs import Glyphs
from kswap.report.panels import Panel


@dataclass(frozen=True)
class ExplanationStep:
    """One step of what a block does: a title, its numbers, sentences, and a drawing as lines and as a panel."""

    title: str
    numbers: str
    sentences: tuple[str, ...]
    drawing: tuple[str, ...] = ()
    panel: Panel | None = None


@dataclass(frozen=True)
class KindExplanation:
    """How reports explain one kind of block.

    Args:
        name: The kind, as plans name it.
        legend: How to read the short form of a plan: the parts of an example, each with its meaning.
        settings: From a plan, what it was made from, in words.
        steps: From the plan of a block, what the block does, in order.
        closing: From the plan of a block, the last sentence of its explanation.
        hint: From the plan of a kept layer, which setting would replace it.
    """

    name: str
    legend: tuple[tuple[str, str], ...]
    settings: Callable[[Any], tuple[str, ...]]
    steps: Callable[[Any, Glyphs], list[ExplanationStep]]
    closing: Callable[[Any], str]
    hint: Callable[[Any], str]

    @property
    def glossary(self) -> str:
        """The legend as one sentence."""
        codes, meanings = zip(*self.legend, strict=True)
        return f"The plan {' '.join(codes)} reads: {', '.join(meanings)}."
