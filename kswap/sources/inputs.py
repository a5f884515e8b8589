"""What a model is called with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from kswap.graph.call import Call, Example
from kswap.sources.source import Source

# Positional arguments of a model.
Inputs = tuple[Any, ...]


def call_for(
    model: nn.Module,
    source: Source,
    example: Example | None = None,
    size: tuple[int, ...] | None = None,
) -> Call:
    """How the model is called: with the example unchanged, or with one sample of zeros of a size."""
    if example is not None:
        return Call.of(example)
    own = input_size_of(model, source)
    shape = own if size is None else size if len(size) == 3 else (own[0], *size)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return Call((torch.zeros(1, *shape, dtype=dtype),))


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
