"""Edits of the original network before it is planned: the first strides, and its activations."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from kswap.errors import PlanError, excerpt
from kswap.graph.observe import Observation
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES, is_activation
from kswap.planner.edits import ACTIVATION, STRIDE, Edit


def _stride_of(module: nn.Module) -> int:
    """The stride of a module that has one, else 1."""
    stride = getattr(module, "stride", 1)
    largest = max(stride) if isinstance(stride, tuple | list) and stride else stride
    return largest if isinstance(largest, int) else 1


def strided_stages(model: nn.Module, observation: Observation) -> tuple[tuple[str, ...], ...]:
    """Modules that shrink their input by a stride, from the largest feature map to the smallest.

    Those that read maps of the same size are one stage: a convolution and the shortcut beside it.
    """
    stages: dict[tuple[int, ...], list[str]] = {}
    for name, module in model.named_modules():
        record = observation.records.get(name)
        if record is None or record.in_shape is None or record.out_shape is None or any(module.children()):
            continue
        before, after = record.in_shape[2:], record.out_shape[2:]
        if _stride_of(module) > 1 and len(before) == len(after) and max(after, default=0) < max(before, default=0):
            stages.setdefault(before, []).append(name)
    return tuple(tuple(stages[size]) for size in sorted(stages, reverse=True))


def stride_edits(model: nn.Module, observation: Observation, count: int) -> tuple[Edit, ...]:
    """Edits that turn the first ``count`` strided stages to stride 1 (the papers do this for small images).

    Raises :class:`PlanError` when the network has fewer.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise PlanError(f"skip_strides must be a whole number of at least 0, not {count!r}")
    stages = strided_stages(model, observation)
    if count > len(stages):
        raise PlanError(f"skip_strides is {count}, but the network has {len(stages)} strided stages: use fewer")
    return tuple(Edit(name, STRIDE, "1") for stage in stages[:count] for name in stage)


def activation_edits(model: nn.Module, swap: Mapping[str, str]) -> tuple[Edit, ...]:
    """Edits that exchange every activation of a class, by class name: ``{"SiLU": "relu"}``."""
    return tuple(
        Edit(name, ACTIVATION, swap[type(module).__name__])
        for name, module in model.named_modules()
        if is_activation(module) and type(module).__name__ in swap
    )


def _unstrided(module: nn.Module) -> nn.Module:
    """The module with stride 1, and with padding that keeps the size of the map where it did so before."""
    stride, kernel = _stride_of(module), getattr(module, "kernel_size", 1)
    sizes = kernel if isinstance(kernel, tuple) else (kernel,)
    if not isinstance(module, nn.Conv2d) and "pool" in type(module).__name__.lower() and stride >= max(sizes):
        return nn.Identity()  # windows that did not overlap: nothing is left to pool
    changed = copy.copy(module)
    changed.__dict__["stride"] = (1, 1) if isinstance(module.stride, tuple) else 1
    if not isinstance(module, nn.Conv2d) or not all(size % 2 == 0 for size in sizes):
        return changed
    if module.padding_mode == "zeros":
        changed.__dict__["padding"] = "same"  # an even kernel needs one more row on one side; torch adds it there
        return changed
    return _same_padded(module)


def _same_padded(module: nn.Conv2d) -> nn.Conv2d:
    """A convolution of stride 1 with the weights of ``module`` that keeps the size, padded in its mode."""
    if type(module).forward is not nn.Conv2d.forward:
        raise PlanError(f"the stride of a {type(module).__name__} with padding_mode {module.padding_mode!r} must stay")
    made = nn.Conv2d(
        module.in_channels,
        module.out_channels,
        module.kernel_size,  # type: ignore[arg-type]
        padding="same",
        dilation=module.dilation,  # type: ignore[arg-type]
        groups=module.groups,
        bias=module.bias is not None,
        padding_mode=module.padding_mode,
        device="meta",
    )
    made.weight, made.bias = module.weight, module.bias
    return made.train(module.training)


def apply_edits_(model: nn.Module, edits: tuple[Edit, ...]) -> None:
    """Carry out ``edits`` on ``model``, in place. Raises :class:`PlanError` when they do not fit."""
    for edit in edits:
        try:
            module = model.get_submodule(edit.module)
        except AttributeError:
            raise PlanError(f"the plan does not fit this model: it has no module '{excerpt(edit.module)}'") from None
        if edit.set == STRIDE and hasattr(module, "stride"):
            model.set_submodule(edit.module, _unstrided(module))
        elif edit.set == ACTIVATION and is_activation(module):
            model.set_submodule(edit.module, ACTIVATION_CLASSES[edit.to]().train(module.training))
        else:
            raise PlanError(
                f"the plan does not fit this model: '{edit.module}' is a {type(module).__name__} without {edit.set}"
            )
