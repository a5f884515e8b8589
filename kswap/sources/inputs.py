"""What a model is called with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.sources.source import Source

Inputs = tuple[Any, ...]


def inputs_for(
    model: nn.Module,
    source: Source,
    example: Tensor | Inputs | None = None,
    size: tuple[int, ...] | None = None,
) -> Inputs:
    """Positional inputs of one sample each, since counts are for batch 1: the example's, or zeros of a size."""
    if example is not None:
        given = example if isinstance(example, tuple) else (example,)
        return tree_map(lambda x: x[:1] if isinstance(x, Tensor) and x.ndim > 2 else x, given)  # type: ignore[no-any-return]
    own = input_size_of(model, source)
    if size is None:
        return (torch.zeros(1, *own),)
    return (torch.zeros(1, *(size if len(size) == 3 else (own[0], *size))),)


def input_size_of(model: nn.Module, source: Source | None = None) -> tuple[int, ...]:
    """Channels, height and width that ``model`` expects, as far as that can be known; else (C, 224, 224)."""
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = config.get("input_size") if isinstance(config, Mapping) else None
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first is not None and first.groups == 1 else 3
    if not size or len(size) != 3:
        return (channels, 224, 224)
    wanted = source.kwargs.get("in_chans") if source else None
    return (int(wanted or size[0]), int(size[1]), int(size[2]))
