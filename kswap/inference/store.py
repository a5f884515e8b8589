"""What was chosen for an optimised model, kept beside its compact weights: ``optimized.json`` in a saved directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kswap.codec import decode, encode
from kswap.converted import Conversion
from kswap.errors import DeployError, SavedError, nearest
from kswap.files import read_json, write_text
from kswap.graph.device import device_of
from kswap.inference.block_tuning import Watcher
from kswap.inference.format_1 import translated
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import Optimization, optimization_of
from kswap.loading import load
from kswap.nn.implementation import ImplementationId
from kswap.runtimes.targets import TARGETS, check_target, find_target
from kswap.saved.directory import write_report
from kswap.saved.files import OPTIMIZED, inside
from kswap.saved.manifest import read_manifest
from kswap.saved.reading import read_report
from kswap.version import __version__

# Format 1, of kswap 0.1.0, named implementations in English; it is still read.
_FORMAT = 2
_FORMATS = (1, 2)


@dataclass(frozen=True)
class Optimized:
    """A saved conversion, and the same model optimised."""

    conversion: Conversion
    model: nn.Module

    @property
    def optimization(self) -> Optimization:
        """The record of what was done."""
        return optimization_of(self.model)


def optimize_directory(
    directory: str | Path,
    target: str = "eager",
    batch: int = 1,
    input_size: tuple[int, ...] | None = None,
    autotune: bool = True,
    threads: int | None = None,
    trust_source: bool = False,
    watch: Watcher | None = None,
    native: bool | None = None,
) -> Optimized:
    """Optimise a saved conversion for ``target``, and record the implementations in its directory.

    The weights on disk stay the compact ones; :func:`load_optimized` builds the same quick model from them. There is
    one record per target: a later run replaces it. Where times were measured, the reports of the directory get those of
    the last run. ``native`` is as for :func:`kswap.optimize_for_inference`. Raises
    :class:`kswap.errors.DeployError` and :class:`kswap.errors.SavedError`.
    """
    check_target(target)
    conversion = load(directory, device=find_target(target).device, trust_source=trust_source)
    example = _example(conversion, batch, input_size)
    quick = optimize_for_inference(conversion.model, example, target, autotune, threads, watch=watch, native=native)
    made = Optimized(conversion, quick)
    records = {**read_optimizations(directory), target: made.optimization}
    saved = {
        "format": _FORMAT,
        "kswap": __version__,
        "weights_sha256": _hash(directory),
        "targets": {name: encode(record) for name, record in records.items()},
    }
    write_text(Path(directory) / OPTIMIZED, json.dumps(saved, indent=1), SavedError)
    times = made.optimization.microseconds
    if times:
        write_report(Path(directory), read_report(directory).with_times(made.optimization.measured_in, times))
    return made


def read_optimizations(directory: str | Path) -> dict[str, Optimization]:
    """The records in a saved directory by target; empty where it was never optimised, or its weights are new.

    Raises :class:`kswap.errors.SavedError` and :class:`kswap.errors.DeployError` for damaged files.
    """
    if not (Path(directory) / OPTIMIZED).exists():
        return {}
    path = inside(Path(directory), OPTIMIZED)
    data = read_json(path, SavedError)
    known = isinstance(data, dict) and data.get("format") in _FORMATS and isinstance(data.get("targets"), dict)
    if not known:
        raise DeployError(f"{path} is damaged or of another version of kswap: remove it, and optimise again")
    if data.get("weights_sha256") != _hash(directory):
        return {}
    return {
        name: decode(Optimization, translated(record), f"the record for {name} in {path.name}", DeployError)
        for name, record in data["targets"].items()
        if name in TARGETS
    }


def recorded_implementations(
    directory: str | Path, target: str, shape: Sequence[int]
) -> dict[str, ImplementationId] | None:
    """Those that were recorded for ``target`` and an input of exactly this shape; ``None`` where there are none.

    Raises as :func:`read_optimizations` does.
    """
    record = read_optimizations(directory).get(target)
    return record.implementations if record is not None and record.input_shape == tuple(shape) else None


def load_optimized(
    directory: str | Path,
    target: str = "eager",
    trust_source: bool = False,
    device: str | None = None,
    native: bool | None = None,
) -> nn.Module:
    """The model of a directory that :func:`optimize_directory` optimised, built from its compact weights.

    Nothing is measured again. Blocks for which the native kernel was chosen run in stock form, with a warning, where
    it was not compiled before; with ``native=True`` it is compiled. Raises :class:`kswap.errors.DeployError` where the
    directory was not optimised for ``target``.
    """
    records = read_optimizations(directory)
    if target not in records:
        has = f"for {', '.join(records)} only" if records else "yet"
        hint = nearest(target, TARGETS) if target not in TARGETS else ""
        raise DeployError(
            f"{directory} was not optimised {has}{hint}: run `kswap optimize {directory} --target {target}` first"
        )
    conversion = load(directory, device=device or find_target(target).device, trust_source=trust_source)
    record = records[target]
    example = _example(conversion, record.input_shape[0], record.input_shape[1:])
    return optimize_for_inference(
        conversion.model,
        example,
        target,
        autotune=False,
        threads=record.threads,
        implementations=record.implementations,
        native=native,
    )


def _example(conversion: Conversion, batch: int, size: tuple[int, ...] | None) -> torch.Tensor:
    own = conversion.plan.input_size
    shape = own if size is None else size if len(size) == len(own) else (own[0], *size)
    device = device_of(conversion.model)
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)


def _hash(directory: str | Path) -> str:
    return read_manifest(Path(directory)).weights_sha256
