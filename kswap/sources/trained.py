"""A source becomes a model with trained weights: published ones, or a file of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from kswap.errors import ModelError, excerpt, wording
from kswap.sources.builders import build
from kswap.sources.checkpoint import check_is_file, read_checkpoint
from kswap.sources.source import Source
from kswap.sources.state import Differences, Misfit
from kswap.sources.wrapping import without_prefix

_SHOWN = 3


def build_trained(
    source: Source, pretrained: bool = False, weights: str | Path | None = None, or_converted: bool = False
) -> tuple[Source, nn.Module]:
    """The model that :func:`kswap.sources.builders.build` makes, with the weights of a file; its source notes which.

    ``or_converted``: see :func:`with_weights`. Raises :class:`ModelError` where the file cannot be read or does not
    fit.
    """
    check_weights(pretrained, weights)
    if weights is None:
        return source, build(source, pretrained)
    return with_weights(source, build(source), weights, or_converted)


def check_weights(pretrained: bool, weights: str | Path | None) -> None:
    """Refuse a file of weights that is not there, or is given beside published weights (:class:`ModelError`)."""
    if weights is None:
        return
    if pretrained:
        both = wording("pretrained and weights", "--pretrained and --weights")
        raise ModelError(f"{both} both say where the trained weights come from: leave one out")
    check_is_file(weights)


def with_weights(
    source: Source, model: nn.Module, weights: str | Path, or_converted: bool = False
) -> tuple[Source, nn.Module]:
    """``model`` after the weights in a file were copied into it, and its source, which notes the file's name.

    With ``or_converted``, weights of the converted model (:func:`are_of_converted`) are left for later. Raises
    :class:`ModelError` where the file cannot be read or does not fit.
    """
    if not or_converted or not are_of_converted(model, weights):
        load_checkpoint_(model, weights, source.title)
    return dataclasses.replace(source, weights_file=excerpt(Path(weights).name, 200)), model


def load_checkpoint_(model: nn.Module, path: str | Path, title: str) -> None:
    """Copy the weights in ``path`` into ``model``, all of them. ``title`` is the model's name in messages.

    Names may have the prefixes of :data:`kswap.sources.wrapping.PREFIXES`; numbers are converted to the model's type.
    The counts of batches that norms keep may be missing, and buffers that the model does not save may be there: both
    are so in older checkpoints. Raises :class:`ModelError`.
    """
    state = model.state_dict()
    tensors = without_prefix(read_checkpoint(path), state)
    buffers = {name for name, _ in model.named_buffers()} - set(state)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in buffers}
    found = Differences.between(model, tensors)
    missing = tuple(name for name in found.missing if not name.endswith("num_batches_tracked"))
    found = dataclasses.replace(found, missing=missing)
    if found:
        raise ModelError(f"{excerpt(path, 200)} does not fit {excerpt(title)}: {_listed(found)}{_hint(model, found)}")
    model.load_state_dict(tensors, strict=False)


def are_of_converted(original: nn.Module, path: str | Path) -> bool:
    """Whether ``path`` holds the weights of a model that kswap converted from ``original``.

    Their names lead into layers of the original that have no parts (``conv.k.weight``), where the blocks stand. Raises
    :class:`ModelError` for a file that cannot be read.
    """
    return _leads_into_layers(original, without_prefix(read_checkpoint(path), original.state_dict()))


def check_fresh(fits: bool, weights: str | Path) -> None:
    """Refuse to fit blocks, which ``fits`` asks for, where a file has their weights (:class:`ModelError`)."""
    if fits:
        fitting = wording('init="project" and budgets fit', "--init project and --budget fit")
        raise ModelError(
            f"{excerpt(weights, 200)} holds the weights of a converted model, and {fitting} blocks to those of the "
            "original: pass a file of the original, or leave that out"
        )


def _leads_into_layers(original: nn.Module, names: Iterable[str]) -> bool:
    layers = {name for name, part in original.named_modules() if not any(part.children())}
    owners = (name.rpartition(".")[0] for name in names)
    return any(_within(owner, layers) for owner in owners)


def _within(owner: str, layers: set[str]) -> bool:
    parts = owner.split(".")
    return any(".".join(parts[:end]) in layers for end in range(1, len(parts)))


def _listed(found: Differences) -> str:
    parts = []
    if found.missing:
        parts.append(f"{_count(found.missing, 'key')} missing in it ({_first(found.missing)})")
    if found.unexpected:
        parts.append(f"{_count(found.unexpected, 'key')} not of the model ({_first(found.unexpected)})")
    if found.misfits:
        parts.append(f"{_count(found.misfits, 'tensor')} of another shape or type ({_first(found.misfits)})")
    return ", ".join(parts)


def _count(things: tuple[object, ...], noun: str) -> str:
    return f"1 {noun} is" if len(things) == 1 else f"{len(things)} {noun}s are"


def _first(things: Iterable[object]) -> str:
    texts = [str(thing) for thing in things]
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(excerpt(text, 100) for text in texts[:_SHOWN]) + more


def _hint(model: nn.Module, found: Differences) -> str:
    """How to build a model that fits, where only the number of classes differs, or one of the two was converted."""
    if _leads_into_layers(model, found.unexpected):
        how = wording("pass the weights to kswap.convert", "give the weights to `kswap convert`")
        return f"; they are of a converted model: {how}, with the Ch, scheme and rules that it was converted with"
    classes = _classes(found.misfits)
    if classes is not None and not found.missing and not found.unexpected:
        return _num_classes(classes)
    if found.missing and not found.unexpected and not found.misfits and set(found.missing) <= _classifier(model):
        return _num_classes(0)
    return ""


def _num_classes(count: int) -> str:
    return f"; {wording(f'pass num_classes={count}', f'pass --num-classes {count}')}"


def _classes(misfits: tuple[Misfit, ...]) -> int | None:
    """The number of classes in the file, where all that does not fit is a classifier with another number."""
    sizes = {(m.found.shape[:1], m.expected.shape[:1]) for m in misfits}
    same_inputs = all(m.found.ndim in (1, 2, 4) and m.found.shape[1:] == m.expected.shape[1:] for m in misfits)
    has_weight = any(m.found.ndim > 1 for m in misfits)
    return int(misfits[0].found.shape[0]) if len(sizes) == 1 and same_inputs and has_weight else None


def _classifier(model: nn.Module) -> set[str]:
    """The names in the state of timm's classifier; none for a model that does not say which layer it is."""
    ask = getattr(model, "get_classifier", None)
    layer = ask() if callable(ask) else None
    if not isinstance(layer, nn.Module):
        return set()
    prefix = next((name for name, module in model.named_modules() if module is layer), "")
    return {name for name in model.state_dict() if name.startswith(f"{prefix}.")}
