"""The converted networks of the papers: which baseline, which rules, and which of them are published.

A recipe is a network, a variant is one of its rows: scheme, Ch, classes, input size and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kswap.errors import ModelError, nearest
from kswap.rules import RuleSet, load_rules

if TYPE_CHECKING:
    from kswap.converted import Conversion
    from kswap.planner.plan import Plan


@dataclass(frozen=True)
class Recipe:
    """One converted network of the papers.

    Args:
        name: its name for ``kswap create``.
        description: one line for the list of recipes.
        source: its baseline, a network of :mod:`kswap.zoo`.
        arguments: arguments of the baseline that make it the authors' network with dense convolutions: what no
            rule can say.
        rules: a preset of rules; ``None`` is that of the scheme.
        side: height and width of the input in the papers.
        scheme: the scheme where none is asked for.
        ch: channels per group where none are asked for.
        published: the schemes and Ch that the papers print.
        skipped_strides: strided stages that the authors' ``skip_stride_cnt`` of 0, 1, 2, ... turns to stride 1.
            Empty where the papers skip no strides; there ``skip_stride_cnt`` is the number of stages itself.
    """

    name: str
    description: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rules: str | None = None
    side: int = 224
    scheme: str = "v1"
    ch: int = 16
    published: tuple[tuple[str, int], ...] = ()
    skipped_strides: tuple[int, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a report has to know."""
        if not self.arguments:
            return ()
        return (
            f"before is the authors' {self.name} with its convolutions dense ({_listed(self.arguments)}); "
            f"the baseline of the papers is {self.source} without these arguments",
        )

    def strides_skipped(self, skip_stride_cnt: int) -> int:
        """How many strided stages have stride 1 with the authors' ``skip_stride_cnt``; -1 skips none.

        Raises :class:`ModelError` for a number that the authors' network does not have.

        >>> [recipe("kefficientnet-b0").strides_skipped(count) for count in (-1, 0, 1, 2, 3, 4, 5)]
        [0, 1, 1, 2, 3, 4, 4]
        >>> recipe("kmobilenet").strides_skipped(3)
        4
        """
        known = self.skipped_strides
        if type(skip_stride_cnt) is not int or skip_stride_cnt < -1 or (known and skip_stride_cnt >= len(known)):
            end = f" to {len(known) - 1}" if known else " or more"
            raise ModelError(f"skip_stride_cnt of {self.name} must be a whole number, -1{end}, not {skip_stride_cnt!r}")
        if skip_stride_cnt == -1:
            return 0
        return known[skip_stride_cnt] if known else skip_stride_cnt


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


