"""The ways to make a network small that a study compares, one file each: a registry."""

from __future__ import annotations

from kswap.errors import StudyError, nearest
from kswap.studies.transfer.methods import all_fresh, blocks_fresh, budgeted, projected, pruned
from kswap.studies.transfer.student import Method

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        budgeted.ALL,
        budgeted.MACS,
        budgeted.BLOCKS,
        budgeted.GROUPED,
        projected.GROUPED,
        projected.LOW_RANK,
        pruned.ROUNDED,
        pruned.UNROUNDED,
        blocks_fresh.METHOD,
        all_fresh.METHOD,
    )
}


def find_method(name: str) -> Method:
    """The method called ``name``. Raises :class:`StudyError` for an unknown one."""
    if name not in METHODS:
        raise StudyError(f"unknown method '{name}': known are {', '.join(METHODS)}{nearest(name, METHODS)}")
    return METHODS[name]
