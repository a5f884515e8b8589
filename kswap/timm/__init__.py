"""Converted models in timm's registry, for scripts that build their models by ``timm.create_model``.

>>> import timm
>>> import kswap.timm
>>> model = timm.create_model("kswap_mobilenetv3_small_050.ch16", num_classes=10)
>>> type(model).__name__
'MobileNetV3'

The names are ``kswap_ORIGINAL.chN`` for scheme v2 and ``kswap_ORIGINAL.chN_v1`` for scheme v1
(:mod:`kswap.timm.names`); without a tag N is 16. Keyword arguments are those of :func:`kswap.create_model` and of the
original: ``kind="low-rank"``, ``rules="no-second-layer"``, ``drop_rate=0.2``, ``features_only=True``. With
``pretrained=True`` the layers that are not replaced have the original's weights, and the blocks have fresh ones.

>>> timm.list_models("kswap_mobilenetv4_conv_small*")
['kswap_mobilenetv4_conv_small', 'kswap_mobilenetv4_conv_small_035', 'kswap_mobilenetv4_conv_small_050']

A script that cannot be changed is run by ``python -m kswap.timm``, which registers the models first::

    python -m kswap.timm train.py --model kswap_efficientnet_b0.ch16 --data-dir photos
"""

from kswap.timm import kswap_models
from kswap.timm.names import LISTED, Variant

__all__ = ["LISTED", "Variant", "kswap_models"]
