"""Hidden channels taken out of a model before it is planned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn

from kswap.graph.call import Call
from kswap.graph.hidden_channels import find_hidden_channels
from kswap.graph.narrow import narrow_all_
from kswap.planner.narrowing import Narrowing
from kswap.planner.plan import Counts
from kswap.planning import Run, counts_of, run_of

# What a caller asks for: the share of all hidden channels that stays, or how many stay by the layer that makes them.
NarrowSpec = float | Mapping[str, int] | None


@dataclass(frozen=True)
class Narrowed:
    """A model after ``narrowings``: ``before`` are its counts without them, ``run`` was observed with them."""

    narrowings: tuple[Narrowing, ...]
    before: Counts | None
    run: Run


def narrowings_of(model: nn.Module, run: Run, asked: NarrowSpec) -> tuple[Narrowing, ...]:
    """The narrowings that a caller asks for. Raises :class:`kswap.errors.PlanError` where they cannot be had."""
    if asked is None:
        return ()
    return find_hidden_channels(model, run.trace.graph, run.observation).narrowings(asked)


def narrowed_(
    model: nn.Module, title: str, call: Call, run: Run, narrowings: tuple[Narrowing, ...], kinds: Collection[str]
) -> Narrowed:
    """Carry out ``narrowings`` on ``model``, in place; the first channels stay.

    Raises :class:`kswap.errors.PlanError` when they do not fit.
    """
    if not narrowings:
        return Narrowed((), None, run)
    before = counts_of(model, run.observation, call)
    narrow_all_(model, narrowings)
    return Narrowed(narrowings, before, run_of(model, title, call, kinds))
