"""The last feature map of a classifier, and what each of its channels is worth to a class.

One run with gradients, watched function by function, finds the global average pool by what it does (its output is
the mean of its input over all positions), whatever it is called and wherever it stands: in a module, in a function,
in NCHW or NHWC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kswap.analysis.loaded_model import logits_of
from kswap.errors import ModelError

Grid = tuple[int, int]


@dataclass(frozen=True)
class Head:
    """What the classifier makes of the last feature map, for one picture and one class.

    ``features`` are ``(height, width, channels)``, ``weights`` ``(channels)``: the slope of the class's logit by
    each channel, which is the classifier's row of weights (with a norm between pool and classifier folded in).
    ``logits`` are all ``(classes)``. ``linear`` says that the logit is a constant plus the pooled features times
    the weights; otherwise layers that are not linear stand between, and the weights hold at this picture only.
    """

    features: Tensor
    weights: Tensor
    logits: Tensor
    class_index: int
    linear: bool

    @property
    def evidence(self) -> Tensor:
        """``(height, width)``: the features times the weights, the papers' class activation map."""
        return self.features @ self.weights


@dataclass(frozen=True)
class _Pool:
    features: Tensor
    pooled: Tensor

    @property
    def positions(self) -> int:
        return self.features.shape[0] * self.features.shape[1]


class _Watcher(TorchFunctionMode):
    """Sees every function of a forward pass: which of them pool, and which tensors are still feature maps.

    With ``probe``, a number and a tensor, the output of that pool (counted from 0) is replaced by the tensor.
    """

    def __init__(self, picture: Tensor, probe: tuple[int, Tensor] | None = None) -> None:
        super().__init__()
        self.probe = probe
        self.maps: list[Tensor] = [picture]
        self.pools: list[_Pool] = []
        self.softmaxed: list[tuple[Tensor, Tensor]] = []
        self._grids: dict[int, Grid] = {id(picture): (picture.shape[2], picture.shape[3])}
        self._rows: list[Tensor] = []  # kept, since grids go by identity

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        outs = [out] if isinstance(out, Tensor) else out if isinstance(out, list | tuple) else []
        sources = list(_tensors((*args, *(kwargs or {}).values())))
        for made in outs:
            if isinstance(made, Tensor) and made.is_floating_point():
                self._note(sources, made)
        if not sources or not isinstance(out, Tensor) or not out.is_floating_point():
            return out
        if getattr(func, "__name__", "") in ("softmax", "log_softmax"):
            self.softmaxed.append((out, sources[0]))
        features = self._pooled(sources[0], out)
        if features is None:
            return out
        self.pools.append(_Pool(features, out))
        # What follows may work in place; the pooled values stay as they were.
        number, values = self.probe or (None, out)
        return (values if len(self.pools) - 1 == number else out).clone()

    def _note(self, sources: list[Tensor], out: Tensor) -> None:
        """A map made from a map is a map; one whose positions stand in a row is remembered with its grid."""
        grid = next((self._grids[id(source)] for source in sources if id(source) in self._grids), None)
        if grid is None:
            return
        if out.ndim == 4 and out.shape[2] * out.shape[3] > 1:
            self.maps.append(out)
            self._grids[id(out)] = (out.shape[2], out.shape[3])
        elif out.ndim == 3 and grid[0] * grid[1] in out.shape[1:]:
            self._rows.append(out)
            self._grids[id(out)] = grid

    def _pooled(self, source: Tensor, out: Tensor) -> Tensor | None:
        """The features ``(height, width, channels)`` that ``out`` is the mean of, or ``None``."""
        if source.ndim not in (3, 4) or source.shape[0] != 1 or not 1 < out.ndim <= 4 or out.shape[0] != 1:
            return None
        channels = out.numel()
        with torch.no_grad():
            for features in self._layouts(source.detach(), self._grids.get(id(source))):
                alone = features.shape[0] * features.shape[1] == 1
                if features.shape[2] == channels and (not alone or source.shape != out.shape):
                    mean, found = features.float().mean((0, 1)), out.detach().float().flatten()
                    scale = float(features.abs().max()) or 1.0
                    precise = features.dtype in (torch.float32, torch.float64)
                    if torch.allclose(mean, found, rtol=1e-3, atol=scale * (1e-5 if precise else 1e-2)):
                        return features
        return None

    @staticmethod
    def _layouts(source: Tensor, grid: Grid | None) -> Iterator[Tensor]:
        """``source`` as ``(height, width, channels)``, in every way that its axes can be meant."""
        if source.ndim == 4:
            yield source[0].permute(1, 2, 0)
            yield source[0]
            return
        if grid is None:
            return
        positions = grid[0] * grid[1]
        if source.shape[2] == positions:
            yield source[0].T.reshape(*grid, -1)
        if source.shape[1] == positions:
            yield source[0].reshape(*grid, -1)


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors among ``values`` and in their lists, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _reaches(output: Tensor, start: Tensor, without: Tensor) -> bool:
    """Whether ``output`` depends on the leaf ``start`` by a way that does not lead through ``without``."""
    barrier = without.grad_fn
    seen = {barrier}
    front = [output.grad_fn]
    while front:
        node = front.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) is start:
            return True
        front += [before for before, _ in node.next_functions]
    return False


