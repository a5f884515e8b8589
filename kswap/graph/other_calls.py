"""The forward pass with one option inverted: whether it reads a norm's or an activation's input."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from kswap.graph.call import Call
from kswap.graph.conv_norm_act import Chains
from kswap.graph.observe import Observation, observe
from kswap.planner.sites import Site

# Options that are tried; each costs one run without arithmetic.
_MOST_OPTIONS = 4


def observed_options(model: nn.Module, call: Call) -> dict[str, Observation]:
    """Runs like ``call`` with each true-or-false option of ``forward`` that it leaves at its default inverted.

    The keys say which. A run that fails tells nothing and is left out.
    """
    found = {}
    for name, value in _options(model, call):
        try:
            found[f"{name}={value}"] = observe(model, replace(call, kwargs={**call.kwargs, name: value}))
        except Exception:  # an option that needs more than this call passes
            continue
    return found


def _options(model: nn.Module, call: Call) -> Iterator[tuple[str, bool]]:
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1 + len(call.args) :]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in call.kwargs]
    yield from [(p.name, not p.default) for p in named if isinstance(p.default, bool)][:_MOST_OPTIONS]


def without_read_norms(
    model: nn.Module, sites: Sequence[Site], observation: Observation, options: Mapping[str, Observation]
) -> tuple[Site, ...]:
    """``sites``, without the norms and activations that do not follow their layer in every one of the ``options``.

    There the block stands for the layer alone. ``observation`` is the run without any option.
    """
    if not options:
        return tuple(sites)
    usual = Chains(model, observation.graph, observation)
    others = {option: Chains(model, seen.graph, seen) for option, seen in options.items()}
    return tuple(_checked(site, usual, others) for site in sites)


def _checked(site: Site, usual: Chains, others: Mapping[str, Chains]) -> Site:
    if (site.norm is None and site.activation is None) or site.name not in usual.nodes:
        return site
    for option, chains in others.items():
        if site.name in chains.nodes and _following(chains, site.name) != _following(usual, site.name):
            return replace(site, norm=None, activation=None, chain_break=f"something else follows it with {option}")
    return site


def _following(chains: Chains, name: str) -> tuple[str | None, str | None]:
    norm, activation, _ = chains.follow(name)
    return (None if norm is None else norm.name), (None if activation is None else activation.name)
