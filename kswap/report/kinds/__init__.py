"""Kinds of blocks as reports explain them, one file each."""

from __future__ import annotations

from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.kinds.kind import part_of_kind
from kswap.report.kinds.explanation import ExplanationStep, KindExplanation
from kswap.report.report import Report
from kswap.report.wording import COUNTS_GLOSSARY

EXPLANATIONS: dict[str, KindExplanation] = {kind: part_of_kind(__name__, kind).EXPLANATION for kind in BLOCK_KINDS}


def explanations_of(*reports: Report) -> tuple[KindExplanation, ...]:
    """How the kinds of blocks in the reports are explained, in the order in which they first appear."""
    kinds = dict.fromkeys(row.kind for report in reports for row in report.replaced)
    return tuple(EXPLANATIONS[kind] for kind in kinds)


def glossary_of(*reports: Report) -> str:
    """How to read the counts and plans of the reports."""
    return " ".join((COUNTS_GLOSSARY, *(kind.glossary for kind in explanations_of(*reports))))


__all__ = ["EXPLANATIONS", "ExplanationStep", "KindExplanation", "explanations_of", "glossary_of"]
