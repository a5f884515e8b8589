"""One site of a plan: the layer, the plan of its block, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kswap.codec import decode, encode
from kswap.errors import PlanError, nearest
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds import BLOCK_KINDS, check_kind, plan_block
from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.schemes import check_channels
from kswap.planner.sites import SITE_KEYS, Site

PLACEMENTS = ("absorbed", "linear")

_OWN_KEYS = ("action", "reason", "placement", "new_activation", "kind")
_SITE_PLAN_KEYS = (
    *SITE_KEYS,
    *_OWN_KEYS,
    *dict.fromkeys(key for kind in BLOCK_KINDS.values() for key in kind.keys),
)


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
    """Whether the layout of a replaced site is another than its own settings make, whatever was fitted to data."""
    if not plan.replaced:
        return False
    made, fitted = _made(plan.site, plan.to_json(), plan.name), BLOCK_KINDS[plan.layer.kind].fitted_keys
    stored = plan.layer.shape_to_json() | dict.fromkeys(fitted)
    return made.shape_to_json() != stored
