"""A converted model that trains quicker: the same parameters, computed by other operators."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import DeployError, first_line
from kswap.graph.clone import copy_with
from kswap.nn import GroupedBlock as PointwiseBlock
from kswap.nn import GroupedPointwise
from kswap.nn.execution import Execution, Reorder, executions
from kswap.sources.inputs import Inputs
from kswap.timing import interleaved

# Below so many filters in a group, a grouped convolution of a CPU is slow for its size.
_FILTERS = 8

_ROUNDS = 15
_LEAST_ROUNDS = 5
_SECONDS = 0.4


def optimize_for_training(
    model: nn.Module, example_input: Tensor | Inputs | None = None, autotune: bool = True
) -> nn.Module:
    """``model`` with its blocks computed by the operators that train quickest; the argument stays as it is.

    The result has the class, mode and state dict of ``model``, and its parameters and buffers *are* those of
    ``model``: an optimizer of one is an optimizer of the other, and what is saved of one is saved of the other.
    Its outputs, gradients and statistics differ by float rounding only. Move ``model`` to its device and memory
    format before; moved later, the result takes its running statistics along as copies of its own.

    ``example_input`` is what the model is called with in training: a batch of the size, memory format and dtype
    that it will see. With it, and with ``autotune``, forward and backward pass of each grouped layer are measured on
    the input that the layer gets, in each of its forms (see :func:`kswap.nn.execution.executions`), on the device
    of ``model``; without, a rule decides from the channel numbers, which tells what a CPU does in channels_last.
    Linear layers, one- and three-dimensional and weight-standardised convolutions stay as they stand. Raises
    :class:`kswap.errors.DeployError` where the model has no blocks or cannot be run on ``example_input``.

    >>> import kswap
    >>> model = kswap.create_model("mobilenetv3_small_050", num_classes=10)
    >>> quick = optimize_for_training(model)
    >>> all(a is b for a, b in zip(model.parameters(), quick.parameters()))
    True
    """
    shared = _structural_copy(model)
    blocks = [module for module in shared.modules() if isinstance(module, PointwiseBlock)]
    if not blocks:
        raise DeployError("this model has no blocks of kswap: convert it first")
    seen: dict[GroupedPointwise, Tensor] = {}
    if autotune and example_input is not None:
        inputs = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
        seen = _inputs_seen(shared, [layer for block in blocks for layer in block.grouped_layers], inputs)
    known: dict[object, Execution] = {}
    for block in blocks:
        if not block.k.has_executions:
            continue
        k, *rest = (_chosen(block, layer, seen.get(layer), known) for layer in block.grouped_layers)
        block.compute_as_(k, rest[0] if rest else None)
    return shared


def _structural_copy(model: nn.Module) -> nn.Module:
    """New modules over the parameters and buffers of ``model``."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy_with(model, memo)


def _inputs_seen(model: nn.Module, layers: Sequence[nn.Module], inputs: Inputs) -> dict[GroupedPointwise, Tensor]:
    """An empty tensor like the input of each layer in a forward pass, which leaves no trace in ``model``."""
    seen: dict[GroupedPointwise, Tensor] = {}

    def note(layer: GroupedPointwise, arguments: tuple[Any, ...]) -> None:
        seen[layer] = torch.empty_like(arguments[0], device="meta")

    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as after, torch.no_grad():
        for layer in layers:
            after.callback(layer.register_forward_pre_hook(note).remove)
        for module, mode in modes:
            after.callback(setattr, module, "training", mode)
        model.eval()  # running statistics stay
        try:
            model(*inputs)
        except Exception as error:
            raise DeployError(
                f"the model cannot be run on the example input: {type(error).__name__}: {first_line(error)}"
            ) from error
    return seen


def _chosen(
    block: PointwiseBlock, layer: GroupedPointwise, like: Tensor | None, known: dict[object, Execution]
) -> Execution:
    if like is None:
        return estimated(layer)
    order = block.interleave.order if layer is block.l and block.interleave is not None else None
    step = None if order is None else block.plan.interleave_step
    bias = layer.first.bias is not None
    key = (layer.layout, step, tuple(like.shape), like.stride(), like.dtype, block.stride, bias)
    if key not in known:
        known[key] = measured(layer, like, order)
    return known[key]


def estimated(layer: GroupedPointwise) -> Execution:
    """The execution of ``layer`` that is likely the quickest in channels_last on a CPU, by its channel numbers.

    >>> from kswap.planner import GroupedLayout
    >>> estimated(GroupedPointwise(GroupedLayout.of(1152, 192, ch=16)))
    Execution(first=18, second=0)
    """
    layout = layer.layout
    in_one = [e for e in executions(layout) if not e.second]
    wide = [e for e in in_one if layout.groups // e.first * layout.filters_per_group >= _FILTERS]
    return wide[0] if wide and not layout.replicated else Execution(1)


def measured(layer: GroupedPointwise, like: Tensor, order: Tensor | None = None) -> Execution:
    """The execution of ``layer`` whose forward and backward pass is the quickest on an input like ``like``.

    ``order`` is the interleave in front of the layer; its time counts where it is not taken in.
    """
    device = layer.first.weight.device
    assert isinstance(device, torch.device)
    x = _random_like(like, device).requires_grad_()
    candidates = executions(layer.layout)
    runs = {e: partial(_pass, _computed(layer, e, order), x, _wait(device)) for e in candidates}
    times = interleaved(
        {repr(e): run for e, run in runs.items()}, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS
    )
    return min(candidates, key=lambda e: min(times[repr(e)]))  # what disturbs a pass only ever makes it longer


def _computed(layer: GroupedPointwise, execution: Execution, order: Tensor | None) -> nn.Module:
    """A copy of ``layer`` with weights of its own that is computed as ``execution`` says, interleave included."""
    chosen = copy.deepcopy(layer)
    taken = order if execution.is_dense else None
    chosen.compute_as_(execution, taken)
    return (
        chosen if order is None or taken is not None else nn.Sequential(Reorder(order.tolist(), order.device), chosen)
    )


def _random_like(like: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(like, device=device).normal_()


def _wait(device: torch.device) -> Callable[[], object]:
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def _pass(layer: nn.Module, x: Tensor, wait: Callable[[], object]) -> None:
    out = layer(x)
    torch.autograd.grad(out, [x, *(p for p in layer.parameters() if p.requires_grad)], torch.ones_like(out))
    wait()
