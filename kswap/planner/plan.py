"""A plan as a value: every site of a model with what is to become of it. JSON in, JSON out, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from kswap.codec import decode, encode
from kswap.errors import PlanError, excerpt, nearest
from kswap.files import read_json, write_text
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.block_plan import BlockPlan
from kswap.planner.edits import Edit
from kswap.planner.input_size import check_input_size
from kswap.planner.kinds import BLOCK_KINDS, check_kind, plan_block
from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.schemes import check_ch, check_channels, check_scheme
from kswap.planner.sites import SITE_KEYS, Site, check_fields

FORMAT = 2
# Format 1 had no kinds of blocks; some keys of a site had other names.
_READABLE = (1, FORMAT)
PLACEMENTS = ("absorbed", "linear")

_OWN_KEYS = ("action", "reason", "placement", "new_activation", "kind")
_SITE_PLAN_KEYS = (
    *SITE_KEYS,
    *_OWN_KEYS,
    *dict.fromkeys(key for kind in BLOCK_KINDS.values() for key in kind.keys),
)


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


def too_narrow(site: Site, layer: BlockPlan) -> str | None:
    """Why the groups of ``layer`` are too narrow for this kind of layer, or ``None``.

    >>> from kswap.planner.schemes import plan_layer
    >>> too_narrow(Site("conv", 64, 64, type="StdConv2d", fewest_inputs=2), plan_layer(64, 64, ch=1))
    'groups of 1 channel, StdConv2d needs at least 2'
    """
    narrowest = layer.narrowest
    if not layer.replaces or narrowest >= site.fewest_inputs:
        return None
    plural = "" if narrowest == 1 else "s"
    return f"groups of {narrowest} channel{plural}, {site.type} needs at least {site.fewest_inputs}"


@dataclass(frozen=True)
class SitePlan:
    """One site and what becomes of it: ``action`` is ``"replace"`` or ``"keep"``, ``reason`` says why.

    ``layer`` is the plan of the block, of any kind. ``placement``: with ``"absorbed"`` the block holds its own norm
    and activation, after each of K and L; with ``"linear"`` it replaces the convolution alone, which is the only
    placement of kinds that take nothing in. ``activation`` is the name of an activation that
    takes the place of the absorbed one, or ``None``.
    """

    site: Site
    layer: BlockPlan
    action: str
    reason: str
    placement: str = "absorbed"
    activation: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ("replace", "keep"):
            raise PlanError(f"action of site '{self.name}' must be 'replace' or 'keep', not {self.action!r}")
        if self.action == "replace" and not self.layer.replaces:
            raise PlanError(f"site '{self.name}' cannot be replaced: {self.layer.reason}")
        obstacle = self.site.keep_reason or too_narrow(self.site, self.layer)
        if self.action == "replace" and obstacle is not None:
            raise PlanError(f"site '{self.name}' cannot be replaced: {obstacle}")
        if self.placement not in PLACEMENTS:
            raise PlanError(f"placement of site '{self.name}' must be one of {', '.join(PLACEMENTS)}")
        if self.placement == "absorbed" and not self.layer.absorbs:
            raise PlanError(
                f"placement of site '{self.name}' must be linear: a {self.layer.kind} block "
                "takes in no norm or activation"
            )
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise PlanError(f"unknown activation '{self.activation}': known are {', '.join(ACTIVATIONS)}")

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def replaced(self) -> bool:
        return self.action == "replace"

    @property
    def absorbs_norm(self) -> bool:
        return self.placement == "absorbed" and self.site.norm is not None

    @property
    def absorbs_activation(self) -> bool:
        return self.placement == "absorbed" and self.site.activation is not None

    def short(self) -> str:
        return self.layer.short() if self.replaced else "kept"

    def to_json(self) -> dict[str, Any]:
        own = {
            "action": self.action,
            "reason": self.reason,
            "placement": self.placement,
            "new_activation": self.activation,
            "kind": self.layer.kind,
        }
        table: dict[str, Any] = encode(self.site)
        return table | own | self.layer.shape_to_json()

    @classmethod
    def from_json(cls, data: Any) -> SitePlan:
        """Read a site, with the layout that it stores.

        A layout that is left out (``k``, ``interleave_step`` and ``l``, or ``rank``) is made from the settings of
        the site: ``kind``, ``ch``, ``scheme`` and the others. Raises :class:`PlanError` for anything else.
        """
        if not isinstance(data, dict) or "name" not in data:
            raise PlanError("a site of the plan must be a table with a name")
        what = f"site '{data['name']!s:.200}'"
        for key in data:
            if key not in _SITE_PLAN_KEYS:
                raise PlanError(f"unknown key '{key:.40}' of {what}{nearest(str(key)[:40], _SITE_PLAN_KEYS)}")
        site = decode(Site, data, what, PlanError, ignore_unknown=True)
        check_channels(site.in_channels, site.out_channels)
        missing = [key for key in ("action", "ch", "scheme") if key not in data]
        if missing:
            raise PlanError(f"{what} of the plan lacks {', '.join(missing)}")
        layer = _layer(site, data, what)
        return cls(
            site=site,
            layer=layer,
            action=data["action"],
            reason=str(data.get("reason", layer.reason)),
            placement=data.get("placement", "absorbed" if layer.absorbs else "linear"),
            activation=data.get("new_activation"),
        )


def _made(site: Site, data: dict[str, Any], what: str) -> BlockPlan:
    """The plan that the settings of a stored site make today."""
    own = {f.name: data[f.name] for f in fields(BlockSettings) if f.name in data}
    try:
        return plan_block(site.in_channels, site.out_channels, BlockSettings(**own))
    except PlanError as error:
        raise PlanError(f"{what}: {error}") from error


def _layer(site: Site, data: dict[str, Any], what: str) -> BlockPlan:
    """The stored layout; the one that the settings make where none is stored."""
    kind = BLOCK_KINDS[check_kind(data.get("kind", "grouped"))]
    stray = [key for key in data if key not in (*SITE_KEYS, *_OWN_KEYS, *kind.keys)]
    if stray:
        raise PlanError(f"{what} is of kind {kind.name}, which has no {', '.join(stray)}: leave that out")
    if all(data.get(key) is None for key in kind.layout_keys):
        return _made(site, data, what)
    return kind.plan_class.shape_from_json(data, site.in_channels, site.out_channels, what)


def differs_from_settings(plan: SitePlan) -> bool:
    """Whether the layout of a replaced site is another than its own settings make."""
    return plan.replaced and _made(plan.site, plan.to_json(), plan.name) != plan.layer


@dataclass(frozen=True)
class Plan:
    """What becomes of every pointwise convolution of a model. Can be printed, saved, edited and replayed.

    ``kind``, ``ch`` and ``scheme`` are the defaults that rules may have changed for single sites; ``before`` are the
    counts of the original model after ``edits``; ``notes`` are remarks for the reader (rules that matched nothing and
    so on). ``edits`` are made to the original before anything is replaced.
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

    def __post_init__(self) -> None:
        check_ch(self.ch)
        check_scheme(self.scheme)
        check_kind(self.kind)
        names = [site.name for site in self.sites]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if twice:
            raise PlanError(f"the plan names a site twice: {', '.join(sorted(twice))}")

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
