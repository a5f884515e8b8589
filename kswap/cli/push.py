"""``kswap push``: a saved directory goes to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from kswap.cli.options import status


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a private repository, and refuse one that is public.")
@click.option("--revision", metavar="BRANCH", help="The branch to commit to, made where there is none; else main.")
@click.option(
    "--message", default="Push a model that kswap converted", show_default=True, metavar="TEXT", help="Of the commit."
)
@click.option("--license", metavar="ID", help="Of the weights: apache-2.0; else that of published weights.")
@click.option("--base-model", metavar="OWNER/NAME", help="Where the weights come from; else that of published weights.")
@click.option("--keep-card", is_flag=True, help="Leave the model card of the repository as it is.")
def push(
    directory: Path,
    repo: str,
    private: bool,
    revision: str | None,
    message: str,
    license: str | None,
    base_model: str | None,
    keep_card: bool,
) -> None:
    """Share a saved model on the Hugging Face Hub, with a card.

    DIR is a directory that kswap saved: its weights, plan and reports go into one commit. The repository is made where
    there is none. Log in first: `hf auth login`, or set HF_TOKEN.

    \b
    kswap push small-b0 ann/small-b0
    kswap push small-b0 ann/small-b0 --private --license apache-2.0
    """
    with status(f"reading {directory}"):
        from kswap.hub.push import push as push_directory
    # The client draws a bar of its own for each file.
    pushed = push_directory(directory, repo, private, revision, message, license, base_model, keep_card)
    click.echo(f"pushed to {pushed.url}: load it with kswap.load('{pushed.address}')", err=True)
