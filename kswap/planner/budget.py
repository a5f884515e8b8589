"""Budgets: the most that a converted model may have, in parameters, MACs, bytes or time. Values only, no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kswap.errors import PlanError, excerpt, nearest

_DECIMAL = {"": 1.0, "%": 0.01, "k": 1e3, "m": 1e6, "g": 1e9}
_BYTES = {**_DECIMAL, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
_SECONDS = {"": 1.0, "%": 0.01, "s": 1.0, "ms": 1e-3, "us": 1e-6}

# Each quantity with the suffixes of its numbers, and with what its numbers are called in messages.
_SUFFIXES: dict[str, Mapping[str, float]] = {"params": _DECIMAL, "macs": _DECIMAL, "bytes": _BYTES, "latency": _SECONDS}
_WORDS = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}
QUANTITIES = tuple(_SUFFIXES)

_LONGEST = 200
_NUMBER = re.compile(r"(\d[\d_]*(?:\.\d+)?|\.\d+)\s*([a-z%]*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Cost:
    """What a model, or a part of it, costs.

    ``macs`` are for one sample, ``bytes`` those of the weights on disk. ``seconds`` are for one pass in the runtime
    in which it was measured, or ``None`` where nothing was measured.
    """

    params: int
    macs: int
    bytes: int
    seconds: float | None = None

    def __post_init__(self) -> None:
        if min(self.params, self.macs, self.bytes) < 0 or (self.seconds is not None and not self.seconds >= 0):
            raise PlanError(f"parameters, MACs, bytes and seconds are not negative, unlike {self}")

    def of(self, quantity: str) -> float:
        """The number of one of :data:`QUANTITIES`. Raises :class:`PlanError` for a latency that nobody measured.

        >>> Cost(params=10, macs=490, bytes=40).of("macs")
        490
        """
        if quantity != "latency":
            return int(getattr(self, quantity))
        if self.seconds is None:
            raise PlanError("a latency was asked for and no times were measured: name a target to measure them in")
        return self.seconds

    def __add__(self, other: Cost) -> Cost:
        seconds = None if self.seconds is None or other.seconds is None else self.seconds + other.seconds
        return Cost(self.params + other.params, self.macs + other.macs, self.bytes + other.bytes, seconds)


@dataclass(frozen=True)
class Limit:
    """The most of one quantity: a share of the original's where ``relative``, else a number."""

    quantity: str
    value: float
    relative: bool

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            known = ", ".join(QUANTITIES)
            raise PlanError(
                f"a budget cannot limit '{excerpt(self.quantity)}': known are {known}"
                f"{nearest(self.quantity, QUANTITIES)}"
            )
        if not math.isfinite(self.value) or self.value <= 0:
            raise PlanError(f"the budget of {self.quantity} must be a number above 0, not {self.value:g}")
        if self.relative and self.value > 1:
            raise PlanError(f"the budget of {self.quantity} is a share of the original's, from 0 to 1, not {self}")

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read ``"params=0.2"``, ``"macs=150M"``, ``"bytes=2.5MB"`` or ``"latency=3ms"``.

        Numbers up to 1 without a unit, and numbers with ``%``, are shares of the original. Suffixes are ``K``, ``M``
        and ``G`` (thousands, millions, thousands of millions), for bytes with or without ``B``; ``s``, ``ms`` and
        ``us`` for latency. Raises :class:`PlanError`.

        >>> Limit.parse("macs=150M")
        Limit(quantity='macs', value=150000000.0, relative=False)
        """
        quantity, equals, number = (part.strip() for part in text.strip()[:_LONGEST].partition("="))
        if not equals:
            raise PlanError(f"'{excerpt(text)}' is not a budget: write one such as params=0.2, macs=150M or bytes=2.5M")
        suffixes = _SUFFIXES.get(quantity, _DECIMAL)
        found = _NUMBER.fullmatch(number)
        suffix = found[2].lower() if found else ""
        if found is None or suffix not in suffixes:
            units = ", ".join(unit if unit in _SECONDS else unit.upper() for unit in suffixes if unit)
            raise PlanError(
                f"'{excerpt(number)}' is not a number of {excerpt(quantity)}: write a share such as 0.2, or a number "
                f"with or without one of {units}"
            )
        plain = float(found[1].replace("_", ""))
        return cls(quantity, plain * suffixes[suffix], suffix == "%" or (not suffix and plain <= 1))

    def most(self, original: Cost) -> float:
        """The greatest number that a model may have, for one whose original costs ``original``.

        >>> Limit.parse("params=20%").most(Cost(1000, 5000, 4000))
        200.0
        """
        return self.value * original.of(self.quantity) if self.relative else self.value

    def shown(self, number: float) -> str:
        """A number of the quantity, for messages.

        >>> Limit.parse("params=0.5").shown(1234), Limit.parse("latency=2ms").shown(0.00123)
        ('1,234 parameters', '1.23 ms')
        """
        return f"{1000 * number:.3g} ms" if self.quantity == "latency" else f"{number:,.0f} {_WORDS[self.quantity]}"

    def __str__(self) -> str:
        if self.relative:
            return f"{self.quantity}={self.value:.6g}"
        if self.quantity == "latency":
            return f"latency={1000 * self.value:.6g}ms"
        scale, suffix = next(((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if self.value >= s), (1.0, ""))
        return f"{self.quantity}={self.value / scale:.6g}{suffix}"


@dataclass(frozen=True)
class Budget:
    """Limits that hold all together, each quantity at most once.

    >>> budget = Budget.of("params=0.2, macs=150M")
    >>> str(budget), budget.quantities
    ('params=0.2, macs=150M', ('params', 'macs'))
    """

    limits: tuple[Limit, ...]

    def __post_init__(self) -> None:
        if not self.limits:
            raise PlanError("the budget is empty: write one such as params=0.2")
        twice = [name for name in self.quantities if self.quantities.count(name) > 1]
        if twice:
            raise PlanError(f"the budget limits {twice[0]} twice: leave one out")

    @classmethod
    def of(cls, asked: str | Budget | Iterable[str]) -> Budget:
        """A budget as it is, from a text whose limits stand between commas or spaces, or from several texts.

        Raises :class:`PlanError`.

        >>> Budget.of(["params=20%", "latency=0.7"]).quantities
        ('params', 'latency')
        """
        if isinstance(asked, Budget):
            return asked
        if not isinstance(asked, str) and not isinstance(asked, Iterable):
            raise PlanError(f"a budget is a text such as params=0.2, not {asked!r:.40}")
        texts = [asked] if isinstance(asked, str) else list(asked)
        if not all(isinstance(text, str) for text in texts):
            raise PlanError("a budget is a text such as params=0.2, or several of them")
        parts = [part for text in texts for part in re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", text)) if part]
        return cls(tuple(Limit.parse(part) for part in parts))

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is limited, of :data:`QUANTITIES`."""
        return tuple(limit.quantity for limit in self.limits)

    def exceeded_by(self, cost: Cost, original: Cost) -> Limit | None:
        """The first limit that a model that costs ``cost`` does not keep, or ``None``.

        >>> Budget.of("params=0.2").exceeded_by(Cost(300, 0, 0), Cost(1000, 0, 0)).quantity
        'params'
        """
        return next((limit for limit in self.limits if cost.of(limit.quantity) > limit.most(original)), None)

    def __str__(self) -> str:
        return ", ".join(map(str, self.limits))
