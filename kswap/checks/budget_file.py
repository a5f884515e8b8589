"""The budgets of a project: ``[tool.kswap.budget]`` of pyproject.toml, or a TOML file of its own.

::

    [tool.kswap.budget]        # a file of its own has no [tool.kswap.budget] above its keys
    params = 0.2               # up to 1: a share of the original
    macs = "150M"              # a number, with K, M or G if that is easier to read
    bytes = "2.5MB"            # of the saved weights
    ms = 6.5                   # milliseconds of one pass; "80%" is a share of the original's
    target = "onnxruntime"     # where ms are measured; batch and threads are 1 unless they are set

    [[tool.kswap.budget.for]]  # another budget for some models or directories; the last that fits counts
    model = "efficientnet_b*"
    params = "16%"

    [[tool.kswap.budget.for]]
    directory = "build/*"      # from the file on; what `kswap check` alone looks at
    bytes = "1MB"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from kswap.codec import Between, decode, stored
from kswap.errors import PlanError, ReportError, excerpt, nearest
from kswap.files import read_text, toml_table
from kswap.planner.budget import Limit
from kswap.runtimes.targets import TARGETS

PROJECT_FILE = "pyproject.toml"
QUANTITIES = ("params", "macs", "bytes", "ms")
_MOST_BYTES = 2**20

Amount = int | float | str | None


@dataclass(frozen=True)
class Amounts:
    """The most of each quantity, as it stands in the file; ``None`` where nothing is said."""

    params: Amount = None
    macs: Amount = None
    bytes: Amount = None
    ms: Amount = None

    def __post_init__(self) -> None:
        for quantity in QUANTITIES:
            self.limit(quantity)

    def limit(self, quantity: str) -> Limit | None:
        """The limit of one of :data:`QUANTITIES`. Raises :class:`ReportError` for what is none.

        >>> Amounts(params=0.2, ms=0.5).limit("params"), Amounts(params=0.2, ms=0.5).limit("ms")
        (Limit(quantity='params', value=0.2, relative=True), Limit(quantity='latency', value=0.0005, relative=False))
        """
        amount = getattr(self, quantity)
        name = "latency" if quantity == "ms" else quantity
        if amount is None:
            return None
        try:
            if isinstance(amount, str):
                # A number alone is milliseconds, and a share has its sign.
                bare = quantity == "ms" and amount.strip()[-1:].isdigit()
                return Limit.parse(f"{name}={amount}{'ms' if bare else ''}")
            if quantity == "ms":
                return Limit(name, amount / 1000, relative=False)
            return Limit(name, float(amount), relative=amount <= 1)
        except PlanError as error:
            raise ReportError(f"{quantity} = {excerpt(repr(amount), 60)} is no budget: {error}") from error


@dataclass(frozen=True)
class Override(Amounts):
    """Another budget for the models and directories that fit: names, or globs with ``*``, ``?`` and ``[``."""

    model: str | None = None
    directory: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None and self.directory is None:
            raise ReportError("a [[for]] table needs a model or a directory that it is for")

    def fits(self, model: str, directory: str) -> bool:
        """Whether this is for ``model``, saved in ``directory`` (relative to the budget file)."""
        wanted = ((self.model, model), (self.directory, directory))
        return all(pattern is None or fnmatchcase(name, pattern) for pattern, name in wanted)


@dataclass(frozen=True)
class BudgetFile(Amounts):
    """All budgets of a project, and how times are measured. Raises :class:`ReportError` for an unknown target."""

    target: str | None = None
    batch: Annotated[int, Between(1, 2**20)] = 1
    threads: Annotated[int, Between(1, 2**10)] = 1
    overrides: tuple[Override, ...] = field(default=(), metadata=stored("for"))
    path: Path = field(default=Path(PROJECT_FILE), metadata=stored(skip=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target is not None and self.target not in TARGETS:
            known = ", ".join(TARGETS)
            raise ReportError(
                f"unknown target '{excerpt(self.target)}': known are {known}{nearest(self.target, TARGETS)}"
            )
        if self.target is None and any(amounts.ms is not None for amounts in (self, *self.overrides)):
            raise ReportError(f"ms are measured where the model will run: set target, one of {', '.join(TARGETS)}")

    @property
    def is_empty(self) -> bool:
        """Whether it limits nothing."""
        return not any(getattr(a, q) is not None for a in (self, *self.overrides) for q in QUANTITIES)

    def limits_of(self, model: str, directory: str | Path) -> dict[str, Limit]:
        """The limits of a saved conversion by quantity; those of the last table that fits it count.

        >>> budget = budget_of({"params": 0.2, "for": [{"model": "resnet*", "params": 0.5}]})
        >>> str(budget.limits_of("resnet50", "small")["params"]), str(budget.limits_of("vgg11", "small")["params"])
        ('params=0.5', 'params=0.2')
        """
        place = Path(os.path.relpath(directory, self.path.parent)).as_posix()
        found: dict[str, Limit] = {}
        for amounts in (self, *(one for one in self.overrides if one.fits(model, place))):
            for quantity in QUANTITIES:
                if (limit := amounts.limit(quantity)) is not None:
                    found[quantity] = limit
        return found

    def directories(self) -> tuple[Path, ...]:
        """The directories that its tables name or that fit their globs, beside the file."""
        patterns = [one.directory for one in self.overrides if one.directory]
        found = [path for pattern in patterns for path in sorted(_glob(self.path.parent, pattern)) if path.is_dir()]
        return tuple(dict.fromkeys(found))


def _glob(root: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ReportError(f"directory = '{excerpt(pattern)}' must lie beside the budget file or below it")
    return list(root.glob(pattern))


def budget_of(table: Mapping[str, Any], path: str | Path = PROJECT_FILE) -> BudgetFile:
    """The budgets in the table of a TOML file. Raises :class:`ReportError` with one sentence that names the key."""
    made = decode(BudgetFile, table, f"the budget in {excerpt(path, 200)}", ReportError)
    kept = {one.name: getattr(made, one.name) for one in fields(made)}
    made = BudgetFile(**kept | {"path": Path(path)})
    if made.is_empty:
        raise ReportError(f"the budget in {excerpt(path, 200)} limits nothing: set one of {', '.join(QUANTITIES)}")
    return made


def read_budget(path: str | Path | None = None) -> BudgetFile:
    """The budgets of a file; without a path those of the nearest pyproject.toml that has some, from here upwards.

    Raises :class:`ReportError`.
    """
    if path is not None:
        table = _read(Path(path))
        found = _own(table) if "tool" in table else table
        if found is None:
            raise ReportError(f"{excerpt(path, 200)} has no [tool.kswap.budget]: add one, such as params = 0.2")
        return budget_of(found, path)
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / PROJECT_FILE
        if file.is_file() and (found := _own(_read(file))) is not None:
            return budget_of(found, file)
    raise ReportError(
        "no pyproject.toml from here upwards has a [tool.kswap.budget]: add one, such as params = 0.2, or name a file "
        "with --budget FILE"
    )


def _own(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ``[tool.kswap.budget]`` of a pyproject.toml, where it has one."""
    found: Any = table
    for key in ("tool", "kswap", "budget"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _read(path: Path) -> dict[str, Any]:
    return toml_table(read_text(path, _MOST_BYTES, ReportError, "budget file"), path, ReportError, "budget file")
