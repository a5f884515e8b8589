"""HTML pages that stand for themselves: no scripts, no fonts, nothing from the network."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kswap.errors import visible
from kswap.report.report import Change
from kswap.report.wording import compact, percent, signed


def bar(change: Change) -> Markup:
    """A bar of what is left; full, and in another colour, where a count grows."""
    width = min(change.ratio, 1.0) * 100
    kind = "bar grows" if change.ratio > 1 else "bar"
    return Markup('<span class="{}"><i style="width: {}%"></i></span>').format(kind, f"{width:.2f}")


def breakable(name: str) -> Markup:
    """A qualified name that may break after its dots.

    >>> str(breakable("a.<b>"))
    'a.<wbr>&lt;b&gt;'
    """
    return Markup(".<wbr>").join(visible(name).split("."))


def _shown(value: object) -> object:
    """A value as a page shows it: control characters, which HTML forbids, are written as escapes."""
    return visible(value) if type(value) is str else value


@cache
def environment() -> Environment:
    """The templates of the package, with everything escaped that comes from a report."""
    made = Environment(
        loader=PackageLoader("kswap.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "breakable": breakable,
        "percent": percent,
        "compact": compact,
        "thousands": "{:,}".format,
        "signed": signed,
    }
    made.globals |= {"bar": bar}
    return made


def page(template: str, **values: Any) -> str:
    """The text that a template of the package makes from ``values``."""
    return environment().get_template(template).render(**values)
