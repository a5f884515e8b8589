"""``kswap evaluate``: accuracy on pictures in class folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kswap.cli.options import console, status
from kswap.cli.pictures import adjusted, device_option, preprocessing_options, trust_option

if TYPE_CHECKING:
    from kswap.analysis.evaluation import Evaluation


@click.command()
@click.argument("model", metavar="DIR")
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FOLDER_OR_ZIP", help="The pictures.")
@click.option("--split", metavar="NAME", help="Which split, where there are several.")
@click.option("--hflip", is_flag=True, help="Add the probabilities of the mirrored picture, as in the papers.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Pictures at a time.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N pictures, evenly over all.")
@preprocessing_options
@device_option
@click.option("--format", "format_", type=click.Choice(["rich", "json"]), default="rich", show_default=True)
@trust_option
def evaluate(
    model: str,
    data: Path,
    split: str | None,
    hflip: bool,
    batch: int,
    limit: int | None,
    preprocessing: str,
    resize: str | None,
    crop: float | None,
    input_size: str | None,
    device: str,
    format_: str,
    trust_source: bool,
) -> None:
    """Accuracy of a saved model on pictures.

    DIR is a directory that kswap saved, or a MODEL as for convert, which is built with its published weights.

    FOLDER_OR_ZIP holds SPLIT/CLASS/FILE or CLASS/FILE; the classes in sorted order are those of the model. A zip
    is read in place.
    """
    with status(f"loading {model}"):
        from kswap.analysis.evaluation import evaluate_subject
        from kswap.analysis.loaded_model import subject_of
        from kswap.data.images import ImageSet

        images = ImageSet(data, split)
        subject = subject_of(model, device, trust_source=trust_source)
        subject = subject.prepared_by(adjusted(subject.preprocessing, preprocessing, resize, crop, input_size))
    click.echo(f"pictures: {subject.preprocessing}", err=True)
    measured = evaluate_subject(subject, images, batch=batch, hflip=hflip, limit=limit)
    if format_ == "json":
        click.echo(json.dumps(measured.to_json(), indent=1))
    else:
        _show(measured)


def _show(measured: Evaluation) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for label in ("images", "correct", "accuracy"):
        table.add_column(label, justify="right")
    for entry in measured.classes:
        accuracy = "" if entry.accuracy is None else f"{entry.accuracy:.2%}"
        table.add_row(escape(entry.name), f"{entry.images:,}", f"{entry.correct:,}", accuracy)
    table.add_section()
    table.add_row("all", f"{measured.images:,}", f"{measured.correct:,}", f"{measured.top1:.2%}", style="bold")
    out = console()
    out.print(table)
    split = f", split {measured.split}" if measured.split else ""
    flip = ", with the mirrored pictures" if measured.hflip else ""
    speed = f"{measured.seconds:.1f} s on {measured.device} ({measured.images / measured.seconds:,.0f} images a second)"
    out.print(f"\n{measured.model} on {measured.data}{split}{flip}: {speed}", markup=False, soft_wrap=True)
