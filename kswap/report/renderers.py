"""What can be shown and in which formats: the registry of values and their renderers.

A renderer is named as ``module:function`` and imported when it is called. So the command line lists formats without
importing torch or jinja2, and a value of a higher room has its renderers in files of that room.

To add a format to a value, add one line to its entry in :data:`VALUES`. To add a value, add an entry.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kswap.errors import ReportError, nearest

if TYPE_CHECKING:
    from rich.console import Console

RICH = "rich"
JSON = "kswap.report.output:json_of"


@dataclass(frozen=True)
class Renderers:
    """The renderers of one kind of value.

    Args:
        value: The class, as ``module:name``.
        formats: The renderer of each format, as ``module:function``. The renderer of ``"rich"`` is called with the
            value and a :class:`rich.console.Console`, and prints. Every other one is called with the value alone,
            and returns text.
        saved: The formats that a saved directory holds, each in a file ``NAME.FORMAT``.
        notebook: What makes the short HTML of notebooks; empty where there is none.
        rows: What makes the columns and the rows of a data frame; empty where there is none.
    """

    value: str
    formats: Mapping[str, str]
    saved: tuple[str, ...] = ()
    notebook: str = ""
    rows: str = ""


VALUES: dict[str, Renderers] = {
    "report": Renderers(
        "kswap.report.report:Report",
        {
            RICH: "kswap.report.report_terminal:render_terminal",
            "json": JSON,
            "md": "kswap.report.report_markdown:render_markdown",
            "html": "kswap.report.html.report_page:render_html",
            "csv": "kswap.report.report_csv:render_csv",
        },
        saved=("json", "md", "html"),
        notebook="kswap.report.notebook:report_fragment",
        rows="kswap.report.report_csv:rows_of",
    ),
    "diff": Renderers(
        "kswap.report.diff:ReportDiff",
        {
            RICH: "kswap.report.diff_terminal:render_terminal",
            "json": JSON,
            "md": "kswap.report.diff_markdown:render_markdown",
            "html": "kswap.report.html.diff_page:render_html",
            "csv": "kswap.report.diff_csv:render_csv",
        },
        notebook="kswap.report.notebook:diff_fragment",
        rows="kswap.report.diff_csv:rows_of",
    ),
    "check": Renderers(
        "kswap.checks.result:Check",
        {
            RICH: "kswap.checks.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.checks.rendering:render_markdown",
            "csv": "kswap.checks.rendering:render_csv",
        },
    ),
    "listing": Renderers(
        "kswap.report.listing:Listing",
        {
            RICH: "kswap.report.listing:render_terminal",
            "json": JSON,
            "md": "kswap.report.listing:render_markdown",
            "csv": "kswap.report.listing:render_csv",
        },
    ),
    "papers": Renderers(
        "kswap.papers.tables:CheckedTables",
        {
            RICH: "kswap.papers.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.papers.rendering:render_markdown",
            "csv": "kswap.papers.rendering:render_csv",
        },
    ),
    "models": Renderers(
        "kswap.model_table.table:ModelTable",
        {
            RICH: "kswap.model_table.rendering:render_terminal",
            "json": JSON,
            "csv": "kswap.model_table.rendering:render_csv",
        },
    ),
    "profile": Renderers(
        "kswap.benchmarks.profile:Profile", {RICH: "kswap.benchmarks.profile:render_terminal", "json": JSON}
    ),
    "benchmark": Renderers(
        "kswap.benchmarks.result:Benchmark",
        {
            RICH: "kswap.benchmarks.terminal:render_terminal",
            "json": JSON,
            "md": "kswap.benchmarks.markdown:render_markdown",
            "csv": "kswap.benchmarks.rows_csv:render_csv",
        },
    ),
    "optimization": Renderers(
        "kswap.inference.record:Optimization",
        {
            RICH: "kswap.inference.rendering:render_terminal",
            "json": "kswap.inference.rendering:render_json",
            "md": "kswap.inference.rendering:render_markdown",
            "csv": "kswap.inference.rendering:render_csv",
        },
    ),
    "export": Renderers(
        "kswap.runtimes.exported:Exported",
        {
            RICH: "kswap.runtimes.exported:render_terminal",
            "json": JSON,
            "md": "kswap.runtimes.exported:render_markdown",
        },
    ),
    "quantized-export": Renderers(
        "kswap.quantization.result:QuantizedExport",
        {
            RICH: "kswap.quantization.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.quantization.rendering:render_markdown",
        },
    ),
    "layer": Renderers("kswap.planner.block_plan:BlockPlan", {RICH: "kswap.report.layer:render_layer", "json": JSON}),
    "evaluation": Renderers(
        "kswap.analysis.evaluation:Evaluation",
        {
            RICH: "kswap.analysis.evaluation_rendering:render_terminal",
            "json": JSON,
            "md": "kswap.analysis.evaluation_rendering:render_markdown",
            "csv": "kswap.analysis.evaluation_rendering:render_csv",
        },
    ),
    "distillation": Renderers(
        "kswap.transfer.record:Distillation",
        {
            RICH: "kswap.transfer.record_rendering:render_terminal",
            "json": JSON,
            "md": "kswap.transfer.record_rendering:render_markdown",
        },
    ),
    "training": Renderers(
        "kswap.training.record:Training",
        {
            RICH: "kswap.training.record_rendering:render_terminal",
            "json": JSON,
            "md": "kswap.training.record_rendering:render_markdown",
            "csv": "kswap.training.record_rendering:render_csv",
        },
    ),
    "frontier": Renderers(
        "kswap.transfer.frontier:Frontier",
        {
            RICH: "kswap.transfer.frontier_rendering:render_terminal",
            "json": JSON,
            "md": "kswap.transfer.frontier_rendering:render_markdown",
            "csv": "kswap.transfer.frontier_rendering:render_csv",
        },
    ),
    "compression": Renderers(
        "kswap.transfer.compression_record:Compression",
        {
            RICH: "kswap.transfer.compression_rendering:render_terminal",
            "json": JSON,
            "md": "kswap.transfer.compression_rendering:render_markdown",
        },
    ),
    "cifar10-study": Renderers(
        "kswap.studies.cifar10.result:Cifar10Study",
        {
            RICH: "kswap.studies.cifar10.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.studies.cifar10.rendering:render_markdown",
            "csv": "kswap.studies.cifar10.rendering:render_csv",
        },
    ),
    "family-study": Renderers(
        "kswap.studies.families.result:FamilyStudy",
        {
            RICH: "kswap.studies.families.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.studies.families.rendering:render_markdown",
            "csv": "kswap.studies.families.rendering:render_csv",
        },
    ),
    "transfer-study": Renderers(
        "kswap.studies.transfer.result:TransferStudy",
        {
            RICH: "kswap.studies.transfer.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.studies.transfer.rendering:render_markdown",
            "csv": "kswap.studies.transfer.rendering:render_csv",
        },
    ),
    "scan": Renderers(
        "kswap.scans.result:Scan",
        {
            RICH: "kswap.scans.rendering:render_terminal",
            "json": JSON,
            "md": "kswap.scans.rendering:render_markdown",
            "html": "kswap.scans.html:render_html",
            "csv": "kswap.scans.rendering:render_csv",
        },
        saved=("json", "md", "html", "csv"),
    ),
    "cams": Renderers(
        "kswap.analysis.cam:Cams",
        {
            RICH: "kswap.analysis.cam_rendering:render_terminal",
            "json": "kswap.analysis.cam_rendering:render_json",
        },
    ),
}


def formats_of(name: str) -> tuple[str, ...]:
    """The formats in which the value called ``name`` can be shown; nothing is imported.

    >>> formats_of("diff")
    ('rich', 'json', 'md', 'html', 'csv')
    """
    return tuple(VALUES[name].formats)


def saved_files(name: str) -> dict[str, str]:
    """The files of a saved directory that show the value called ``name``, each with its format.

    >>> saved_files("report")
    {'report.json': 'json', 'report.md': 'md', 'report.html': 'html'}
    """
    return {f"{name}.{format_}": format_ for format_ in VALUES[name].saved}


def text_of(value: object, format_: str) -> str:
    """``value`` as text, in any of its formats but ``"rich"``.

    Raises:
        ReportError: The value has no such format.
    """
    if format_ == RICH:
        raise ReportError("the format 'rich' is for a console and has no text; use one of the others, such as json")
    text: str = _renderer(value, format_)(value)
    return text


def render(value: object, format_: str, console: Console, **options: Any) -> None:
    """Show ``value`` on ``console``: printed where the format is ``"rich"``, else as its text, unwrapped.

    ``options`` go to the renderer of ``"rich"``, such as ``top`` to that of a report.

    Raises:
        ReportError: The value has no such format.
    """
    if format_ == RICH:
        _renderer(value, RICH)(value, console, **options)
        return
    from kswap.report.output import write_verbatim

    write_verbatim(text_of(value, format_), console)


def fragment_of(value: object) -> str:
    """``value`` as short HTML for a notebook. Raises :class:`ReportError` where it has none."""
    text: str = _part(value, "notebook")(value)
    return text


def rows_of(value: object) -> tuple[tuple[str, ...], Iterable[Mapping[str, Any]]]:
    """The columns and the rows that ``value`` has as a table. Raises :class:`ReportError` where it has none."""
    found: tuple[tuple[str, ...], Iterable[Mapping[str, Any]]] = _part(value, "rows")(value)
    return found


def _part(value: object, name: str) -> Any:
    path = getattr(_entry_of(type(value)), name)
    if not path:
        raise ReportError(f"a {type(value).__name__} has no {name}")
    return resolve(path)


def _renderer(value: object, format_: str) -> Any:
    formats = _entry_of(type(value)).formats
    if format_ not in formats:
        raise ReportError(f"unknown format '{format_}': known are {', '.join(formats)}{nearest(format_, formats)}")
    return resolve(formats[format_])


def _entry_of(kind: type) -> Renderers:
    for entry in VALUES.values():
        module, _, name = entry.value.partition(":")
        # The class of a value that exists has been imported: no other module has to be.
        if getattr(sys.modules.get(module), name, None) in kind.__mro__:
            return entry
    raise ReportError(f"a {kind.__name__} has no renderers; kswap.report.renderers lists the values that have")


def resolve(path: str) -> Any:
    """What ``module:name`` names, imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
