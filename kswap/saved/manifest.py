"""``plan.json`` of a saved directory as a value: all that is needed to build the model again, validated."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from kswap.codec import decode, encode
from kswap.errors import SavedError, excerpt
from kswap.files import read_json, write_text
from kswap.graph.call import Call
from kswap.planner.plan import Plan
from kswap.saved.files import PLAN, inside
from kswap.saved.reading import check_is_saved
from kswap.sources.source import Source
from kswap.version import __version__

MANIFEST_FORMAT: Literal[1] = 1

# The types that weights of a model can be trained in. A model of another type is loaded in float32.
FloatType = Literal["float64", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Manifest:
    """What ``plan.json`` holds beside the weights in ``model.safetensors``.

    ``base_hash`` is the hash of the structure of the original's state, ``weights_sha256`` that of the file of
    weights. ``dtype`` is the type of all floating weights, ``None`` where they differ. ``frozen`` names the
    parameters that need no gradient. ``inputs`` is how the model is called, ``None`` in directories of kswap 0.1.0.
    """

    format: Literal[1]
    kswap: str
    versions: Mapping[str, str | None]
    source: Source
    base_hash: str
    weights_sha256: str
    dtype: FloatType | None
    frozen: tuple[str, ...]
    plan: Plan
    inputs: Call | None = None

    def __post_init__(self) -> None:
        if self.source.unsafe_arguments:
            names = ", ".join(self.source.unsafe_arguments)
            raise SavedError(f"{PLAN} sets {names}, which a saved directory must not do")

    @property
    def call(self) -> Call:
        """How the model is called; kswap 0.1.0 did not save it, and knew only calls with one tensor."""
        return self.inputs or Call((torch.empty(1, *self.plan.input_size, device="meta"),))

    @property
    def versions_text(self) -> str:
        known = [f"{name} {version}" for name, version in self.versions.items() if version]
        return excerpt(", ".join(known) or "unknown versions", 120)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write ``plan.json``. Raises :class:`SavedError`."""
    written = dataclasses.replace(manifest, source=manifest.source.without_unsafe_arguments())
    write_text(root / PLAN, json.dumps(encode(written), indent=1), SavedError)


def read_manifest(root: Path) -> Manifest:
    """Read ``plan.json`` of a directory that may come from a stranger. Raises :class:`SavedError`."""
    check_is_saved(root)
    shown = excerpt(root, 200)
    data = read_json(inside(root, PLAN), SavedError)
    if not isinstance(data, dict) or "format" not in data:
        raise SavedError(f"{shown}/{PLAN} is not of kswap: it names no format")
    if type(data["format"]) is not int or data["format"] != MANIFEST_FORMAT:
        raise SavedError(
            f"{shown} has format {excerpt(data['format'], 40)} (kswap {excerpt(data.get('kswap'), 40)}), and this "
            f"kswap {__version__} reads format {MANIFEST_FORMAT}: use a kswap that fits"
        )
    return decode(Manifest, data, f"{shown}/{PLAN}", SavedError, ignore_unknown=True)
