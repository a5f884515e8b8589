"""How long each choice of a budget takes in a target: every distinct layer measured once, all its blocks in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kswap.budgets.library import Library
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.random_state import preserved_random_state
from kswap.inference.block_tuning import lower_half_median
from kswap.inference.kinds import candidates_of
from kswap.nn.kinds import build_block
from kswap.nn.pointwise import channels_of, stride_of
from kswap.planner.block_plan import BlockPlan
from kswap.planner.choices import Unit
from kswap.progress import progress_bar
from kswap.runtimes.targets import check_target, find_target, prepare
from kswap.timing import interleaved

_SECONDS = 1.0
_ROUNDS = 300
_LEAST_ROUNDS = 9

# The layer itself, beside its blocks.
_KEPT = ""


@dataclass(frozen=True)
class ChoiceSeconds:
    """Seconds of one pass at batch 1: of each choice of each unit by name and label, and of the whole original."""

    choices: Mapping[str, Mapping[str, float]]
    whole: float


def choice_seconds(
    library: Library, original: nn.Module, target: str, threads: int | None = None, progress: bool = True
) -> ChoiceSeconds:
    """Measure the choices of ``library`` in ``target``, for :meth:`kswap.budgets.library.Library.with_seconds`.

    Layers with the same channels, stride, bias and input shape are measured once. A layer and all its blocks run in
    turns; the times are medians of the quicker half. A block runs as :func:`kswap.optimize_for_inference` would
    estimate that it is quickest, and never slower than the layer itself, which is one of the ways to compute it.

    Args:
        library: brings the shapes of the inputs.
        original: the network of the library without the edits of its plan, trained or not; it is unchanged.
        target: where the network will run.
        threads: of one operator.
        progress: draw a progress bar.

    Raises :class:`kswap.errors.DeployError` for a target that cannot run here.
    """
    check_target(target)
    device = find_target(target).device
    base = full_clone(original).eval().requires_grad_(False).to(device)
    apply_edits_(base, library.plan.edits)
    wanted: dict[tuple[Any, ...], _Measured] = {}
    for unit in library.units:
        for name, layout in _layouts(unit):
            known = wanted.setdefault(_likeness(base, name, library), _Measured(name, {}))
            if layout is not None:
                known.layouts.setdefault(str(layout.to_json()), layout)
    seconds: dict[tuple[Any, ...], Mapping[str, float]] = {}
    with preserved_random_state(), progress_bar(f"timing in {target}", len(wanted) + 1, shown=progress) as bar:
        for key, measured in wanted.items():
            layer, shape = base.get_submodule(measured.name), library.shapes[measured.name]
            seconds[key] = _timed(layer, measured.layouts, shape, target, threads)
            bar.advance(note=measured.name)
        x = torch.zeros(1, *library.plan.input_size, device=device)
        whole = _in_turns({_KEPT: prepare(base, (x,), target, threads).run}, target, threads)[_KEPT]
        bar.advance()
    calls = {site.name: site.site.calls for site in library.plan.sites}

    def of(name: str, layout: BlockPlan | None) -> float:
        known = seconds[_likeness(base, name, library)]
        return max(calls[name], 1) * known[_KEPT if layout is None else str(layout.to_json())]

    return ChoiceSeconds(
        {
            unit.name: {
                choice.label: sum(
                    of(name, choice.sites[name].layer if name in choice.sites else None) for name in _names(unit)
                )
                for choice in unit.choices
            }
            for unit in library.units
        },
        whole,
    )


@dataclass(frozen=True)
class _Measured:
    """A layer that stands for all that are alike, and the blocks that any of them may become."""

    name: str
    layouts: dict[str, BlockPlan]


def _names(unit: Unit) -> tuple[str, ...]:
    """The sites of a unit."""
    return tuple(dict.fromkeys(name for choice in unit.choices for name in choice.sites))


def _layouts(unit: Unit) -> list[tuple[str, BlockPlan | None]]:
    """The sites of a unit with all that may become of them; ``None`` is the layer itself."""
    blocks = [(name, plan.layer) for choice in unit.choices for name, plan in choice.sites.items()]
    return [*((name, None) for name in _names(unit)), *blocks]


def _likeness(model: nn.Module, name: str, library: Library) -> tuple[Any, ...]:
    """Equal for layers that take the same time."""
    layer = model.get_submodule(name)
    return (type(layer), *channels_of(layer), stride_of(layer), layer.bias is None, library.shapes[name])


def _timed(
    layer: nn.Module, layouts: Mapping[str, BlockPlan], shape: tuple[int, ...], target: str, threads: int | None
) -> dict[str, float]:
    """Seconds of the layer and of each block in its place."""
    example = torch.randn(shape).to(next(layer.parameters()))
    runs: dict[str, Callable[[], Any]] = {_KEPT: prepare(layer, (example,), target, threads, quick=True).run}
    for text, layout in layouts.items():
        chosen = candidates_of(build_block(layout, replaces=layer).eval()).estimated(target)
        if not chosen.id.is_dense:
            runs[text] = prepare(chosen.build().eval(), (example,), target, threads, quick=True).run
    found = _in_turns(runs, target, threads)
    return {text: min(found.get(text, found[_KEPT]), found[_KEPT]) for text in (_KEPT, *layouts)}


def _in_turns(runs: Mapping[str, Callable[[], Any]], target: str, threads: int | None) -> dict[str, float]:
    with find_target(target).settings(threads):
        times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    return {text: lower_half_median(values) for text, values in times.items()}
