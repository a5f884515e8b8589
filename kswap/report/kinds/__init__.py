"""Kinds of blocks as reports explain them, one file each."""

from __future__ import annotations

from kswap.report.kinds import grouped
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation

EXPLANATIONS: dict[str, KindExplanation] = {made.name: made for made in (grouped.EXPLANATION,)}

__all__ = ["EXPLANATIONS", "ExplanationStep", "KindExplanation"]
