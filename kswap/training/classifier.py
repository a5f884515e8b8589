"""A model as a task of timm calls it: it returns logits, whatever its own output is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import LoadedModel, logits_of, probabilities
from kswap.errors import ModelError, first_line
from kswap.graph.modes import evaluating


class Classifier(nn.Module):
    """A model that returns logits, ``(N, classes)``.

    With ``distributes``, the model itself returns probabilities, as the papers' networks do, and their logarithms are
    returned: softmax gives the probabilities back.

    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1)), distributes=True)
    >>> classifier(torch.zeros(2, 1, 2, 2)).softmax(1).sum(1).round(decimals=4).tolist()
    [1.0, 1.0]
    """

    def __init__(self, model: nn.Module, distributes: bool = False) -> None:
        super().__init__()
        self.model = model
        self.distributes = distributes

    def forward(self, x: Tensor) -> Tensor:
        found = logits_of(self.model(x))
        return found.float().clamp_min(1e-12).log() if self.distributes else found

    def no_weight_decay(self) -> set[str]:
        """The parameters that the model exempts from weight decay, for the optimizers of timm."""
        own = getattr(self.model, "no_weight_decay", None)
        return {f"model.{name}" for name in own()} if callable(own) else set()


def output_of(loaded: LoadedModel) -> Tensor:
    """The model's output for a blank picture, ``(1, classes)``, in eval mode.

    Raises:
        ModelError: It does not take pictures of its input size, or is not a classifier.
    """
    blank = torch.zeros(1, *loaded.preprocessing.input_size)
    with evaluating(loaded.model), torch.inference_mode():
        try:
            given = loaded.model(loaded.inputs(blank))
        except Exception as error:  # whatever a stranger's forward pass raises
            raise ModelError(
                f"{loaded.title} cannot be run on pictures of {tuple(blank.shape[1:])}: {first_line(error)}"
            ) from error
    return logits_of(given)


def distributes(output: Tensor) -> bool:
    """Whether an output of :func:`output_of` holds probabilities."""
    return output.shape[1] > 1 and probabilities(output).equal(output.float())
