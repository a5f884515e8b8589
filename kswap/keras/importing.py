"""From one of the authors' Keras checkpoints to a conversion with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from kswap.errors import SavedError
from kswap.keras.checkpoint import Checkpoint, read_checkpoint
from kswap.keras.networks import load_network_
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES

if TYPE_CHECKING:
    from kswap.converted import Conversion
    from kswap.papers.recipes import Variant


def import_keras(path: str | Path, variant: Variant) -> Conversion:
    """The converted network of the papers with the weights of a Keras checkpoint, in eval mode, on the CPU.

    ``variant`` has to be what the authors trained. Raises :class:`kswap.errors.SavedError` for a file that is no
    checkpoint, or one of another network.
    """
    checkpoint = read_checkpoint(path)
    conversion = variant.convert(seed=0)
    load_network_(conversion.model, checkpoint.layers, variant.scheme)
    _check_activations(conversion.model, checkpoint)
    conversion.model.eval()
    return conversion


def _check_activations(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Names and shapes of weights do not tell activations apart, so a wrong load would be silent."""
    names = {kind: name for name, kind in ACTIVATION_CLASSES.items() if name != "identity"}
    ours = {names[type(module)] for module in model.modules() if type(module) in names}
    if checkpoint.activations is not None and checkpoint.activations != ours:
        raise SavedError(
            f"the network in the checkpoint has the activations {', '.join(sorted(checkpoint.activations))}, "
            f"this one has {', '.join(sorted(ours))}: choose another recipe, or leave out or add --relu"
        )
