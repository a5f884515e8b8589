"""Runs the authors' Keras graphs, as they were written down layer by layer, with torch's functions."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Layer = dict[str, Any]
Layers = dict[str, dict[str, np.ndarray]]

_FILE = Path(__file__).parent / "data" / "authors_graphs.json.gz"
GRAPHS: dict[str, dict[str, Any]] = json.loads(gzip.decompress(_FILE.read_bytes()))


def random_weights(layers: list[Layer]) -> Layers:
    """Arrays as the layers have them in Keras, drawn from a generator that is seeded with the layer's name."""
    made: Layers = {}
    for layer in layers:
        draw = np.random.default_rng(zlib.crc32(layer["name"].encode()))
        inputs, outputs = layer.get("in"), layer.get("out")
        arrays: dict[str, np.ndarray] = {}
        if layer["cls"] in ("Conv2D", "DepthwiseConv2D"):
            height, width = layer["kernel"]
            depthwise = layer["cls"] == "DepthwiseConv2D"
            shape = (height, width, inputs, 1) if depthwise else (height, width, inputs // layer["groups"], outputs)
            fan = height * width * (1 if depthwise else shape[2])
            arrays["depthwise_kernel" if depthwise else "kernel"] = draw.normal(0, (1.6 / fan) ** 0.5, shape)
        elif layer["cls"] == "Dense":
            arrays["kernel"] = draw.normal(0, inputs**-0.5, (inputs, outputs))
        elif layer["cls"] == "BatchNormalization":
            if layer["scale"]:
                arrays["gamma"] = draw.uniform(0.6, 1.4, outputs)
            arrays["beta"] = draw.normal(0, 0.3, outputs)
            arrays["moving_mean"] = draw.normal(0, 0.2, outputs)
            arrays["moving_variance"] = draw.uniform(0.5, 1.5, outputs)
        if layer.get("use_bias"):
            arrays["bias"] = draw.normal(0, 0.3, outputs)
        if arrays:
            assert sum(array.size for array in arrays.values()) == layer["params"]
            made[layer["name"]] = arrays
    return made


def _same(size: int, kernel: int, stride: int) -> list[int]:
    """TensorFlow's "same": zeros in front and behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]


def _padded(x: Tensor, layer: Layer, kernel: list[int], value: float = 0.0) -> Tensor:
    if layer["padding"] == "valid":
        return x
    height, width = (_same(x.shape[i], kernel[i - 2], layer["strides"][i - 2]) for i in (2, 3))
    return F.pad(x, [*width, *height], value=value)


def _activated(x: Tensor, name: str | None) -> Tensor:
    match name:
        case "swish":
            return x * torch.sigmoid(x)
        case "relu":
            return x.clamp(min=0)
        case "sigmoid":
            return torch.sigmoid(x)
        case "HardSigmoid":
            return (x + 3).clamp(0, 6) / 6
        case "HardSwish":
            return x * (x + 3).clamp(0, 6) / 6
    assert name in (None, "softmax"), name  # the networks here end in logits
    return x


def _layer(layer: Layer, inputs: list[Tensor], arrays: dict[str, Tensor]) -> Tensor:
    x = inputs[0]
    match layer["cls"]:
        case "ZeroPadding2D":
            (top, bottom), (left, right) = layer["pad"]
            return F.pad(x, [left, right, top, bottom])
        case "Conv2D":
            weight = arrays["kernel"].permute(3, 2, 0, 1)
            x = _padded(x, layer, layer["kernel"])
            y = F.conv2d(x, weight, arrays.get("bias"), layer["strides"], groups=layer["groups"])
            return _activated(y, layer.get("activation"))
        case "DepthwiseConv2D":
            weight = arrays["depthwise_kernel"].permute(2, 3, 0, 1)
            return F.conv2d(_padded(x, layer, layer["kernel"]), weight, None, layer["strides"], groups=x.shape[1])
        case "Dense":
            return _activated(x @ arrays["kernel"] + arrays["bias"], layer.get("activation"))
        case "BatchNormalization":
            mean, variance, beta = (arrays[key][:, None, None] for key in ("moving_mean", "moving_variance", "beta"))
            y = (x - mean) / (variance + layer["epsilon"]).sqrt()
            return (y * arrays["gamma"][:, None, None] if "gamma" in arrays else y) + beta
        case "Activation":
            return _activated(x, layer["activation"])
        case "ReLU":
            return x.clamp(0, layer.get("max_value"))
        case "InterleaveChannels":
            step = layer["step_size"]
            return torch.cat([x[:, start::step] for start in range(step)], dim=1)
        case "CopyChannels":
            return x[:, layer["channel_start"] : layer["channel_start"] + layer["channel_count"]]
        case "Concatenate":
            return torch.cat(inputs, dim=1)
        case "Add":
            return inputs[0] + inputs[1]
        case "Multiply":
            return inputs[0] * inputs[1]
        case "GlobalAveragePooling2D":
            return x.mean(dim=(2, 3))
        case "AveragePooling2D":
            ones = _padded(torch.ones_like(x[:1, :1]), layer, layer["pool"])
            total = F.avg_pool2d(_padded(x, layer, layer["pool"]), layer["pool"], layer["strides"], divisor_override=1)
            return total / F.avg_pool2d(ones, layer["pool"], layer["strides"], divisor_override=1)
        case "MaxPooling2D":
            return F.max_pool2d(_padded(x, layer, layer["pool"], float("-inf")), layer["pool"], layer["strides"])
        case "Reshape":
            return x[:, :, None, None] if "out_hw" in layer else x.flatten(1)
        case "Flatten":
            return x.flatten(1)
        case "Dropout" | "Softmax":
            return x
    raise AssertionError(f"the layer {layer['cls']} is not known here")


@torch.no_grad()
def run(layers: list[Layer], weights: Layers, x: Tensor) -> Tensor:
    """Logits of the graph for ``x`` of ``(N, 3, H, W)``; every map has the size that Keras prints."""
    values: dict[str, Tensor] = {}
    for layer in layers:
        if layer["cls"] == "InputLayer":
            values[layer["name"]] = x
            continue
        arrays = {key: torch.from_numpy(array).to(x.dtype) for key, array in weights.get(layer["name"], {}).items()}
        y = _layer(layer, [values[name] for name in layer["inbound"]], arrays)
        assert y.shape[1] == layer["out"], layer["name"]
        if "out_hw" in layer:
            assert list(y.shape[2:]) == layer["out_hw"], layer["name"]
        values[layer["name"]] = y
    return values[layers[-1]["name"]]
