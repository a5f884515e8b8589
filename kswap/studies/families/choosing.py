"""The smallest network of each family."""

from __future__ import annotations

from collections.abc import Sequence

import timm

from kswap.errors import StudyError, nearest
from kswap.model_table.table import ModelRow, read_table


def smallest_models(most_macs: float) -> dict[str, str]:
    """The model with the fewest parameters of each family in which something is replaced at Ch 16, by family.

    A family is a file of ``timm.models``. Networks that timm has for its own tests are left out, and families whose
    smallest model has more than ``most_macs`` MACs at its own input size.
    """
    table = read_table()
    found: dict[str, str] = {}
    for family in sorted(timm.list_modules()):
        rows = [table[name] for name in timm.list_models(module=family) if name in table]
        rows = [row for row in rows if _is_candidate(row)]
        smallest = min(rows, key=lambda row: (row.params, row.name), default=None)
        if smallest is not None and smallest.sweep is not None and smallest.sweep.macs_before <= most_macs:
            found[family] = smallest.name
    return found


def chosen_models(families: Sequence[str], most_macs: float) -> dict[str, str]:
    """Those of the families that were named, of all where none was. Raises :class:`StudyError` for an unknown one."""
    known = smallest_models(most_macs)
    for family in families:
        if family not in known:
            hint = nearest(family, known) or f": there are {', '.join(known)}"
            raise StudyError(f"no family '{family}' of timm has such a network{hint}")
    return {family: model for family, model in known.items() if not families or family in families}


def _is_candidate(row: ModelRow) -> bool:
    return not row.name.startswith("test_") and row.sweep is not None and row.sweep.replaced > 0
