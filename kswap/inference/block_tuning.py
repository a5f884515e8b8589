"""Which form of each block is the quickest: measured in the runtime that will run it, or estimated."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import DeployError
from kswap.inference.folded_block import FoldedBlock, fold
from kswap.inference.forms import Form, forms_of, least_cost, shortlist, stand_for
from kswap.nn import GroupedBlock as PointwiseBlock
from kswap.runtimes.targets import prepare
from kswap.timing import interleaved

# Forms that are measured, at most. To compile one takes inductor seconds.
_MOST_FORMS = {"inductor": 3}
_MOST_FORMS_ELSE = 8

_SECONDS = 0.5
_ROUNDS = 300
_LEAST_ROUNDS = 5

# A form has to be measured this much quicker than the first one.
_CLEARLY = 0.97

# Called with the name of each block as it is done, and how often that will be.
Watcher = Callable[[str, int], None]


@dataclass(frozen=True)
class Assignment:
    """A form for each block by name, and the seconds of every form that was measured (empty: none was)."""

    label: str
    forms: Mapping[str, str]
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def mixed(self, other: Assignment, names: set[str]) -> Assignment:
        """This assignment with the forms of ``other`` for the blocks ``names``."""
        forms = {name: (other if name in names else self).forms[name] for name in self.forms}
        seconds = {name: (other if name in names else self).seconds.get(name, {}) for name in self.forms}
        label = self.label if forms == dict(self.forms) else f"{self.label}, {other.label} in part"
        return Assignment(label, forms, seconds)


def blocks_of(model: nn.Module) -> dict[str, PointwiseBlock]:
    """The blocks of ``model`` by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PointwiseBlock)}


def estimated(model: nn.Module) -> Assignment:
    """The forms with the least estimated cost."""
    forms = {name: least_cost(forms_of(fold(block))).name for name, block in blocks_of(model).items()}
    return Assignment("estimated", forms)


def densest(model: nn.Module) -> Assignment:
    """The first form of each block: nothing but dense layers."""
    return Assignment("dense", {name: forms_of(fold(block))[0].name for name, block in blocks_of(model).items()})


def measured(
    model: nn.Module,
    shapes: Mapping[str, torch.Size],
    target: str,
    threads: int | None,
    in_context: bool = False,
    watch: Watcher | None = None,
) -> Assignment:
    """The quickest of the likely forms of each block on inputs of ``shapes``, in the runtime ``target``.

    Blocks that are alike are measured once. ``in_context`` puts each form between two cheap convolutions, so that
    a runtime that keeps images in a layout of its own is charged for leaving it, and not for entering it. A block
    without a shape was not called, and takes its estimated form.
    """
    known: dict[Any, tuple[str, dict[str, float]]] = {}
    forms, seconds = {}, {}
    blocks = blocks_of(model)
    for name, block in blocks.items():
        folded = fold(block)
        ways = forms_of(folded)
        if name in shapes:
            key = _key(block, folded, shapes[name])
            if key not in known:
                known[key] = _quickest(ways, block, shapes[name], target, threads, in_context)
            forms[name], seconds[name] = known[key]
        else:
            forms[name], seconds[name] = least_cost(ways).name, {}
        if watch is not None:
            watch(name, len(blocks))
    return Assignment("in context" if in_context else "alone", forms, seconds)


def _key(block: PointwiseBlock, folded: FoldedBlock, shape: torch.Size) -> tuple[Any, ...]:
    """What two blocks have in common when one measurement does for both."""
    return (
        block.plan,
        tuple(shape),
        folded.factory,
        repr(folded.after_k),
        repr(folded.after_l),
        repr(folded.shuffle),
    )


class _InContext(nn.Module):
    """A layer between two that work channel by channel."""

    def __init__(self, layer: nn.Module, channels: tuple[int, int]) -> None:
        super().__init__()
        before, after = channels
        self.before = nn.Conv2d(before, before, 1, groups=before)
        self.layer = layer
        self.after = nn.Conv2d(after, after, 1, groups=after)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.layer(self.before(x)))
        return result


def _quickest(
    forms: tuple[Form, ...],
    block: PointwiseBlock,
    shape: torch.Size,
    target: str,
    threads: int | None,
    in_context: bool,
) -> tuple[str, dict[str, float]]:
    tried = shortlist(forms, _MOST_FORMS.get(target, _MOST_FORMS_ELSE))
    if len(tried) == 1:
        return tried[0].name, {}
    example = torch.randn(shape).to(block.weight)
    surrounded = in_context and len(shape) == 4 and max(shape[2:]) > 1
    runs: dict[str, Callable[[], Any]] = {}
    for form in tried:
        layer = form.build()
        if surrounded:
            layer = _InContext(layer, (block.in_channels, block.out_channels)).to(block.weight)
        runs[form.name] = prepare(layer.eval(), (example,), target, threads, quick=True).run
    times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    seconds = {name: lower_half_median(values) for name, values in times.items()}
    best = min(seconds, key=seconds.__getitem__)
    return (best if seconds[best] < _CLEARLY * seconds[tried[0].name] else tried[0].name), seconds


def lower_half_median(seconds: list[float]) -> float:
    """The median of the quicker half: what else the machine does only ever makes a pass longer.

    >>> lower_half_median([3.0, 1.0, 9.0, 2.0])
    2.0
    """
    return statistics.median(sorted(seconds)[: len(seconds) // 2 + 1])


def replace_blocks_(model: nn.Module, forms: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Put every block into its form, in place; gives the parameters of each before and after.

    Raises :class:`DeployError` where a block has no such form.
    """
    new_of, params = {}, {}
    for name, block in blocks_of(model).items():
        ways = {form.name: form for form in forms_of(fold(block))}
        if forms.get(name) not in ways:
            raise DeployError(
                f"'{name}' has no form '{forms.get(name)}': it has {', '.join(ways)}; optimise the model again"
            )
        made = stand_for(block, ways[forms[name]].build()).eval()
        params[name] = (sum(p.numel() for p in block.parameters()), sum(p.numel() for p in made.parameters()))
        new_of[id(block)] = made
    for parent in list(model.modules()):
        for child_name, child in list(parent._modules.items()):
            if child is not None and id(child) in new_of:
                parent._modules[child_name] = new_of[id(child)]
    return params
