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

    ``source`` is its baseline (a network of :mod:`kswap.papers`), ``arguments`` are what the authors' converted
    network has otherwise than that baseline and no rule can say, ``rules`` is a preset for the rest (``None``:
    that of the scheme). ``side`` is the height and width that the papers use, ``published`` are the schemes and
    Ch that they print; ``scheme`` and ``ch`` are what is taken where nothing is asked for.
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a report has to know."""
        if not self.arguments:
            return ()
        return (
            f"before is the authors' {self.name} with its convolutions dense ({_listed(self.arguments)}); "
            f"the baseline of the papers is {self.source} without these arguments",
        )


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


@dataclass(frozen=True)
class Variant:
    """A recipe with all that can be chosen about it.

    ``scheme`` and ``ch`` are those of the recipe where they are ``None``, ``input_size`` (height and width, or
    channels as well) that of the papers. ``skip_strides`` turns the first strided stages to stride 1 (3 in the
    papers, for 32x32 inputs). Without ``second_layer`` it is a "no L" row of Table 5 of the 2022 paper; with
    ``relu``, ReLU takes the place of every swish, as in its ReLU rows.

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
    skip_strides: int = 0
    second_layer: bool = True
    relu: bool = False

    def __post_init__(self) -> None:
        own = {"scheme": self.recipe.scheme, "ch": self.recipe.ch, "input_size": (self.recipe.side,) * 2}
        for key, value in own.items():
            object.__setattr__(self, key, getattr(self, key) or value)

    @property
    def rules(self) -> RuleSet:
        """The rules of the recipe, changed to this variant."""
        rules = load_rules(self.recipe.rules, scheme=self.scheme)
        if not self.second_layer:
            defaults = replace(rules.defaults, second_layer=False)
            rules = replace(rules, name=f"{rules.name}, no second layer", defaults=defaults)
        if self.relu:
            rules = replace(rules, name=f"{rules.name}, ReLU", swap_activations={"SiLU": "relu"})
        return rules

    @property
    def _arguments(self) -> dict[str, Any]:
        """What :func:`kswap.plan` and :func:`kswap.convert` are called with."""
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
        f"kEffNet B{size}: no activation behind the top convolution",
        f"papers/efficientnet_b{size}",
        rules="kefficientnet",
        scheme="v2",
        published=tuple(sorted(published)),
    )


_RECIPES = (
    *(_efficientnet(size) for size in range(8)),
    Recipe(
        "kmobilenet",
        "kMobileNet: swish behind the pointwise convolutions, ReLU6 behind the others",
        "papers/mobilenet",
        {"pointwise_activation": "silu"},
        published=(("v1", 16), ("v1", 32), ("v1", 64), ("v1", 128)),
    ),
    Recipe(
        "kmobilenet-v3-large",
        "kMobileNet V3 Large: momentum 0.99 in the norms behind pointwise convolutions",
        "papers/mobilenet_v3_large",
        {"pointwise_momentum": 0.99},
        published=(("v1", 16), ("v1", 32)),
    ),
    Recipe(
        "kdensenet-bc-l100",
        "kDenseNet-BC L100: swish behind the convolutions, extra interleave before the transitions",
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
