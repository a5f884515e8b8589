"""Where the weights of new blocks come from: initialisers by name.

An initialiser sees each :class:`kswap.graph.splice.Replacement`, with the layer that was replaced and its norm and
activation, and sets the weights of the block in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kswap.errors import PlanError, nearest
from kswap.graph.splice import Replacement


@dataclass(frozen=True)
class Initialiser:
    """A way to set the weights of a block: ``name`` is for the reader, ``initialise`` works in place.

    With ``fits`` true, the blocks are then fitted to the trained network on calibration data, over the whole network
    (:mod:`kswap.projection`).

    >>> from torch import nn
    >>> zeros = Initialiser("zeros", lambda done: [nn.init.zeros_(p) for p in done.block.parameters()] and None)
    >>> zeros.name
    'zeros'
    """

    name: str
    initialise: Callable[[Replacement], None]
    fits: bool = False

    @property
    def placement(self) -> str:
        """Where norms and activations go unless a rule says otherwise: a fitted block is one linear map."""
        return "linear" if self.fits else "absorbed"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise PlanError(f"the name of an initialiser must be text, not {self.name!r:.40}")
        if not callable(self.initialise):
            raise PlanError(f"the initialiser '{self.name}' must hold a function of a replacement")


def _fresh(done: Replacement) -> None:
    done.block.reset_parameters()


# Glorot for the layers of the block, zero biases, norms as constructed: that of the papers.
FRESH = Initialiser("fresh", _fresh)

# Derived from the trained layers that are replaced.
PROJECT = Initialiser("project", _fresh, fits=True)

INITIALISERS: dict[str, Initialiser] = {initialiser.name: initialiser for initialiser in (FRESH, PROJECT)}


def initialiser_of(init: str | Initialiser) -> Initialiser:
    """The initialiser that a caller names. Raises :class:`PlanError`.

    >>> initialiser_of("fresh").name
    'fresh'
    """
    if isinstance(init, Initialiser):
        return init
    if not isinstance(init, str) or init not in INITIALISERS:
        hint = nearest(str(init)[:40], INITIALISERS)
        raise PlanError(
            f"unknown initialiser {init!r:.40}: known are {', '.join(INITIALISERS)}{hint}; "
            "or pass a kswap.graph.initialisers.Initialiser"
        )
    return INITIALISERS[init]
