"""Where a report comes from: what was called, when, on which model, by which rules, and whence the weights.

Values only. Versions and sources are passed in: nothing here looks at a model or at installed packages.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from kswap.codec import Between
from kswap.errors import ReportError, excerpt

# Characters of a rule file that a report keeps; of a larger one it has the hash alone.
LONGEST_RULES = 60_000


@dataclass(frozen=True)
class ModelOrigin:
    """The original model: how it was built, and where its weights came from.

    Args:
        kind: ``"timm"``, ``"torchvision"``, ``"papers"``, ``"import"``, ``"file"`` or ``"module"``.
        name: Its name there; of a module its class.
        arguments: The arguments of its builder, ``num_classes`` for one, as JSON values.
        weights: In words: ``"fresh"``, ``"published"``, ``"from the file mine.pth"``; empty where nothing was built.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any]
    weights: str = ""


@dataclass(frozen=True)
class RulesOrigin:
    """The rules: their name, their text and its SHA-256.

    The text is empty where it has more than :data:`LONGEST_RULES` characters, and both are where a plan was replayed.
    """

    name: str
    text: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, name: str, text: str) -> RulesOrigin:
        """The record of a rule file's text.

        >>> RulesOrigin.of("mine.toml", "ch = 32").sha256[:12]
        '2d1e9e59e579'
        """
        return cls(name, text if len(text) <= LONGEST_RULES else "", hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class WeightsStep:
    """One step on the way to the weights of the blocks.

    Args:
        how: ``"fresh"``, ``"projected"``, ``"distilled"``, ``"trained"``, ``"loaded"``, or the name of an initialiser.
        seed: What the step was seeded with, where it drew anything.
        images: How many images it saw, each as often as it was seen.
        data: What these were, or which file weights were loaded from.
        teacher: The model that was learned from.

    >>> print(WeightsStep("projected", seed=0, images=512, data="photos"))
    projected from 512 images of photos, seed 0
    >>> print(WeightsStep("distilled", images=12000, data="photos", teacher="efficientnet_b0"))
    distilled from efficientnet_b0 on 12,000 images of photos
    """

    how: str
    seed: int | None = None
    images: Annotated[int, Between(0, 2**63 - 1)] | None = None
    data: str = ""
    teacher: str = ""

    def __str__(self) -> str:
        text = self.how
        if self.teacher:
            text += f" from {self.teacher}"
        if self.images is not None:
            text += f" {'on' if self.teacher or self.how == 'trained' else 'from'} {self.images:,} images"
            text += f" of {self.data}" if self.data else ""
        elif self.data:
            text += f" from {self.data}"
        return text if self.seed is None else f"{text}, seed {self.seed}"


@dataclass(frozen=True)
class Provenance:
    """Where a report comes from.

    Args:
        command: The command as it was typed, or the Python call.
        date: When, in UTC, in ISO 8601; see :func:`date_now`.
        seed: What fresh weights were drawn with, given or not; ``None`` where nothing was drawn.
        versions: Of kswap, torch and what else builds models, by package.
        model: The original.
        rules: Which sites were replaced, and how.
        base_hash: SHA-256 of names, shapes and types of the original's state; empty where nothing was built.
        weights: Where the weights of the blocks came from, step after step; empty where nothing was built.

    Raises :class:`ReportError` for a date that is none.
    """

    command: str
    date: str
    seed: int | None
    versions: Mapping[str, str | None]
    model: ModelOrigin
    rules: RulesOrigin
    base_hash: str = ""
    weights: tuple[WeightsStep, ...] = ()

    def __post_init__(self) -> None:
        try:
            datetime.fromisoformat(self.date)
        except ValueError:
            raise ReportError(f"the date of a report must be in ISO 8601, not '{excerpt(self.date)}'") from None

    def after(self, command: str, step: WeightsStep) -> Provenance:
        """The provenance of what ``command`` made in one ``step`` from the weights of before: dated now."""
        steps = (*self.weights, step)
        return replace(self, command=command or self.command, date=date_now(), weights=steps)


def date_now() -> str:
    """The time in UTC, to the second; that of ``SOURCE_DATE_EPOCH`` where the environment sets it.

    With that variable two runs write the same bytes (https://reproducible-builds.org/specs/source-date-epoch/).
    Raises :class:`ReportError` where it is no number of seconds.
    """
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = datetime.now(UTC) if stated is None else datetime.fromtimestamp(int(stated), UTC)
    except (ValueError, OverflowError, OSError):
        raise ReportError(
            f"SOURCE_DATE_EPOCH must be a whole number of seconds since 1970, not '{excerpt(stated)}'"
        ) from None
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
