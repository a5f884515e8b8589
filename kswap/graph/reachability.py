"""Who feeds whom in a recorded run, from one layer with weights to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

# Layers that were called as functions, with weights that a module elsewhere holds.
_FUNCTIONAL_LAYERS = {aten.mm, aten.addmm, aten.convolution}

_ADDITIONS = {aten.add, aten.add_}


@dataclass(frozen=True)
class Reachability:
    """Paths through a recorded run that end at layers with weights; ``layers`` are the names of its modules that
    mix channels."""

    layers: Set[str]

    def ends(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return node.target in self.layers
        return node.op == "call_function" and node.target in _FUNCTIONAL_LAYERS

    def before(self, *nodes: fx.Node) -> Iterator[fx.Node]:
        """The last layers, and inputs of the model, on all ways to ``nodes``."""
        front, seen = list(nodes), set(nodes)
        while front:
            for source in front.pop().all_input_nodes:
                if source in seen:
                    continue
                seen.add(source)
                if self.ends(source) or source.op == "placeholder":
                    yield source
                else:
                    front.append(source)

    def after(self, nodes: Iterable[fx.Node], makers: Set[fx.Node]) -> Iterator[fx.Node]:
        """The first layers on all ways from ``nodes``; a sum with more than what ``makers`` made ends a way."""
        front = list(nodes)
        seen = set(front)
        while front:
            for user in front.pop().users:
                if user in seen:
                    continue
                seen.add(user)
                if self.ends(user):
                    yield user
                elif not (_is_sum(user) and any(source not in makers for source in self.before(user))):
                    front.append(user)

    def ending(self, source: Any) -> Iterator[fx.Node]:
        """The layers that feed one argument of an operator: the argument itself, or those before it."""
        if isinstance(source, fx.Node):
            yield from (source,) if self.ends(source) else self.before(source)


def _is_sum(node: fx.Node) -> bool:
    return node.target in _ADDITIONS and len(node.all_input_nodes) > 1
