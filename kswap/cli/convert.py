"""``kswap convert`` and ``kswap plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kswap.cli.options import (
    builder_arguments,
    check_scheme_against_rules,
    console,
    format_option,
    model_options,
    parse_size,
    status,
)
from kswap.report.condition import Condition, check_paths

if TYPE_CHECKING:
    from kswap.report.report import Report

fail_if_option = click.option(
    "--fail-if",
    metavar="EXPR",
    help="Exit with status 1, and save nothing, if this holds: 'params.ratio > 0.2 or macs.after > 150M'.",
)


def _condition(text: str | None) -> Condition | None:
    """Parsed before the work starts, so that a mistake shows at once."""
    if text is None:
        return None
    condition = Condition.parse(text)
    check_paths(condition)
    return condition


def _stop_if(condition: Condition | None, report: Report) -> None:
    if condition is not None and condition.holds(report.to_json()):
        click.echo(f"Failed: {condition.explain(report.to_json())}", err=True)
        raise click.exceptions.Exit(1)


@click.command()
@model_options
@click.option("--pretrained", is_flag=True, help="Start from published weights; what is not replaced keeps them.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where the model goes.")
@click.option("--seed", type=int, help="Makes the fresh weights reproducible.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Replay this plan (`kswap plan --save`).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Save weights, plan and reports here.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@click.option("--dry-run", is_flag=True, help="Plan and report only: nothing is built or written.")
@format_option
@fail_if_option
@click.pass_context
def convert(ctx: click.Context, /, **options: Any) -> None:
    """Convert MODEL, run it once, report, and save it with --out.

    MODEL is a timm name (efficientnet_b0, with a tag too), torchvision/resnet50, package.module:factory,
    file.py:factory, or a directory that kswap saved (its original is converted again).
    """
    check_scheme_against_rules(ctx, options["rules"], options["scheme"])
    condition = _condition(options["fail_if"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    size = parse_size(options["input_size"])
    common = {key: options[key] for key in ("model", "ch", "scheme", "rules")} | {"input_size": size} | arguments
    conversion = None
    with status(f"converting {options['model']}"):
        import kswap
        from kswap.conversion import choose_device
        from kswap.report.report import report_of
        from kswap.saving import check_target

        device = choose_device(options["device"])
        if options["out"]:
            check_target(options["out"], options["force"])
        replay = kswap.Plan.load(options["plan_file"]) if options["plan_file"] else None
        if options["dry_run"]:
            report = report_of(replay or kswap.plan(**common))
        else:
            conversion = kswap.convert(
                **common, plan=replay, device=device, seed=options["seed"], pretrained=options["pretrained"]
            )
            report = conversion.report
    _render(report, options["format_"])
    _stop_if(condition, report)
    if conversion is None:
        click.echo("dry run: nothing was built or written", err=True)
        return
    click.echo(f"ran once on {device}: output shapes as before", err=True)
    if options["out"]:
        with status(f"saving {options['out']}"):
            conversion.save(options["out"], force=options["force"])
        click.echo(f"saved in {options['out']}: load it with kswap.load({str(options['out'])!r})", err=True)


@click.command()
@model_options
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan as JSON, to edit it.")
@format_option
@fail_if_option
@click.pass_context
def plan(ctx: click.Context, /, **options: Any) -> None:
    """What `kswap convert` would do to MODEL, without building anything."""
    check_scheme_against_rules(ctx, options["rules"], options["scheme"])
    condition = _condition(options["fail_if"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    size = parse_size(options["input_size"])
    with status(f"planning {options['model']}"):
        import kswap
        from kswap.report.report import report_of

        made = kswap.plan(
            options["model"],
            ch=options["ch"],
            scheme=options["scheme"],
            rules=options["rules"],
            input_size=size,
            **arguments,
        )
        report = report_of(made)
    _render(report, options["format_"])
    _stop_if(condition, report)
    if options["save"]:
        made.save(options["save"])
        click.echo(f"plan in {options['save']}: edit it, then `kswap convert MODEL --plan {options['save']}`", err=True)


def _render(report: Report, format_: str) -> None:
    from kswap.report.render import render

    render(report, format_, console())
