"""What takes the place of a block, for models that ask their layers for sizes, dtype or device."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

# What models ask a layer for, beside its weight and bias.
_SIZES = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_FEATURES = ("in_features", "out_features")


class DropIn(nn.Module):
    """Takes the place of a block: ``layers`` compute it, and the attributes of a layer are those of the block."""

    def __init__(self, layers: nn.Module, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.layers = layers
        for name, value in sizes.items():
            setattr(self, name, value)

    @property
    def weight(self) -> Tensor:
        """The first weight of the layers."""
        return next(p for p in self.layers.parameters() if p.ndim > 1)

    @property
    def bias(self) -> Tensor | None:
        """The first bias of the layers."""
        return next((p for p in self.layers.parameters() if p.ndim == 1), None)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def with_sizes_of(block: nn.Module, made: nn.Module) -> nn.Module:
    """``made`` with the sizes of the ``block`` that it replaces; a plain layer has them already."""
    if isinstance(made, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return made
    names = (*_SIZES, *_FEATURES)
    return DropIn(made, {name: getattr(block, name) for name in names if hasattr(block, name)})
