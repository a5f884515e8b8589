"""The network as it is, with dense pointwise convolutions."""

from __future__ import annotations

from kswap.studies.cifar10.forms import baseline_of
from kswap.studies.cifar10.network import Method, Network
from kswap.studies.cifar10.settings import Settings


def _build(settings: Settings, seed: int) -> Network:
    return Network(baseline_of(settings, seed))


METHOD = Method("baseline", "baseline", _build)
