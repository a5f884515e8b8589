"""The training flags of single modules: read, kept over a run in eval mode, and copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode for all of ``models`` inside; afterwards every module has its own mode again.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3).eval())
    >>> with evaluating(model):
    ...     model.training
    False
    >>> [module.training for module in model.modules()]
    [True, True, False]
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def copy_modes_(source: nn.Module, target: nn.Module) -> None:
    """Give each module of ``target``, a copy of ``source``, the mode of its original, in place."""
    originals = dict(source.named_modules())
    for name, module in target.named_modules():
        if name in originals:
            module.training = originals[name].training
