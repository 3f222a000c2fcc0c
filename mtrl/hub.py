"""Where models come from and go to: the package, a folder, or the Hugging Face Hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mtrl.checkpoint import CONFIG, WEIGHTS, read_checkpoint

if TYPE_CHECKING:
    from mtrl.model import MTRL

SHIPPED = Path(__file__).parent / "assets" / "model"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def load_pretrained(
    source: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    token: str | bool | None = None,
) -> MTRL:
    """A trained model, float32, in evaluation mode.

    source    None: the checkpoint shipped in the package; a folder; or a Hugging Face Hub id "user/repo", of
    which
              only `config.json` and `model.safetensors` are fetched (and kept in the Hub's cache)
    revision  branch, tag or commit on the Hub;  token: for private repositories (default: the one logged in)
    An existing folder always wins over a Hub id. Raises FileNotFoundError for a checkpoint that is not there,
    ValueError for one that is damaged, OSError when the Hub cannot be reached.
    """
    return read_checkpoint(find_checkpoint(source, revision=revision, token=token)).to(device)


def find_checkpoint(
    source: str | Path | None, *, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """The local folder of a checkpoint (see `load_pretrained`), after a download if need be."""
    if source is None:
        if not (SHIPPED / CONFIG).is_file():
            raise FileNotFoundError(
                f"no checkpoint is shipped in {SHIPPED}; train one with `python -m train --output runs/x` "
                "and give its folder"
            )
        return SHIPPED
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{source} is a folder; a revision belongs to a Hub id")
        return folder
    if isinstance(source, Path) or not _REPO_ID.fullmatch(source):
        hint = "give the folder that holds it" if folder.exists() else "there is no such folder"
        raise FileNotFoundError(f'cannot load {source}: {hint} (a Hub model is written "user/repo")')
    return _download(source, revision, token)


def _download(repo_id: str, revision: str | None, token: str | bool | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        paths = [hf_hub_download(repo_id, name, revision=revision, token=token) for name in (CONFIG, WEIGHTS)]
    except Exception as error:
        raise _hub_error(repo_id, revision, error) from error
    return Path(paths[0]).parent


def _hub_error(repo_id: str, revision: str | None, error: Exception) -> Exception:
    """The Hub client's many errors as one sentence each. Tokens are not part of any of them."""
    from huggingface_hub import errors

    at = f" at revision {revision}" if revision else ""
    if isinstance(error, errors.GatedRepoError):
        return OSError(f"{repo_id} is gated: accept its terms on the Hub, then log in with `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{repo_id} on the Hub has no revision {revision}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"there is no folder {repo_id} here and no model {repo_id} on the Hub that you may read; check "
            "the name, or log in with `hf auth login` (or pass token=...) when it is private"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return FileNotFoundError(
            f"there is no folder {repo_id} here, and the model {repo_id}{at} is not in the Hub's cache; the "
            "Hub cannot be reached; connect and try again"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError(f"{repo_id}{at} on the Hub is no checkpoint: it lacks {CONFIG} or {WEIGHTS}")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return ValueError(f"{repo_id}{at} cannot be loaded from the Hub: {error}")
    return OSError(f"{repo_id}{at} cannot be loaded from the Hub ({type(error).__name__}); try again later")


def push_to_hub(
    model: MTRL,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    card: str | None = None,
) -> str:
    """Creates the repository if need be, uploads what `save_pretrained` writes, and returns the commit's
    address.

    revision: a branch, made if need be. Raises ValueError for an impossible name, OSError when the Hub
    refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, card=card)
        return upload_folder(
            folder, repo_id, private=private, token=token, revision=revision, commit_message=commit_message
        )


def upload_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
) -> str:
    """Uploads the files of a checkpoint folder (configuration, weights, card; nothing else). See
    `push_to_hub`.
    """
    from huggingface_hub import HfApi

    if not _REPO_ID.fullmatch(repo_id):
        raise ValueError(f'a Hub repository is written "user/repo", not {repo_id!r}')
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            commit_message=commit_message,
            revision=revision,
            allow_patterns=[CONFIG, WEIGHTS, "README.md"],
        )
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            raise
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise OSError(
            f"{repo_id} cannot be uploaded ({reason}); log in with `hf auth login` (or pass token=...) with "
            "the right to write there, and check the connection"
        ) from error
    return str(commit.commit_url)
