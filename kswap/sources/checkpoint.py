"""Reads the tensors in a file of weights: safetensors, or what ``torch.save`` wrote. Nothing in it is executed."""

from __future__ import annotations

import argparse
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kswap.errors import ModelError, excerpt, first_line
from kswap.sources.wrapping import unwrapped

_MEND = "save the state dict alone, torch.save(model.state_dict(), FILE), and pass that"


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors in ``path`` by name, out of the wrappings of :data:`kswap.sources.wrapping.WRAPPERS`.

    A pickle is read with ``weights_only=True``, and mapped into memory where its format allows that. Raises
    :class:`ModelError` for a file that holds no weights, is damaged, or needs code to be read.
    """
    check_is_file(path)
    shown = excerpt(path, 200)
    try:
        content = load_file(path) if _is_safetensors(path) else _unpickled(path)
    except ModelError:
        raise
    except SafetensorError as error:
        raise ModelError(f"{shown} is damaged: {first_line(error)}") from error
    except OSError as error:
        raise ModelError(f"{shown} cannot be read: {error.strerror or first_line(error)}") from error
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        raise _refusal(shown, error) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{shown} holds a {type(content).__name__} instead of a state dict: {_MEND}")
    state, _ = unwrapped(content)
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(excerpt(key, 40) for key in list(state)[:5]) or "none"
        raise ModelError(f"{shown} holds no weights (its keys: {keys}): {_MEND}")
    for name, tensor in tensors.items():
        _check_plain(shown, name, tensor)
    return tensors


def check_is_file(path: str | Path) -> None:
    """Refuse a path without a file (:class:`ModelError`)."""
    if os.path.isdir(path):
        raise ModelError(f"{excerpt(path, 200)} is a directory: name the file of weights in it")
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {excerpt(path, 200)}")


def _is_safetensors(path: str | Path) -> bool:
    """Whether the file begins as safetensors do: the length of a JSON header, and the header."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def _unpickled(path: str | Path) -> Any:
    # timm, torchvision and others save their command line's argparse.Namespace beside the weights: plain attributes.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of, the error says too
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _refusal(shown: str, error: Exception) -> ModelError:
    """What is said of a file that torch.load did not read."""
    text = str(error)[:10_000]
    if "TorchScript" in text:
        return ModelError(f"{shown} is a TorchScript program: load it with torch.jit.load, and {_MEND}")
    named = re.search(r"GLOBAL ([\w.]+)", text)
    if named:
        code = excerpt(named[1])
        return ModelError(f"{shown} runs code when it is read ({code}), which kswap does not allow: {_MEND}")
    return ModelError(f"{shown} is damaged, or neither safetensors nor a state dict that torch.save wrote")


def _check_plain(shown: str, name: str, tensor: Tensor) -> None:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu":
        raise ModelError(f"{excerpt(name)} in {shown} is not a plain tensor of numbers: save it dense, unquantized")
