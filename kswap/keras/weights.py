"""From Keras' arrays to the tensors of torch's layers, and of a block as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kswap.errors import SavedError
from kswap.keras.names import BlockPart, block_part
from kswap.nn import GroupedBlock

if TYPE_CHECKING:
    from numpy import ndarray

# The arrays of a layer by Keras' names for them: kernel, bias, gamma, beta, moving_mean, ...
Arrays = Mapping[str, "ndarray"]

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _tensor(array: ndarray) -> Tensor:
    return torch.from_numpy(array.astype("float32", copy=True))


def kernel_tensor(kernel: ndarray) -> Tensor:
    """A convolution's kernel, ``(height, width, in / groups, out)``, as torch's ``(out, in / groups, ...)``.

    Filters and groups are in the same order in both.
    """
    return _tensor(kernel).permute(3, 2, 0, 1).contiguous()


def depthwise_tensor(kernel: ndarray) -> Tensor:
    """A depthwise kernel, ``(height, width, channels, 1)``, as torch's ``(channels, 1, height, width)``."""
    return _tensor(kernel).permute(2, 3, 0, 1).contiguous()


def _wanted(module: nn.Module, name: str, arrays: Arrays) -> dict[str, str]:
    """Keras' name for each tensor that ``module`` has."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        wanted = _NORM
    elif isinstance(module, nn.Linear | nn.Conv2d):
        # Groups of one channel are a depthwise layer in Keras or not, so the file decides.
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels
        kernel = "depthwise_kernel" if depthwise and "depthwise_kernel" in arrays else "kernel"
        wanted = {"weight": kernel, "bias": "bias"}
    else:
        raise SavedError(f"a {type(module).__name__} cannot take the weights of Keras layer '{name}'")
    return {key: keras for key, keras in wanted.items() if getattr(module, key) is not None}


def layer_tensors(module: nn.Module, name: str, layers: Mapping[str, Arrays]) -> dict[str, Tensor]:
    """The tensors of ``module`` (a convolution, a norm or a linear layer), from the Keras layer ``name``.

    Raises :class:`SavedError` where the layer is missing, or has other arrays than the module wants.
    """
    if name not in layers:
        raise SavedError(f"there is no layer '{name}': this is a checkpoint of another network, ch or scheme")
    arrays = layers[name]
    wanted = _wanted(module, name, arrays)
    if set(arrays) != set(wanted.values()):
        raise SavedError(f"layer '{name}' has {_listed(arrays)}, but needs {_listed(wanted.values())}")
    tensors = {}
    for key, keras in wanted.items():
        array = arrays[keras]
        if keras in ("kernel", "depthwise_kernel") and array.ndim != (2 if isinstance(module, nn.Linear) else 4):
            raise SavedError(f"{keras} of layer '{name}' has the shape {tuple(array.shape)}, which no such layer has")
        if keras == "depthwise_kernel":
            tensors[key] = depthwise_tensor(array)
        elif keras == "kernel":
            tensors[key] = _tensor(array).T.contiguous() if array.ndim == 2 else kernel_tensor(array)
        else:
            tensors[key] = _tensor(array)
    return tensors


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "no arrays"


@dataclass(frozen=True)
class Assignment:
    """Tensors by their name in our network, and the Keras layers that they came from."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    used: frozenset[str] = frozenset()

    def __or__(self, other: Assignment) -> Assignment:
        return Assignment(self.tensors | other.tensors, self.used | other.used)


def layer_assignment(module: nn.Module, ours: str, name: str, layers: Mapping[str, Arrays]) -> Assignment:
    """The tensors of the module ``ours``, from the Keras layer ``name``."""
    tensors = layer_tensors(module, name, layers)
    return Assignment({f"{ours}.{key}".lstrip("."): value for key, value in tensors.items()}, frozenset({name}))


def parts_of(layers: Iterable[str]) -> dict[BlockPart, str]:
    """The Keras layers that may belong to blocks, by their part."""
    return {part: name for name in layers if (part := block_part(name)) is not None}


def block_assignment(
    block: GroupedBlock, ours: str, base: str, parts: Mapping[BlockPart, str], layers: Mapping[str, Arrays]
) -> Assignment:
    """The tensors of the block ``ours``, from the Keras layers that replace the convolution ``base``.

    ``parts`` is :func:`parts_of` the names in ``layers``. The norms of the two paths become one.
    Raises :class:`SavedError` where the layers do not fit this block.
    """
    made = Assignment()
    for place in ("k", "l"):
        grouped = getattr(block, place)
        if grouped is None:
            continue
        names = {
            path: part_named(parts, BlockPart(block.plan.scheme, base, place, path, "conv")) for path in _paths(grouped)
        }
        for path, name in names.items():
            made |= layer_assignment(getattr(grouped, path), _join(ours, place, path), name, layers)
        norm = getattr(block, f"{place}_norm")
        if norm is not None:
            found = [part_named(parts, BlockPart(block.plan.scheme, base, place, path, "norm")) for path in names]
            tensors = [layer_tensors(norm, name, layers) for name in found]
            whole = {_join(ours, f"{place}_norm", key): torch.cat([t[key] for t in tensors]) for key in tensors[0]}
            made |= Assignment(whole, frozenset(found))
    return made


def _paths(grouped: nn.Module) -> tuple[str, ...]:
    return ("first",) if grouped.second is None else ("first", "second")


def _join(*names: str) -> str:
    return ".".join(name for name in names if name)


def part_named(parts: Mapping[BlockPart, str], part: BlockPart) -> str:
    """The Keras layer that is ``part``. Raises :class:`SavedError` where there is none."""
    if part not in parts:
        raise SavedError(
            f"there is no {part.kind} for the {part.path} path of {part.place.upper()} of '{part.base}': "
            f"this is a checkpoint of another network, ch or scheme"
        )
    return parts[part]


@torch.no_grad()
def load_(model: nn.Module, assignment: Assignment) -> None:
    """Copy the tensors into ``model``, in place; the counters of its norms are unchanged.

    Raises :class:`SavedError`, before anything is copied, where a shape differs or a tensor has no array.
    """
    state = model.state_dict()
    missing = [name for name in state if name not in assignment.tensors and not name.endswith("num_batches_tracked")]
    if missing:
        raise SavedError(f"{len(missing)} tensors of the network are not in the checkpoint, the first is {missing[0]}")
    for name, tensor in assignment.tensors.items():
        if name not in state:
            raise SavedError(f"the network has no tensor {name}")
        if tensor.shape != state[name].shape:
            raise SavedError(
                f"{name} has the shape {tuple(state[name].shape)}, in the checkpoint {tuple(tensor.shape)}: "
                f"this is a checkpoint of another network, ch, scheme or number of classes"
            )
    for name, tensor in assignment.tensors.items():
        state[name].copy_(tensor)
