"""How pictures were prepared when a saved model was trained, where that is not as the model states."""

from __future__ import annotations

import json
from pathlib import Path

from kswap.codec import decode
from kswap.converted import Conversion
from kswap.data.preprocessing import Preprocessing
from kswap.errors import ModelError
from kswap.files import read_json, replace_file
from kswap.saved.files import PREPROCESSING


def trained_with(directory: Path) -> Preprocessing | None:
    """The preprocessing that a model was trained with; ``None`` where it is the one that the model states.

    Raises :class:`kswap.errors.ModelError` where the file in ``directory`` cannot be read.
    """
    path = directory / PREPROCESSING
    if not path.is_file():
        return None
    return decode(Preprocessing, read_json(path, ModelError, "preprocessing"), f"{path}", ModelError)


def write_preparation(directory: Path, conversion: Conversion, preprocessing: Preprocessing) -> None:
    """Note in ``directory``, where ``conversion`` is saved, what it was trained with, if it states something else."""
    if preprocessing != Preprocessing.of(conversion.model, conversion.plan.input_size):
        replace_file(directory / PREPROCESSING, json.dumps(preprocessing.to_json(), indent=1).encode() + b"\n")
