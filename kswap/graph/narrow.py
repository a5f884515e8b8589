"""Hidden channels taken out of a network: every layer that holds them becomes narrower."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from kswap.errors import PlanError, excerpt
from kswap.graph.replace import replace_modules_
from kswap.nn.norms_and_activations import is_norm
from kswap.planner.narrowing import HiddenChannels, Narrowing

# Where a layer has channels that are taken out, or put into another order.
OUTPUTS, INPUTS, ALONG = "outputs", "inputs", "along"


@cache
def _layers() -> tuple[type[nn.Module], ...]:
    """Classes whose forward pass works with any number of channels that their weights have."""
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.linear import Linear

    return nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, Conv2dSame, Linear


def _is_plain(module: nn.Module) -> bool:
    return type(module) in _layers() and "forward" not in vars(module) and "weight" in module._parameters


def is_depthwise(module: nn.Module) -> bool:
    """Whether ``module`` is a plain convolution with one filter for each channel."""
    if not isinstance(module, nn.modules.conv._ConvNd) or not _is_plain(module):
        return False
    return 1 < module.groups == module.in_channels == module.out_channels


def is_narrowed_norm(module: nn.Module) -> bool:
    """Whether ``module`` is a norm that works on each channel by itself, with numbers for each channel: a BatchNorm."""
    if not is_norm(module) or not all(p.numel() == 1 for child in module.children() for p in child.parameters()):
        return False
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or type(module).__name__.startswith("FrozenBatchNorm")


def outputs_of(module: nn.Module) -> int | None:
    """Output channels of a plain layer that mixes its inputs; ``None`` for all else."""
    return _sizes(module)[0] if _mixes(module) else None


def inputs_of(module: nn.Module) -> int | None:
    """Input channels of a plain layer that mixes them; ``None`` for all else."""
    return _sizes(module)[1] if _mixes(module) else None


def _mixes(module: nn.Module) -> bool:
    return _is_plain(module) and getattr(module, "groups", 1) == 1


def _sizes(module: nn.Module) -> tuple[int, int]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]


def _width_along(module: nn.Module) -> int | None:
    if is_depthwise(module):
        return _sizes(module)[0]
    if not is_narrowed_norm(module):
        return None
    return len(module.running_mean) if isinstance(module.running_mean, Tensor) else int(module.num_features)  # type: ignore[arg-type]


def with_channels(module: nn.Module, keep: Tensor, place: str) -> nn.Module:
    """A copy of ``module`` with the channels ``keep``, in this order; what it does not share with ``module`` is new.

    ``place`` says where the module has these channels: at its :data:`OUTPUTS`, at its :data:`INPUTS`, or, as norms and
    depthwise convolutions, :data:`ALONG`.
    """
    made = copy.copy(module)
    for key, value in list(vars(made).items()):
        if isinstance(value, dict):
            made.__dict__[key] = value.copy()

    def fewer(name: str, tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or (place == INPUTS and name != "weight"):
            return tensor
        return tensor.detach().index_select(int(place == INPUTS), keep.to(tensor.device))

    for name, parameter in module._parameters.items():
        if parameter is not None:
            made._parameters[name] = nn.Parameter(fewer(name, parameter), requires_grad=parameter.requires_grad)
    for name, buffer in module._buffers.items():
        made._buffers[name] = buffer if buffer is None else fewer(name, buffer)
    sizes = {
        OUTPUTS: ("out_channels", "out_features"),
        INPUTS: ("in_channels", "in_features"),
        ALONG: ("in_channels", "out_channels", "groups", "num_features"),
    }
    for name in sizes[place]:
        if name in vars(made):
            made.__dict__[name] = len(keep)
    return made


def narrow_(model: nn.Module, narrowing: Narrowing, keep: Tensor | None = None) -> None:
    """Leave only the channels ``keep`` of the hidden channels in all layers of ``model`` that hold them, in place.

    Args:
        model: the network; layers that become narrower are exchanged for copies, and are unchanged themselves.
        narrowing: which hidden channels, and how many of them stay.
        keep: the numbers of the channels that stay; the first ones without it.

    Raises :class:`PlanError`, before anything is changed, when the narrowing does not fit.

    >>> from kswap.planner.narrowing import HiddenChannels
    >>> model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> narrow_(model, Narrowing(HiddenChannels("0", "2", 32), 8))
    >>> model[0].out_features, model[2].in_features, tuple(model[2].weight.shape)
    (8, 8, (4, 8))
    """
    kept = torch.arange(narrowing.channels) if keep is None else keep
    if len(kept) != narrowing.channels:
        raise ValueError(f"{narrowing.channels} channels stay, not {len(kept)}")
    new_of: dict[nn.Module, nn.Module] = {}
    for name, place in _places(narrowing.hidden):
        module = _find(model, name)
        width = {OUTPUTS: outputs_of, INPUTS: inputs_of, ALONG: _width_along}[place](module)
        if width != narrowing.hidden.width:
            raise PlanError(
                f"the plan does not fit this model: '{excerpt(name)}' is a {type(module).__name__} "
                f"without {narrowing.hidden.width} channels to make fewer"
            )
        new_of[module] = with_channels(module, kept, place)
    replace_modules_(model, new_of)


def _places(hidden: HiddenChannels) -> Iterator[tuple[str, str]]:
    """The layers that hold the channels, and where."""
    for names, place in ((hidden.made_by, OUTPUTS), (hidden.along, ALONG), (hidden.read_by, INPUTS)):
        for name in names:
            yield name, place


def _find(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise PlanError(f"the plan does not fit this model: it has no module '{excerpt(name)}'") from None


def narrow_all_(model: nn.Module, narrowings: Iterable[Narrowing], keep: Mapping[str, Tensor] | None = None) -> None:
    """All ``narrowings``, in place; ``keep`` holds the channels that stay by the name of the expansion."""
    for narrowing in narrowings:
        narrow_(model, narrowing, (keep or {}).get(narrowing.hidden.expansion))
