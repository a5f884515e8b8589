"""A converted model that trains quicker: the same parameters, computed by other operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import DeployError, first_line
from kswap.graph.clone import full_clone
from kswap.nn import PointwiseBlock
from kswap.nn.implementation import Implementation, ImplementationId
from kswap.runtimes.prepared import relative_error
from kswap.sources.inputs import Inputs
from kswap.timing import interleaved
from kswap.training.kinds import trainable
from kswap.training.trainable import with_shared_tensors

_ROUNDS = 15
_LEAST_ROUNDS = 5
_SECONDS = 0.4

# Relative to the largest number of a tensor: tensor cores round factors to 11 bits in tf32 and to 8 in bfloat16.
_MOST_ERROR = 0.05


def optimize_for_training(
    model: nn.Module, example_input: Tensor | Inputs | None = None, autotune: bool = True
) -> nn.Module:
    """``model`` with its blocks computed by the operators that train quickest; the argument is unchanged.

    The result has the class, mode and state dict of ``model``, and its parameters and buffers *are* those of
    ``model``: an optimizer of one is an optimizer of the other, and what is saved of one is saved of the other.
    Its outputs, gradients and statistics differ by float rounding only. Move ``model`` to its device and memory
    format before; moved later, the result takes its running statistics along as copies of its own.

    Linear layers, one- and three-dimensional and weight-standardised convolutions stay with their stock operators,
    and low-rank blocks, too.

    Args:
        model: a converted model.
        example_input: what the model is called with in training: a batch of the size, memory format and dtype that it
            will see, on the device of ``model``.
        autotune: with ``example_input``, measure forward and backward pass of each block on the input that it gets,
            in several implementations; otherwise the blocks stay as converted, where a rule decides from the
            channel numbers (:func:`kswap.nn.group_merging.quick_merging`), on CPUs only.

    Raises:
        DeployError: where the model has no blocks or cannot be run on ``example_input``.

    >>> import kswap
    >>> model = kswap.create_model("mobilenetv3_small_050", num_classes=10)
    >>> quick = optimize_for_training(model)
    >>> all(a is b for a, b in zip(model.parameters(), quick.parameters()))
    True
    """
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, PointwiseBlock)}
    if not blocks:
        raise DeployError("this model has no blocks of kswap: convert it first")
    seen: Mapping[str, Tensor] = {}
    if autotune and example_input is not None:
        inputs = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
        seen = _inputs_seen(with_shared_tensors(model), tuple(blocks), inputs)
    known: dict[object, ImplementationId] = {}
    built: dict[int, nn.Module] = {}
    for name, block in blocks.items():
        found = trainable(block)
        chosen = found.estimated
        if name in seen and found.variations:
            key = _likeness(block, seen[name])
            if key not in known:
                known[key] = quickest(block, seen[name])
            chosen = found.named(known[key])
        built[id(block)] = chosen.build()
    return with_shared_tensors(model, built)


def _inputs_seen(model: nn.Module, names: tuple[str, ...], inputs: Inputs) -> dict[str, Tensor]:
    """An empty tensor like the input of each block in a forward pass in eval mode, by name."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, arguments: (seen.setdefault(name, torch.empty_like(arguments[0], device="meta")), None)[
            1
        ]

    model.eval()  # running statistics stay
    with ExitStack() as after, torch.no_grad():
        for name in names:
            after.callback(model.get_submodule(name).register_forward_pre_hook(note(name)).remove)
        try:
            model(*inputs)
        except Exception as error:
            raise DeployError(
                f"the model cannot be run on the example input: {type(error).__name__}: {first_line(error)}"
            ) from error
    return seen


def _likeness(block: PointwiseBlock, like: Tensor) -> object:
    """Equal for two blocks where one measurement does for both."""
    return (repr(block), block.plan, tuple(like.shape), like.stride(), like.dtype)


def quickest(block: PointwiseBlock, like: Tensor) -> ImplementationId:
    """The implementation of ``block`` whose forward and backward pass is the quickest on an input like ``like``.

    Measured on a copy, so that weights, gradients and statistics of ``block`` are unchanged.
    """
    device = block.weight.device
    generator = torch.Generator(device).manual_seed(0)
    x = torch.empty_like(like, device=device).normal_(generator=generator).requires_grad_()
    copy = full_clone(block)
    assert isinstance(copy, PointwiseBlock)
    known = trainable(copy)
    chosen = known.estimated
    for variation in known.variations:
        tried = {str(one.id): one for one in variation(chosen) if not one.only_measured or _is_proven(one, copy, x)}
        runs = {text: partial(_pass, one.build(), x, _wait(device)) for text, one in tried.items()}
        times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
        chosen = tried[min(tried, key=lambda text: min(times[text]))]  # whatever disturbs a pass only makes it longer
    return chosen.id


def _is_proven(one: Implementation, block: PointwiseBlock, x: Tensor) -> bool:
    """Whether an implementation that was written for a kind of device has the gradients of ``block`` on this one."""
    weights = [p for p in block.parameters() if p.requires_grad]

    def passed(module: nn.Module) -> list[Tensor]:
        """Gradients of weights in one, since that of a bias before a batch norm is nothing but rounding."""
        out = module(x)
        grad = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape).to(out.dtype)
        of_x, *of_weights = torch.autograd.grad(out, [x, *weights], grad)
        return [out, of_x, torch.cat([x.new_zeros(0), *(one.flatten() for one in of_weights)])]

    try:
        wanted, found = passed(block), passed(one.build())
    except Exception as reason:  # whatever a compiler of kernels raises
        warnings.warn(f"{one.id} is left out, since it fails here: {first_line(reason)}", stacklevel=2)
        return False
    error = relative_error(wanted, found)
    if not error <= _MOST_ERROR:
        warnings.warn(f"{one.id} is left out, since its gradients differ here by {error:.1g}", stacklevel=2)
        return False
    return True


def _wait(device: torch.device) -> Callable[[], object]:
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def _pass(block: nn.Module, x: Tensor, wait: Callable[[], object]) -> None:
    out = block(x)
    torch.autograd.grad(out, [x, *(p for p in block.parameters() if p.requires_grad)], torch.ones_like(out))
    wait()
