"""Inputs and outputs of a layer as rows of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.nn.pointwise import channel_dim, stride_of


class Positions:
    """Rows of channels from the inputs or outputs of a layer; of large maps a random part."""

    def __init__(self, most: int, generator: torch.Generator) -> None:
        self._most = max(most, 1)
        self._generator = generator

    def of(self, layer: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` and ``y``, input and output of ``layer``, as ``(positions, channels)`` at the same positions."""
        dim = channel_dim(layer)
        for offset, step in enumerate(stride_of(layer), start=-len(stride_of(layer))):
            if step > 1:
                x = x.index_select(offset, torch.arange(0, x.shape[offset], step, device=x.device))
        rows = [tensor.movedim(dim, -1).flatten(0, -2) for tensor in (x, y)]
        if len(rows[0]) > self._most:
            drawn = torch.randperm(len(rows[0]), generator=self._generator)[: self._most].to(x.device)
            rows = [tensor.index_select(0, drawn) for tensor in rows]
        return rows[0], rows[1]
