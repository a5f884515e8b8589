"""Narrowed hidden channels in a projection: which of them stay, and the weights that make up for the others."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from kswap.graph.narrow import narrow_
from kswap.graph.replace import replace_modules_
from kswap.nn.pointwise import channels_of
from kswap.planner.narrowing import Narrowing
from kswap.projection.channels import choose_channels, refit
from kswap.projection.moments import Moments, MomentSums
from kswap.projection.positions import Positions
from kswap.projection.walk import Seen, Walk


class HiddenFit:
    """The narrowings of a network while it is projected.

    The layers of a narrowed network get all their channels back at first, from the original. As a walk comes to an
    expansion, it looks ahead to the inputs of the projection, in the network as it is by then, and those channels stay
    from which the outputs that the original has there can be made best. Norms, depthwise convolutions and gates
    keep what they had for these channels. Layers that read the channels are fitted again where no block replaces them.
    """

    def __init__(self, converted: nn.Module, original: nn.Module, narrowings: Sequence[Narrowing]) -> None:
        """Changes ``converted`` in place, which must be in eval mode."""
        self._converted = converted
        self._original = original
        self._narrowings = {narrowing.hidden.expansion: narrowing for narrowing in narrowings}
        names = dict.fromkeys(name for narrowing in narrowings for name in narrowing.hidden.layers)
        self._narrow = {name: converted.get_submodule(name) for name in names}
        self._kept: dict[str, Tensor] = {}
        wide = {layer: copy.deepcopy(original.get_submodule(name)) for name, layer in self._narrow.items()}
        replace_modules_(converted, wide)

    @property
    def stops(self) -> tuple[str, ...]:
        """The modules where a walk has to stop: where channels are made, and where they are read."""
        read = (name for narrowing in self._narrowings.values() for name in narrowing.hidden.read_by)
        return (*self._narrowings, *read)

    def reads(self, name: str) -> bool:
        """Whether the layer ``name`` reads hidden channels that became fewer."""
        return any(name in narrowing.hidden.read_by for narrowing in self._narrowings.values())

    @torch.no_grad()
    def choose_(self, name: str, walk: Walk, positions: Positions) -> None:
        """Where ``name`` is the expansion of a narrowing: choose the channels that stay, and take out the others."""
        narrowing = self._narrowings.get(name)
        if narrowing is None:
            return
        hidden = narrowing.hidden
        moments = self.moments(hidden.projection, walk, positions, ahead=True)
        weight = _matrix(self._converted.get_submodule(hidden.projection))
        keep, matrix, _ = choose_channels(weight, moments, narrowing.channels)
        narrow_(self._converted, narrowing, keep)
        _write_(self._converted.get_submodule(hidden.projection), matrix, moments, keep)
        self._kept |= dict.fromkeys((*hidden.made_by, *hidden.along), keep)
        for layer in hidden.layers:
            self._settle_(layer)

    def _settle_(self, name: str) -> None:
        """Put back the module that the network had at first, with the weights of now, once both have one shape."""
        now, first = self._converted.get_submodule(name), self._narrow[name]
        state = now.state_dict()
        if all(state[key].shape == value.shape for key, value in first.state_dict().items()):
            first.load_state_dict(state)
            replace_modules_(self._converted, {now: first})

    def seen(self, name: str, inputs: Iterable[Seen]) -> Iterator[Seen]:
        """``inputs`` of the norm ``name``, of which the original has more channels."""
        keep = self._kept.get(name)
        for seen in inputs:
            if keep is not None:
                seen = Seen(seen.converted, seen.original.index_select(1, keep.to(seen.original.device)))
            yield seen

    def moments(self, name: str, walk: Walk, positions: Positions, ahead: bool = False) -> Moments:
        """Inputs of the layer ``name`` in the converted network, with the outputs that the original has there."""
        layer, keep = self._original.get_submodule(name), self._kept.get(name)
        inputs, outputs = channels_of(self._converted.get_submodule(name))
        sums = MomentSums(inputs, outputs)
        for seen in walk.inputs_of(name, ahead):
            x, y = positions.of(layer, seen.converted, layer(seen.original))
            sums.add_(x, y if keep is None else y[:, keep.to(y.device)])
        return sums.moments()

    @torch.no_grad()
    def refit_(self, name: str, walk: Walk, positions: Positions) -> None:
        """Fit the layer ``name``, which no block replaces, to the original's outputs, in place."""
        moments = self.moments(name, walk, positions)
        layer = self._converted.get_submodule(name)
        _write_(layer, refit(_matrix(layer), moments), moments)


def _matrix(layer: nn.Module) -> Tensor:
    """The weight ``(F, Ic)`` of a plain pointwise layer, in float64 on the CPU."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double().cpu().flatten(1)


def _write_(layer: nn.Module, matrix: Tensor, moments: Moments, keep: Tensor | None = None) -> None:
    """Set the weight of a plain pointwise layer, and its bias, where it has one, so that the mean output is right."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    weight.copy_(matrix.reshape(weight.shape))
    if isinstance(bias, Tensor):
        bias.copy_(moments.bias_of(matrix, keep))
