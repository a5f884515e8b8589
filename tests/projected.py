"""A projection held against forward passes of both networks, and against fresh draws of the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import kswap
from kswap.nn.pointwise import channel_dim, channels_of, filter_params, standardises, stride_of
from kswap.projection.moments import Moments
from kswap.projection.written import matrix_of

Batch = Tensor | dict[str, Tensor]


def check_projection(
    model: nn.Module, batches: Sequence[Batch], same_shapes: bool = True, **options: Any
) -> kswap.Conversion:
    """Convert ``model`` with blocks fitted on ``batches``, and check what the report says of them.

    At each site, the forward passes of both networks show the error that the report names, and no fresh draw of the
    block comes as near, even with the best scale for it where its layers can have any. All outputs are finite, with
    shapes as before.
    """
    model = model.eval()
    example = batches[0] if isinstance(batches[0], dict) else (batches[0],)
    conversion = kswap.convert(
        model, init="project", calibration=batches, example_input=example, seed=0, progress=False, **options
    )
    fresh = kswap.convert(model, plan=conversion.plan, example_input=example, seed=1).model
    assert conversion.report.projection is not None
    errors = conversion.report.projection.by_name
    names = [site.name for site in conversion.plan.replaced]
    assert names
    assert set(errors) == set(names)
    theirs, wanted = _observed(model, names, batches)
    ours, found = _observed(conversion.model.eval(), names, batches)
    assert not same_shapes or [leaf.shape for leaf in found] == [leaf.shape for leaf in wanted]
    assert all(leaf.isfinite().all() for leaf in found)
    for name in names:
        layer = model.get_submodule(name)
        x = _rows(layer, [call[0] for call in ours[name]], strided=True)
        y, made = (_rows(layer, [call[1] for call in calls[name]]) for calls in (theirs, ours))
        moments, off = Moments.of(x, y), made - y
        total = float(moments.yy.sum())
        if total <= 1e-10 * float(y.square().mean(0).sum()):
            continue  # the layer returns the same for all positions
        shown = float(off.var(0, correction=0).sum()) / total
        assert abs(shown - errors[name]) < 0.01 * errors[name] + 1e-3, (name, shown, errors[name])
        drawn = matrix_of(fresh.get_submodule(name)).weight  # type: ignore[arg-type]
        of_one_size = standardises(layer) and not filter_params(layer)
        assert errors[name] < (moments.error(drawn) if of_one_size else _scaled_error(drawn, moments)) + 1e-6, name
        if layer.bias is not None:
            assert float(off.mean(0).square().sum()) < 1e-3 * total, name
    return conversion


def _observed(
    model: nn.Module, names: Sequence[str], batches: Sequence[Batch]
) -> tuple[dict[str, list[tuple[Tensor, Tensor]]], list[Tensor]]:
    """What each module of ``names`` got and returned in each call, and the tensors that the model returned."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            x = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
            calls[name].append((x.clone(), output.clone()))

        return note

    handles = [model.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True) for name in names]
    with torch.no_grad():
        outputs = [model(**batch) if isinstance(batch, dict) else model(batch.clone()) for batch in batches]
    for handle in handles:
        handle.remove()
    return calls, [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _rows(layer: nn.Module, tensors: Sequence[Tensor], strided: bool = False) -> Tensor:
    """``(positions, channels)`` of the inputs of a pointwise layer, without those that its stride passes over."""
    found = []
    for tensor in tensors:
        kept = tensor
        for offset, step in enumerate(stride_of(layer) if strided else (), start=-len(stride_of(layer))):
            kept = kept.index_select(offset, torch.arange(0, kept.shape[offset], step))
        found.append(kept.movedim(channel_dim(layer), -1).reshape(-1, channels_of(layer)[0 if strided else 1]))
    return torch.cat(found).double()


def _scaled_error(matrix: Tensor, moments: Moments) -> float:
    """The error of ``matrix`` times the number that is best for it."""
    size = float(((matrix @ moments.xx) * matrix).sum())
    return moments.error(matrix * (float((matrix * moments.yx).sum()) / size)) if size > 0 else 1.0
