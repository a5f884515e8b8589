"""``--budget``: options of the commands that choose blocks by a budget, and the plan that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kswap.planner.budget import Budget
from kswap.runtimes.targets import TARGETS

if TYPE_CHECKING:
    from kswap.planner.plan import Plan

Command = TypeVar("Command", bound=Callable[..., Any])

# Options that the budget decides instead.
_CHOSEN = ("ch", "kind", "rank", "placement", "ch_fraction", "narrow", "align")


def budget_options(command: Command) -> Command:
    """``--budget`` and what goes with it."""
    for option in reversed(
        (
            click.option(
                "--budget",
                "budgets",
                multiple=True,
                metavar="LIMIT",
                help="params=0.2, macs=150M, bytes=2.5M, latency=0.7: the most of each; may be repeated.",
            ),
            click.option("--target", type=click.Choice(tuple(TARGETS)), help="Where a budget of latency is measured."),
            click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of that measurement."),
        )
    ):
        command = option(command)
    return command


def asked_budget(ctx: click.Context) -> Budget | None:
    """The budget of the command line, or ``None``; options that contradict it, or need it, are refused."""
    options = ctx.params
    if not options["budgets"]:
        for name in ("target", "threads"):
            if options[name] is not None:
                raise click.UsageError(f"--{name} is for a budget of latency: give --budget latency=0.7 as well", ctx)
        return None
    budget = Budget.of(options["budgets"])
    given = [name for name in _CHOSEN if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"the budget chooses {listed} for every site by itself: leave that out", ctx)
    if ctx.get_parameter_source("init") is click.core.ParameterSource.COMMANDLINE and options["init"] != "project":
        raise click.UsageError("a budget chooses blocks that are fitted: leave out --init, or say --init project", ctx)
    if "latency" in budget.quantities and options["target"] is None:
        raise click.UsageError(
            f"a budget of latency is measured where the model will run: add --target {'|'.join(TARGETS)}", ctx
        )
    if "latency" not in budget.quantities and options["target"] is not None:
        raise click.UsageError("--target is for a budget of latency: give --budget latency=0.7 as well", ctx)
    return budget


def plan_within(
    budget: Budget, options: Mapping[str, Any], arguments: Mapping[str, Any], builder: Mapping[str, Any]
) -> Plan:
    """The plan of the model in ``options`` for ``budget``, with times measured where it limits the latency.

    ``arguments`` are those of :func:`kswap.block_library`, ``builder`` those of the model's builder.
    """
    import kswap
    from kswap.errors import DataError

    if options["calibrate"] is None:
        raise DataError(
            "a budget chooses blocks by their fit to trained layers: add --calibrate PATH, about 300 pictures"
        )
    library = kswap.block_library(options["model"], options["calibrate"], budget=budget, **arguments, **builder)
    if "latency" in budget.quantities:
        from kswap.inference.site_times import choice_seconds
        from kswap.loading import original_model

        _, original = original_model(options["model"], dict(builder))
        measured = choice_seconds(library, original, options["target"], options["threads"])
        library = library.with_seconds(measured.choices, measured.whole)
    made: Plan = library.plan_for(budget)
    return made
