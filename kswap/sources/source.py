"""A name becomes a model: timm, torchvision, ``papers/NAME``, ``package.module:factory``, ``file.py:factory``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kswap.errors import ModelError, SavedError

DROPS = ("DropPath", "Dropout", "Dropout2d")

KINDS = ("timm", "torchvision", "papers", "import", "file", "module")

# Keyword arguments that make a builder fetch or unpickle something: neither saved nor taken from a directory.
_UNSAFE = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "weights",
    "weights_backbone",
}


@dataclass(frozen=True)
class Source:
    """Where a model comes from, so that it can be built again.

    ``kind`` is one of :data:`KINDS`; ``kwargs`` are the arguments of its builder as JSON values. A model
    that was passed as a module and that kswap cannot build again has the kind ``"module"`` and its class as
    the name. ``drops`` are dropout and drop-path layers by qualified name, with their probabilities, that the
    builder does not make by itself.
    """

    kind: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    drops: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"unknown kind of model '{self.kind}': known are {', '.join(KINDS)}")
        for name, (kind, rate) in self.drops.items():
            if kind not in DROPS or not 0 <= rate <= 1:
                raise ModelError(f"'{name}' cannot be a {kind!r} of probability {rate!r}")

    @property
    def title(self) -> str:
        """The name as the user wrote it; of a module its class."""
        if self.kind == "module":
            return self.name.rpartition(".")[2]
        return f"{self.kind}/{self.name}" if self.kind in ("torchvision", "papers") else self.name

    @property
    def needs_trust(self) -> bool:
        """Whether building it runs code that neither timm nor torchvision brings, or fetches something."""
        return self.kind in ("import", "file") or ":" in self.name

    def to_json(self) -> dict[str, Any]:
        try:
            safe = {key: value for key, value in self.kwargs.items() if key not in _UNSAFE}
            kwargs = json.loads(json.dumps(safe, allow_nan=False))
        except (TypeError, ValueError):
            raise SavedError(
                f"the arguments that built {self.title} cannot be written as JSON: pass numbers, texts and lists, "
                f"or build the model yourself and load with kswap.load(directory, model=...)"
            ) from None
        drops = {name: list(drop) for name, drop in self.drops.items()}
        return {"kind": self.kind, "name": self.name, "kwargs": kwargs, "drops": drops}

    @classmethod
    def from_json(cls, data: Any) -> Source:
        """Read what :meth:`to_json` wrote, from a directory that may come from a stranger."""
        if not isinstance(data, dict) or not isinstance(data.get("kwargs", {}), dict):
            raise SavedError("the saved plan names no source of its model")
        kind, name, kwargs = data.get("kind"), data.get("name"), data.get("kwargs", {})
        if kind not in KINDS or not isinstance(name, str):
            raise SavedError(f"the saved plan names an unknown source: {kind!r}")
        unsafe = sorted(_UNSAFE & set(kwargs))
        if unsafe:
            raise SavedError(f"the saved plan sets {', '.join(unsafe)}, which a saved directory must not do")
        try:
            drops = {str(key): (str(layer), float(rate)) for key, (layer, rate) in data.get("drops", {}).items()}
            return cls(kind, name, kwargs, drops)
        except (TypeError, ValueError, AttributeError, ModelError) as error:
            raise SavedError(f"the dropout layers of the saved plan cannot be read: {error}") from error


def parse_source(name: str, kwargs: Mapping[str, Any] | None = None) -> Source:
    """The source that a MODEL argument names. Does not build anything and imports no torch.

    >>> parse_source("torchvision/resnet50").kind, parse_source("my_models.py:tiny").kind
    ('torchvision', 'file')
    >>> parse_source("package.module:factory").kind, parse_source("efficientnet_b0").kind
    ('import', 'timm')
    """
    kwargs = dict(kwargs or {})
    if not name:
        raise ModelError("the model has no name: give a timm name such as efficientnet_b0")
    for kind in ("torchvision", "papers"):
        if name.startswith(f"{kind}/"):
            return Source(kind, name.removeprefix(f"{kind}/"), kwargs)
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return Source("timm", name, kwargs)
    path, colon, factory = name.rpartition(":")
    if colon and path.endswith(".py"):
        return Source("file", name, kwargs)
    if colon:
        if not factory.isidentifier():
            raise ModelError(f"'{name}' names no factory: write package.module:factory or file.py:factory")
        return Source("import", name, kwargs)
    if name.endswith(".py"):
        raise ModelError(f"'{name}' names no factory: write {name}:factory, where factory() gives the model")
    return Source("timm", name, kwargs)