def _run(model: nn.Module, leaf: Tensor, probe: tuple[int, Tensor] | None = None) -> tuple[_Watcher, Tensor]:
    """One forward pass on ``leaf``, ``(1, C, H, W)``; returns the logits ``(classes)``, before a final softmax."""
    picture = leaf.clone()  # the model may work on its input in place
    watcher = _Watcher(picture, probe)
    with torch.set_grad_enabled(probe is None), watcher:
        output = logits_of(model(picture))
    for made, source in watcher.softmaxed:
        if made is output or made.data_ptr() == output.data_ptr():
            output = source.reshape(output.shape)
    return watcher, output[0]


def _leaf(inputs: Tensor) -> Tensor:
    if inputs.ndim != 4 or inputs.shape[0] != 1:
        raise ModelError(f"one picture is looked at, (1, channels, height, width), not {tuple(inputs.shape)}")
    return inputs.detach().clone().requires_grad_()


def class_of(logits: Tensor, class_index: int | None) -> int:
    """``class_index`` if there is such a class, without one that of the greatest logit. Raises :class:`ModelError`."""
    if class_index is None:
        return int(logits.argmax())
    if not 0 <= class_index < len(logits):
        raise ModelError(f"there is no class {class_index}: the model has the classes 0 to {len(logits) - 1}")
    return class_index


def _only_way(watcher: _Watcher, logits: Tensor, leaf: Tensor) -> tuple[int, _Pool] | None:
    """The last pool (of several positions, if there is one) that all of the output comes through, and its number."""
    ways = [(n, pool) for n, pool in enumerate(watcher.pools) if not _reaches(logits, leaf, without=pool.pooled)]
    return max(ways, key=lambda way: (way[1].positions > 1, way[0]), default=None)


def pooled_head(model: nn.Module, inputs: Tensor, class_index: int | None = None) -> Head:
    """The head of ``model``, which is in eval mode, for one picture ``(1, C, H, W)``.

    Raises :class:`ModelError` for a model without a global average pool that all of its output comes through.
    """
    leaf = _leaf(inputs)
    watcher, logits = _run(model, leaf)
    chosen = class_of(logits, class_index)
    found = _only_way(watcher, logits, leaf)
    slope = None if found is None else _slope(logits[chosen], found[1].pooled)
    if found is None or slope is None:
        raise ModelError(
            f"this {type(model).__name__} has no global average pool before a linear classifier, which class "
            f"activation maps need: use the method gradcam"
        )
    number, pool = found
    if pool.positions == 1:
        height, width = inputs.shape[2:]
        raise ModelError(
            f"the last feature map of this {type(model).__name__} has a single position at {height}x{width}, "
            f"so there is nothing to see: use larger inputs"
        )
    weights = slope.flatten()
    step = _step(pool.pooled)
    elsewhere = _run(model, leaf, probe=(number, pool.pooled.detach() + step))[1][chosen]
    linear = _is_linear(elsewhere - logits[chosen].detach(), step.flatten() * weights)
    return Head(pool.features, weights, logits.detach(), chosen, linear)


def _step(pooled: Tensor) -> Tensor:
    """Away from ``pooled``, up in some channels and down in others, further than any of them is from 0."""
    far = 1 + float(pooled.detach().abs().max())
    return torch.linspace(-far, far, pooled.numel(), device=pooled.device, dtype=pooled.dtype).reshape(pooled.shape)


def _is_linear(change: Tensor, parts: Tensor) -> bool:
    """Whether the logit's change is the sum of its parts, as far as their type can tell."""
    allowed = (1e-3 if parts.dtype in (torch.float32, torch.float64) else 5e-2) * parts.abs().double().sum()
    return bool((parts.double().sum() - change.double()).abs() <= allowed)


def gradient_head(model: nn.Module, inputs: Tensor, class_index: int | None = None) -> Head:
    """The last feature map that the class depends on, weighted by the mean of its gradient (Grad-CAM), for one
    picture ``(1, C, H, W)``.

    Raises :class:`ModelError` for a model without feature maps.
    """
    leaf = _leaf(inputs)
    watcher, logits = _run(model, leaf)
    chosen = class_of(logits, class_index)
    found = _only_way(watcher, logits, leaf)
    if found is not None and found[1].positions > 1:
        pool = found[1]
        slope = _slope(logits[chosen], pool.pooled)
        if slope is not None:
            return Head(pool.features, slope.flatten() / pool.positions, logits.detach(), chosen, False)
    for features in reversed(watcher.maps[1:]):
        slope = _slope(logits[chosen], features)
        if slope is not None:
            return Head(features.detach()[0].permute(1, 2, 0), slope[0].mean((1, 2)), logits.detach(), chosen, False)
    raise ModelError(f"this {type(model).__name__} has no feature maps with height and width: there is nothing to show")


def _slope(logit: Tensor, by: Tensor) -> Tensor | None:
    """The gradient of ``logit`` by ``by``; ``None`` where it does not depend on it."""
    if not logit.requires_grad or not by.requires_grad:
        return None
    return torch.autograd.grad(logit, by, retain_graph=True, allow_unused=True)[0]
