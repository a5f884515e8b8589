"""Loads one of the authors' Keras checkpoints into a conversion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from kswap.errors import SavedError
from kswap.keras.checkpoint import Checkpoint, read_checkpoint
from kswap.keras.networks import load_network_
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES
from kswap.report.calls import recorded, without_home
from kswap.report.provenance import WeightsStep

if TYPE_CHECKING:
    from kswap.converted import Conversion
    from kswap.papers.recipes import Variant


@recorded("kswap.keras.import_keras")
def import_keras(path: str | Path, variant: Variant) -> Conversion:
    """The converted network of the papers with the weights of a Keras checkpoint, in eval mode, on the CPU.

    ``variant`` must be the network that the authors trained. Raises :class:`kswap.errors.SavedError` for a
    file that is not a checkpoint, or is one of another network.
    """
    checkpoint = read_checkpoint(path)
    conversion = variant.convert(seed=0)
    load_network_(conversion.model, checkpoint.layers, variant.scheme)
    _check_activations(conversion.model, checkpoint)
    conversion.model.eval()
    origin = conversion.report.provenance
    if origin is not None:
        origin = replace(origin, seed=None, weights=(WeightsStep("loaded", data=without_home(str(path))),))
    return replace(conversion, report=conversion.report.with_provenance(origin))


def _check_activations(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Refuse other activations: names and shapes of weights are the same, so the wrong network would load silently."""
    names = {kind: name for name, kind in ACTIVATION_CLASSES.items() if name != "identity"}
    ours = {names[type(module)] for module in model.modules() if type(module) in names}
    if checkpoint.activations is not None and checkpoint.activations != ours:
        raise SavedError(
            f"the network in the checkpoint has the activations {', '.join(sorted(checkpoint.activations))}, "
            f"this one has {', '.join(sorted(ours))}: choose another recipe, or leave out or add --relu"
        )
