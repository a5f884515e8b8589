"""``kswap convert`` and ``kswap plan``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.cli.budget import asked_budget, budget_options, plan_within
from kswap.cli.formats import check_length, format_option, length_options, show_report
from kswap.cli.inputs import example_of, input_option, parse_inputs
from kswap.cli.options import (
    CONVERT_STEPS,
    PLAN_STEPS,
    builder_arguments,
    check_settings_against_rules,
    model_options,
    parse_size,
    status,
    weights_option,
    working,
)
from kswap.report.condition import Condition

if TYPE_CHECKING:
    from kswap.planner.plan import Plan
    from kswap.report.provenance import Provenance
    from kswap.report.report import Report

Command = TypeVar("Command", bound=Callable[..., Any])

# Options that are arguments of kswap.plan and kswap.convert as they are; the model comes first.
_PLANNING = (
    "model",
    "ch",
    "scheme",
    "kind",
    "rank",
    "rules",
    "skip_strides",
    "linear",
    "init",
    "placement",
    "narrow",
    "ch_fraction",
    "align",
)

fail_if_option = click.option(
    "--fail-if",
    metavar="EXPR",
    help="Exit with status 1, and save nothing, if this holds: 'params.ratio > 0.2 or macs.after > 150M'.",
)


def _condition(text: str | None) -> Condition | None:
    """Parsed before the work starts, so that a mistake shows at once."""
    return None if text is None else Condition.parse(text).check()


def _show(report: Report, options: dict[str, Any], failure: str | None) -> None:
    """Print the report; exit with status 1 when a condition that was asked for is not met."""
    show_report(report, options["format_"], options["top"], options["quiet"])
    if failure:
        click.echo(failure, err=True)
        raise click.exceptions.Exit(1)


def _planned(plan: Plan, options: dict[str, Any], arguments: dict[str, Any]) -> Provenance:
    """Where the report of a plan comes from, for which nothing is built."""
    from kswap.recording import provenance_of_plan, rules_origin
    from kswap.report.provenance import RulesOrigin
    from kswap.rules import load_rules

    if options.get("plan_file"):
        origin = RulesOrigin(plan.rules)
    else:
        origin = rules_origin(load_rules(options["rules"], scheme=options["scheme"]), plan.rules)
    return provenance_of_plan(options["model"], arguments, origin)


def _check_images(ctx: click.Context) -> None:
    if ctx.params["images"] and ctx.params["calibrate"] is None:
        raise click.UsageError("--images counts the pictures of --calibrate: give both", ctx)


def _library_arguments(options: dict[str, Any], size: tuple[int, ...] | None, example: Any) -> dict[str, Any]:
    """What :func:`kswap.block_library` is called with, beside the model, the pictures and the builder's arguments."""
    taken = ("scheme", "rules", "pretrained", "weights", "skip_strides", "linear")
    given = {key: options[key] for key in ("images", "device", "seed") if options.get(key) is not None}
    return {key: options[key] for key in taken} | given | {"input_size": size, "example_input": example}


