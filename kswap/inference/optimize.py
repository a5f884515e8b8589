"""A converted model for inference: norms folded, each block in the plain layers that run it quickest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import DeployError, first_line
from kswap.graph.clone import full_clone, is_on_meta
from kswap.graph.observe import observe
from kswap.inference.block_tuning import Assignment, Watcher, blocks_of, estimated
from kswap.inference.model_tuning import quickest, with_forms
from kswap.inference.record import LayerForm, Optimization
from kswap.runtimes.prepared import relative_error, tensors_in, torch_threads
from kswap.runtimes.targets import check_target
from kswap.sources.check import check_model
from kswap.sources.inputs import Inputs, inputs_for
from kswap.sources.recognise import source_of_module

# Folding rounds each weight once more. Beyond so many times the precision of the dtype (1e-3 in float32), relative to
# the largest output, something else has happened.
_MOST_ROUNDINGS = 8192
_MOST_ERROR = 0.2


def optimize_for_inference(
    model: nn.Module,
    example_input: Tensor | Inputs | None = None,
    target: str = "eager",
    autotune: bool = True,
    threads: int | None = None,
    forms: Mapping[str, str] | None = None,
    watch: Watcher | None = None,
) -> nn.Module:
    """A copy of ``model`` in eval mode that gives the same outputs sooner; of the same class, of plain layers.

    Batch norms are folded, a block without an activation between K and L is collapsed into one matrix or into
    one grouped and one dense layer, replication, second path, interleave and sum disappear into weights. Each
    block takes the form that is quickest on its own input in ``target`` (``"eager"``, ``"inductor"``,
    ``"onnxruntime"``, ``"openvino"``, ``"cuda"``), measured with ``threads``, first block by block and then in the
    whole model; unless ``autotune`` is false: then it is estimated. Where no activation stands between K and L,
    one dense layer is among the forms, so that no such block runs slower than the layer that it replaced.
    ``forms`` are those of an earlier run, by name of the block.

    ``example_input`` is what the model will be called with, at the batch that counts; without it, one random
    sample of its own input size. The attribute ``optimization`` of the result says what was done: parameters
    may grow again. A model without blocks has its norms folded. The outputs are compared on the example.
    Raises :class:`kswap.errors.DeployError` for a target that cannot be used here, and where outputs differ.

    >>> import kswap, torch
    >>> model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10).eval()
    >>> quick = kswap.optimize_for_inference(model, torch.randn(1, 3, 64, 64), autotune=False)
    >>> type(quick).__name__, quick.optimization.norms_folded, quick.optimization.error < 1e-5
    ('MobileNetV3', 44, True)
    """
    check_model(model)
    check_target(target)
    if is_on_meta(model):
        raise DeployError("a model on the meta device has no weights to optimise: build it with weights")
    base = full_clone(model).eval().requires_grad_(False)
    inputs = _inputs(base, example_input)
    wanted, shapes = _run(base, inputs)
    before = _size(base, inputs)
    chosen, whole = Assignment("given", forms or {}), dict[str, float]()
    if forms is None and not autotune:
        chosen = estimated(base)
    elif forms is None and blocks_of(base):
        with torch_threads(threads):
            chosen, whole = quickest(base, inputs, shapes, target, threads, watch)
    quick, params, folded = with_forms(base, chosen.forms, inputs)
    found, _ = _run(quick, inputs)
    after = _size(quick, inputs)
    quick.optimization = Optimization(  # type: ignore[assignment]
        target=target,
        threads=threads,
        autotuned=bool(whole),
        input_shape=tuple(tensors_in(inputs)[0].shape),
        params_before=before[0],
        params_after=after[0],
        macs_before=before[1],
        macs_after=after[1],
        norms_folded=folded,
        error=_checked(_difference(wanted, found), quick),
        layers=tuple(
            LayerForm(name, chosen.forms[name], *counts, chosen.seconds.get(name, {}))
            for name, counts in params.items()
        ),
        seconds=whole,
    )
    return quick


def _inputs(model: nn.Module, example: Tensor | Inputs | None) -> Inputs:
    """What the model is called with: the example as it is, or one random sample of the model's input size."""
    if example is not None:
        return example if isinstance(example, tuple) else (example,)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    zeros = inputs_for(model, source_of_module(model))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(x.shape, generator=generator).to(device) for x in zeros)


@torch.no_grad()
def _run(model: nn.Module, inputs: Inputs) -> tuple[list[Tensor], dict[str, torch.Size]]:
    """The output tensors of a pass, and the shape of each block's (first) input. Raises :class:`DeployError`."""
    seen: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, args: (seen.setdefault(name, args[0].shape), None)[1]

    handles = [block.register_forward_pre_hook(note(name)) for name, block in blocks_of(model).items()]
    try:
        outputs = model(*inputs)
    except Exception as error:
        raise DeployError(
            f"the model does not run on the example input: {type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return tensors_in(outputs), seen


def _size(model: nn.Module, inputs: Inputs) -> tuple[int, int]:
    """Parameters, and MACs of one pass."""
    return sum(p.numel() for p in model.parameters()), observe(model, inputs).total.macs


def _difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """The relative error of outputs that are no whole numbers; infinite where there are others than before."""
    if [x.shape for x in wanted] != [x.shape for x in found]:
        return float("inf")
    pairs = [(a, b) for a, b in zip(wanted, found, strict=True) if a.is_floating_point()]
    return relative_error([a for a, _ in pairs], [b for _, b in pairs])


def _checked(error: float, model: nn.Module) -> float:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if not error <= min(_MOST_ERROR, _MOST_ROUNDINGS * torch.finfo(dtype).eps):
        raise DeployError(
            f"the optimised model differs by {error:.1e} of its largest output: is every call of the model alike, "
            "with no randomness in eval mode?"
        )
    return error
