"""``kswap frontier``: accuracy without training against budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from kswap.cli.formats import format_option, show
from kswap.cli.options import builder_arguments, parse_size
from kswap.cli.pictures import data_options, device_option, trained_options
from kswap.runtimes.targets import TARGETS

_BUDGETS = "0.4 0.2 0.14 0.1"


@click.command()
@click.argument("model")
@data_options
@click.option("--split", metavar="NAME", help="Split that accuracy is measured on, where there are several.")
@click.option(
    "--calibrate",
    "calibration",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Pictures that blocks are fitted on, labels not needed; else the split train of the data.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="How many pictures blocks are fitted on.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Accuracy on N pictures, evenly over all.")
@trained_options
@click.option(
    "--pretrained", is_flag=True, help="Published weights of MODEL, which is so anyway where there is no --weights."
)
@click.option(
    "--budgets",
    multiple=True,
    metavar="LIST",
    help=f"Between spaces, each a share of the parameters or such as params=0.2,macs=0.3.  [default: {_BUDGETS}]",
)
@click.option("--rules", metavar="PRESET|FILE", help="Which sites: see `kswap rules`.")
@click.option("--linear", is_flag=True, help="Linear layers too: the same map on the last dimension.")
@click.option(
    "--scoring",
    type=click.Choice(("outputs", "error")),
    default="outputs",
    show_default=True,
    help="The change of the network's outputs, or the quicker error of each fit.",
)
@click.option("--target", type=click.Choice(tuple(TARGETS)), help="Where budgets of latency are measured.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of that measurement.")
@click.option("--input-size", metavar="SIZE", help="224, 224,320 or 3,224,320; else the model's own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the pictures, and starts the fits.")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="A picture of the same.")
@device_option
@format_option("frontier")
@click.pass_context
def frontier(
    ctx: click.Context,
    /,
    format_: str,
    figure: Path | None,
    data_dir: Path | None,
    budgets: tuple[str, ...],
    **options: Any,
) -> None:
    """Show accuracy without training against budget.

    One library of blocks is fitted to MODEL and scored; for each budget the blocks that do the least damage are
    chosen and projected, and the accuracy is measured on labelled pictures that had no part in that.

    \b
    kswap frontier tf_efficientnet_lite0 --weights mine.pth --num-classes 10 --data photos --split val
    kswap frontier resnet50 --data imagenet.zip --split val --budgets "0.4 0.2" --figure frontier.png
    """
    if options.pop("pretrained") and options["weights"] is not None:
        raise click.UsageError("--pretrained and --weights both say where the trained weights come from", ctx)
    listed = [text for given in (budgets or (_BUDGETS,)) for text in re.split(r"\s+", given) if text]
    size = parse_size(options.pop("input_size"))
    builder = builder_arguments(options.pop("model_kwargs"), None)
    from kswap.data.opening import image_set
    from kswap.malloc import keep_freed_memory
    from kswap.transfer.frontier import frontier as measure
    from kswap.transfer.frontier_rendering import check_figure, save_figure

    keep_freed_memory()
    if figure is not None:
        check_figure(figure)
    labelled = image_set(options.pop("data"), options["split"], data_dir)
    made = measure(options.pop("model"), labelled, listed, input_size=size, **options, **builder)
    if figure is not None:
        save_figure(made, figure)
    show(made, format_)
