"""The protocols of the study: one of the papers, and one for a CPU. A registry by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kswap.errors import StudyError, nearest
from kswap.studies.cifar10.settings import Settings, Stage

_PEERS = ("low-rank", "k-alone", "no-sum", "shuffle", "narrower", "pruned")

_PAPERS = Settings(
    protocol="papers",
    data=("torchvision:CIFAR10",),
    network="papers/efficientnet_b0",
    stages=(
        Stage(("baseline", "v2-16", "v2-32"), 1),
        Stage(("v2-8", "v1-16", "v2-16-no-l", "v2-16-relu"), 1),
        Stage(("v2-16", *_PEERS), 3),
        Stage(("v2-4", "v1-4", "v1-8", "v1-32", "v2-32-no-l", "v2-8-no-l", "v2-4-no-l"), 1),
        Stage(("v2-32-relu", "v2-8-relu", "v2-4-relu"), 1),
    ),
    side=32,
    skip_strides=3,
    converted_arguments={"top_activation": "identity"},
    narrowed="tf_efficientnet_b0",
    recipe="papers",
)

_REDUCED = Settings(
    protocol="reduced",
    data=("torchvision:CIFAR10",),
    network="mobilenetv1_100",
    stages=(
        Stage(("baseline", "v2-16", "v2-32", "v2-8", "v1-16", "v2-16-no-l"), 2),
        Stage(("v2-16", "baseline", *_PEERS), 3),
        Stage(("v2-4", "v1-4", "v1-8", "v1-32"), 1),
    ),
    side=32,
    narrowed="mobilenetv1_100",
    recipe="quick",
    recipe_changes={"epochs": 5.0, "batch": 64, "evaluations": 0.001},
    learning_rates=(1.0, 2.0),
    structured_rates=(0.3, 3.0),
    choosing_epochs=0.5,
    zero_classifier=True,
)

PROTOCOLS: dict[str, Settings] = {made.protocol: made for made in (_PAPERS, _REDUCED)}


def protocol(name: str, data: Sequence[str] = (), epochs: float | None = None, **changes: Any) -> Settings:
    """The settings of a protocol for some pictures.

    Args:
        name: One of :data:`PROTOCOLS`.
        data: Where the pictures are; none for those that torchvision downloads.
        epochs: Of every training, instead of the protocol's.
        changes: Other values of :class:`Settings`; ``None`` changes nothing.

    Raises:
        StudyError: There is no such protocol, or a value is out of its range.

    >>> protocol("papers").skip_strides
    3
    """
    if name not in PROTOCOLS:
        raise StudyError(f"unknown protocol '{name}': known are {', '.join(PROTOCOLS)}{nearest(name, PROTOCOLS)}")
    asked = {key: value for key, value in changes.items() if value is not None}
    made = replace(PROTOCOLS[name], **asked)
    if data:
        made = replace(made, data=tuple(data))
    return made if epochs is None else replace(made, recipe_changes={**made.recipe_changes, "epochs": epochs})
