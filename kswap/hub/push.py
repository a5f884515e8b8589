"""A saved directory goes to the Hub, with a model card, in one commit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from kswap.errors import HubError, SavedError, excerpt
from kswap.files import link_or_copy
from kswap.hub.address import HubAddress
from kswap.hub.card import model_card
from kswap.hub.client import upload
from kswap.saved.files import FILES, WEIGHTS, inside
from kswap.saved.manifest import read_manifest
from kswap.saved.reading import read_report
from kswap.saved.weights import hash_of

CARD = "README.md"


@dataclass(frozen=True)
class Pushed:
    """The address of the commit, and the page of the repository."""

    address: HubAddress
    url: str


def push(
    directory: str | Path,
    repo: str,
    private: bool = False,
    revision: str | None = None,
    message: str = "Push a model that kswap converted",
    license: str | None = None,
    base_model: str | None = None,
    keep_card: bool = False,
) -> Pushed:
    """Commit the files of a saved directory to a repository of the Hub, which is made where there is none.

    Args:
        directory: what :meth:`kswap.Conversion.save` wrote.
        repo: ``owner/name``.
        private: make a private repository, and refuse one that is public.
        revision: the branch to commit to, made where there is none.
        message: the commit's message.
        license: of the weights, as the Hub names it (``"apache-2.0"``); else that of the published weights that the
            model was converted from.
        base_model: the repository of the model that the weights come from; else as for ``license``.
        keep_card: leave the card of the repository as it is.

    Raises:
        SavedError: the directory is damaged, or kswap did not save it.
        HubError: the Hub cannot be reached, or refuses it.
    """
    address = HubAddress.parse(repo, revision)
    if "/" not in address.repo:
        raise HubError(f"'{address.repo}' names no owner: write owner/name")
    root = Path(directory)
    manifest, report = read_manifest(root), read_report(root)
    if hash_of(inside(root, WEIGHTS)) != manifest.weights_sha256:
        raise SavedError(f"{excerpt(root, 200)} is damaged: its weights are not those of its plan; convert it again")
    with tempfile.TemporaryDirectory(prefix="kswap-") as temporary:
        folder = Path(temporary)
        for name in FILES:
            if (root / name).is_file():
                link_or_copy(inside(root, name), folder / name)
        if not keep_card:
            card = model_card(report, manifest.source, address.repo, license, base_model)
            (folder / CARD).write_text(card, encoding="utf-8")
        return Pushed(*upload(address, folder, message, private))
