"""The report as a value. Renderers turn it into text; nothing here touches a model or a terminal."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kswap.errors import PlanError, ReportError, excerpt
from kswap.planner.block_plan import BlockPlan
from kswap.planner.counting import SiteCounts, count_plan, count_site
from kswap.planner.kinds import BLOCK_KINDS, check_kind
from kswap.planner.layer_plan import LayerPlan
from kswap.planner.layout import GroupedLayout
from kswap.planner.plan import Plan
from kswap.planner.site_plan import SitePlan
from kswap.planner.sites import check_fields
from kswap.version import __version__


@dataclass(frozen=True)
class Change:
    """A count before and after. ``ratio`` is after / before (1.0 when there was nothing before)."""

    before: int
    after: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0

    def to_json(self) -> dict[str, float]:
        return {"before": self.before, "after": self.after, "ratio": round(self.ratio, 6)}


@dataclass(frozen=True)
class SiteRow:
    """One site of the report; attribute names are the JSON keys. ``norm`` and ``activation`` are class names
    of what the block takes in, or would, ``type`` is that of the layer; ``k`` and ``l`` are ``None`` when absent."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    action: str
    reason: str
    ch: int
    scheme: str
    role: str
    placement: str
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    k: GroupedLayout | None
    interleave_step: int | None
    l: GroupedLayout | None  # noqa: E741 - K and L are the names of the papers
    norm: str | None
    activation: str | None
    type: str = "Conv2d"
    kind: str = "grouped"
    rank: int | None = None
    sum: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "a site of the report")
        check_kind(self.kind)
        if self.replaced and not self.plan.replaces:
            raise PlanError(f"site '{excerpt(self.name)}' is replaced, but has no plan of a block")

    @property
    def replaced(self) -> bool:
        return self.action == "replace"

    @property
    def grows(self) -> bool:
        """More parameters after than before (possible where L's norm and bias outweigh what is saved)."""
        return self.params_after > self.params_before

    def short(self) -> str:
        """``K 72x4+32 i20 L 20x16``, ``rank 24``, or ``kept``."""
        return self.plan.short() if self.replaced else "kept"

    @property
    def plan(self) -> BlockPlan:
        """The plan of the block, made again from the values of the row."""
        plan_class = BLOCK_KINDS[self.kind].plan_class
        return plan_class.shape_from_json(self.to_json(), self.in_channels, self.out_channels, self.name)

    def to_json(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["k"] = self.k.to_json() if self.k else None
        plain["l"] = self.l.to_json() if self.l else None
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SiteRow:
        known = {f.name: data.get(f.name) for f in fields(cls)}
        known |= {key: data.get(key, getattr(cls, key)) for key in ("type", "kind", "sum")}  # not in older reports
        if known["k"]:
            known["k"] = GroupedLayout.from_json(known["k"], data["in_channels"], data["out_channels"])
        if known["l"]:
            known["l"] = GroupedLayout.from_json(known["l"], data["out_channels"], data["out_channels"])
        return cls(**known)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Report:
    """Everything that a reader of a conversion wants to know. Counts are for batch 1 at ``input_size``."""

    kswap: str
    model: str
    scheme: str
    ch: int
    rules: str
    input_size: tuple[int, ...]
    params: Change
    trainable_params: Change
    macs: Change
    computations: Change
    sites: tuple[SiteRow, ...]
    drop_in: bool
    notes: tuple[str, ...]
    kind: str = "grouped"

    @property
    def replaced(self) -> tuple[SiteRow, ...]:
        return tuple(site for site in self.sites if site.replaced)

    @property
    def kept(self) -> tuple[SiteRow, ...]:
        return tuple(site for site in self.sites if not site.replaced)

    @property
    def totals(self) -> dict[str, Change]:
        """The four totals in the order in which reports show them, by their JSON key."""
        return {
            "params": self.params,
            "trainable_params": self.trainable_params,
            "macs": self.macs,
            "computations": self.computations,
        }

    def to_json(self) -> dict[str, Any]:
        """The JSON report that scripts rely on (keys may be added, none is renamed)."""
        return {
            "kswap": self.kswap,
            "model": self.model,
            "scheme": self.scheme,
            "ch": self.ch,
            "kind": self.kind,
            "rules": self.rules,
            "input_size": list(self.input_size),
            **{key: change.to_json() for key, change in self.totals.items()},
            "replaced": len(self.replaced),
            "kept": len(self.kept),
            "sites": [site.to_json() for site in self.sites],
            "drop_in": self.drop_in,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Read what :meth:`to_json` wrote. Raises :class:`ReportError` for anything else."""
        try:
            changes = {
                key: Change(int(data[key]["before"]), int(data[key]["after"]))
                for key in ("params", "trainable_params", "macs", "computations")
            }
            return cls(
                kswap=str(data["kswap"]),
                model=str(data["model"]),
                scheme=str(data["scheme"]),
                ch=int(data["ch"]),
                rules=str(data.get("rules", "")),
                input_size=tuple(int(n) for n in data["input_size"]),
                sites=tuple(SiteRow.from_json(site) for site in data["sites"]),
                drop_in=bool(data["drop_in"]),
                notes=tuple(str(note) for note in data["notes"]),
                kind=str(data.get("kind", "grouped")),
                **changes,
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, PlanError) as error:
            raise ReportError(f"this is not a kswap report: {type(error).__name__} at {excerpt(error)}") from error


def _row(plan: SitePlan, counts: SiteCounts) -> SiteRow:
    site, layer = plan.site, plan.layer
    shape = layer.shape_to_json()
    grouped = layer if plan.replaced and isinstance(layer, LayerPlan) else None
    activation = site.activation.type if site.activation else None
    if plan.replaced and plan.activation and plan.absorbs_activation:
        activation = plan.activation
    return SiteRow(
        name=site.name,
        in_channels=site.in_channels,
        out_channels=site.out_channels,
        stride=site.stride,
        action=plan.action,
        reason=plan.reason,
        ch=layer.ch,
        scheme=shape["scheme"],
        role=site.role,
        placement=plan.placement,
        params_before=counts.before.params,
        params_after=counts.after.params,
        macs_before=counts.before.macs,
        macs_after=counts.after.macs,
        k=grouped.k if grouped else None,
        interleave_step=grouped.interleave_step if grouped else None,
        l=grouped.l if grouped else None,
        norm=site.norm.type if site.norm else None,
        activation=activation,
        type=site.type,
        kind=layer.kind,
        rank=shape.get("rank") if plan.replaced else None,
        sum=shape.get("sum", True),
    )


def report_of(plan: Plan, drop_in: bool = True, notes: tuple[str, ...] = ()) -> Report:
    """The report of a plan. ``notes`` are added after the plan's own."""
    after = count_plan(plan)
    rows = tuple(_row(site, count_site(site)) for site in plan.sites)
    growing = [row.name for row in rows if row.grows]
    if growing:
        notes = (*notes, f"{len(growing)} replaced sites have more parameters than before: {', '.join(growing[:5])}")
    return Report(
        kswap=__version__,
        model=plan.model,
        scheme=plan.scheme,
        ch=plan.ch,
        rules=plan.rules,
        input_size=plan.input_size,
        params=Change(plan.before.params, after.params),
        trainable_params=Change(plan.before.trainable_params, after.trainable_params),
        macs=Change(plan.before.macs, after.macs),
        computations=Change(plan.before.operations // 2, after.operations // 2),
        sites=rows,
        drop_in=drop_in,
        notes=(*plan.notes, *notes),
        kind=plan.kind,
    )
