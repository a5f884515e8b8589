"""Which modules are norms and which are activations, and torch's classes for the activations known by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from torch import nn

_NOT_ELEMENTWISE = {
    nn.GLU,
    nn.MultiheadAttention,
    nn.Softmax,
    nn.Softmax2d,
    nn.Softmin,
    nn.LogSoftmax,
}

# torch's class for each entry of kswap.planner.activations.ACTIVATIONS; a test compares the keys.
ACTIVATION_CLASSES: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


@cache
def _timm_kinds() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """Norm and activation classes of timm, collected from its modules."""
    from timm.layers import activations, evo_norm, filter_response_norm, norm, norm_act

    def classes(*modules: object) -> tuple[type, ...]:
        return tuple(
            value
            for module in modules
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__  # type: ignore[attr-defined]
        )

    return classes(norm, norm_act, evo_norm, filter_response_norm), classes(activations)


def is_norm(module: nn.Module) -> bool:
    """Whether ``module`` is a norm that keeps the shape of its input; timm's joint norm-and-activation layers count."""
    own = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return isinstance(module, (*own, *_timm_kinds()[0])) or type(module).__name__.startswith("FrozenBatchNorm")


def is_activation(module: nn.Module) -> bool:
    """Whether ``module`` is an elementwise activation."""
    if type(module) in _NOT_ELEMENTWISE:
        return False
    homes = ("torch.nn.modules.activation", "transformers.activations")
    return type(module).__module__ in homes or isinstance(module, _timm_kinds()[1])


def type_name(module: nn.Module) -> str:
    """The class name for reports; for a norm derived from one of ``torch.nn``, the name of that one."""
    if is_norm(module):
        for base in type(module).__mro__:
            if base.__module__.startswith("torch.nn.modules"):
                return base.__name__ if base is not nn.Module else type(module).__name__
    return type(module).__name__
