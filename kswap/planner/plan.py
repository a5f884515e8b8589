"""A plan as a value: every site of a model with what is to become of it. JSON in, JSON out, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from kswap.errors import PlanError, nearest
from kswap.planner.edits import ACTIVATIONS, Edit
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes import LayerPlan, check_ch, check_scheme, plan_layer
from kswap.planner.sites import SITE_KEYS, Site, check_fields

FORMAT = 1
PLACEMENTS = ("absorbed", "linear")

_SITE_PLAN_KEYS = (
    *SITE_KEYS,
    *("action", "reason", "placement", "new_activation"),
    *("ch", "scheme", "second_layer", "k", "interleave_step", "l"),
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


def too_narrow(site: Site, layer: LayerPlan) -> str | None:
    """Why the groups of ``layer`` are too narrow for this kind of layer, or ``None``.

    >>> too_narrow(Site("conv", 64, 64, type="StdConv2d", fewest_inputs=2), plan_layer(64, 64, ch=1))
    'groups of 1 channel, StdConv2d needs at least 2'
    """
    widths = [part.group_width for part in (layer.k, layer.l) if part is not None]
    narrowest = min(widths, default=site.fewest_inputs)
    if narrowest >= site.fewest_inputs:
        return None
    plural = "" if narrowest == 1 else "s"
    return f"groups of {narrowest} channel{plural}, {site.type} needs at least {site.fewest_inputs}"


@dataclass(frozen=True)
class SitePlan:
    """One site and what becomes of it: ``action`` is ``"replace"`` or ``"keep"``, ``reason`` says why.

    ``placement``: with ``"absorbed"`` K and L each have their own norm and activation inside the block; with
    ``"linear"`` the block stands for the convolution alone. ``activation`` is the name of an activation that
    takes the place of the absorbed one, or ``None``.
    """

    site: Site
    layer: LayerPlan
    action: str
    reason: str
    placement: str = "absorbed"
    activation: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ("replace", "keep"):
            raise PlanError(f"action of site '{self.name}' must be 'replace' or 'keep', not {self.action!r}")
        if self.action == "replace" and self.layer.k is None:
            raise PlanError(f"site '{self.name}' cannot be replaced: {self.layer.reason}")
        obstacle = self.site.keep_reason or too_narrow(self.site, self.layer)
        if self.action == "replace" and obstacle is not None:
            raise PlanError(f"site '{self.name}' cannot be replaced: {obstacle}")
        if self.placement not in PLACEMENTS:
            raise PlanError(f"placement of site '{self.name}' must be one of {', '.join(PLACEMENTS)}")
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
        layer = self.layer.to_json()
        own = {
            "action": self.action,
            "reason": self.reason,
            "placement": self.placement,
            "new_activation": self.activation,
        }
        shape = {key: layer[key] for key in ("ch", "scheme", "second_layer", "k", "interleave_step", "l")}
        return self.site.to_json() | own | shape

    @classmethod
    def from_json(cls, data: Any) -> SitePlan:
        """Read a site. ``k``, ``interleave_step`` and ``l`` follow from the channels, ``ch``, ``scheme`` and
        ``second_layer``: they may be left out, and where they stand they have to agree."""
        if not isinstance(data, dict) or "name" not in data:
            raise PlanError("a site of the plan must be a table with a name")
        name = data["name"]
        for key in data:
            if key not in _SITE_PLAN_KEYS:
                raise PlanError(f"unknown key '{key}' of site '{name}'{nearest(str(key), _SITE_PLAN_KEYS)}")
        site = Site.from_json(data)
        missing = [key for key in ("action", "ch", "scheme") if key not in data]
        if missing:
            raise PlanError(f"site '{name}' of the plan lacks {', '.join(missing)}")
        second_layer = data.get("second_layer", True)
        if not isinstance(second_layer, bool):
            raise PlanError(f"second_layer of site '{name}' must be true or false, not {second_layer!r}")
        layer = plan_layer(site.in_channels, site.out_channels, data["ch"], data["scheme"], second_layer)
        for label in ("k", "l"):
            if data.get(label) is not None:
                stated = GroupedLayout.from_json(
                    data[label], site.in_channels if label == "k" else site.out_channels, site.out_channels
                )
                if stated != getattr(layer, label):
                    raise PlanError(
                        f"'{label}' of site '{name}' is not what ch={layer.ch}, scheme {layer.scheme} gives; "
                        f"change ch, scheme or second_layer, and leave k, interleave_step and l out"
                    )
        step = data.get("interleave_step")
        if step is not None and step != layer.interleave_step:
            raise PlanError(
                f"interleave_step of site '{name}' is {step!r}, but the scheme gives {layer.interleave_step}"
            )
        return cls(
            site=site,
            layer=layer,
            action=data["action"],
            reason=str(data.get("reason", layer.reason)),
            placement=data.get("placement", "absorbed"),
            activation=data.get("new_activation"),
        )


@dataclass(frozen=True)
class Plan:
    """What becomes of every pointwise convolution of a model. Can be printed, saved, edited and replayed.

    ``ch`` and ``scheme`` are the defaults that rules may have changed for single sites; ``before`` are the
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

    def __post_init__(self) -> None:
        check_ch(self.ch)
        check_scheme(self.scheme)
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
        head = f"{self.model}: scheme {self.scheme}, ch {self.ch}, {len(self.replaced)} of {len(self.sites)} replaced"
        return "\n".join([head, *(f"  {s.name}: {s.short()} ({s.reason})" for s in self.sites)])

    def keep(self, names: Iterable[str], reason: str = "kept by hand") -> Plan:
        """The same plan with the named sites kept. Raises :class:`PlanError` for a name that it lacks."""
        chosen = set(names)
        unknown = chosen - {site.name for site in self.sites}
        if unknown:
            raise PlanError(f"the plan has no site {', '.join(sorted(unknown))}")
        sites = tuple(replace(s, action="keep", reason=reason) if s.name in chosen else s for s in self.sites)
        return replace(self, sites=sites)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.model,
            "scheme": self.scheme,
            "ch": self.ch,
            "rules": self.rules,
            "input_size": list(self.input_size),
            "before": {f.name: getattr(self.before, f.name) for f in fields(self.before)},
            "edits": [edit.to_json() for edit in self.edits],
            "sites": [site.to_json() for site in self.sites],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Read what :meth:`to_json` wrote, edited or not. Raises :class:`PlanError` for anything else."""
        if not isinstance(data, dict):
            raise PlanError("a plan must be a JSON object")
        if type(data.get("format")) is not int or data["format"] != FORMAT:
            raise PlanError(f"this plan has format {data.get('format')!r}, and this kswap reads format {FORMAT}")
        try:
            return cls(
                model=str(data["model"]),
                scheme=data["scheme"],
                ch=data["ch"],
                rules=str(data["rules"]),
                input_size=_list_of(int, data["input_size"], "input_size"),
                sites=tuple(SitePlan.from_json(site) for site in _list_of(dict, data["sites"], "sites")),
                before=Counts(**{f.name: data["before"][f.name] for f in fields(Counts)}),
                notes=_list_of(str, data.get("notes", []), "notes"),
                edits=tuple(Edit.from_json(edit) for edit in _list_of(dict, data.get("edits", []), "edits")),
            )
        except KeyError as error:
            raise PlanError(f"the plan lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise PlanError(f"the plan cannot be read: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the plan as indented JSON, for review and for ``convert(model, plan=Plan.load(path))``."""
        try:
            Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise PlanError(f"the plan cannot be written to {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that :meth:`save` wrote, or the ``plan.json`` of a saved conversion.

        Raises :class:`PlanError`.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_json(data["plan"] if isinstance(data, dict) and "plan" in data else data)
        except OSError as error:
            raise PlanError(f"the plan {path} cannot be read: {error.strerror}") from error
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{path} is not a plan: it holds no valid JSON") from error
