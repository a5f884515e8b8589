"""What all renderers say of weights that were carried over."""

from __future__ import annotations

from collections.abc import Sequence

from kswap.report.projection import Accuracy, ProjectionRecord
from kswap.report.report import Report
from kswap.report.wording import percent, plural

ERROR_GLOSSARY = (
    "The error at a site is the fraction of variance unexplained: 0 where the block returns what the original returned "
    "there, 1 where it is no better than a constant."
)
ACCURACY_HEADS = ("stage", "top-1", "standard error", "images", "data")


def error_text(error: float | None) -> str:
    """An error with three decimals, ``-`` where there is none.

    >>> error_text(0.4321), error_text(0.0), error_text(1e-5), error_text(None), error_text(123456.0)
    ('0.432', '0.000', '<0.001', '-', '1.2e+05')
    """
    if error is None:
        return "-"
    if error >= 1000:
        return f"{error:.1e}"
    return "<0.001" if 0 < error < 0.0005 else f"{error:.3f}"


def accuracy_cells(accuracies: Sequence[Accuracy]) -> list[tuple[str, ...]]:
    """The cells under :data:`ACCURACY_HEADS`, a row per accuracy.

    >>> accuracy_cells([Accuracy("projected", 0.716, 1000, "imagenette/val")])
    [('projected', '71.6%', '1.4%', '1,000', 'imagenette/val')]
    """
    return [(a.stage, percent(a.top1), percent(a.standard_error), f"{a.images:,}", a.data or "-") for a in accuracies]


def derivation(record: ProjectionRecord) -> str:
    """Where the weights come from, in one sentence.

    >>> derivation(ProjectionRecord(320, 0, 20.04))
    'Derived from the original by a fit to what its layers return on 320 images (seed 0, 20.0 seconds).'
    """
    return (
        f"Derived from the original by a fit to what its layers return on {plural(record.images, 'image')} "
        f"(seed {record.seed}, {record.seconds:,.1f} seconds)."
    )


def errors_text(record: ProjectionRecord) -> str:
    """Mean and largest error, or an empty string where no site was fitted."""
    if record.worst is None:
        return ""
    return (
        f"Error over {plural(len(record.sites), 'site')}: mean {error_text(record.mean_error)}, "
        f"largest {error_text(record.worst.error)} at {record.worst.name}."
    )


def placement_text(report: Report) -> str:
    """Why fitted blocks are linear inside, and which are not; empty where no site was fitted."""
    fitted = [row for row in report.replaced if row.fit_error is not None]
    others = [row.name for row in fitted if row.placement == "absorbed" and (row.norm or row.activation)]
    sentences = []
    if len(others) < len(fitted):
        sentences.append(
            f"Placement is linear at {len(fitted) - len(others)} of {plural(len(fitted), 'fitted site')}: norm and "
            "activation come after the block, because a block that is linear inside can be fitted to the old layer by "
            "least squares, and one with an activation between its parts cannot."
        )
    if others:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        sentences.append(f"Norm and activation are inside the block at {plural(len(others), 'site')}: {named}.")
    return " ".join(sentences)


def weights_paragraphs(report: Report) -> tuple[str, ...]:
    """The sentences on weights of a report, empty where none were carried over."""
    record = report.projection
    if record is None:
        return ()
    return tuple(filter(None, (derivation(record), errors_text(record), placement_text(report), ERROR_GLOSSARY)))