def _trained_options(command: Command) -> Command:
    """Where trained weights come from, and the pictures that blocks are fitted on."""
    for option in reversed(
        (
            click.option(
                "--pretrained", is_flag=True, help="Start from published weights; what is not replaced keeps them."
            ),
            weights_option,
            click.option(
                "--calibrate",
                type=click.Path(path_type=Path),
                metavar="PATH",
                help="Pictures for --init project and --budget: as for evaluate --data, labels not needed.",
            ),
            click.option(
                "--images", type=click.IntRange(min=1), help="How many of the pictures to use.  [default: 512]"
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@model_options
@input_option
@_trained_options
@budget_options
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where the model goes.")
@click.option("--seed", type=int, help="Makes the fresh weights reproducible.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Replay this plan (`kswap plan --save`).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Save weights, plan and reports here.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@click.option("--dry-run", is_flag=True, help="Plan and report only: nothing is built or written.")
@format_option("report")
@length_options
@fail_if_option
@click.pass_context
def convert(ctx: click.Context, /, **options: Any) -> None:
    """Convert MODEL, check it, report it, save it.

    MODEL is a timm name (efficientnet_b0, with a tag too), torchvision/resnet50, package.module:factory,
    file.py:factory, or a directory that kswap saved (its original is converted again).
    """
    check_settings_against_rules(ctx, options["rules"], options["scheme"])
    check_length(options["format_"], options["top"], options["quiet"])
    condition = _condition(options["fail_if"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    size = parse_size(options["input_size"])
    inputs = parse_inputs(options["inputs"], options["input_size"])
    budget = asked_budget(ctx)
    asked = {key: options[key] for key in _PLANNING}
    common = asked | {"input_size": size} | arguments
    images, conversion = options["images"], None
    _check_images(ctx)
    if budget is not None and options["plan_file"]:
        raise click.UsageError("--plan says already what becomes of every site: leave out --plan or --budget", ctx)
    drawn = options["init"] == "fresh" and budget is None  # fits draw a bar of their own
    steps = PLAN_STEPS if options["dry_run"] else CONVERT_STEPS
    with working(f"converting {options['model']}", steps) if drawn else nullcontext():
        import kswap
        from kswap.report.report import report_of
        from kswap.saved.directory import check_writable, load_call
        from kswap.sources.device import choose_device
        from kswap.sources.trained import check_weights

        device = choose_device(options["device"])
        trained = {key: options[key] for key in ("pretrained", "weights")}
        check_weights(**trained)
        if options["out"]:
            check_writable(options["out"], options["force"])
        replay = kswap.Plan.load(options["plan_file"]) if options["plan_file"] else None
        common["example_input"] = example_of(inputs)
        if budget is not None:
            replay = plan_within(budget, options, _library_arguments(options, size, common["example_input"]), arguments)
            common |= {"init": "project"}
        if options["dry_run"]:
            planned = replay or kswap.plan(**common)
            report = report_of(planned, provenance=_planned(planned, options, arguments))
        else:
            fitting = {"calibration": options["calibrate"]} | ({"images": images} if images else {})
            conversion = kswap.convert(**common, **trained, **fitting, plan=replay, device=device, seed=options["seed"])
            report = conversion.report
    failure = condition.failure(report.to_json()) if condition else None
    if conversion and options["out"] and not failure:
        with status(f"saving {options['out']}"):
            conversion.save(options["out"], force=options["force"])
    _show(report, options, failure)
    if options["quiet"]:
        return
    if conversion is None:
        click.echo("dry run: nothing was built or written", err=True)
        return
    click.echo(f"ran once on {device}: output shapes as before", err=True)
    if options["out"]:
        call = load_call(options["out"], conversion.source)
        click.echo(f"saved in {options['out']}: load it with {call}", err=True)


@click.command()
@model_options
@input_option
@_trained_options
@budget_options
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan as JSON, to edit it.")
@format_option("report")
@length_options
@fail_if_option
@click.pass_context
def plan(ctx: click.Context, /, **options: Any) -> None:
    """Show what convert would do, without building.

    The model is built without weights, on the meta device; for a budget with its trained weights, and blocks are
    fitted and compared.
    """
    check_settings_against_rules(ctx, options["rules"], options["scheme"])
    check_length(options["format_"], options["top"], options["quiet"])
    condition = _condition(options["fail_if"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    size = parse_size(options["input_size"])
    inputs = parse_inputs(options["inputs"], options["input_size"])
    budget = asked_budget(ctx)
    _check_images(ctx)
    if budget is None and options["calibrate"] is not None:
        raise click.UsageError("--calibrate is for a plan within a budget: give --budget params=0.2 as well", ctx)
    with working(f"planning {options['model']}", PLAN_STEPS) if budget is None else nullcontext():
        import kswap
        from kswap.report.report import report_of

        example = example_of(inputs)
        if budget is None:
            asked = {key: options[key] for key in _PLANNING[1:]}
            made = kswap.plan(options["model"], **asked, input_size=size, example_input=example, **arguments)
        else:
            made = plan_within(budget, options, _library_arguments(options, size, example), arguments)
        report = report_of(made, provenance=_planned(made, options, arguments))
    failure = condition.failure(report.to_json()) if condition else None
    if options["save"] and not failure:
        made.save(options["save"])
    _show(report, options, failure)
    if options["save"] and not options["quiet"]:
        click.echo(f"plan in {options['save']}: edit it, then `kswap convert MODEL --plan {options['save']}`", err=True)
