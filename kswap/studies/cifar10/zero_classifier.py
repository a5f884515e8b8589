"""A classifier that says nothing before the first step."""

from __future__ import annotations

from torch import nn

from kswap.errors import StudyError


def zero_classifier_(model: nn.Module) -> None:
    """Set the weights and the bias of the classifier to 0, in place: all classes are equally likely.

    Args:
        model: One whose ``get_classifier()`` returns a linear layer, as timm's do.

    Raises:
        StudyError: It returns none.

    >>> import timm, torch
    >>> model = timm.create_model("test_resnet", num_classes=10).eval()
    >>> zero_classifier_(model)
    >>> model(torch.ones(1, 3, 32, 32)).abs().max().item()
    0.0
    """
    named = getattr(model, "get_classifier", None)
    classifier = named() if callable(named) else None
    if not isinstance(classifier, nn.Linear):
        raise StudyError(
            f"zero_classifier needs a model whose get_classifier() returns a linear layer, as timm's do; that of "
            f"{type(model).__name__} does not: leave zero_classifier out"
        )
    nn.init.zeros_(classifier.weight)
    if classifier.bias is not None:
        nn.init.zeros_(classifier.bias)
