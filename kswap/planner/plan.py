"""A plan as a value: every site of a model with what is to become of it. JSON in, JSON out, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from kswap.codec import decode, encode
from kswap.errors import PlanError, excerpt
from kswap.files import read_json, write_text
from kswap.planner.edits import Edit
from kswap.planner.input_size import check_input_size
from kswap.planner.kinds import check_kind
from kswap.planner.narrowing import Narrowing
from kswap.planner.schemes import check_ch, check_scheme
from kswap.planner.site_plan import SitePlan, differs_from_settings
from kswap.planner.sites import check_fields

FORMAT = 2
# Format 1 had no kinds of blocks; some keys of a site had other names.
_READABLE = (1, FORMAT)


@dataclass(frozen=True)
class Counts:
    """Totals of a whole model. ``operations`` is twice the papers' computations (see :mod:`kswap.planner.counting`)."""

    params: int
    trainable_params: int
    macs: int
    operations: int

    def __post_init__(self) -> None:
        check_fields(self, "the counts of the plan")


T = TypeVar("T")


def _list_of(kind: type[T], value: object, what: str) -> tuple[T, ...]:
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        words = {"int": "whole numbers", "str": "texts", "dict": "tables with names"}[kind.__name__]
        raise PlanError(f"{what} of the plan must be a list of {words}, not {value!r:.60}")
    return tuple(value)


