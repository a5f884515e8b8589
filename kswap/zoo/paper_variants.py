"""timm's networks of the same names as those of the papers, and in what they differ. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

_PADDING = "padding (0, 1) before strides where timm pads both sides, norms with epsilon 1e-3 and momentum 0.99"
_MOMENTA = "norms with Keras momentum 0.99 where timm has 0.9"
_BORDERS = "norms without a scale and with momentum 0.99, means that leave the border out"

# timm's name: the network of the papers, the recipe, what the papers' network has otherwise.
_TWINS: Mapping[str, tuple[str, str, str]] = {
    **{
        f"efficientnet_b{n}": (f"efficientnet_b{n}", f"kefficientnet-b{n}", f"{_PADDING}, drop-connect")
        for n in range(8)
    },
    **{
        f"tf_efficientnet_b{n}": (f"efficientnet_b{n}", f"kefficientnet-b{n}", f"{_MOMENTA}, drop-connect")
        for n in range(8)
    },
    "mobilenetv1_100": ("mobilenet", "kmobilenet", _PADDING),
    "mobilenetv3_large_100": ("mobilenet_v3_large", "kmobilenet-v3-large", _PADDING.replace("0.99", "0.999")),
    "tf_mobilenetv3_large_100": ("mobilenet_v3_large", "kmobilenet-v3-large", _MOMENTA.replace("0.99 ", "0.999 ")),
    "inception_v3": ("inception_v3", "kinception-v3", _BORDERS),
}


def twin_notes(title: str) -> tuple[str, ...]:
    """One sentence for a report on a timm model that the papers have too, in another form; else nothing.

    >>> twin_notes("mobilenetv1_100.ra4_e3600_r224_in1k")[0]  # doctest: +ELLIPSIS
    'the papers have this network with padding (0, 1) before strides ...: papers/mobilenet, recipe kmobilenet'
    >>> twin_notes("resnet50")
    ()
    """
    twin = _TWINS.get(title.partition(".")[0])
    if twin is None:
        return ()
    network, recipe, difference = twin
    return (f"the papers have this network with {difference}: papers/{network}, recipe {recipe}",)
