"""Whether a converted timm model has the methods of its original, and whether they do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from kswap.coverage.compare import Counterparts, MismatchError, class_and_message


def _forward_head(model: nn.Module, x: Tensor) -> Any:
    return model.forward_head(model.forward_features(x))  # type: ignore[operator]


def _get_classifier(model: nn.Module, _: Tensor) -> Any:
    return repr(model.get_classifier())  # type: ignore[operator]


def _reset_classifier(model: nn.Module, x: Tensor) -> Any:
    model.reset_classifier(7)  # type: ignore[operator]
    return model(x)


def _no_weight_decay(model: nn.Module, _: Tensor) -> Any:
    return sorted(model.no_weight_decay())  # type: ignore[operator]


def _checkpointed(model: nn.Module, x: Tensor) -> Any:
    """One training step with checkpoints; on the meta device only the switch."""
    model.set_grad_checkpointing(True)  # type: ignore[operator]
    if not x.is_meta:
        backward(model.train()(x))
        model.eval()
    model.set_grad_checkpointing(False)  # type: ignore[operator]


# In this order: the last ones change the model.
METHODS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "forward_features": lambda model, x: model.forward_features(x),  # type: ignore[operator]
    "forward_head": _forward_head,
    "forward_intermediates": lambda model, x: model.forward_intermediates(x),  # type: ignore[operator]
    "get_classifier": _get_classifier,
    "no_weight_decay": _no_weight_decay,
    "set_grad_checkpointing": _checkpointed,
    "reset_classifier": _reset_classifier,
}

ATTRIBUTES = ("pretrained_cfg", "default_cfg", "feature_info", "num_classes", "num_features", "head_hidden_size")


def backward(output: Any) -> None:
    """Backward from the sum of all outputs that carry gradients."""
    leaves = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor) and leaf.requires_grad]
    sum(leaf.float().sum() for leaf in leaves).backward()  # type: ignore[union-attr]


def _comparable(value: Any) -> str:
    return repr(list(value)) if hasattr(value, "__iter__") and not isinstance(value, dict | str) else repr(value)


def _groups(model: nn.Module, coarse: bool) -> dict[str, Any]:
    from timm.models import group_parameters

    matcher = model.group_matcher(coarse=coarse)  # type: ignore[operator]
    return dict(group_parameters(model, matcher, reverse=True))


def _same_groups(original: nn.Module, converted: nn.Module, sites: tuple[str, ...]) -> None:
    """Layer-wise learning rates: each parameter in the group of the original's, a block's in its convolution's."""
    for coarse in (False, True):
        try:
            before = _groups(original, coarse)
        except Exception:  # the original has no such groups
            continue
        after = _groups(converted, coarse)
        moved = [name for name, group in after.items() if before.get(name, group) != group]
        stray = [site for site in sites if after[f"{site}.k.first.weight"] != before[f"{site}.weight"]]
        if moved or stray:
            raise MismatchError(f"puts {(moved + stray)[0]} into another group")


def differences(models: Counterparts, sites: tuple[str, ...]) -> list[str]:
    """What the converted model lacks of its original, or does in another way.

    Changes both models: ``reset_classifier`` replaces their heads.

    Args:
        models: Both, in eval mode.
        sites: The names of the blocks.

    Returns:
        A line per difference.
    """
    found = []
    if type(models.converted) is not type(models.original):
        found.append(f"it is a {type(models.converted).__name__}")
    for name in ATTRIBUTES:
        wanted = getattr(models.original, name, None)
        if _comparable(wanted) != _comparable(getattr(models.converted, name, None)):
            found.append(f"{name} differs")
    if hasattr(models.original, "group_matcher"):
        try:
            _same_groups(models.original, models.converted, sites)
        except Exception as error:
            found.append(f"group_matcher: {class_and_message(error)}")
    for name, action in METHODS.items():
        if not hasattr(models.original, name):
            continue
        try:
            models.check_same(action)
        except Exception as error:
            found.append(f"{name}: {class_and_message(error)}")
    return found