@dataclass(frozen=True)
class Variant:
    """A recipe with all that can be chosen about it.

    Args:
        recipe: the network.
        scheme: ``"v1"`` or ``"v2"``; empty for that of the recipe.
        ch: channels per group; 0 for those of the recipe.
        num_classes: outputs of the classifier.
        input_size: height and width, or channels, height and width; empty for the size in the papers.
        skip_stride_cnt: the authors' argument of that name: which of the first strides become 1 for small images.
            -1 skips none; the papers use 3 for 32x32. It is an index into the authors' list of stages, and not
            the number of strides that ``skip_strides`` of :func:`kswap.convert` is: -1, 0, 1, 2, 3, 4, 5 skip
            0, 1, 1, 2, 3, 4, 4 strides of a kEffNet, and 3 skips 4 strides of kMobileNet
            (:meth:`Recipe.strides_skipped`).
        second_layer: ``False`` for a "no L" row of Table 5 of the 2022 paper.
        relu: ReLU instead of every swish, as in the ReLU rows of that table.

    >>> from kswap.planner.counting import count_plan
    >>> variant = Variant(recipe("kmobilenet"), ch=32, num_classes=10)
    >>> variant.scheme, count_plan(variant.plan()).trainable_params
    ('v1', 403018)
    """

    recipe: Recipe
    scheme: str = ""
    ch: int = 0
    num_classes: int = 1000
    input_size: tuple[int, ...] = ()
    skip_stride_cnt: int = -1
    second_layer: bool = True
    relu: bool = False

    def __post_init__(self) -> None:
        own = {"scheme": self.recipe.scheme, "ch": self.recipe.ch, "input_size": (self.recipe.side,) * 2}
        for key, value in own.items():
            object.__setattr__(self, key, getattr(self, key) or value)

    @property
    def skip_strides(self) -> int:
        """How many strided stages have stride 1, as ``skip_strides`` of :func:`kswap.convert` counts them."""
        return self.recipe.strides_skipped(self.skip_stride_cnt)

    @property
    def rules(self) -> RuleSet:
        """The rules of the recipe, changed to this variant."""
        rules = load_rules(self.recipe.rules, scheme=self.scheme)
        if not self.second_layer:
            defaults = replace(rules.defaults, second_layer=False)
            rules = replace(rules, name=f"{rules.name}, no second layer", defaults=defaults, text="")
        if self.relu:
            rules = replace(rules, name=f"{rules.name}, ReLU", swap_activations={"SiLU": "relu"}, text="")
        return rules

    @property
    def _arguments(self) -> dict[str, Any]:
        """The arguments of :func:`kswap.plan` and :func:`kswap.convert` for this variant."""
        return {
            "ch": self.ch,
            "scheme": self.scheme,
            "rules": self.rules,
            "input_size": self.input_size,
            "skip_strides": self.skip_strides,
            "num_classes": self.num_classes,
            **self.recipe.arguments,
        }

    def plan(self) -> Plan:
        """The plan of the network; nothing is built. Raises :class:`kswap.errors.KswapError` subclasses."""
        from kswap.conversion import plan

        made = plan(self.recipe.source, **self._arguments)
        return replace(made, notes=(*made.notes, *self.recipe.notes))

    def convert(self, device: str | None = "cpu", seed: int | None = None) -> Conversion:
        """The network with fresh weights, ``device`` and ``seed`` as for :func:`kswap.convert`."""
        from kswap.conversion import convert

        made = convert(self.recipe.source, device=device, seed=seed, **self._arguments)
        notes = self.recipe.notes
        return replace(
            made,
            plan=replace(made.plan, notes=(*made.plan.notes, *notes)),
            report=replace(made.report, notes=(*made.report.notes, *notes)),
        )


def _efficientnet(size: int) -> Recipe:
    published = [("v1", 16), ("v2", 16), ("v2", 32)]
    if size == 0:
        published += [("v1", 32), ("v2", 2), ("v2", 4), ("v2", 8), ("v2", 12)]
    return Recipe(
        f"kefficientnet-b{size}",
        f"kEffNet B{size}: no activation after the top convolution",
        f"papers/efficientnet_b{size}",
        {"top_activation": "identity"},
        scheme="v2",
        published=tuple(sorted(published)),
        # The stem from 0 on; then one stage of the network per step, of which those of block 1 and 5 have no stride.
        skipped_strides=(1, 1, 2, 3, 4, 4),
    )


_RECIPES = (
    *(_efficientnet(size) for size in range(8)),
    Recipe(
        "kmobilenet",
        "kMobileNet: swish after the pointwise convolutions, ReLU6 after the others",
        "papers/mobilenet",
        {"pointwise_activation": "silu"},
        # The stem from 0 on; then one strided block per step. Only 3 is confirmed by a count of the authors.
        skipped_strides=(1, 2, 3, 4, 5),
        published=(("v1", 16), ("v1", 32), ("v1", 64), ("v1", 128)),
    ),
    Recipe(
        "kmobilenet-v3-large",
        "kMobileNet V3 Large: momentum 0.99 in the norms after pointwise convolutions",
        "papers/mobilenet_v3_large",
        {"pointwise_momentum": 0.99},
        published=(("v1", 16), ("v1", 32)),
    ),
    Recipe(
        "kdensenet-bc-l100",
        "kDenseNet-BC L100: swish after the convolutions, extra interleave before the transitions",
        "papers/densenet_bc_l100",
        {"activation": "silu", "acts_behind": True, "interleave": True},
        side=32,
        ch=12,
        published=(("v1", 12), ("v1", 24)),
    ),
    Recipe(
        "kinception-v3",
        "kInception V3: three pointwise convolutions stay dense",
        "papers/inception_v3",
        rules="kinception-v3",
        published=(("v1", 16), ("v1", 32)),
    ),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def recipe(name: str) -> Recipe:
    """The recipe called ``name``. Raises :class:`ModelError` for an unknown name, with those that are known."""
    if name not in RECIPES:
        raise ModelError(f"unknown recipe '{name}'{nearest(name, RECIPES)}; `kswap create` lists the recipes")
    return RECIPES[name]
