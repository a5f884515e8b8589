"""``kswap create``: the converted networks of the papers, by recipe; ``kswap import-keras`` with their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.cli.formats import check_length, format_option, length_options, show, show_report
from kswap.cli.options import CONVERT_STEPS, PLAN_STEPS, parse_size, status, working

if TYPE_CHECKING:
    from kswap.converted import Conversion
    from kswap.papers.recipes import Variant
    from kswap.report.listing import Listing

Command = TypeVar("Command", bound=Callable[..., Any])


def variant_options(command: Command) -> Command:
    """All that says which row of a recipe."""
    for option in reversed(
        (
            click.option("--ch", type=click.IntRange(min=1), help="Channels per group; else the recipe's."),
            click.option("--scheme", type=click.Choice(["v1", "v2"]), help="Else the recipe's."),
            click.option(
                "--num-classes",
                type=click.IntRange(min=1),
                default=1000,
                show_default=True,
                help="Classes of the classifier.",
            ),
            click.option("--input-size", metavar="SIZE", help="32 or 32,48; else that of the papers."),
            click.option(
                "--skip-strides",
                type=click.IntRange(min=-1),
                default=-1,
                show_default=True,
                metavar="N",
                help="The authors' skip_stride_cnt: 3 for their 32x32 networks, -1 skips none.",
            ),
            click.option("--no-second-layer", is_flag=True, help="K alone: the 'no L' rows of the 2022 paper."),
            click.option("--relu", is_flag=True, help="ReLU for swish: the ReLU rows of the 2022 paper."),
        )
    ):
        command = option(command)
    return command


def _variant(name: str, options: dict[str, Any]) -> Variant:
    from kswap.papers.recipes import Variant, recipe

    return Variant(
        recipe(name),
        scheme=options["scheme"] or "",
        ch=options["ch"] or 0,
        num_classes=options["num_classes"],
        input_size=parse_size(options["input_size"]) or (),
        skip_stride_cnt=options["skip_strides"],
        second_layer=not options["no_second_layer"],
        relu=options["relu"],
    )


def _save_and_show(conversion: Conversion, out: Path | None, force: bool, options: dict[str, Any]) -> None:
    if out:
        with status(f"saving {out}"):
            conversion.save(out, force=force)
    show_report(conversion.report, options["format_"], options["top"], options["quiet"])
    if out and not options["quiet"]:
        from kswap.saved.directory import load_call

        click.echo(f"saved in {out}: load it with {load_call(out, conversion.source)}", err=True)


@click.command()
@click.argument("name", required=False)
@variant_options
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where the model goes.")
@click.option("--seed", type=int, help="Makes the fresh weights reproducible.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Save weights, plan and reports here.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@click.option("--dry-run", is_flag=True, help="Plan and report only: nothing is built or written.")
@format_option("report")
@length_options
def create(name: str | None, **options: Any) -> None:
    """Build a converted network of the papers.

    NAME is a recipe such as kmobilenet-v3-large; without it the recipes are listed.
    """
    if name is None:
        show(_recipes(), options["format_"])
        return
    check_length(options["format_"], options["top"], options["quiet"])
    variant = _variant(name, options)
    with working(f"building {name}", PLAN_STEPS if options["dry_run"] else CONVERT_STEPS):
        from kswap.recording import provenance_of_plan, rules_origin
        from kswap.report.report import report_of
        from kswap.saved.directory import check_writable
        from kswap.sources.device import choose_device

        device = choose_device(options["device"])
        if options["out"]:
            check_writable(options["out"], options["force"])
        plan = variant.plan() if options["dry_run"] else None
        conversion = None if plan else variant.convert(str(device), options["seed"])
    if conversion:
        _save_and_show(conversion, options["out"], options["force"], options)
    elif plan:
        source, more = variant.recipe.source, {"num_classes": variant.num_classes, **variant.recipe.arguments}
        provenance = provenance_of_plan(source, more, rules_origin(variant.rules, plan.rules))
        show_report(report_of(plan, provenance=provenance), options["format_"], options["top"], options["quiet"])
        click.echo("dry run: nothing was built or written", err=True)


def _recipes() -> Listing:
    from kswap.papers.recipes import RECIPES
    from kswap.report.listing import Listing

    rows = []
    for recipe in RECIPES.values():
        schemes = {scheme: [ch for s, ch in recipe.published if s == scheme] for scheme, _ in recipe.published}
        published = ", ".join(f"{scheme} {'/'.join(map(str, sorted(chs)))}ch" for scheme, chs in schemes.items())
        rows.append((recipe.name, published, recipe.description))
    closing = "`kswap create NAME --ch 32 --num-classes 10` builds one; `kswap papers` prints the tables"
    return Listing(("recipe", "published", "what it is"), tuple(rows), closing)


@click.command("import-keras")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--recipe", "name", required=True, metavar="NAME", help="The network: see `kswap create`.")
@variant_options
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Save weights, plan and reports here.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@format_option("report")
@length_options
def import_keras(file: Path, name: str, **options: Any) -> None:
    """Load one of the authors' Keras checkpoints.

    FILE is an HDF5 file that Keras saved; the other options have to be those that it was trained with. Needs
    h5py (pip install 'kswap[keras]').
    """
    check_length(options["format_"], options["top"], options["quiet"])
    variant = _variant(name, options)
    with status(f"loading {file}"):
        from kswap.keras.importing import import_keras as load
        from kswap.saved.directory import check_writable

        if options["out"]:
            check_writable(options["out"], options["force"])
        conversion = load(file, variant)
    _save_and_show(conversion, options["out"], options["force"], options)
