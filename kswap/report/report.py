"""The report as a value. Renderers turn it into text; nothing here touches a model or a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from kswap.codec import Between, decode, encode
from kswap.errors import PlanError, ReportError, excerpt
from kswap.planner.block_plan import BlockPlan
from kswap.planner.counting import SiteCounts, count_plan, count_site
from kswap.planner.kinds import BLOCK_KINDS, check_kind
from kswap.planner.plan import Plan
from kswap.planner.site_plan import SitePlan
from kswap.report.projection import ProjectionRecord, SiteError
from kswap.report.provenance import Provenance, WeightsStep
from kswap.report.showing import Shown
from kswap.version import __version__

Count = Annotated[int, Between(0, 2**63 - 1)]

# The keys of a site that say what its block looks like, of every kind; the others say what it was made from.
SHAPE_KEYS = tuple(
    dict.fromkeys(
        key
        for kind in BLOCK_KINDS.values()
        for key in (*kind.layout_keys, *kind.setting_keys)
        if key not in ("ch", "scheme", "second_layer")
    )
)


@dataclass(frozen=True)
class Change:
    """A count before and after. ``ratio`` is after / before (1.0 when there was nothing before)."""

    before: Count
    after: Count

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0

    def to_json(self) -> dict[str, float]:
        return {"before": self.before, "after": self.after, "ratio": round(self.ratio, 6)}


@dataclass(frozen=True)
class SiteFacts:
    """What the report says of a site, whatever the kind of its block; attribute names are the JSON keys.

    ``norm`` and ``activation`` are class names of what the block takes in, or would take in; ``type`` is the class
    name of the layer. ``fit_error`` is how far the fitted block is from the original there
    (:class:`kswap.report.projection.SiteError`), ``None`` where nothing was fitted. Bytes are those of all tensors that
    a saved model holds there, statistics of norms included; ``None`` where nothing was built. Microseconds are those of
    one pass of the block as one dense layer, and as it was optimised; ``None`` where nothing was measured.
    """

    name: str
    in_channels: Count
    out_channels: Count
    stride: Count
    action: Literal["replace", "keep"]
    reason: str
    ch: Count
    scheme: str
    role: str
    placement: str
    params_before: Count
    params_after: Count
    macs_before: Count
    macs_after: Count
    norm: str | None
    activation: str | None
    type: str = "Conv2d"
    kind: str = "grouped"
    fit_error: float | None = None
    bytes_before: Count | None = None
    bytes_after: Count | None = None
    microseconds_before: Count | None = None
    microseconds_after: Count | None = None


FACT_KEYS = tuple(f.name for f in fields(SiteFacts))


@dataclass(frozen=True)
class SiteRow(SiteFacts):
    """One site of the report.

    ``block`` is the plan of the block, or ``None`` for a kept site. In JSON its layout stands among the keys of the
    site (:data:`SHAPE_KEYS`, ``null`` where a key means nothing).
    """

    block: BlockPlan | None = None

    @property
    def replaced(self) -> bool:
        return self.action == "replace"

    @property
    def grows(self) -> bool:
        """More parameters after than before (possible where L's norm and bias outweigh what is saved)."""
        return self.params_after > self.params_before

    def short(self) -> str:
        """``K 72x4+32 i20 L 20x16``, ``rank 24``, or ``kept``."""
        return self.block.short() if self.block else "kept"

    def to_json(self) -> dict[str, Any]:
        shape = self.block.shape_to_json() if self.block else {}
        facts = {key: getattr(self, key) for key in FACT_KEYS}
        return facts | {key: shape.get(key) for key in SHAPE_KEYS}

    @classmethod
    def from_json(cls, data: Any, what: str = "a site of the report") -> SiteRow:
        """Read what :meth:`to_json` wrote. Raises :class:`ReportError` for anything else."""
        facts = decode(SiteFacts, data, what, ReportError, ignore_unknown=True)
        row = cls(**vars(facts))
        try:
            kind = BLOCK_KINDS[check_kind(row.kind)]
            if not row.replaced:
                return row
            shape = {key: value for key, value in data.items() if value is not None}
            block = kind.plan_class.shape_from_json(shape, row.in_channels, row.out_channels, what)
        except PlanError as error:
            raise ReportError(f"{what} cannot be read: {excerpt(error, 200)}") from error
        if not block.replaces:
            raise ReportError(f"{what} is replaced, but has no layout of a {kind.name} block")
        return replace(row, block=block)


@dataclass(frozen=True)
class ReportHead:
    """What a report says of the whole model. Counts are for batch 1 at ``input_size``."""

    kswap: str
    model: str
    scheme: str
    ch: Count
    rules: str
    input_size: tuple[Count, ...]
    params: Change
    trainable_params: Change
    macs: Change
    computations: Change
    drop_in: bool
    notes: tuple[str, ...]
    kind: str = "grouped"
    projection: ProjectionRecord | None = None
    provenance: Provenance | None = None
    bytes: Change | None = None
    timed: str | None = None


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk, before and after: of the whole model, and of its sites by name."""

    whole: Change
    sites: Mapping[str, Change]


@dataclass(frozen=True)
class Report(Shown, ReportHead):
    """Everything that a reader of a conversion wants to know; printed, what ``kswap report`` shows.

    ``provenance`` says where the report comes from; reports of kswap 0.1.0 have none. Where the weights were carried
    over, ``projection`` says how. It holds the errors of the sites; each site's
    ``fit_error`` is taken from there. Raises :class:`ReportError` for an error of a site that is not replaced.
    """

    sites: tuple[SiteRow, ...] = ()

    def __post_init__(self) -> None:
        errors = self.projection.by_name if self.projection else {}
        unknown = errors.keys() - {row.name for row in self.replaced}
        if unknown:
            raise ReportError(f"the projection has an error at '{excerpt(min(unknown))}', which is no replaced site")
        rows = tuple(replace(row, fit_error=errors.get(row.name)) for row in self.sites)
        object.__setattr__(self, "sites", rows)

    def with_projection(self, record: ProjectionRecord | None) -> Report:
        """The report with ``record`` as its projection."""
        return replace(self, projection=record)

    def with_times(self, timed: str, microseconds: Mapping[str, Change]) -> Report:
        """The report with measured times of sites by name; ``timed`` says where: runtime, input and threads."""
        rows = tuple(
            replace(row, microseconds_before=found.before, microseconds_after=found.after)
            if (found := microseconds.get(row.name)) is not None
            else replace(row, microseconds_before=None, microseconds_after=None)
            for row in self.sites
        )
        return replace(self, sites=rows, timed=timed)

    def with_provenance(self, provenance: Provenance | None) -> Report:
        """The report with ``provenance`` as where it comes from."""
        return replace(self, provenance=provenance)

    def after(self, command: str, step: WeightsStep) -> Report:
        """The report of what ``command`` made in one ``step`` from the weights of before."""
        origin = self.provenance
        return self if origin is None else self.with_provenance(origin.after(command, step))

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
            "bytes": self.bytes.to_json() if self.bytes else None,
            "timed": self.timed,
            "replaced": len(self.replaced),
            "kept": len(self.kept),
            "sites": [site.to_json() for site in self.sites],
            "drop_in": self.drop_in,
            "notes": list(self.notes),
            "projection": _projection_json(self.projection),
            "provenance": encode(self.provenance),
        }

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Read what :meth:`to_json` wrote. Raises :class:`ReportError` for anything else."""
        sites = data.get("sites") if isinstance(data, dict) else None
        if not isinstance(sites, list):
            raise ReportError("this is not a kswap report: it has no list of sites")
        rows = tuple(SiteRow.from_json(site, f"site {number} of the report") for number, site in enumerate(sites, 1))
        head = decode(ReportHead, {"rules": ""} | data, "the report", ReportError, ignore_unknown=True)
        facts = vars(head)
        if head.projection:
            errors = tuple(SiteError(row.name, row.fit_error) for row in rows if row.fit_error is not None)
            facts |= {"projection": replace(head.projection, sites=errors)}
        return cls(**facts, sites=rows)


def _projection_json(record: ProjectionRecord | None) -> dict[str, Any] | None:
    """The JSON of a projection without its errors, which stand with their sites."""
    data: dict[str, Any] | None = encode(record)
    return {key: value for key, value in data.items() if key != "sites"} if data else None


def _row(plan: SitePlan, counts: SiteCounts, size: Change | None) -> SiteRow:
    site, layer = plan.site, plan.layer
    activation = site.activation.type if site.activation else None
    if plan.replaced and plan.activation and plan.absorbs_activation:
        activation = plan.activation
    return SiteRow(
        name=site.name,
        in_channels=site.in_channels,
        out_channels=site.out_channels,
        stride=site.stride,
        action="replace" if plan.replaced else "keep",
        reason=plan.reason,
        ch=layer.ch,
        scheme=layer.shape_to_json()["scheme"],
        role=site.role,
        placement=plan.placement,
        params_before=counts.before.params,
        params_after=counts.after.params,
        macs_before=counts.before.macs,
        macs_after=counts.after.macs,
        norm=site.norm.type if site.norm else None,
        activation=activation,
        type=site.type,
        kind=layer.kind,
        bytes_before=size.before if size else None,
        bytes_after=size.after if size else None,
        block=layer if plan.replaced else None,
    )


def report_of(
    plan: Plan,
    drop_in: bool = True,
    notes: tuple[str, ...] = (),
    projection: ProjectionRecord | None = None,
    provenance: Provenance | None = None,
    sizes: Sizes | None = None,
) -> Report:
    """The report of a plan.

    ``notes`` are added after the plan's own; ``projection`` says how weights were derived, ``provenance`` where all of
    it comes from, ``sizes`` how many bytes a model that was built takes on disk.
    """
    after = count_plan(plan)
    bytes_of = sizes.sites if sizes else {}
    rows = tuple(_row(site, count_site(site), bytes_of.get(site.name)) for site in plan.sites)
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
        projection=projection,
        provenance=provenance,
        bytes=sizes.whole if sizes else None,
    )
