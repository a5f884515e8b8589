"""One implementation for each block of a model: how it is chosen without measuring, and how it is put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kswap.errors import DeployError
from kswap.graph.clone import copy_with
from kswap.inference.candidates import Candidates
from kswap.inference.drop_in import with_sizes_of
from kswap.inference.fold_norms import FoldedNorms, fold_norms_, standardise_once_
from kswap.inference.fold_orders import fold_orders_, has_orders
from kswap.inference.kinds import candidates_of
from kswap.nn import PointwiseBlock
from kswap.nn.implementation import ImplementationId


@dataclass(frozen=True)
class Selection:
    """An implementation for each block by name, and how it was chosen.

    ``seconds`` has the time of every implementation that was measured for a block; it is empty where none was.
    """

    label: str
    chosen: Mapping[str, ImplementationId]
    seconds: Mapping[str, Mapping[ImplementationId, float]] = field(default_factory=dict)

    def with_others(self, other: Selection, names: set[str]) -> Selection:
        """This selection with what ``other`` chose for the blocks ``names``."""
        chosen = {name: (other if name in names else self).chosen[name] for name in self.chosen}
        seconds = {name: (other if name in names else self).seconds.get(name, {}) for name in self.chosen}
        label = self.label if chosen == dict(self.chosen) else f"{self.label}, {other.label} in part"
        return Selection(label, chosen, seconds)


@dataclass(frozen=True)
class FoldedModel:
    """A model in eval mode, its blocks, and the candidates of each, folded once for all selections.

    ``model`` keeps its blocks: each selection is built into a copy.
    """

    model: nn.Module
    blocks: Mapping[str, PointwiseBlock]
    candidates: Mapping[str, Candidates]

    @classmethod
    def of(cls, model: nn.Module, native: bool = False) -> FoldedModel:
        """Fold the blocks of ``model``, which stays unchanged; ``native`` is as for :func:`candidates_of`."""
        blocks = {name: module for name, module in model.named_modules() if isinstance(module, PointwiseBlock)}
        return cls(model, blocks, {name: candidates_of(block, native) for name, block in blocks.items()})

    def dense(self) -> nn.Module:
        """A copy with the first implementation of each block: a plain dense layer where the block is one linear map."""
        made = {
            name: with_sizes_of(block, self.candidates[name].densest.build()) for name, block in self.blocks.items()
        }
        model = copy_with(self.model, {id(block): made[name] for name, block in self.blocks.items()})
        standardise_once_(model)
        return model.eval()

    def estimated(self, target: str) -> Selection:
        """The implementations with the least estimated cost."""
        return Selection("estimated", {name: found.estimated(target).id for name, found in self.candidates.items()})

    def densest(self) -> Selection:
        """The first implementation of each block: nothing but dense layers."""
        return Selection("dense", {name: found.densest.id for name, found in self.candidates.items()})

    def given(self, chosen: Mapping[str, ImplementationId | str], target: str) -> Selection:
        """These implementations, by their identifiers or the texts of them. Raises :class:`DeployError`.

        Those by kswap's own kernel are estimated where the kernel is not among the candidates.
        """
        missing = [name for name in self.blocks if name not in chosen]
        if missing:
            raise DeployError(f"no implementation is given for the block '{missing[0]}'; optimise the model again")
        ids = {name: chosen[name] for name in self.blocks}
        parsed = {name: ImplementationId.parse(one) if isinstance(one, str) else one for name, one in ids.items()}
        return Selection("given", {name: self._possible(name, one, target) for name, one in parsed.items()})

    def _possible(self, name: str, wanted: ImplementationId, target: str) -> ImplementationId:
        candidates = self.candidates[name]
        has_kernel = any(one.id.is_native for one in candidates.implementations)
        return candidates.estimated(target).id if wanted.is_native and not has_kernel else wanted


@dataclass(frozen=True)
class BuiltModel:
    """A model with a selection built in: ``params`` are those of each block before and after, by name."""

    model: nn.Module
    params: Mapping[str, tuple[int, int]]
    norms: FoldedNorms
    norms_in_blocks: int


def build(folded: FoldedModel, selection: Selection, inputs: tuple[Any, ...]) -> BuiltModel:
    """A copy of the folded model with each block as ``selection`` says, and all norms folded.

    Raises :class:`DeployError` where a block has no such implementation.
    """
    params, new_of = {}, dict[int, object]()
    for name, block in folded.blocks.items():
        try:
            made = folded.candidates[name][selection.chosen[name]].build()
        except DeployError as error:
            raise DeployError(f"'{name}': {error}") from error
        made = with_sizes_of(block, made).eval()
        params[name] = (sum(p.numel() for p in block.parameters()), sum(p.numel() for p in made.parameters()))
        new_of[id(block)] = made
    model = copy_with(folded.model, new_of)
    standardise_once_(model)
    if has_orders(model):
        fold_orders_(model, folded.dense(), inputs)
    norms = fold_norms_(model, inputs)
    return BuiltModel(model, params, norms, sum(found.norms for found in folded.candidates.values()))
