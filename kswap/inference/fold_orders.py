"""Orders of channels folded into the layers around them, over a whole model.

A block whose groups are assigned ends, or begins, with an order of its channels. Where those are hidden channels (made
by one layer, worked on one by one, and read by known layers: see :mod:`kswap.graph.hidden_channels`), the network may
as well hold them in the order that the block has them in by itself: all layers along the way get their channels in
that order, the layers that read them too, and the order of the block is gone. Nothing is computed otherwise than
before. Where channels are seen by anything else, the order stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kswap.graph.call import Call
from kswap.graph.device import device_of
from kswap.graph.hidden_channels import find_hidden_channels
from kswap.graph.narrow import ALONG, INPUTS, OUTPUTS, inputs_of, outputs_of, with_channels
from kswap.graph.observe import observe
from kswap.graph.replace import replace_modules_
from kswap.graph.tracer import trace
from kswap.inference.drop_in import DropIn, with_sizes_of
from kswap.nn.affine_norm import in_order
from kswap.nn.channel_order import ChannelOrder, inverse_of
from kswap.planner.narrowing import HiddenChannels


def has_orders(model: nn.Module) -> bool:
    """Whether a layer of ``model`` puts channels into another order."""
    return any(isinstance(module, ChannelOrder) for module in model.modules())


def fold_orders_(model: nn.Module, dense: nn.Module, inputs: tuple[Any, ...]) -> tuple[str, ...]:
    """Take orders out of the blocks of ``model``, in eval mode, in place.

    Args:
        model: its blocks are replaced by their implementations.
        dense: the same network with a plain dense layer in the place of each block, where that is possible.
        inputs: what the model is called with.

    Returns:
        The names of the blocks without an order that they had.
    """
    call = Call.of(inputs)
    found = find_hidden_channels(dense, trace(dense, call).graph, observe(dense, call))
    folded = []
    for hidden in found.offered:
        name, order = _wanted(model, hidden)
        if order is not None:
            _reorder_(model, hidden, order)
            folded.append(name)
    return tuple(folded)


def _wanted(model: nn.Module, hidden: HiddenChannels) -> tuple[str, Tensor | None]:
    """The block that loses an order if the hidden channels stand in another one, and that other one, by old numbers."""
    maker, reader = model.get_submodule(hidden.expansion), model.get_submodule(hidden.projection)
    *before, last = _parts(maker)
    if isinstance(last, ChannelOrder) and before:
        takes = last.indices("order")
        if _is_permutation(takes) and _filters(before[-1]) == len(takes):
            return hidden.expansion, torch.tensor(inverse_of(takes))
    first = _parts(reader)[0]
    free = isinstance(last, ChannelOrder) or outputs_of(last) is not None
    if free and isinstance(first, ChannelOrder) and _is_permutation(first.indices("order")):
        return hidden.projection, torch.tensor(first.indices("order"))
    return "", None


def _reorder_(model: nn.Module, hidden: HiddenChannels, order: Tensor) -> None:
    new_of: dict[nn.Module, nn.Module] = {}
    for names, changed in (
        (hidden.made_by, _with_outputs),
        (hidden.along, _with_channels_along),
        (hidden.read_by, _with_inputs),
    ):
        for name in names:
            module = model.get_submodule(name)
            new_of[module] = changed(module, order)
    replace_modules_(model, new_of)


def _with_channels_along(module: nn.Module, order: Tensor) -> nn.Module:
    return with_channels(module, order, ALONG)


def _with_outputs(module: nn.Module, order: Tensor) -> nn.Module:
    """``module`` with its outputs in this order."""
    *before, last = _parts(module)
    if outputs_of(last) is not None:
        parts = [*before, with_channels(last, order, OUTPUTS)]
    elif isinstance(last, ChannelOrder) and before:
        indices = torch.tensor(last.indices("order"))[order].tolist()
        parts = [*before, *_unless_plain(last, indices, _filters(before[-1]))]
    else:
        parts = [*before, last, ChannelOrder(order.tolist(), device_of(module), _dim(module))]
    return _put_together(module, parts)


def _with_inputs(module: nn.Module, order: Tensor) -> nn.Module:
    """``module`` for inputs that stand in this order."""
    first, *after = _parts(module)
    places = torch.tensor(inverse_of(order.tolist()))
    if inputs_of(first) is not None:
        parts = [with_channels(first, order, INPUTS), *after]
    elif isinstance(first, ChannelOrder):
        indices = places[torch.tensor(first.indices("order"))].tolist()
        parts = [*_unless_plain(first, indices, len(order)), *after]
    else:
        parts = [ChannelOrder(places.tolist(), device_of(module), _dim(module)), first, *after]
    return _put_together(module, parts)


def _parts(module: nn.Module) -> list[nn.Module]:
    """The layers of what has taken the place of a block, one after the other; a plain layer by itself."""
    if isinstance(module, DropIn):
        return _parts(module.layers)
    return [*module] if type(module) is nn.Sequential else [module]


def _put_together(module: nn.Module, parts: list[nn.Module]) -> nn.Module:
    made = in_order(*parts)
    assert made is not None
    return with_sizes_of(module, made).eval()


def _unless_plain(order: ChannelOrder, indices: Sequence[int], channels: int | None) -> list[ChannelOrder]:
    """An order with these indices of so many channels; none where it would change nothing."""
    if list(indices) == [*range(channels or 0)]:
        return []
    return [ChannelOrder(indices, order.order.device, order.dim)]


def _is_permutation(order: Sequence[int]) -> bool:
    return sorted(order) == [*range(len(order))]


def _filters(layer: nn.Module) -> int | None:
    found = getattr(layer, "out_channels", getattr(layer, "out_features", None))
    return found if isinstance(found, int) else None


def _dim(module: nn.Module) -> int:
    """The dimension of the channels of a block or plain layer, counted from the end."""
    stride = getattr(module, "stride", ())
    return -1 - len(stride)
