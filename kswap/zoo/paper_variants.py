"""timm models that the papers have in another form, and how the two differ. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_PADDING = "padding (0, 1) before strides where timm pads both sides, norms with epsilon 1e-3 and momentum 0.99"
_MOMENTA = "norms with Keras momentum 0.99 where timm has 0.9"
_BORDERS = "norms without a scale and with momentum 0.99, average pooling that leaves the border out"


@dataclass(frozen=True)
class PaperVariant:
    """The network of the papers that has the name of a timm model, its recipe, and how it differs from timm's."""

    network: str
    recipe: str
    difference: str


PAPER_VARIANTS: Mapping[str, PaperVariant] = {
    **{
        f"efficientnet_b{n}": PaperVariant(f"efficientnet_b{n}", f"kefficientnet-b{n}", f"{_PADDING}, drop-connect")
        for n in range(8)
    },
    **{
        f"tf_efficientnet_b{n}": PaperVariant(f"efficientnet_b{n}", f"kefficientnet-b{n}", f"{_MOMENTA}, drop-connect")
        for n in range(8)
    },
    "mobilenetv1_100": PaperVariant("mobilenet", "kmobilenet", _PADDING),
    "mobilenetv3_large_100": PaperVariant(
        "mobilenet_v3_large", "kmobilenet-v3-large", _PADDING.replace("0.99", "0.999")
    ),
    "tf_mobilenetv3_large_100": PaperVariant(
        "mobilenet_v3_large", "kmobilenet-v3-large", _MOMENTA.replace("0.99 ", "0.999 ")
    ),
    "inception_v3": PaperVariant("inception_v3", "kinception-v3", _BORDERS),
}


def paper_variant_notes(title: str) -> tuple[str, ...]:
    """One sentence for the report of a timm model that the papers have in another form; otherwise nothing.

    >>> paper_variant_notes("mobilenetv1_100.ra4_e3600_r224_in1k")[0]  # doctest: +ELLIPSIS
    'the papers have this network with padding (0, 1) before strides ...: papers/mobilenet, recipe kmobilenet'
    >>> paper_variant_notes("resnet50")
    ()
    """
    variant = PAPER_VARIANTS.get(title.partition(".")[0])
    if variant is None:
        return ()
    return (
        f"the papers have this network with {variant.difference}: papers/{variant.network}, recipe {variant.recipe}",
    )
