"""What all renderers say of where a report comes from."""

from __future__ import annotations

import json
from typing import Any

from kswap.report.provenance import ModelOrigin, Provenance, RulesOrigin

HASH_CHARACTERS = 16  # of a SHA-256, as far as people compare it
NO_PROVENANCE = "not recorded (written by kswap 0.1.0 or earlier)"


def provenance_rows(provenance: Provenance) -> tuple[tuple[str, str], ...]:
    """Label and value of each line that readers are shown, in order; what is unknown is left out.

    The text of the rules is not among them: see :attr:`RulesOrigin.text`.
    """
    rows = (
        ("command", provenance.command),
        ("date", date_text(provenance.date)),
        ("model", model_text(provenance.model)),
        ("weights of the original", provenance.model.weights),
        ("hash of the original", short_hash(provenance.base_hash)),
        ("weights of the blocks", weights_text(provenance)),
        ("rules", rules_text(provenance.rules)),
        ("seed", "" if provenance.seed is None else str(provenance.seed)),
        ("versions", versions_text(provenance)),
    )
    return tuple((label, value) for label, value in rows if value)


def asked_text(provenance: Provenance) -> str:
    """What was called, and when."""
    return f"{provenance.command or 'an unnamed call'}, {date_text(provenance.date)}"


def date_text(date: str) -> str:
    """A date for people.

    >>> date_text("2026-11-21T18:38:48Z")
    '2026-11-21 18:38:48 UTC'
    """
    return date.replace("T", " ").replace("Z", " UTC")


def model_text(model: ModelOrigin) -> str:
    """The original and the arguments that built it.

    >>> model_text(ModelOrigin("timm", "resnet50", {"num_classes": 10}))
    'timm resnet50, num_classes 10'
    """
    return ", ".join([f"{model.kind} {model.name}", *(f"{k} {value_text(v)}" for k, v in model.arguments.items())])


def value_text(value: Any) -> str:
    """An argument of a builder.

    >>> value_text("silu"), value_text([1, 2]), value_text(None)
    ('silu', '[1, 2]', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value)


def weights_text(provenance: Provenance) -> str:
    """How the weights of the blocks came about."""
    return "; then ".join(map(str, provenance.weights))


def rules_text(rules: RulesOrigin) -> str:
    """The name of the rules, and their hash.

    >>> rules_text(RulesOrigin.of("mine.toml", "ch = 32")), rules_text(RulesOrigin("mine.toml"))
    ('mine.toml, SHA-256 2d1e9e59e5791b00', 'mine.toml, by a plan that was replayed')
    """
    if not rules.sha256:
        return f"{rules.name}, by a plan that was replayed" if rules.name else ""
    return f"{rules.name}, SHA-256 {short_hash(rules.sha256)}"


def versions_text(provenance: Provenance) -> str:
    """``kswap 0.1.0, torch 2.11.0``."""
    return ", ".join(f"{name} {version}" for name, version in provenance.versions.items() if version)


def short_hash(digest: str) -> str:
    """The first characters of a hash."""
    return digest[:HASH_CHARACTERS]
