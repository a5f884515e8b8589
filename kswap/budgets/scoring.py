"""The damage that a choice does: how far the outputs of the whole network move when only that choice is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from kswap.budgets.inputs import LayerInputs
from kswap.errors import PlanError, nearest
from kswap.graph.call import Call, first_tensor, tensors_in
from kswap.nn.pointwise import stride_of
from kswap.projection.moments import Moments
from kswap.projection.walk import Walk, walk_of

SCORINGS = ("outputs", "error")

# Samples that the outputs are compared on, and options of each site that are: scores of the others are interpolated.
SAMPLES = 128
OPTIONS = 3

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def check_scoring(name: str) -> str:
    """``name`` if it is one of :data:`SCORINGS`. Raises :class:`PlanError`."""
    if name not in SCORINGS:
        raise PlanError(f"unknown scoring '{name}': known are {', '.join(SCORINGS)}{nearest(str(name)[:40], SCORINGS)}")
    return name


@dataclass(frozen=True)
class OutputChange:
    """Compares the outputs of a network with those of the original on the same samples.

    Where the network returns one tensor ``(samples, classes)``, these are taken as logits, and the change is the mean
    Kullback-Leibler divergence KL(original || changed) of their softmax, in nats. Everywhere else it is the squared
    difference of all outputs, relative to the original's squares. ``outputs`` are the original's. What runs before the
    layer that changes is not run again, where the network can be traced.
    """

    model: nn.Module
    walk: Walk
    outputs: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(
        cls, model: nn.Module, batches: Sequence[Call], calls: Mapping[str, int], samples: int = SAMPLES
    ) -> OutputChange:
        """Run ``model``, in eval mode, on the first ``samples`` (and the rest of their batch, where it is large).

        ``calls`` are the layers that will change, in the order in which they run, with how often a pass calls them.
        """
        chosen: list[Call] = []
        for batch in batches:
            chosen.append(batch)
            if sum(len(call.tensors[0]) for call in chosen) >= samples:
                break
        walk = walk_of(model, model, chosen, tuple(calls), calls)
        return cls(model, walk, tuple(_tensors(output) for output in walk.outputs()))

    @property
    def are_logits(self) -> bool:
        """Whether the outputs are taken as logits of classes."""
        return all(len(own) == 1 and own[0].ndim == 2 and own[0].shape[1] > 1 for own in self.outputs)

    def stop_at(self, name: str) -> None:
        """Run up to the layer ``name``, which is the next one to change."""
        for _ in self.walk.inputs_of(name):
            pass

    def measure(self) -> float:
        """The change of the model as it computes now; 0 where it computes what it did."""
        difference, size = 0.0, 0.0
        for output, own in zip(self.walk.outputs(), self.outputs, strict=True):
            found = _tensors(output)
            if self.are_logits:
                expected, changed = (x[0].double().log_softmax(1) for x in (own, found))
                difference += float((expected.exp() * (expected - changed)).sum())
                size += len(expected)
            else:
                pairs = list(zip(own, found, strict=True))
                difference += sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
                size += sum(float(a.double().square().sum()) for a, _ in pairs)
        change = difference / size if size else 0.0
        return max(change, 0.0) if math.isfinite(change) else float("inf")


def _tensors(output: Any) -> tuple[Tensor, ...]:
    """The tensors of numbers in what a network returns."""
    return tuple(tensor for tensor in tensors_in(output) if tensor.is_floating_point())


@contextmanager
def computing(layer: nn.Module, matrix: Tensor, moments: Moments) -> Iterator[None]:
    """Inside, the pointwise ``layer`` computes ``matrix x + bias`` instead; the bias keeps its mean output."""
    weight = next(layer.parameters())
    replaced = matrix.to(weight)
    bias = moments.bias_of(matrix).to(weight)
    strides = stride_of(layer)

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        x = first_tensor((args, kwargs))
        if not strides:
            return F.linear(x, replaced, bias).to(output.dtype)
        kernel = replaced.reshape(*replaced.shape, *(1,) * len(strides))
        return _CONVOLUTIONS[len(strides)](x, kernel, bias, strides).to(output.dtype)

    handle = layer.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def change_with(outputs: OutputChange, name: str, matrix: Tensor, known: LayerInputs) -> float:
    """The change of the outputs when only the layer ``name`` computes ``matrix``."""
    with computing(outputs.model.get_submodule(name), matrix, known.moments()):
        return outputs.measure()


def evenly(count: int, most: int = OPTIONS) -> tuple[int, ...]:
    """``most`` places out of ``count``, the first and the last among them.

    >>> evenly(9), evenly(2), evenly(0)
    ((0, 4, 8), (0, 1), ())
    """
    if count <= most:
        return tuple(range(count))
    return tuple(round(place * (count - 1) / (most - 1)) for place in range(most))


def interpolated(errors: Sequence[float], known: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """A score for each of ``errors``, from pairs of error and score that were measured at the same site.

    Piecewise linear in the logarithms, since the change of the outputs grows as a power of the local error; beyond
    the ends with the power of the nearest piece, between 1 and 2. Never falls as the error grows; 0 for an error of 0.

    >>> [round(score, 4) for score in interpolated([0.0, 0.1, 0.2, 0.4], [(0.1, 0.01), (0.4, 0.16)])]
    [0.0, 0.01, 0.04, 0.16]
    """
    floor = 1e-12
    points = sorted((math.log(max(e, floor)), math.log(max(s, floor))) for e, s in known)
    highest = -math.inf
    for place, (error, score) in enumerate(points):
        highest = max(highest, score)
        points[place] = (error, highest)
    return tuple(0.0 if error <= floor else math.exp(_on_line(math.log(error), points)) for error in errors)


def _on_line(x: float, points: Sequence[tuple[float, float]]) -> float:
    """The height of a line through ``points``, sorted, at ``x``."""
    right = next((place for place, (known, _) in enumerate(points) if known >= x), len(points))
    inside = 0 < right < len(points)
    left = right - 1 if inside else min(max(right - 1, 0), max(len(points) - 2, 0))
    (x0, y0), (x1, y1) = points[left], points[min(left + 1, len(points) - 1)]
    slope = (y1 - y0) / (x1 - x0) if x1 > x0 else 1.0
    if inside:
        return y0 + slope * (x - x0)
    end_x, end_y = points[0] if right == 0 else points[-1]
    return end_y + min(max(slope, 1.0), 2.0) * (x - end_x)
