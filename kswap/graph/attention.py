"""Linear layers of attention, found by what flows where: those that make queries, keys and values, and those
that read the result. Names are not looked at: an ``fc`` may be a projection, and a ``proj`` may be none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set

import torch
from torch import fx

from kswap.graph.reachability import Reachability

aten = torch.ops.aten

_WHOLE = {
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
}
_SOFTMAX = {aten._softmax, aten._safe_softmax}
_PRODUCTS = {aten.bmm, aten.baddbmm}

# Between a softmax and the products: dropout, a change of type, a mask, the heads mixed by a linear layer.
_SOFTMAX_DEPTH = 8


def attention_roles(graph: fx.Graph, layers: Set[str], softmaxes: Set[str]) -> dict[str, str]:
    """The role, ``"fused-qkv"`` or ``"attention"``, of each of the ``layers`` that belongs to an attention.

    ``graph`` is a recorded run, ``layers`` are the names of its modules with weights that mix channels,
    ``softmaxes`` those of its softmax modules. An attention is the product of a softmax with the values, or
    torch's operator for the whole of it.
    """
    reachability = Reachability(layers)
    whole = [node for node in graph.nodes if node.target in _WHOLE]
    products_of = {
        node: tuple(_products(node, forward=True))
        for node in graph.nodes
        if node.target in _SOFTMAX or node.target in softmaxes
    }
    products = [product for found in products_of.values() for product in found]
    weighed = [softmax for softmax, found in products_of.items() if found]
    makers = {node for node in reachability.before(*whole, *weighed, *products) if node.op != "placeholder"}
    readers = set(reachability.after((*whole, *products), makers))
    roles = dict.fromkeys((*readers, *makers), "attention")
    scores = [score for softmax in weighed for score in _products(softmax, forward=False)]
    for node in (*whole, *products, *scores):
        parts = Counter(maker for source in node.args for maker in reachability.ending(source))
        roles |= {maker: "fused-qkv" for maker, count in parts.items() if count > 1}
    return {str(node.target): role for node, role in roles.items() if node.op == "call_module"}


def _products(softmax: fx.Node, forward: bool) -> Iterator[fx.Node]:
    """The matrix products next to a softmax: after it those with the values, before it those of the scores."""
    front, seen = [softmax], {softmax}
    for _ in range(_SOFTMAX_DEPTH):
        following = [other for node in front for other in (node.users if forward else node.all_input_nodes)]
        fresh = [node for node in dict.fromkeys(following) if node not in seen]
        seen.update(fresh)
        yield from (node for node in fresh if node.target in _PRODUCTS)
        front = [node for node in fresh if node.target not in _PRODUCTS]
