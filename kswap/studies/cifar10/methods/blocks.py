"""Peers that come as other blocks of kswap: low rank, K alone, and two grouped layers without the sum."""

from __future__ import annotations

from functools import partial

from kswap.studies.cifar10.forms import converted, matched, params_of
from kswap.studies.cifar10.network import Method, Network
from kswap.studies.cifar10.settings import Settings

_MOST_CH = 129


def _build(settings: Settings, seed: int, rules: str, title: str) -> Network:
    """By the Ch that gives the parameters of the main network."""
    chs = range(1, _MOST_CH)
    ch, difference = matched(settings, chs, lambda ch: params_of(settings, rules=rules, ch=ch), f"network with {title}")
    return Network(converted(settings, seed, rules=rules, ch=ch), f"at Ch {ch}, {difference}")


LOW_RANK = Method("low-rank", "low rank", partial(_build, rules="low-rank", title="low rank"))
K_ALONE = Method("k-alone", "K alone", partial(_build, rules="no-second-layer", title="K alone"))
NO_SUM = Method("no-sum", "no sum (Monarch-like)", partial(_build, rules="no-sum", title="no sum"))
SHUFFLE = Method("shuffle", "ShuffleNet's shuffle, no sum", partial(_build, rules="shufflenet", title="shuffle"))
