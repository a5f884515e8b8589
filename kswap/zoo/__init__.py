"""The baseline networks of the papers, exactly as the authors' Keras code has them, by name.

``papers/NAME`` is a model wherever kswap takes one::

    kswap.convert("papers/efficientnet_b0", ch=16, top_activation="identity", num_classes=10)

They differ from timm's networks of the same names in padding, epsilon, momentum, heads and numbers of filters
(:mod:`kswap.zoo.paper_variants`). Recipes make the converted networks: see :mod:`kswap.papers.recipes`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kswap.errors import ModelError, nearest

if TYPE_CHECKING:
    from kswap.zoo.network import PaperNetwork

_NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"efficientnet_b{size}": ("efficientnet", "EfficientNet", {"size": size}) for size in range(8)},
    "mobilenet": ("mobilenet", "MobileNet", {}),
    "mobilenet_v3_large": ("mobilenet_v3", "MobileNetV3Large", {}),
    "densenet_bc_l100": ("densenet", "DenseNetBC", {}),
    "inception_v3": ("inception_v3", "InceptionV3", {}),
}

NAMES = tuple(_NETWORKS)


def builder(name: str) -> Callable[..., PaperNetwork]:
    """The function that builds the network ``name``; it takes the keyword arguments of the network.

    Raises :class:`ModelError` for an unknown name.

    >>> builder("mobilenet")(num_classes=10).num_classes
    10
    """
    if name not in _NETWORKS:
        raise ModelError(f"unknown model 'papers/{name}': known are {', '.join(NAMES)}{nearest(name, NAMES)}")
    module, attribute, fixed = _NETWORKS[name]
    return functools.partial(getattr(importlib.import_module(f"kswap.zoo.{module}"), attribute), **fixed)
