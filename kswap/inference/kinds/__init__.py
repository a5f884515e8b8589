"""What inference knows of each kind of block, one file per kind, named as the kind."""

from __future__ import annotations

from kswap.inference.candidates import Candidates
from kswap.nn import PointwiseBlock
from kswap.planner.kinds.kind import part_of_kind


def candidates_of(block: PointwiseBlock, native: bool = False) -> Candidates:
    """The ways to compute ``block`` in eval mode, with everything folded that is fixed then.

    The file of a kind defines ``candidates(block)``. Those by kswap's own kernel are among them if ``native``.

    >>> from kswap.nn import GroupedBlock
    >>> from kswap.planner import plan_layer
    >>> found = candidates_of(GroupedBlock(plan_layer(64, 96, ch=16)))
    >>> [str(implementation.id) for implementation in found.implementations]
    ['grouped.dense', 'grouped.k(groups=2)', 'grouped.k(groups=4)']
    """
    module = part_of_kind(__name__, block.plan.kind)
    found: Candidates = module.candidates(block)
    return found if native else found.without_native()
