"""What a planned site costs before and after, in closed form: parameters, MACs and the papers' operations.

* **Parameters** of a site are all that the block holds (weights, biases, gains, norms) against all it replaces.
* A **MAC** is one multiply-accumulate of a convolution or matrix product.
* **Computations** are the count that the papers print: half the number of *operations*, where a
  multiply-accumulate is two operations, a bias addition one per element, a multiplication one per element,
  pooling as many as it reads, softmax five per element; additions, norms, sigmoid and ReLU are not counted.

All figures are for batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from kswap.planner.activations import ACTIVATIONS
from kswap.planner.block_plan import BlockPlan
from kswap.planner.plan import Counts, Plan
from kswap.planner.site_plan import SitePlan
from kswap.planner.sites import AbsorbedLayer


@dataclass(frozen=True)
class SiteCounts:
    """Before and after of one site; ``operations`` is twice the papers' computations."""

    before: Counts
    after: Counts


def _absorbed(plan: SitePlan) -> tuple[AbsorbedLayer | None, AbsorbedLayer | None]:
    """Norm and activation as the block holds them (a new activation from the rules has no parameters)."""
    norm = plan.site.norm if plan.absorbs_norm else None
    activation = plan.site.activation if plan.absorbs_activation else None
    if activation and plan.activation:
        elements = plan.site.positions * plan.site.out_channels
        operations = ACTIVATIONS[plan.activation].operations * elements
        activation = AbsorbedLayer(activation.name, plan.activation, operations=operations)
    return norm, activation


@dataclass(frozen=True)
class _Size:
    """Weights, bias elements, filters, and copies of norm and activation, of a block or of the layer itself."""

    weights: int
    biases: int
    filters: int
    copies: int

    @classmethod
    def of(cls, layer: BlockPlan) -> _Size:
        return cls(layer.weights, layer.biases, layer.filters, layer.copies)

    @classmethod
    def of_dense(cls, layer: BlockPlan) -> _Size:
        return cls(layer.dense_weights, layer.out_channels, layer.out_channels, 1)


def _counts(plan: SitePlan, size: _Size, followers: tuple[AbsorbedLayer | None, ...]) -> Counts:
    site = plan.site
    biases = size.biases if site.bias else 0
    present = [follower for follower in followers if follower is not None]
    gains = size.filters * site.filter_params
    own = size.weights + biases + gains
    return Counts(
        params=own + size.copies * sum(f.params for f in present),
        trainable_params=(own if site.trainable else 0) + size.copies * sum(f.trainable_params for f in present),
        macs=size.weights * site.positions,
        operations=(2 * size.weights + biases) * site.positions
        + gains * site.calls
        + size.copies * sum(f.operations for f in present),
    )


def count_site(plan: SitePlan) -> SiteCounts:
    """Counts of all that the site's block replaces, and of the block. Equal when the site is kept.

    >>> from kswap.planner.schemes import plan_layer
    >>> from kswap.planner.sites import Site
    >>> layer = plan_layer(1152, 320, ch=16)
    >>> plan = SitePlan(Site("head", 1152, 320, positions=49), layer, "replace", layer.reason)
    >>> count_site(plan).before.params, count_site(plan).after.params, count_site(plan).after.macs
    (368640, 10240, 501760)
    """
    norm, activation = plan.site.norm, plan.site.activation
    gone = (
        norm if plan.absorbs_norm else None,
        activation if plan.absorbs_activation and activation and not activation.stays else None,
    )
    before = _counts(plan, _Size.of_dense(plan.layer), gone)
    if not plan.replaced:
        return SiteCounts(before, before)
    return SiteCounts(before, _counts(plan, _Size.of(plan.layer), _absorbed(plan)))


def count_plan(plan: Plan) -> Counts:
    """Counts of the whole converted model: the original's after narrowings, with every replaced site exchanged."""
    total = plan.unreplaced
    for site_plan in plan.replaced:
        site = count_site(site_plan)
        total = Counts(
            params=total.params + site.after.params - site.before.params,
            trainable_params=total.trainable_params + site.after.trainable_params - site.before.trainable_params,
            macs=total.macs + site.after.macs - site.before.macs,
            operations=total.operations + site.after.operations - site.before.operations,
        )
    return total
