"""``kswap pull``: a model of the Hugging Face Hub becomes a saved directory."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.options import status


@click.command()
@click.argument("address", metavar="hf-hub:OWNER/NAME")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where to write.")
@click.option("--revision", metavar="REVISION", help="A branch, a tag or a commit, instead of the newest.")
@click.option("--force", is_flag=True, help="Overwrite a directory that kswap saved before.")
def pull(address: str, out: Path, revision: str | None, force: bool) -> None:
    """Fetch a model that was pushed to the Hugging Face Hub.

    Weights, plan and reports are fetched, and nothing else; nothing in them is executed. A revision may also stand in
    the address: hf-hub:ann/small-b0@v1.

    \b
    kswap pull hf-hub:ann/small-b0 --out small-b0
    """
    with status(f"asking for {address}"):
        from kswap.hub.pull import pull as pull_model
    # The client draws a bar of its own for each file.
    pulled = pull_model(address, out, revision, force)
    click.echo(f"{pulled.address} is in {out}: load it with kswap.load('{out}')", err=True)
