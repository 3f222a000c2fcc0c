"""The Hugging Face Hub: three files of a model, fetched and uploaded, with errors that say what to do."""

from __future__ import annotations

import re
from pathlib import Path

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def download(repo_id: str, revision: str | None, token: str | bool | None) -> Path:
    """The folder, in the Hub's cache, of a repository's configuration and weights.

    Raises FileNotFoundError for what is not there (or not for this token), OSError for a Hub out of reach.
    """
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


def upload_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
) -> str:
    """Creates the repository if need be, uploads the files of a checkpoint folder (configuration, weights and
    card; nothing else), and returns the commit's address.

    revision: a branch, made if need be. Raises ValueError for an impossible name, OSError when the Hub
    refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    if not REPO_ID.fullmatch(repo_id):
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
            allow_patterns=[CONFIG, WEIGHTS, CARD],
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
