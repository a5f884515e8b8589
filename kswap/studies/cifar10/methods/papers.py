"""The networks of the papers: both schemes at several Ch, and the "no L" and ReLU rows of Table 5 of 2022."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from kswap.rules import RuleSet, load_rules
from kswap.studies.cifar10.forms import converted
from kswap.studies.cifar10.network import Method, Network
from kswap.studies.cifar10.settings import Settings

_CH = (4, 8, 16, 32)
# All of them learn at the rate that is chosen for this one.
_LEARNS_AS = "v2-16"


def _build(settings: Settings, seed: int, scheme: str, ch: int) -> Network:
    return Network(converted(settings, seed, scheme=scheme, ch=ch), f"Ch {ch}")


def _changed(settings: Settings, seed: int, rules: RuleSet, ch: int) -> Network:
    return Network(converted(settings, seed, rules=rules, ch=ch), f"Ch {ch}")


def _method(scheme: str, ch: int) -> Method:
    name = f"{scheme}-{ch}"
    build = partial(_build, scheme=scheme, ch=ch)
    return Method(name, f"{scheme}, Ch {ch}", build, True, scheme, "" if name == _LEARNS_AS else _LEARNS_AS)


def _row_of_table_5(name: str, title: str, rules: RuleSet, ch: int) -> Method:
    build = partial(_changed, rules=rules, ch=ch)
    return Method(f"v2-{ch}-{name}", f"v2, Ch {ch}, {title}", build, True, f"v2, {title}", _LEARNS_AS)


def _table_5() -> list[Method]:
    rules = load_rules(None, scheme="v2")
    alone = replace(rules, name="no second layer", defaults=replace(rules.defaults, second_layer=False))
    relu = replace(rules, name="ReLU", swap_activations={"SiLU": "relu"})
    rows = (("no-l", "no L", alone), ("relu", "ReLU", relu))
    return [_row_of_table_5(name, title, changed, ch) for name, title, changed in rows for ch in _CH]


METHODS = (*(_method(scheme, ch) for scheme in ("v2", "v1") for ch in _CH), *_table_5())
