"""Reads the weights in a Keras HDF5 file, with h5py alone. Nothing in the file is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import SavedError, first_line
from kswap.planner.activations import from_keras

if TYPE_CHECKING:
    import h5py
    from numpy import ndarray

_MOST_LAYERS = 20_000
_MOST_NUMBERS = 2**28
_MOST_ATTRIBUTES = 1000


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of each layer with weights, by the names that Keras gave them: ``{"conv1": {"kernel": ...}}``.

    ``activations`` are those that the network had, by our names; ``None`` where the file does not describe the
    network, or describes an activation that is unknown here.
    """

    layers: dict[str, dict[str, ndarray]]
    activations: frozenset[str] | None = None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The weights in a Keras file, and the activations that its network had.

    Reads what Keras' ``save`` and ``save_weights`` write as HDF5. Links out of the file, foreign types and sizes
    that no network has are refused. Raises :class:`SavedError`.
    """
    try:
        import h5py
    except ImportError as error:
        raise SavedError("reading Keras files needs h5py: pip install 'kswap[keras]'") from error

    source = Path(path)
    if not source.is_file():
        raise SavedError(f"there is no file {source}")
    if not h5py.is_hdf5(source):
        raise SavedError(f"{source} is not an HDF5 file: give a checkpoint that Keras saved as .h5 or .hdf5")
    try:
        with h5py.File(source, "r") as file:
            return Checkpoint(_layers(file, source), _activations(file))
    except SavedError:
        raise
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise SavedError(f"{source} is damaged: {first_line(error)}") from error


def _layers(file: h5py.File, source: Path) -> dict[str, dict[str, ndarray]]:
    root: Any = _child(file, "model_weights", source) if "model_weights" in file else file
    if not _is_group(root) or not any(key.startswith("layer_names") for key in root.attrs):
        raise SavedError(f"{source} holds no weights of a Keras network: it names no layers")
    layers: dict[str, dict[str, ndarray]] = {}
    numbers = 0
    for layer in _names(root, "layer_names", source):
        group = _child(root, layer, source)
        if not _is_group(group):
            raise SavedError(f"{source} is damaged: layer '{layer}' is not a group")
        for weight in _names(group, "weight_names", source):
            dataset = _dataset(_child(group, weight, source), f"{layer}: {weight}", source)
            numbers += dataset.size
            if numbers > _MOST_NUMBERS:
                raise SavedError(f"{source} is too large for a network: it holds more than {_MOST_NUMBERS:,} numbers")
            kind = weight.rpartition("/")[2].partition(":")[0]
            arrays = layers.setdefault(layer, {})
            if kind in arrays:
                raise SavedError(f"{source} is damaged: layer '{layer}' has two arrays '{kind}'")
            arrays[kind] = dataset[()]
    if not layers:
        raise SavedError(f"{source} holds no weights: none of its layers has any")
    return layers


def _is_group(value: Any) -> bool:
    import h5py

    return isinstance(value, h5py.Group)


def _child(group: h5py.Group, name: str, source: Path) -> Any:
    """The object under the path ``name`` inside the file. Links to other places are not followed."""
    import h5py

    found: Any = group
    for step in name.split("/"):
        if step in ("", ".", "..") or not _is_group(found) or found.get(step, getlink=True) is None:
            raise SavedError(f"{source} is damaged: it names '{name}', which it does not hold")
        if not isinstance(found.get(step, getlink=True), h5py.HardLink):
            raise SavedError(f"{source} has a link in place of '{name}': kswap does not follow it")
        found = found[step]
    return found


def _dataset(value: Any, what: str, source: Path) -> h5py.Dataset:
    import h5py

    if not isinstance(value, h5py.Dataset):
        raise SavedError(f"{source} is damaged: {what} is not an array")
    if value.external or value.is_virtual:
        raise SavedError(f"{source} keeps {what} in another file: kswap does not follow it")
    if value.dtype.kind != "f" or value.dtype.itemsize not in (2, 4, 8) or value.shape is None or len(value.shape) > 4:
        raise SavedError(f"{source} holds no weights under {what}: its type is {value.dtype}, its shape {value.shape}")
    if value.size > _MOST_NUMBERS:
        raise SavedError(f"{source} is too large for a network: {what} has {value.size:,} numbers")
    return value


def _names(group: h5py.Group, attribute: str, source: Path) -> tuple[str, ...]:
    """The strings of an attribute, which Keras splits into ``name0``, ``name1``, ... where it is long."""
    names = tuple(name for part in _parts(group, attribute) for name in part)
    if len(names) > _MOST_LAYERS:
        raise SavedError(f"{source} is too large for a network: {attribute} has {len(names):,} entries")
    return tuple(_text(name, source) for name in names)


def _parts(group: h5py.Group, attribute: str) -> Iterator[Any]:
    if attribute in group.attrs:
        yield group.attrs[attribute].reshape(-1)
        return
    for number in range(_MOST_ATTRIBUTES):
        if f"{attribute}{number}" not in group.attrs:
            return
        yield group.attrs[f"{attribute}{number}"].reshape(-1)


def _text(name: Any, source: Path) -> str:
    try:
        return name.decode("utf-8") if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError as error:
        raise SavedError(f"{source} is damaged: a name in it is not text") from error


def _activations(file: h5py.File) -> frozenset[str] | None:
    """The activations in the description of the network that Keras' ``save`` writes with the weights."""
    described = file.attrs.get("model_config")
    if not isinstance(described, str | bytes):
        return None
    try:
        layers = json.loads(described)["config"]["layers"]
        words = {word for layer in layers for word in _activation_words(layer)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    names = {from_keras(word) for word in words - {"softmax"}}
    return None if None in names else frozenset(name for name in names if name and name != "identity")


def _activation_words(layer: dict[str, Any]) -> Iterator[str]:
    config = layer["config"]
    if layer["class_name"] == "ReLU":
        yield "relu6" if config.get("max_value") == 6 else "relu"
    elif "activation" in config:
        activation = config["activation"]
        # A custom function of the authors is described by a table.
        yield str(activation if isinstance(activation, str) else activation.get("class_name"))
