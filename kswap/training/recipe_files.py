"""Recipes as TOML files that come with kswap or that a user writes, whatever they are for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from kswap.codec import decode, encode
from kswap.errors import TrainingError, excerpt, nearest
from kswap.files import read_text, toml_table

SUFFIX = ".toml"
_MOST_BYTES = 64 * 2**10

Recipe = TypeVar("Recipe")


@dataclass(frozen=True)
class RecipeFiles(Generic[Recipe]):
    """The recipes of one kind: their class, and the folder of those that come with kswap."""

    kind: type[Recipe]
    directory: Path

    def names(self) -> tuple[str, ...]:
        """The names of the recipes that come with kswap."""
        return tuple(sorted(path.stem for path in self.directory.glob(f"*{SUFFIX}")))

    def load(self, spec: str | Path | Mapping[str, Any] | Recipe, changes: Mapping[str, Any]) -> Recipe:
        """The recipe that ``spec`` means, with some of its values changed; a change to ``None`` is none.

        A text with a path separator or the ending ``.toml`` is a file, any other text the name of a recipe that comes
        with kswap; a mapping has the keys of the TOML file.

        Raises:
            TrainingError: There is no such recipe, or it says something that kswap does not know.
        """
        table, what = self._table_of(spec)
        asked = {name: value for name, value in changes.items() if value is not None}
        return decode(self.kind, {**table, **asked}, what, TrainingError)

    def _table_of(self, spec: str | Path | Mapping[str, Any] | Recipe) -> tuple[Mapping[str, Any], str]:
        if isinstance(spec, self.kind):
            table: Mapping[str, Any] = encode(spec)
            return table, "the recipe"
        if isinstance(spec, Mapping):
            return spec, "the recipe"
        if not isinstance(spec, str | Path):
            raise TrainingError(f"a recipe must be a name, a path to a TOML file or a table, not {excerpt(repr(spec))}")
        text, known = str(spec), self.names()
        if isinstance(spec, Path) or text.endswith(SUFFIX) or "/" in text or os.sep in text:
            return _read(Path(spec)), f"the recipe {excerpt(text, 200)}"
        if text not in known:
            raise TrainingError(
                f"unknown recipe '{excerpt(text)}': known are {', '.join(known)}{nearest(text, known)}; a path to "
                f"a TOML file works too, such as ./mine{SUFFIX}"
            )
        return _read(self.directory / f"{text}{SUFFIX}"), f"the recipe {text}"


def _read(path: Path) -> dict[str, Any]:
    return toml_table(read_text(path, _MOST_BYTES, TrainingError, "recipe"), path, TrainingError, "recipe")
