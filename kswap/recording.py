"""Where a conversion or a plan comes from, put together for its report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kswap.packages import installed_versions
from kswap.report.calls import argument_text, current_call, without_home
from kswap.report.output import json_text
from kswap.report.provenance import ModelOrigin, Provenance, RulesOrigin, WeightsStep, date_now
from kswap.rules import RuleSet
from kswap.saved.manifest import read_manifest
from kswap.sources.source import Source, parse_source
from kswap.version import __version__

# The packages that build a model.
_PACKAGES = ("torch", "timm", "torchvision")


def provenance_of(
    source: Source,
    rules: RulesOrigin,
    base_hash: str = "",
    seed: int | None = None,
    trained: str = "",
    steps: tuple[WeightsStep, ...] = (),
) -> Provenance:
    """The provenance of what is being made now, by the call that is running.

    Args:
        source: The original.
        rules: The rules; see :func:`rules_origin`.
        base_hash: :func:`kswap.sources.recognise.structure_hash` of the original.
        seed: What fresh weights are drawn with.
        trained: Where the weights of the original came from, in words.
        steps: How the weights of the blocks came about.
    """
    return Provenance(
        command=current_call(),
        date=date_now(),
        seed=seed,
        versions={"kswap": __version__, **installed_versions(_PACKAGES)},
        model=ModelOrigin(source.kind, without_home(source.name), _plain(dict(source.kwargs)), trained),
        rules=rules,
        base_hash=base_hash,
        weights=steps,
    )


def provenance_of_plan(model: str, arguments: dict[str, Any], rules: RulesOrigin) -> Provenance:
    """The provenance of a plan of a named model, for which nothing is built."""
    source = read_manifest(Path(model)).source if os.path.isdir(model) else parse_source(model, arguments)
    return provenance_of(source, rules)


def rules_origin(rules: RuleSet, name: str | None = None) -> RulesOrigin:
    """The record of a rule set: the text of its file, or else its content as JSON.

    ``name`` is what the plan calls it, where that is another.

    >>> from kswap.rules import load_rules
    >>> rules_origin(load_rules("keffnet-v2")).text.splitlines()[-1]
    'scheme = "v2"'
    """
    return RulesOrigin.of(name or rules.name, rules.text or json_text(rules.to_json()))


def weights_text(model: object, source: Source, pretrained: bool) -> str:
    """Where the weights of an original came from that a caller named or passed, in words.

    >>> weights_text("resnet50", Source("timm", "resnet50"), pretrained=True)
    'published'
    """
    if not isinstance(model, str):
        return "those of the module"
    if source.weights_file:
        return f"from the file {source.weights_file}"
    if pretrained:
        return "published"
    return f"those of the directory {without_home(model)}" if os.path.isdir(model) else "fresh"


def _plain(value: Any) -> Any:
    """``value`` as JSON values; what has no such value as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | Path):
        return without_home(str(value))
    return value if value is None or isinstance(value, bool | int | float) else argument_text(value)
