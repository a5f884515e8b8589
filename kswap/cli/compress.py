"""``kswap compress``: a trained model becomes a small one in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kswap.cli.budget import asked_budget, budget_options
from kswap.cli.distill import keep_option, training_options
from kswap.cli.formats import format_option, show
from kswap.cli.options import builder_arguments, check_settings_against_rules, model_options, weights_option, working
from kswap.cli.pictures import adjusted, data_options, device_option, picture_options

# Options that say what becomes of the sites.
_PLANNING = (
    *("ch", "scheme", "kind", "rank", "align", "rules", "skip_strides", "linear", "placement", "narrow"),
    "ch_fraction",
)

# The other ones that kswap.compress takes as they are.
_OTHERS = (
    *("pretrained", "weights", "calibration_images", "target", "threads", "images", "epochs", "recipe", "lr", "keep"),
    *("split", "eval_data", "eval_split", "eval_limit", "seed", "device", "force"),
)


@click.command()
@model_options
@click.option("--pretrained", is_flag=True, help="Start from published weights.")
@weights_option
@data_options
@click.option(
    "--calibration-images",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    metavar="N",
    help="How many of them the blocks are fitted on.",
)
@budget_options
@training_options
@keep_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The result.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
@picture_options
@device_option
@format_option("compression")
@click.pass_context
def compress(ctx: click.Context, /, **options: Any) -> None:
    """Plan, project, distil and report: a trained MODEL becomes a small one.

    The pictures need no labels and may lie in any arrangement, in a folder or a zip; --data and --eval-data take names
    of public sets too. Where there are labels, accuracy is shown after every stage.

    A run that was stopped, in whatever way, continues when the command is called again. Until it is done,
    OUT.compressing holds its stages.

    \b
    kswap compress efficientnet_b0 --pretrained --data photos --budget params=0.2 --out small
    kswap compress resnet50 --weights trained.pth --num-classes 10 --data set.zip --ch 32 --out small
    """
    check_settings_against_rules(ctx, options["rules"], options["scheme"])
    arguments = builder_arguments(options["model_kwargs"], options["num_classes"])
    budget = asked_budget(ctx)
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    with working(f"loading {options['model']}", 3):
        import kswap
        from kswap.data.opening import image_set, picture_set
        from kswap.data.preprocessing import Preprocessing
        from kswap.loading import original_model
        from kswap.progress import step

        step("opening the pictures")
        pictures = picture_set(options["data"], options["split"], options["data_dir"])
        if options["eval_data"] is not None:
            options["eval_data"] = image_set(options["eval_data"], options["eval_split"], options["data_dir"])
        own = Preprocessing.of(original_model(options["model"], arguments, meta=True)[1])
        way = (options[name] for name in ("preprocessing", "resize", "crop", "input_size"))
        prepared = adjusted(own, *way)
    click.echo(f"pictures: {prepared}", err=True)
    given = {name: options[name] for name in _PLANNING if _is_stated(ctx, name)}
    done = kswap.compress(
        options["model"],
        pictures,
        options["out"],
        budget=budget,
        preprocessing=prepared,
        resume=not options["restart"],
        init=options["init"] if _is_stated(ctx, "init") else "project",
        **{name: options[name] for name in _OTHERS},
        **given,
        **arguments,
    )
    show(done, options["format_"])
    click.echo(f"saved in {options['out']}: load it with kswap.load({str(options['out'])!r})", err=True)


def _is_stated(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
