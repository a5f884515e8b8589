"""The original without weights beside the converted model: what the one gives, the other has to give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from kswap.errors import first_line
from kswap.sources.builders import build
from kswap.sources.source import Source

Action = Callable[[nn.Module, Tensor], Any]


class MismatchError(Exception):
    """The converted model gives something else than the original."""


def text_of(error: BaseException) -> str:
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
class Pair:
    """An original on the meta device and its conversion, on the meta device or not, with an input for each."""

    source: Source
    original: nn.Module
    converted: nn.Module
    size: tuple[int, ...]

    def _example(self, model: nn.Module) -> Tensor:
        device = next(model.parameters()).device
        return (
            torch.empty(2, *self.size, device=device).normal_()
            if device.type != "meta"
            else torch.empty(2, *self.size, device=device)
        )

    def _of_original(self, action: Action) -> tuple[Any, list[Any]] | None:
        """What the original gives, or ``None`` where it cannot do it: tried with weights before that is said."""
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

    def same(self, action: Action) -> bool:
        """Whether the original can do ``action``; then the converted model can too, and gives the same shapes.

        Raises :class:`MismatchError`, and whatever the converted model raises.
        """
        wanted = self._of_original(action)
        if wanted is None:
            return False
        found = structure(action(self.converted, self._example(self.converted)))
        if found != wanted:
            raise MismatchError(f"gives {_short(found)}, the original {_short(wanted)}")
        return True


def _short(given: tuple[Any, list[Any]]) -> str:
    return repr(given[1])[:80]
