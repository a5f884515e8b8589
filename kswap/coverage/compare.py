"""The original without weights beside the converted model: their outputs must have the same structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from kswap.errors import first_line
from kswap.graph.device import device_of
from kswap.sources.builders import build
from kswap.sources.source import Source

Action = Callable[[nn.Module, Tensor], Any]


class MismatchError(Exception):
    """The converted model differs from the original."""


def class_and_message(error: BaseException) -> str:
    """The class of an exception with the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def structure(value: Any) -> tuple[Any, list[Any]]:
    """The nesting of an output, and its leaves with tensors as shapes.

    >>> structure({"a": torch.zeros(2, 3)})[1]
    [(2, 3)]
    """
    leaves, nesting = tree_flatten(value)
    return nesting, [tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


@dataclass(frozen=True)
class Counterparts:
    """An original on the meta device and its conversion, on the meta device or not, with an input for each."""

    source: Source
    original: nn.Module
    converted: nn.Module
    size: tuple[int, ...]

    def _example(self, model: nn.Module) -> Tensor:
        example = torch.empty(2, *self.size, device=device_of(model))
        return example if example.is_meta else example.normal_()

    def _of_original(self, action: Action) -> tuple[Any, list[Any]] | None:
        """What the original returns, or ``None`` where it fails on the meta device and with weights."""
        try:
            return structure(action(self.original, self._example(self.original)))
        except Exception:
            if next(self.converted.parameters()).is_meta:
                return None
        real = build(self.source).train(self.original.training)
        try:
            return structure(action(real, self._example(real)))
        except Exception:
            return None

    def check_same(self, action: Action) -> bool:
        """Run ``action`` on both models and compare the structures of what they return.

        Returns:
            Whether the original can do it; otherwise the converted model is not asked.

        Raises:
            MismatchError: They differ.
            Exception: Whatever the converted model raises.
        """
        wanted = self._of_original(action)
        if wanted is None:
            return False
        found = structure(action(self.converted, self._example(self.converted)))
        if found != wanted:
            raise MismatchError(f"returns {_short(found)}, the original {_short(wanted)}")
        return True


def _short(found: tuple[Any, list[Any]]) -> str:
    return repr(found[1])[:80]
