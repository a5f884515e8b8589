"""From a loss to new weights: mixed precision, clipped gradients, the optimizer, its schedule, a moving average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kswap.graph.device import device_of


@dataclass
class Update:
    """One update of the weights of ``model`` after another.

    Args:
        model: The model that is trained.
        optimizer: Of its weights.
        schedule: Sets the learning rate after a number of steps.
        half: The type of mixed precision, ``torch.bfloat16`` or ``torch.float16``; ``None`` computes in the type of
            the weights.
        clip: The greatest norm of the gradient; 0 clips nothing.
        ema: The decay of the moving average of the weights (:class:`timm.utils.ModelEmaV3`); 0 takes none.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], object]
    half: torch.dtype | None = None
    clip: float = 0.0
    ema: float = 0.0
    _average: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._device = device_of(self.model).type
        # Gradients in float16 would underflow; without it, nothing is scaled.
        self._scaler = torch.amp.GradScaler(self._device, enabled=self.half is torch.float16)
        if self.ema:
            from timm.utils import ModelEmaV3

            self._average = ModelEmaV3(self.model, decay=self.ema, use_warmup=True)

    @property
    def kept(self) -> nn.Module:
        """The weights that are measured and kept: the moving average, where there is one."""
        found: nn.Module = self.model if self._average is None else self._average.module
        return found

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def autocast(self) -> torch.autocast:
        """The forward pass in mixed precision, where it is asked for."""
        return torch.autocast(self._device, self.half, enabled=self.half is not None)

    def __call__(self, loss: Tensor) -> None:
        """Change the weights by the gradient of ``loss``."""
        self.optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.clip:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def end_step(self, step: int) -> None:
        """What follows after ``step`` updates: the moving average, and the learning rate of the next one."""
        if self._average is not None:
            self._average.update(self.model, step=step)
        self.schedule(step)

    def state_dict(self) -> dict[str, Any]:
        """All that the updates to come depend on, beside the weights of the model."""
        average = {} if self._average is None else {"ema": self._average.state_dict()}
        scaler = {"scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else {}
        return {"optimizer": self.optimizer.state_dict(), **average, **scaler}

    def load_state_dict(self, state: dict[str, Any], step: int) -> None:
        """Continue after ``step`` updates, with what :meth:`state_dict` returned then."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["ema"])
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])
        self.schedule(step)
