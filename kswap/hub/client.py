"""The operations of the Hub's client that kswap uses. What goes wrong in them becomes one sentence.

The token is the one that the client finds: ``HF_TOKEN``, or what ``hf auth login`` stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo

from kswap.errors import HubError, first_line
from kswap.hub.address import HubAddress
from kswap.sources.offline import is_offline, quick_when_offline
from kswap.version import __version__

_LOG_IN = "set HF_TOKEN, or log in with `hf auth login`"
_SECONDS = 30.0


class OfflineError(HubError):
    """The Hub cannot be reached."""


@contextlib.contextmanager
def _in_one_sentence(address: HubAddress) -> Iterator[None]:
    """Inside, exceptions of the client become :class:`HubError`."""
    try:
        with quick_when_offline():
            yield
    except HubError:
        raise
    except GatedRepoError as error:
        raise HubError(f"{address} is gated: accept its terms on the Hub, then {_LOG_IN}") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"there is no {address}, or it is private: check the name, or {_LOG_IN}") from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{address.repo} has no revision {address.revision}: name a branch, tag or commit of it"
        ) from error
    except LocalTokenNotFoundError as error:
        raise HubError(f"the Hub wants to know who pushes to {address}: {_LOG_IN}") from error
    except (LocalEntryNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError) or is_offline(error):
            raise _offline(address) from error
        raise HubError(f"a file of {address} is missing: it was not pushed whole, push it again") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise HubError(
                f"the Hub refuses access to {address} ({status}): use a token with that right; {_LOG_IN}"
            ) from error
        raise HubError(f"the Hub refuses {address}: {first_line(error)}") from error
    except Exception as error:  # the client and what it is built on raise connection errors of many kinds
        if is_offline(error):
            raise _offline(address) from error
        raise HubError(f"{address}: {type(error).__name__}: {first_line(error)}") from error


def _offline(address: HubAddress) -> OfflineError:
    return OfflineError(f"the Hub cannot be reached for {address}: go online, or check HF_ENDPOINT and proxies")


def model_info(address: HubAddress) -> ModelInfo:
    """What the Hub knows of a repository: its commit, names and sizes of its files. Raises :class:`HubError`."""
    with _in_one_sentence(address):
        info = HfApi().repo_info(
            address.repo, revision=address.revision, repo_type="model", files_metadata=True, timeout=_SECONDS
        )
    assert isinstance(info, ModelInfo)
    return info


def download(address: HubAddress, name: str, cached: bool = False) -> Path:
    """A file of a repository in the client's cache; ``cached`` takes it from there alone. Raises :class:`HubError`."""
    with _in_one_sentence(address):
        path = hf_hub_download(
            address.repo,
            name,
            revision=address.revision,
            library_name="kswap",
            library_version=__version__,
            local_files_only=cached,
        )
    return Path(str(path))


def upload(address: HubAddress, folder: Path, message: str, private: bool) -> tuple[HubAddress, str]:
    """Commit the files of ``folder`` to a repository, which is made where there is none.

    Returns the address of the commit, and that of its page. Raises :class:`HubError`, also for a repository that is
    not private where that is asked for.
    """
    with _in_one_sentence(address):
        api = HfApi(library_name="kswap", library_version=__version__)
        made = api.create_repo(address.repo, private=private or None, exist_ok=True, repo_type="model")
        repo = made.repo_id
        if private and not api.repo_info(repo, repo_type="model", timeout=_SECONDS).private:
            raise HubError(
                f"{repo} exists already and is public: make it private in its settings, or choose another name"
            )
        if address.revision is not None:
            api.create_branch(repo, branch=address.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, revision=address.revision, repo_type="model"
        )
    return HubAddress(repo, commit.oid), str(made)
