"""The forms of a network that a study trains, one file each: a registry."""

from __future__ import annotations

from kswap.errors import StudyError, nearest
from kswap.studies.cifar10.methods import baseline, blocks, narrower, papers, pruned
from kswap.studies.cifar10.network import Method

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        baseline.METHOD,
        *papers.METHODS,
        blocks.LOW_RANK,
        blocks.K_ALONE,
        blocks.NO_SUM,
        blocks.SHUFFLE,
        narrower.METHOD,
        pruned.METHOD,
    )
}


def find_method(name: str) -> Method:
    """The method called ``name``. Raises :class:`StudyError` for an unknown one."""
    if name not in METHODS:
        raise StudyError(f"unknown method '{name}': known are {', '.join(METHODS)}{nearest(name, METHODS)}")
    return METHODS[name]
