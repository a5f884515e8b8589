"""Modules exchanged by identity, wherever a model has registered them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def replace_modules_(model: nn.Module, new_of: Mapping[nn.Module, nn.Module]) -> None:
    """Register ``new_of[module]`` in every place where ``module`` is registered, in place.

    A module that is registered under several names is replaced under all of them. What new modules hold is not
    looked at. The root itself cannot be replaced.

    >>> shared = nn.ReLU()
    >>> model = nn.Sequential(shared, nn.Sequential(shared))
    >>> replace_modules_(model, {shared: nn.SiLU()})
    >>> model[0] is model[1][0], type(model[0]).__name__
    (True, 'SiLU')
    """
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in new_of:
                parent._modules[name] = new_of[child]
