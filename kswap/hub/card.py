"""The model card of a repository: what was converted, what is left of it, and how it is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from huggingface_hub import ModelCardData
from torch import nn

from kswap.errors import HubError, excerpt
from kswap.hub.address import PREFIX, is_repo
from kswap.report.calls import without_home
from kswap.report.markdown import code, fenced, prose, table
from kswap.report.projection import Accuracy
from kswap.report.projection_wording import ACCURACY_HEADS, accuracy_cells
from kswap.report.provenance_wording import NO_PROVENANCE, model_text
from kswap.report.report import Report
from kswap.report.report_markdown import totals_table
from kswap.report.wording import percent, report_settings, tally
from kswap.saved.directory import load_call
from kswap.saved.files import REPORT
from kswap.sources.source import Source

_LONGEST_FIELD = 100


@dataclass(frozen=True)
class Published:
    """The published weights that a model was converted from: the licence, and the repository that holds them."""

    license: str | None = None
    base_model: str | None = None


def published_of(report: Report, source: Source) -> Published:
    """What timm says of the weights, where the model was converted from published ones."""
    if source.kind != "timm" or report.provenance is None or report.provenance.model.weights != "published":
        return Published()
    from timm.models import get_pretrained_cfg, is_model, split_model_name_tag

    if not is_model(split_model_name_tag(source.name)[0]):
        return Published()
    config = get_pretrained_cfg(source.name)
    return Published(config.license, config.hf_hub_id) if config else Published()


def base_model_of(model: nn.Module) -> str | None:
    """The repository that ``from_pretrained`` of transformers loaded a model from; ``None`` where it did not.

    >>> base_model_of(nn.Conv2d(3, 3, 1)) is None
    True
    """
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    return name if isinstance(name, str) and is_repo(name) and not os.path.exists(name) else None


def model_card(
    report: Report, source: Source, repo: str, license: str | None = None, base_model: str | None = None
) -> str:
    """The card as Markdown with the metadata that the Hub reads in front.

    Args:
        report: of the conversion.
        source: the original.
        repo: where the card will be, ``owner/name``.
        license: of the weights, instead of that of the published ones.
        base_model: the repository that the weights come from, instead of that of the published ones.
    """
    published = published_of(report, source)
    data = ModelCardData(
        license=_field(license, "license") or published.license,
        base_model=_field(base_model, "base model") or published.base_model,
        library_name="kswap",
        tags=["kswap", "grouped-pointwise-convolution", source.kind],
        metrics=["accuracy"] if _accuracies(report) else None,
    )
    return "\n".join(["---", data.to_yaml(), "---", "", *_body(report, source, repo, data)])


def _field(text: str | None, what: str) -> str | None:
    """Raises :class:`HubError` for a text that is no single line."""
    if text is not None and (not text.isprintable() or not 0 < len(text) <= _LONGEST_FIELD):
        raise HubError(f"'{excerpt(text)}' is no {what}: write it as the Hub names it")
    return text


def _body(report: Report, source: Source, repo: str, data: ModelCardData) -> list[str]:
    settings = " · ".join(f"{key} {code(value)}" for key, value in report_settings(report, "×").items())
    lines = [
        f"# {prose(repo.rpartition('/')[2])}",
        "",
        f"{code(report.model)} with {percent(report.params.ratio)} of its parameters, made by kswap "
        f"{prose(report.kswap)}: {tally(report)}.",
        "",
        settings,
        "",
        *totals_table(report),
        "",
        "## Load",
        "",
        *fenced(f"import kswap\n\nmodel = {load_call(PREFIX + repo, source)}.model  # in eval mode", "python"),
        "",
        "The files are safetensors and JSON: nothing in them is executed.",
        *_needs(source),
        "",
        "## Weights",
        "",
        *_weights(report),
        "",
    ]
    if data.base_model:
        lines += [f"Base model: {prose(str(data.base_model))}.", ""]
    lines += [
        "## More",
        "",
        f"Every site is in [report.md](report.md), [report.html](report.html) and [{REPORT}]({REPORT}). The method: "
        "Schuler et al., *An Enhanced Scheme for Reducing the Complexity of Pointwise Convolutions in CNNs for Image "
        "Classification Based on Interleaved Grouped Filters without Divisibility Constraints*, Entropy 2022, 24, "
        "1264.",
        "",
    ]
    return lines


def _needs(source: Source) -> list[str]:
    if source.kind == "module":
        return ["", f"`model=` takes the original, a {code(source.name)} that kswap cannot build by itself."]
    if source.needs_trust:
        return ["", f"The original is built by {code(without_home(source.title))}, which has to be there."]
    return []


def _weights(report: Report) -> list[str]:
    origin = report.provenance
    if origin is None:
        return [f"Where they come from is {NO_PROVENANCE}."]
    steps = ", then ".join(prose(str(step)) for step in origin.weights) or "as in the original"
    lines = [
        f"Original: {prose(model_text(origin.model))}; its weights: {prose(origin.model.weights or 'not recorded')}.",
        f"Blocks: {steps}.",
        "",
    ]
    if not _accuracies(report):
        return [*lines, "Accuracy was not measured."]
    rows = [[prose(cell) for cell in cells] for cells in accuracy_cells(_accuracies(report))]
    return [*lines, *table(ACCURACY_HEADS, rows, "<>>><")]


def _accuracies(report: Report) -> tuple[Accuracy, ...]:
    return report.projection.accuracies if report.projection else ()
