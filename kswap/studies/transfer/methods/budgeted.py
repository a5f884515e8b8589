"""A block for every site, chosen by a budget from a library, and projected.

The plan of a share is made once, with the calibration pictures of the first seed; seeds differ in the pictures that it
is projected with, and in distillation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kswap.budgeting import block_library
from kswap.budgets.block_library import Library
from kswap.conversion import convert
from kswap.errors import PlanError
from kswap.planner.plan import Plan
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject


def _all(library: Library) -> Library:
    return library


def _grouped(library: Library) -> Library:
    """Only grouped blocks, and every site kept as it is."""
    units = tuple(
        replace(
            unit,
            choices=tuple(
                choice
                for choice in unit.choices
                if all(site.layer.kind == "grouped" or not site.replaced for site in choice.sites.values())
            ),
        )
        for unit in library.units
    )
    return replace(library, units=units)


@dataclass(frozen=True)
class _Part:
    """What a method leaves to choose from: ``narrow`` says whether hidden channels may become fewer.

    ``macs`` limits the MACs as well: their share may be above that of the parameters by the first of these that any
    choice of blocks can keep.
    """

    narrow: bool
    part: Callable[[Library], Library] = _all
    macs: tuple[float, ...] = ()

    def plan(self, library: Library, share: float) -> Plan:
        """The plan at a share of the parameters."""
        part = self.part(library)
        for above in self.macs:
            with suppress(PlanError):
                return part.plan_for(f"params={share:g}, macs={min(share + above, 1):g}")
        return part.plan_for(f"params={share:g}")


_PARTS = {
    "budget": _Part(True),
    "budget-macs": _Part(True, macs=(0.08, 0.16, 0.32, 0.64)),
    "budget-blocks": _Part(False),
    "budget-grouped": _Part(False, _grouped),
}


def _build(subject: Subject, share: float, seed: int, name: str) -> Student:
    path = _path(subject, name, share)
    if not path.exists():
        _write_plans(subject, name)
    inputs, _ = subject.calibration(seed)
    made = convert(
        subject.model,
        plan=Plan.load(path),
        init="project",
        calibration=inputs,
        input_size=subject.input_size,
        seed=seed,
        progress=False,
    )
    kinds = Counter(site.layer.kind for site in made.plan.replaced)
    kept = len(made.plan.sites) - len(made.plan.replaced)
    kinds["narrower"] = len(made.plan.narrowings)
    note = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()) if count)
    return Student(made.model.requires_grad_(True), frozen_norms=True, note=f"{note}, {kept} kept")


def _write_plans(subject: Subject, name: str) -> None:
    """The plans at all shares of all methods that choose from the same library as ``name``, which takes minutes."""
    settings, narrow = subject.settings, _PARTS[name].narrow
    library = block_library(subject.model, subject.calibration(0)[0], input_size=subject.input_size, narrow=narrow)
    for other, part in _PARTS.items():
        for share in {*settings.shares, settings.main_share}:
            path = _path(subject, other, share)
            if part.narrow == narrow and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                part.plan(library, share).save(path)


def _path(subject: Subject, name: str, share: float) -> Path:
    return subject.out / "plans" / f"{name}_{share * 100:g}.json"


ALL = Method("budget", "kswap: budget over blocks and narrower layers", partial(_build, name="budget"), ours=True)
MACS = Method("budget-macs", "kswap: budget of parameters and MACs", partial(_build, name="budget-macs"), ours=True)
BLOCKS = Method("budget-blocks", "kswap: budget over kinds of block", partial(_build, name="budget-blocks"), ours=True)
GROUPED = Method("budget-grouped", "kswap: budget over K and L", partial(_build, name="budget-grouped"), ours=True)
