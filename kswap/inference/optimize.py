"""A converted model for inference: norms folded, each block in the plain layers that run it quickest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import DeployError
from kswap.graph.call import tensors_in
from kswap.graph.clone import full_clone, is_on_meta
from kswap.graph.device import device_of
from kswap.graph.observe import observe
from kswap.graph.random_state import preserved_random_state
from kswap.inference.agreement import checked_error, run
from kswap.inference.block_tuning import Watcher
from kswap.inference.model_tuning import TunedModel, tune_model
from kswap.inference.record import Optimization, OptimizedBlock, record_
from kswap.inference.selection import FoldedModel, build
from kswap.native.operator import obstacle
from kswap.nn.implementation import ImplementationId
from kswap.runtimes.prepared import torch_threads
from kswap.runtimes.targets import check_target
from kswap.sources.check import check_model
from kswap.sources.inputs import Inputs, call_for
from kswap.sources.recognise import source_of_module


def optimize_for_inference(
    model: nn.Module,
    example_input: Tensor | Inputs | None = None,
    target: str = "eager",
    autotune: bool = True,
    threads: int | None = None,
    implementations: Mapping[str, ImplementationId | str] | None = None,
    watch: Watcher | None = None,
    native: bool | None = None,
) -> nn.Module:
    """A copy of ``model`` in eval mode that returns the same outputs sooner; of the same class, of plain layers.

    Batch norms are folded; a block that is one linear map is collapsed into one matrix or into one grouped and one
    dense layer; replication, second path, interleave and sum disappear into weights, and the orders of assigned blocks
    into their neighbours where those hold all that is read of the channels. Parameters may grow again. No
    block that is one linear map runs slower than the layer that it replaced: that dense layer is among its
    implementations. A model without blocks has its norms folded.

    :func:`kswap.optimization_of` returns the record of what was done. The outputs are compared on the example; where
    they differ by more than folding explains, they are compared in float64 too.

    Args:
        model: stays unchanged.
        example_input: what the model will be called with, at the batch that counts; ``None`` is one random sample of
            its own input size.
        target: what will run it: ``"eager"``, ``"inductor"``, ``"onnxruntime"``, ``"openvino"``, ``"executorch"`` or
            ``"cuda"``.
        autotune: measure the implementations of each block on its own input in ``target``, then several selections of
            them in the whole model; otherwise estimate.
        threads: of one operator, while measuring.
        implementations: those of an earlier run by name of the block, identifiers or their texts: nothing is measured.
        watch: is told the name of each block that was measured, and how many there are.
        native: kswap's own kernel, for ``"eager"``, is among the implementations. It is compiled once, by the C++
            compiler of this machine, and kept; where that is not possible, a warning says why. ``None`` uses it only
            for blocks that ``implementations`` has it for, and only where it was compiled before; ``False`` never.

    Raises:
        DeployError: for a target that cannot be used here, and where outputs differ by more than rounding explains.

    >>> import kswap, torch
    >>> model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10).eval()
    >>> quick = kswap.optimize_for_inference(model, torch.randn(1, 3, 64, 64), autotune=False)
    >>> record = kswap.optimization_of(quick)
    >>> type(quick).__name__, record.norms_folded, record.error < 1e-5
    ('MobileNetV3', 44, True)
    """
    check_model(model)
    check_target(target)
    if is_on_meta(model):
        raise DeployError("a model on the meta device has no weights to optimise: build it with weights")
    if native and target != "eager":
        raise DeployError(f"the native kernel runs in eager, not in {target}: leave out native")
    with_kernel = _has_kernel(native, implementations)
    base = full_clone(model).eval().requires_grad_(False)
    inputs = _inputs(base, example_input)
    with preserved_random_state():  # new layers draw weights, which are then overwritten
        wanted = run(base, inputs)
        folded = FoldedModel.of(base, with_kernel)
        tuned = _tuned(folded, inputs, target, autotune, threads, implementations, watch)
        chosen = tuned.selection
        built = build(folded, chosen, inputs)

        def rebuilt(other: nn.Module, others_inputs: Inputs) -> nn.Module:
            return build(FoldedModel.of(other, with_kernel), chosen, others_inputs).model

        error = checked_error(wanted, built.model, base, rebuilt, inputs)
    before, after = _size(base, inputs), _size(built.model, inputs)
    optimization = Optimization(
        target=target,
        threads=threads,
        autotuned=bool(tuned.seconds),
        input_shape=tuple(tensors_in(inputs)[0].shape),
        params_before=before[0],
        params_after=after[0],
        macs_before=before[1],
        macs_after=after[1],
        norms_folded=built.norms_in_blocks + len(built.norms.folded),
        norms_kept=built.norms.kept,
        error=error,
        layers=tuple(
            OptimizedBlock(name, chosen.chosen[name], *counts, _by_text(chosen.seconds.get(name, {})))
            for name, counts in built.params.items()
        ),
        seconds=tuned.seconds,
    )
    record_(built.model, optimization)
    return built.model


def _has_kernel(native: bool | None, implementations: Mapping[str, ImplementationId | str] | None) -> bool:
    """Whether the native kernel is wanted and ready; where it is wanted and is not, a warning says why."""
    recorded = any(ImplementationId.parse(str(one)).is_native for one in (implementations or {}).values())
    if native is False or (native is None and not recorded):
        return False
    reason = obstacle(build=bool(native))
    if reason is not None:
        warnings.warn(f"blocks run in stock form, without the native kernel: {reason}", stacklevel=3)
    return reason is None


def _tuned(
    folded: FoldedModel,
    inputs: Inputs,
    target: str,
    autotune: bool,
    threads: int | None,
    implementations: Mapping[str, ImplementationId | str] | None,
    watch: Watcher | None,
) -> TunedModel:
    """What was given, or estimated, or measured."""
    if implementations is not None:
        return TunedModel(folded.given(implementations, target), {})
    if not autotune or not folded.blocks:
        return TunedModel(folded.estimated(target), {})
    with torch_threads(threads):
        return tune_model(folded, inputs, _shapes(folded, inputs), target, threads, watch)


def _inputs(model: nn.Module, example: Tensor | Inputs | None) -> Inputs:
    """What the model is called with: the example unchanged, or one random sample of the model's input size."""
    if example is not None:
        return example if isinstance(example, tuple) else (example,)
    device = device_of(model)
    zeros = call_for(model, source_of_module(model)).tensors
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(x.shape, generator=generator).to(device) for x in zeros)


def _by_text(seconds: Mapping[ImplementationId, float]) -> dict[str, float]:
    return {str(id_): value for id_, value in seconds.items()}


def _shapes(folded: FoldedModel, inputs: Inputs) -> dict[str, torch.Size]:
    """The shape of the (first) input of each block that is called, by name."""
    seen: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, args: (seen.setdefault(name, args[0].shape), None)[1]

    with ExitStack() as after:
        for name, block in folded.blocks.items():
            after.callback(block.register_forward_pre_hook(note(name)).remove)
        run(folded.model, inputs)
    return seen


def _size(model: nn.Module, inputs: Inputs) -> tuple[int, int]:
    """Parameters, and MACs of one pass."""
    return sum(p.numel() for p in model.parameters()), observe(model, inputs).total.macs
