"""Class activation maps: where in a picture a model sees the evidence for a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kswap.analysis.head import gradient_head, pooled_head
from kswap.analysis.loaded_model import LoadedModel, load_model, probabilities
from kswap.data.decoding import read_picture
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, ModelError, nearest
from kswap.graph.modes import evaluating

if TYPE_CHECKING:
    from kswap.converted import Conversion

_HEADS = {"cam": pooled_head, "gradcam": gradient_head}
METHODS = tuple(_HEADS)

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cam:
    """The class activation map of one picture.

    ``heat`` is the map at the size of the last feature map, ``(h, w)``, from 0 (no evidence, or evidence against)
    to 1 (most). ``evidence`` is the same before it is clipped and scaled, in units of the logit: where ``linear``,
    its mean plus a constant is the class's logit, else layers between pool and classifier make it hold for this
    picture only. ``picture`` is the part of the picture that the model saw; ``resized`` is the heat at its size, by
    cubic interpolation. ``probability`` is that of the class, from 0 to 1.
    """

    title: str
    method: str
    class_index: int
    probability: float
    heat: Array
    evidence: Array = field(repr=False)
    linear: bool
    picture: Image.Image = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)

    @property
    def resized(self) -> Array:
        """``(height, width)`` of the picture, from 0 to 1."""
        return self.heat_at(self.picture.size)

    def heat_at(self, size: tuple[int, int]) -> Array:
        """The heat at ``size`` (width, height) in pixels, by cubic interpolation: ``(height, width)``, 0 to 1."""
        resized = Image.fromarray(self.heat).resize(size, Image.Resampling.BICUBIC)
        return np.clip(np.asarray(resized, dtype=np.float32), 0, 1)


@dataclass(frozen=True, eq=False)
class Cams:
    """Maps of one picture, by several models, in the order in which they were asked for."""

    maps: tuple[Cam, ...]


def cam(
    model: nn.Module | Conversion | str | Path,
    image: Image.Image | str | Path | NDArray[np.uint8] | Tensor,
    class_index: int | None = None,
    method: str = "cam",
    *,
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    **model_kwargs: Any,
) -> Cam:
    """Where in ``image`` the model sees evidence for a class.

    ``method="cam"`` is the papers' formula (Zhou et al. 2016): the last feature map before the global average pool,
    weighted by the classifier's weights of the class; negative values are set to 0 and the rest is divided by the
    greatest. It is for every network with such a pool. A norm between pool and classifier is folded in. Where a layer
    there is not linear, the slope at this picture takes the place of the weights. ``method="gradcam"`` is for other
    networks with feature maps: the weights are mean gradients (Selvaraju et al. 2017).

    Args:
        model: As for :func:`kswap.evaluate`. Every module is left in the mode that it was in.
        image: A picture, a file, an array ``(H, W, 3)`` or ``(H, W)`` of uint8, or a tensor ``(C, H, W)`` that is
            prepared already.
        class_index: Which class; without it the most probable one.
        method: ``"cam"`` or ``"gradcam"``.
        device: Where the model runs; without it a module stays where it is.
        preprocessing: How the picture is prepared, instead of as the model states.
        trust_source: Whether to run the user's own code that a saved model was built by.
        weights: A file of trained weights for a name, instead of its published ones.
        num_classes: Classes that ``weights`` were trained for, where they are not the model's own.
        model_kwargs: Other arguments of the builder of a name, such as ``act_layer="relu"``.

    Raises:
        ModelError: The model has no such map.
        DataError: The image cannot be read.
    """
    loaded = load_model(model, device, preprocessing, trust_source, weights, num_classes, model_kwargs)
    return cam_of(loaded, image, class_index, method)


def cam_of(
    loaded: LoadedModel,
    image: Image.Image | str | Path | NDArray[np.uint8] | Tensor,
    class_index: int | None = None,
    method: str = "cam",
) -> Cam:
    """As :func:`cam`, for a model that is loaded already."""
    if method not in _HEADS:
        raise ModelError(f"unknown method '{method}': known are {', '.join(METHODS)}{nearest(method, METHODS)}")
    seen, prepared = _prepared(image, loaded.preprocessing)
    with torch.inference_mode(False), evaluating(loaded.model):
        head = _HEADS[method](loaded.model, loaded.inputs(prepared[None]), class_index)
        chance = float(probabilities(head.logits[None])[0, head.class_index])
        evidence = head.evidence.detach().float().cpu().numpy()
    return Cam(
        title=loaded.title,
        method=method,
        class_index=head.class_index,
        probability=chance,
        heat=_heat(evidence),
        evidence=evidence,
        linear=head.linear,
        picture=seen,
        preprocessing=loaded.preprocessing,
    )


def _heat(evidence: Array) -> Array:
    """``evidence`` scaled to 0 to 1; negative values, evidence against the class, are 0."""
    heat = np.maximum(evidence, 0)
    most = heat.max()
    scaled: Array = (heat / most if most > 0 else heat).astype(np.float32)
    return scaled


def _prepared(
    image: Image.Image | str | Path | NDArray[np.uint8] | Tensor, preprocessing: Preprocessing
) -> tuple[Image.Image, Tensor]:
    """The part of the picture that the model sees, and the model's input ``(C, H, W)``."""
    if isinstance(image, Tensor):
        tensor = image[0] if image.ndim == 4 and len(image) == 1 else image
        if tensor.ndim != 3 or tensor.shape[0] != preprocessing.input_size[0]:
            channels = preprocessing.input_size[0]
            raise DataError(f"a prepared image has the shape ({channels}, height, width), not {tuple(image.shape)}")
        return preprocessing.picture_of(tensor), tensor
    picture = _picture(image)
    left, top, right, bottom = (round(edge) for edge in preprocessing.seen(*picture.size))
    return picture.crop((left, top, right, bottom)), preprocessing(picture)


def _picture(image: Image.Image | str | Path | NDArray[np.uint8]) -> Image.Image:
    if isinstance(image, Image.Image):
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise DataError(f"an array must be uint8 (H, W, 3) or (H, W), not {image.dtype} {image.shape}")
        return Image.fromarray(image)
    return read_picture(image)
