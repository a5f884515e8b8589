"""HTML pages that stand for themselves: one file with its style and script, nothing from the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kswap.errors import visible
from kswap.report.report import Change
from kswap.report.wording import compact, percent, signed

STYLES = ("style.css", "sites.css", "treemap.css", "narrow.css", "print.css")


def bar(change: Change) -> Markup:
    """A bar of what is left; full, and in another colour, where a count grows."""
    width = min(change.ratio, 1.0) * 100
    kind = "bar grows" if change.ratio > 1 else "bar"
    return Markup('<span class="{}"><i style="width:{}%"></i></span>').format(kind, f"{width:.3g}")


def breakable(name: str) -> Markup:
    """A qualified name that may break after its dots.

    >>> str(breakable("a.<b>"))
    'a.<wbr>&lt;b&gt;'
    """
    return Markup(".<wbr>").join(visible(name).split("."))


def visible_lines(text: str) -> Markup:
    """Lines of a text file as a page shows them: line breaks are kept, and other control characters are escapes."""
    return Markup("\n").join(visible(line.expandtabs(4)) for line in text.splitlines())


def _shown(value: object) -> object:
    """A value as a page shows it: control characters, which HTML forbids, are written as escapes."""
    return visible(value) if type(value) is str else value


@cache
def environment() -> Environment:
    """The templates of the package, with everything escaped that comes from a report."""
    made = Environment(
        loader=PackageLoader("kswap.report", "html"),
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


@cache
def _text_of(names: Sequence[str]) -> str:
    """Files of the package, one after the other."""
    room = files("kswap.report") / "html"
    return "\n".join((room / name).read_text(encoding="utf-8") for name in names)


def content_policy(script: str) -> str:
    """A Content-Security-Policy under which a page runs ``script`` and nothing else, and loads nothing.

    >>> content_policy("")
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; {allowed}style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(template: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """The page that a template of the package makes from ``values``, with ``scripts`` of the package in it."""
    script = _text_of(tuple(scripts))
    return (
        environment()
        .get_template(template)
        .render(style=Markup(_text_of(STYLES)), script=Markup(script), policy=content_policy(script), **values)
    )
