"""``kswap study cifar10``: the network of a protocol in all its forms, trained alike."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.formats import format_option, show


@click.command()
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="Folders or zips that together hold the splits train and test; may be repeated. Without it torchvision's.",
)
@click.option("--protocol", default="reduced", show_default=True, metavar="NAME", help="papers or reduced.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Results, resumed."
)
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Only these methods; may be repeated.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Instead of the protocol's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where networks are trained; without it the CPU.")
@click.option("--amp", type=click.Choice(["off", "bf16", "fp16"]), help="Mixed precision; off without it.")
@click.option("--minutes", type=click.FloatRange(min=0), metavar="N", help="Begin nothing new after N minutes.")
@format_option("cifar10-study")
def cifar10(
    data: tuple[str, ...],
    protocol: str,
    out: Path,
    methods: tuple[str, ...],
    epochs: float | None,
    device: str | None,
    amp: str | None,
    minutes: float | None,
    format_: str,
) -> None:
    """Train the baseline, the papers' networks and their peers alike on CIFAR-10, and compare them.

    The protocol says which network, how it is trained, and with how many seeds: "papers" is that of the papers, for a
    GPU, "reduced" a smaller one for two cores of a CPU. Peers have the parameters of v2 at Ch 16, within 2%. Each case
    leaves a file in DIR; the command continues what it finds there, in the middle of a training too. Several of them
    may run at once on one DIR. Two pictures are written into DIR.

    \b
    kswap study cifar10 --data cifar10 --out DIR
    kswap study cifar10 --protocol papers --device cuda --amp bf16 --out DIR --method baseline --method v2-16
    """
    from kswap.malloc import keep_freed_memory

    keep_freed_memory()
    from kswap.studies.cifar10.protocols import protocol as settings_of
    from kswap.studies.cifar10.run import cifar10_study

    settings = settings_of(protocol, data, epochs=epochs, device=device, amp=amp)
    show(cifar10_study(settings, out, methods, minutes), format_)
