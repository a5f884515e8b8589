"""What a kind of block brings to reports: words, steps of an explanation, and a drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kswap.report.glyphs import Glyphs


@dataclass(frozen=True)
class ExplanationStep:
    """One step of what a block does: a title, its numbers, sentences, and the lines of a drawing."""

    title: str
    numbers: str
    sentences: tuple[str, ...]
    drawing: tuple[str, ...] = ()


@dataclass(frozen=True)
class KindExplanation:
    """How reports explain one kind of block.

    Args:
        name: The kind, as plans name it.
        glossary: One sentence that says how to read the short form of a plan.
        settings: From a plan, what it was made from, in words.
        steps: From the plan of a block, what the block does, in order.
        closing: From the plan of a block, the last sentence of its explanation.
        hint: From the plan of a kept layer, which setting would replace it.
        section: The template of the section that explains the kind in HTML, under ``templates``.
        section_values: The values that the template takes, beside the ``example`` (a replaced site or ``None``).
    """

    name: str
    glossary: str
    settings: Callable[[Any], tuple[str, ...]]
    steps: Callable[[Any, Glyphs], list[ExplanationStep]]
    closing: Callable[[Any], str]
    hint: Callable[[Any], str]
    section: str
    section_values: Callable[[], dict[str, Any]]
