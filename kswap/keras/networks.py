"""All weights of one of the authors' networks, from their layers to ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from kswap.errors import SavedError
from kswap.keras.names import BlockPart, renumbered
from kswap.keras.weights import Arrays, Assignment, block_assignment, layer_assignment, load_, part_named, parts_of
from kswap.nn import GroupedBlock
from kswap.zoo.network import AuthorsNames, PaperNetwork


def network_assignment(model: nn.Module, names: AuthorsNames, layers: Mapping[str, Arrays], scheme: str) -> Assignment:
    """The tensors of ``model`` from the layers of a Keras network.

    Args:
        model: a network of the papers, converted or not.
        names: the authors' names for its layers.
        layers: the arrays of each Keras layer with weights, by name.
        scheme: scheme of the authors' network; the convolutions that it keeps have other names in each.

    Raises :class:`SavedError` where a layer is missing, or is left over.
    """
    new_names = renumbered(layers)
    layers = {new_names.get(name, name): arrays for name, arrays in layers.items()}
    parts = parts_of(layers)
    made = Assignment()
    for ours, name in names.layers.items():
        made |= layer_assignment(model.get_submodule(ours), ours, name, layers)
    for ours, (base, norm) in names.blocks.items():
        module = model.get_submodule(ours)
        if isinstance(module, GroupedBlock):
            made |= block_assignment(module, ours, base, parts, layers)
            continue
        made |= layer_assignment(module, ours, part_named(parts, BlockPart(scheme, base, "k", "first", "conv")), layers)
        if norm is not None:
            name = part_named(parts, BlockPart(scheme, base, "k", "first", "norm"))
            made |= layer_assignment(model.get_submodule(norm), norm, name, layers)
    unused = sorted(set(layers) - made.used)
    if unused:
        raise SavedError(
            f"{len(unused)} layers of the checkpoint are not in this network, the first is '{unused[0]}': "
            f"it is of another network, ch or scheme"
        )
    return made


def load_network_(model: nn.Module, layers: Mapping[str, Arrays], scheme: str | None) -> None:
    """Copy the weights of Keras' ``layers`` into a network of the papers, in place.

    ``scheme`` is that of the authors' converted network, or ``None`` where ``layers`` are of their baseline.
    Raises :class:`SavedError`, before anything is changed, where they do not fit.
    """
    if not isinstance(model, PaperNetwork):
        raise SavedError(f"the authors have no {type(model).__name__}: load into a network of the papers")
    names = model.authors_names(converted=scheme is not None)
    load_(model, network_assignment(model, names, layers, scheme or "v1"))