@dataclass(frozen=True)
class Plan:
    """What becomes of every pointwise convolution of a model. Can be printed, saved, edited and replayed.

    ``kind``, ``ch`` and ``scheme`` are the defaults that rules may have changed for single sites; ``before`` are the
    counts of the original model after ``edits``; ``notes`` are remarks for the reader (rules that matched nothing and
    so on). ``edits`` are made to the original before anything is replaced, and then ``narrowings``; ``sites`` have the
    channels that are left by these, and ``narrowed`` are the counts of the model after them (``None`` without any).
    """

    model: str
    scheme: str
    ch: int
    rules: str
    input_size: tuple[int, ...]
    sites: tuple[SitePlan, ...]
    before: Counts
    notes: tuple[str, ...] = field(default=())
    edits: tuple[Edit, ...] = field(default=())
    kind: str = "grouped"
    narrowings: tuple[Narrowing, ...] = field(default=())
    narrowed: Counts | None = None

    def __post_init__(self) -> None:
        check_ch(self.ch)
        check_scheme(self.scheme)
        check_kind(self.kind)
        names = [site.name for site in self.sites]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if twice:
            raise PlanError(f"the plan names a site twice: {', '.join(sorted(twice))}")
        if bool(self.narrowings) != (self.narrowed is not None):
            raise PlanError("a plan has the counts 'narrowed' if it has narrowings, and only then")

    @property
    def unreplaced(self) -> Counts:
        """Counts of the model that the blocks are put into: after edits and narrowings."""
        return self.narrowed or self.before

    @property
    def replaced(self) -> tuple[SitePlan, ...]:
        return tuple(site for site in self.sites if site.replaced)

    @property
    def kept(self) -> tuple[SitePlan, ...]:
        return tuple(site for site in self.sites if not site.replaced)

    def __getitem__(self, name: str) -> SitePlan:
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    def __str__(self) -> str:
        kind = "" if self.kind == "grouped" else f"{self.kind}, "
        count = f"{len(self.replaced)} of {len(self.sites)} replaced"
        head = f"{self.model}: {kind}scheme {self.scheme}, ch {self.ch}, {count}"
        return "\n".join([head, *(f"  {s.name}: {s.short()} ({s.reason})" for s in self.sites)])

    def keep(self, names: Iterable[str] | Mapping[str, str], reason: str = "kept by hand") -> Plan:
        """The same plan with the named sites kept, for ``reason`` or for the reasons that ``names`` maps them to.

        Raises :class:`PlanError` for a name that the plan lacks.
        """
        chosen = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, reason)
        unknown = chosen.keys() - {site.name for site in self.sites}
        if unknown:
            raise PlanError(f"the plan has no site {', '.join(sorted(unknown))}")
        sites = tuple(replace(s, action="keep", reason=chosen[s.name]) if s.name in chosen else s for s in self.sites)
        return replace(self, sites=sites)

    def place_linearly(self, names: Iterable[str], reason: str) -> Plan:
        """The same plan with the blocks of the named sites standing for the convolution alone; ``reason`` is added."""
        chosen = set(names)
        sites = tuple(
            replace(s, placement="linear", activation=None, reason=f"{s.reason}; {reason}") if s.name in chosen else s
            for s in self.sites
        )
        return replace(self, sites=sites)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.model,
            "scheme": self.scheme,
            "ch": self.ch,
            "kind": self.kind,
            "rules": self.rules,
            "input_size": list(self.input_size),
            "before": encode(self.before),
            "edits": encode(self.edits),
            **({"narrowings": encode(self.narrowings), "narrowed": encode(self.narrowed)} if self.narrowings else {}),
            "sites": [site.to_json() for site in self.sites],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Read what :meth:`to_json` wrote, edited or not. Raises :class:`PlanError` for anything else."""
        if not isinstance(data, dict):
            raise PlanError("a plan must be a JSON object")
        if type(data.get("format")) is not int or data["format"] not in _READABLE:
            known = ", ".join(map(str, _READABLE))
            raise PlanError(f"this plan has format {data.get('format')!r:.40}, and this kswap reads formats {known}")
        try:
            plan = cls(
                model=str(data["model"]),
                scheme=data["scheme"],
                ch=data["ch"],
                rules=str(data["rules"]),
                input_size=check_input_size(
                    _list_of(int, data["input_size"], "input_size"), "input_size of the plan", PlanError
                ),
                sites=tuple(SitePlan.from_json(site) for site in _list_of(dict, data["sites"], "sites")),
                before=decode(Counts, data["before"], "the counts of the plan", PlanError),
                notes=_list_of(str, data.get("notes", []), "notes"),
                edits=tuple(
                    decode(Edit, edit, "an edit of the plan", PlanError)
                    for edit in _list_of(dict, data.get("edits", []), "edits")
                ),
                kind=data.get("kind", "grouped"),
                narrowings=tuple(
                    decode(Narrowing, narrowing, "a narrowing of the plan", PlanError)
                    for narrowing in _list_of(dict, data.get("narrowings", []), "narrowings")
                ),
                narrowed=decode(Counts | None, data.get("narrowed"), "the counts 'narrowed' of the plan", PlanError),  # type: ignore[arg-type]
            )
        except KeyError as error:
            raise PlanError(f"the plan lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise PlanError(f"the plan cannot be read: {error}") from error
        return plan._noting_layouts()

    def _noting_layouts(self) -> Plan:
        """The same plan with a note where stored layouts are not those that their settings make."""
        other = [site.name for site in self.sites if differs_from_settings(site)]
        if not other:
            return self
        note = f"stored layouts are used that ch and scheme of their sites would not make: {', '.join(other)}"
        return self if note in self.notes else replace(self, notes=(*self.notes, note))

    def save(self, path: str | Path) -> None:
        """Write the plan as indented JSON, for review and for ``convert(model, plan=Plan.load(path))``.

        The file is written whole or not at all. Raises :class:`PlanError`.
        """
        write_text(path, json.dumps(self.to_json(), indent=1), PlanError, "plan")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that :meth:`save` wrote, or the ``plan.json`` of a saved conversion.

        Raises :class:`PlanError`.
        """
        data = read_json(path, PlanError, "plan")
        try:
            return cls.from_json(data["plan"] if isinstance(data, dict) and "plan" in data else data)
        except PlanError as error:
            raise PlanError(f"{excerpt(path, 200)}: {error}") from error
