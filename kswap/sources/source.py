"""A name becomes a model: timm, torchvision, ``papers/NAME``, ``package.module:factory``, ``file.py:factory``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kswap.errors import ModelError, SavedError, excerpt

DROPOUT_LAYERS = ("DropPath", "Dropout", "Dropout2d")

SOURCE_KINDS = ("timm", "torchvision", "papers", "import", "file", "module")

# How the names of converted models begin in timm's registry (kswap.timm).
CONVERTED = "kswap_"

# Longer than any path that a system takes.
_LONGEST_NAME = 4096

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

    ``kind`` is one of :data:`SOURCE_KINDS`; ``kwargs`` are the arguments of its builder as JSON values. A model
    that was passed as a module and that kswap cannot build again has the kind ``"module"`` and its class as
    the name. ``drops`` are dropout and drop-path layers by qualified name, with their probabilities, that the
    builder does not make by itself. ``weights_file`` is the name of the file that its trained weights were loaded
    from, for the reader only: building it again takes none.
    """

    kind: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    drops: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    weights_file: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS:
            raise ModelError(f"unknown kind of model '{self.kind}': known are {', '.join(SOURCE_KINDS)}")
        if not self.name:
            raise ModelError("the model has no name: give a timm name such as efficientnet_b0")
        for name, (kind, rate) in self.drops.items():
            if not name:
                raise ModelError(f"a {kind} has no name")
            if kind not in DROPOUT_LAYERS or not 0 <= rate <= 1:
                raise ModelError(f"'{name}' cannot be a {kind!r} of probability {rate!r}")
        if self.weights_file is not None and ("/" in self.weights_file or not self.weights_file.isprintable()):
            raise ModelError(f"'{excerpt(self.weights_file)}' is no name of a file of weights")

    @property
    def title(self) -> str:
        """The name as the user wrote it; of a module its class."""
        if self.kind == "module":
            return self.name.rpartition(".")[2]
        return f"{self.kind}/{self.name}" if self.kind in ("torchvision", "papers") else self.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know about where the weights come from."""
        return (f"trained weights from the file {self.weights_file}",) if self.weights_file else ()

    @property
    def needs_trust(self) -> bool:
        """Whether building it runs code that neither timm nor torchvision brings, or fetches something."""
        return self.kind in ("import", "file") or ":" in self.name

    @property
    def unsafe_arguments(self) -> tuple[str, ...]:
        """The builder's arguments that make it fetch or unpickle something; no saved directory may set them."""
        return tuple(sorted(_UNSAFE & self.kwargs.keys()))

    def without_unsafe_arguments(self) -> Source:
        """The source as it is saved. Raises :class:`SavedError` for arguments that JSON does not have."""
        safe = {key: value for key, value in self.kwargs.items() if key not in _UNSAFE}
        try:
            kwargs = json.loads(json.dumps(safe, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise SavedError(
                f"the arguments that built {self.title} cannot be written as JSON: pass numbers, texts and lists, "
                f"or build the model yourself and load with kswap.load(directory, model=...)"
            ) from None
        return dataclasses.replace(self, kwargs=kwargs)


def parse_source(name: str, kwargs: Mapping[str, Any] | None = None) -> Source:
    """The source that a MODEL argument names. Does not build anything and imports no torch.

    >>> parse_source("torchvision/resnet50").kind, parse_source("my_models.py:tiny").kind
    ('torchvision', 'file')
    >>> parse_source("package.module:factory").kind, parse_source("efficientnet_b0").kind
    ('import', 'timm')
    """
    kwargs = dict(kwargs or {})
    if len(name) > _LONGEST_NAME or "\0" in name:
        raise ModelError(f"'{excerpt(name)}' is no name of a model: it is too long or holds a NUL")
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
        raise ModelError(f"'{name}' names no factory: write {name}:factory, where factory() returns the model")
    return Source("timm", name, kwargs)
