"""Buffers of channel numbers, which follow from the sizes of a layer and are no part of its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class IndexBuffers(nn.Module):
    """A module with buffers of indices that are written again wherever the module goes.

    The indices are in no state dict. What leaves a buffer without its values (``to_empty`` after construction on the
    meta device, ``load_state_dict(assign=True)``) would leave them as garbage, so they are written again from plain
    integers whenever the module is moved or loaded.

    >>> class Reversed(IndexBuffers):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.set_indices_("order", [2, 1, 0])
    >>> Reversed().to("meta").to_empty(device="cpu").order.tolist()
    [2, 1, 0]
    """

    def __init__(self) -> None:
        super().__init__()
        self._indices: dict[str, tuple[int, ...]] = {}

    def set_indices_(self, name: str, indices: Sequence[int] | None, device: torch.device | None = None) -> None:
        """Register the buffer ``name`` with these indices; ``None`` registers an empty buffer."""
        if indices is not None:
            self._indices[name] = tuple(indices)
        buffer = None if indices is None else torch.tensor(indices, dtype=torch.long, device=device)
        self.register_buffer(name, buffer, persistent=False)

    def indices(self, name: str) -> tuple[int, ...]:
        """The indices in the buffer ``name``, whatever device it is on."""
        return self._indices[name]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        before = {name: self._buffers[name] for name in self._indices}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and old is not new:
                self._write_(name, new.device)
        return self

    def _load_from_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, *args, **kwargs)
        for name in self._indices:
            buffer = self._buffers[name]
            if buffer is not None and buffer.is_meta:  # with `assign`, the weights leave the meta device now
                device = next((value.device for value in state_dict.values() if isinstance(value, Tensor)), None)
                self._write_(name, device)

    def _write_(self, name: str, device: torch.device | None) -> None:
        self._buffers[name] = torch.tensor(self._indices[name], dtype=torch.long, device=device)
