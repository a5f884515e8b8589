"""Rule files and presets: from a name, a path or a table to a rule set."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from kswap.errors import RuleError, nearest
from kswap.files import read_text, toml_table
from kswap.planner.schemes import SCHEMES
from kswap.rules.checking import check_table, check_word
from kswap.rules.ruleset import FILE_KEYS, RuleSet

SUFFIX = ".toml"
# The largest preset has 5 kB; a rule for each site of the largest timm model takes 100 kB.
MOST_BYTES = 512 * 2**10


def preset_directory() -> Path:
    """The folder of the presets: inside the package in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "presets", package.parent / "rules"):
        if any(folder.glob(f"*{SUFFIX}")):
            return folder
    raise RuleError("the presets that come with kswap are missing; install kswap again")


def presets() -> tuple[RuleSet, ...]:
    """All presets, in the order of their names.

    >>> {"keffnet-v1", "keffnet-v2", "no-second-layer"} <= {preset.name for preset in presets()}
    True
    """
    return tuple(_read(path, path.stem) for path in sorted(preset_directory().glob(f"*{SUFFIX}")))


def load_rules(spec: str | Path | RuleSet | dict[str, Any] | None = None, scheme: str = "v2") -> RuleSet:
    """The rule set that ``spec`` means.

    A text with a path separator or the ending ``.toml`` is a file, any other text a preset; a ``dict`` has the
    shape of the TOML file; a :class:`RuleSet` is returned as it is. ``None`` is the preset of the caller's
    ``scheme`` (``keffnet-v1`` or ``keffnet-v2``), so that the scheme counts where no rules are given; it is
    not looked at otherwise, and a scheme in the head of a rule file wins over the caller's.

    Raises :class:`RuleError` with one sentence that names the file and the rule.

    >>> load_rules("no-second-layer").defaults.second_layer
    False
    >>> load_rules(None, scheme="v1").name
    'keffnet-v1'
    """
    if isinstance(spec, RuleSet):
        return spec
    if spec is None:
        return _preset(SCHEMES[check_word(scheme, SCHEMES, "scheme")].preset)
    if isinstance(spec, dict):
        return RuleSet.from_json(spec)
    if isinstance(spec, Path):
        return _read(spec, spec.name)
    if not isinstance(spec, str):
        raise RuleError(f"rules must be a preset, a path to a TOML file or a table, not {spec!r}")
    separators = {"/", os.sep, os.altsep or os.sep}
    if spec.endswith(SUFFIX) or any(separator in spec for separator in separators):
        return _read(Path(spec), Path(spec).name)
    return _preset(spec)


def _preset(name: str) -> RuleSet:
    paths = {path.stem: path for path in preset_directory().glob(f"*{SUFFIX}")}
    if name not in paths:
        known = sorted(paths)
        raise RuleError(
            f"unknown preset '{name}': known are {', '.join(known)}{nearest(name, known)}; "
            f"a path to a TOML file works too, such as ./{name or 'rules'}{SUFFIX}"
        )
    return _read(paths[name], name)


def _read(path: Path, name: str) -> RuleSet:
    # Editors on Windows may put a byte order mark in front, which TOML does not know; read_text takes it off.
    text = read_text(path, MOST_BYTES, RuleError, "rule file")
    table = toml_table(text, path, RuleError, "rule file")
    try:
        made = RuleSet.from_json(check_table(table, FILE_KEYS, "the head of the file"), name)
    except RuleError as error:
        raise RuleError(f"{path}: {error}") from error
    return dataclasses.replace(made, text=text)
