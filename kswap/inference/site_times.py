"""How long each choice of a budget takes in a target: every distinct layer measured once, all its blocks in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kswap.budgets.block_library import Library
from kswap.graph.clone import full_clone, sharing_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.narrow import narrow_
from kswap.graph.random_state import preserved_random_state
from kswap.inference.block_tuning import lower_half_median
from kswap.inference.kinds import candidates_of
from kswap.nn.kinds import build_block
from kswap.nn.norms_and_activations import is_norm
from kswap.nn.pointwise import channels_of, kind_of, stride_of
from kswap.planner.block_plan import BlockPlan
from kswap.planner.choices import Choice, Unit
from kswap.planner.narrowing import Narrowing
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
    """Measure the choices of ``library`` in ``target``, for :meth:`kswap.budgets.block_library.Library.with_seconds`.

    Layers with the same sizes, stride, bias and input shape are measured once. A layer and all its blocks run in
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
    x = torch.zeros(1, *library.plan.input_size, device=device)
    layers = _Layers.of(base, library, x)
    parts = {
        (unit.name, choice.label): tuple(layers.parts(unit, choice))
        for unit in library.units
        for choice in unit.choices
    }
    wanted: dict[_Key, tuple[_Part, dict[str, BlockPlan]]] = {}
    for part in (part for own in parts.values() for part in own):
        _, layouts = wanted.setdefault(part.likeness, (part, {}))
        if part.layout is not None:
            layouts.setdefault(part.text, part.layout)
    seconds: dict[_Key, Mapping[str, float]] = {}
    with preserved_random_state(), progress_bar(f"timing in {target}", len(wanted) + 1, shown=progress) as bar:
        for key, (part, layouts) in wanted.items():
            seconds[key] = _timed(part.layer, layouts, part.shape, target, threads)
            bar.advance(note=part.name)
        whole = _in_turns({_KEPT: prepare(base, (x,), target, threads).run}, target, threads)[_KEPT]
        bar.advance()
    calls = {site.name: max(site.site.calls, 1) for site in library.plan.sites}

    def of(own: tuple[_Part, ...]) -> float:
        return sum(calls.get(part.name, 1) * seconds[part.likeness][part.text] for part in own)

    choices = {
        unit.name: {choice.label: of(parts[unit.name, choice.label]) for choice in unit.choices}
        for unit in library.units
    }
    return ChoiceSeconds(choices, whole)


# What layers that take the same time have in common.
_Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Part:
    """One layer of a unit with its input shape, and what becomes of it: a block of this layout, or nothing."""

    name: str
    layer: nn.Module
    shape: tuple[int, ...]
    layout: BlockPlan | None

    @property
    def likeness(self) -> _Key:
        sizes = (getattr(self.layer, name, None) for name in ("kernel_size", "groups", "padding", "dilation"))
        bias = self.layer.bias is None
        return type(self.layer), *channels_of(self.layer), stride_of(self.layer), *sizes, bias, self.shape

    @property
    def text(self) -> str:
        return _KEPT if self.layout is None else str(self.layout.to_json())


@dataclass(frozen=True)
class _Layers:
    """The layers of a network and the shapes of their inputs, with all hidden channels or with fewer."""

    base: nn.Module
    shapes: Mapping[str, tuple[int, ...]]
    narrowed: dict[Narrowing, nn.Module] = field(default_factory=dict)

    @classmethod
    def of(cls, base: nn.Module, library: Library, x: Tensor) -> _Layers:
        """Layers beside the sites are those that become narrower with hidden channels; one run shows their inputs."""
        shapes = dict(library.shapes)
        names = {name for narrower in library.narrower for name in narrower.hidden.layers} - shapes.keys()

        def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
                shapes[name] = tuple(args[0].shape)

            return hook

        handles = [base.get_submodule(name).register_forward_pre_hook(note(name)) for name in names]
        with torch.no_grad():
            if names:
                base(x)
        for handle in handles:
            handle.remove()
        return cls(base, shapes)

    def parts(self, unit: Unit, choice: Choice) -> Iterator[_Part]:
        """All layers of a unit as ``choice`` makes them; norms are left out, which runtimes fold into the layers."""
        sites = {name: None for other in unit.choices for name in other.sites}
        hidden = {narrowing.hidden: None for other in unit.choices for narrowing in other.narrowings}
        between = {name: None for own in hidden for name in own.layers}
        model, shapes = self.base, dict(self.shapes)
        for narrowing in choice.narrowings:
            model = self._with(narrowing)
            for name in (*narrowing.hidden.along, *narrowing.hidden.read_by):
                shapes[name] = _with_channels(shapes[name], self.base.get_submodule(name), narrowing.channels)
        for name in sites | between:
            layer = model.get_submodule(name)
            plan = choice.sites.get(name)
            if not is_norm(layer):
                yield _Part(name, layer, shapes[name], plan.layer if plan is not None and plan.replaced else None)

    def _with(self, narrowing: Narrowing) -> nn.Module:
        if narrowing not in self.narrowed:
            self.narrowed[narrowing], _ = sharing_clone(self.base)
            narrow_(self.narrowed[narrowing], narrowing)
        return self.narrowed[narrowing]


def _with_channels(shape: tuple[int, ...], layer: nn.Module, channels: int) -> tuple[int, ...]:
    """The shape of an input of ``layer`` with other channels."""
    dim = len(shape) - 1 if kind_of(layer) == "linear" else 1
    return (*shape[:dim], channels, *shape[dim + 1 :])


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
