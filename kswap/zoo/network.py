"""What the networks of the papers share: the methods of timm's models, padding, norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from kswap.errors import ModelError, nearest
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES


@dataclass(frozen=True)
class AuthorsNames:
    """Keras' names for the layers of a network, by our module names.

    Args:
        layers: modules that are one layer there, by our name.
        blocks: convolutions that the authors' code may replace, by our name: the base name of their layers there
            (see :mod:`kswap.keras.names`), and the name of their norm here, or ``None``.
    """

    layers: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, tuple[str, str | None]] = field(default_factory=dict)


class PaperNetwork(nn.Module):
    """Base of the papers' networks. Inputs are RGB divided by 255, ``(N, 3, H, W)``; outputs are logits.

    A subclass implements ``forward_features`` and has ``classifier``, the last layer.
    """

    classifier: nn.Module
    global_pool: nn.Module
    head_drop: nn.Module

    def __init__(self, num_classes: int, in_chans: int, num_features: int, input_size: int) -> None:
        super().__init__()
        if num_classes < 1 or in_chans < 1:
            raise ModelError("a network of the papers needs at least one class and one input channel")
        self.num_classes = num_classes
        self.num_features = num_features
        self.pretrained_cfg: dict[str, Any] = {
            "input_size": (in_chans, input_size, input_size),
            "num_classes": num_classes,
            "mean": (0.0,) * in_chans,
            "std": (1.0,) * in_chans,
            "interpolation": "nearest",  # the authors enlarge small images by repeating pixels
            "crop_pct": 1.0,
            "classifier": "classifier",
        }

    def get_classifier(self) -> nn.Module:
        """The last layer; kswap never replaces it."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a fresh one for ``num_classes`` classes, on the same device."""
        old = self.classifier
        made: nn.Module
        if isinstance(old, nn.Conv2d):
            made = nn.Conv2d(old.in_channels, num_classes, 1, device=old.weight.device, dtype=old.weight.dtype)
        else:
            assert isinstance(old, nn.Linear)
            made = nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)
        self.classifier = made
        self.num_classes = num_classes

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, ``(N, num_features, h, w)``."""
        raise TypeError(f"{type(self).__name__} has no forward_features")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits ``(N, num_classes)`` of a feature map; with ``pre_logits`` the input of the classifier."""
        x = self.head_drop(self.global_pool(x).flatten(1))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def authors_names(self, converted: bool) -> AuthorsNames:
        """Keras' names for the layers of the baseline, or of the converted network."""
        raise TypeError(f"{type(self).__name__} has no authors_names: its layers are not known in Keras")


class StridePad(nn.Module):
    """Zeros around the input of a convolution with stride 2, as TensorFlow's padding "same" puts them.

    An even side gets ``kernel // 2 - 1`` zeros before it and ``kernel // 2`` after it, an odd one ``kernel // 2`` on
    both ends. With ``size_known=False`` every side is taken to be even, as Keras does where a network is built
    without an input size.

    A convolution whose stride is skipped is "same" with stride 1: called with ``stride=1``, every side gets
    ``kernel // 2`` zeros on both ends, and the convolution keeps the size of the map.

    >>> import torch
    >>> [tuple(StridePad(3)(torch.zeros(1, 1, side, side)).shape[2:]) for side in (8, 7)]
    [(9, 9), (9, 9)]
    >>> tuple(StridePad(3)(torch.zeros(1, 1, 8, 8), stride=1).shape[2:])
    (10, 10)
    """

    def __init__(self, kernel: int, size_known: bool = True) -> None:
        super().__init__()
        self.after = kernel // 2
        self.size_known = size_known

    def forward(self, x: Tensor, stride: int = 2) -> Tensor:
        if stride == 1:
            return F.pad(x, [self.after] * 4)
        before = self.after - 1
        top = before + x.shape[-2] % 2 if self.size_known else before
        left = before + x.shape[-1] % 2 if self.size_known else before
        return F.pad(x, [left, self.after, top, self.after])

    def extra_repr(self) -> str:
        return f"{2 * self.after + 1}, size_known={self.size_known}"


class CenteredBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with a bias and without a scale (Keras' ``scale=False``).

    >>> [name for name, _ in CenteredBatchNorm2d(4).named_parameters()]
    ['bias']
    """

    def __init__(self, num_features: int, eps: float = 1e-3, momentum: float = 0.01, **factory: Any) -> None:
        super().__init__(num_features, eps, momentum, **factory)
        self.weight = None  # type: ignore[assignment]

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)


def batch_norm(channels: int, momentum: float = 0.99, epsilon: float = 1e-3) -> nn.BatchNorm2d:
    """A norm with Keras' momentum, which is one minus torch's.

    >>> batch_norm(8, momentum=0.999).momentum
    0.001
    """
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=round(1 - momentum, 6))


def activation_named(name: str) -> Callable[[], nn.Module]:
    """The class of an activation by its name in :data:`kswap.planner.activations.ACTIVATIONS`.

    Raises :class:`ModelError` for an unknown name.
    """
    known = ACTIVATION_CLASSES
    if name not in known:
        raise ModelError(f"unknown activation '{name}': known are {', '.join(known)}{nearest(str(name), known)}")
    return known[name]
