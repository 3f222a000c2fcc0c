"""Downloads from and uploads to the Hugging Face Hub, with errors that say what to do.

The Hub's client library is imported only where it is used, since importing it takes a while. It reads access tokens
itself: from `hf auth login`, HF_TOKEN or a `token` argument. Tokens never appear in an error, a log line or a file.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from mtrl.files.atomic import CLOSED, FULL

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
PLACEHOLDER = "user/repo"  # name of the repository in a card that is not uploaded yet
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}\b")
_BINARY = (".safetensors", ".jpg", ".png", ".webp")
_OF_FILES = (
    *CLOSED,
    *FULL,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EIO,
)
_KEPT = ".gitattributes"  # written by the Hub; `mirror` does not delete it


def download(repo_id: str, revision: str | None, token: str | bool | None) -> Path:
    """Downloads a repository's configuration and weights, and returns their folder in the Hub's cache.

    Raises FileNotFoundError for a repository or file that does not exist or is not visible with this token, and OSError
    if the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    try:
        paths = [hf_hub_download(repo_id, name, revision=revision, token=token) for name in (CONFIG, WEIGHTS)]
    except Exception as error:
        raise _download_error(repo_id, revision, error) from error
    return Path(paths[0]).parent


def advice_on_copy(folder: Path) -> str:
    """Advice for a damaged checkpoint in the Hub's cache; "" for any other folder."""
    if folder.parent.name != "snapshots":
        return ""
    return f"; this is a copy from the Hub: delete {folder.parents[1]}, then load it again"


def _download_error(repo_id: str, revision: str | None, error: Exception) -> Exception:
    """The error to raise, with a message of one sentence, for an error of the Hub's client."""
    from huggingface_hub import errors

    at = f" at revision {revision}" if revision else ""
    if isinstance(error, errors.GatedRepoError):
        return OSError(f"{repo_id} is gated: accept its terms on the Hub, then log in with `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(
            f"{repo_id} on the Hub has no revision {revision}; give one of its branches, tags or commits"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"there is no folder {repo_id} here and no model {repo_id} on the Hub that you may read; check "
            "the name, or log in with `hf auth login` (or pass token=...) when it is private"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        advice = _advice(error) or "connect and try again" + _through_proxy()
        return FileNotFoundError(
            f"there is no folder {repo_id} here, and the model {repo_id}{at} is not in the Hub's cache; the "
            f"Hub cannot be reached; {advice}"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError(
            f"{repo_id}{at} on the Hub is no checkpoint of this library: it lacks {CONFIG} or {WEIGHTS}"
        )
    advice = _advice(error)
    if not advice and isinstance(error, ValueError) and not isinstance(error, OSError):
        return ValueError(f"{repo_id}{at} cannot be loaded from the Hub: {error}")
    status = _status(error)
    kind = f"HTTP {status}" if status else type(error).__name__
    return OSError(f"{repo_id}{at} cannot be loaded from the Hub ({kind}); {advice or 'try again later'}")


def _status(error: BaseException) -> int | None:
    """The HTTP status of the Hub's answer, or None without an answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _advice(error: BaseException | None) -> str:
    """Advice on problems with the cache, token, proxy or certificates; "" for other errors.

    It never holds the text of the error, in which the token may be.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set: unset it and run this again"
    if error is not None and _status(error) == 401:
        return "the access token is not accepted: log in again with `hf auth login`, or correct HF_TOKEN"
    if error is not None and _status(error) == 429:
        return "the Hub answers no more requests from here for now: log in with `hf auth login`, or wait some minutes"
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kind, text = type(error).__name__, str(error).lower()
        if isinstance(error, OSError) and error.errno in _OF_FILES and error.strerror:
            return (
                f"the Hub's cache {constants.HF_HUB_CACHE} cannot be written ({error.strerror}): set HF_HOME to a "
                "folder that can be"
            )
        if isinstance(error, UnicodeEncodeError) or "header" in text or kind == "LocalProtocolError":
            return "the access token is none: correct HF_TOKEN, or log in again with `hf auth login`"
        if "proxy" in kind.lower() or "proxy" in text:
            return "check the proxy that HTTPS_PROXY names, or set NO_PROXY"
        if "certificate" in text or kind.startswith("SSL"):
            return "its certificate cannot be checked: set SSL_CERT_FILE to your organisation's certificates"
        if kind in ("UnsupportedProtocol", "InvalidURL", "MissingSchema", "InvalidSchema"):
            return f"HF_ENDPOINT is {constants.ENDPOINT}, which is no address: correct or unset it"
        error = error.__cause__ or error.__context__
    return ""


def _through_proxy() -> str:
    return "; check the proxy that HTTPS_PROXY names" if getproxies() else ""


def upload_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    commit_message: str = "Upload model",
) -> str:
    """Uploads configuration, weights and card of a folder, no other files of it. Returns the commit's address.

    In the uploaded card, the examples name `repo_id`. Other arguments and errors as in `upload_files`.
    """
    files: dict[str, Path | bytes] = {name: Path(folder) / name for name in (CONFIG, WEIGHTS)}
    card = Path(folder) / CARD
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        files[CARD] = re.sub(rf"(?<![\w/-]){PLACEHOLDER}(?![\w/-])", repo_id, text).encode()
    return upload_files(
        files,
        repo_id,
        private=private,
        token=token,
        revision=revision,
        tag=tag,
        commit_message=commit_message,
    )


def upload_files(
    files: Mapping[str, Path | bytes],
    repo_id: str,
    *,
    kind: str = "model",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    commit_message: str = "Upload",
    mirror: bool = False,
) -> str:
    """Uploads files in one commit, and returns the commit's address. Makes the repository if it does not exist.

    files     {name in the repository: local path, or content}
    kind      "model" or "space" (Gradio)
    private   whether a repository that is made here is private
    token     access token; None: the one logged in
    revision  branch, which is made if it does not exist
    tag       name for this commit, by which it can be loaded later
    mirror    True deletes all other files of the repository, except the Hub's own .gitattributes
    An interrupted upload does not change the branch, and what was transferred is not sent again. Raises ValueError for
    an impossible name or a file that holds an access token, OSError if the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_repo_id(repo_id)
    _refuse_tokens(files, token)
    api = HfApi(token=token)
    try:
        _create(api, repo_id, kind, private)
        tags = api.list_repo_refs(repo_id, repo_type=kind).tags if tag is not None else []
    except Exception as error:
        raise _upload_error(repo_id, error) from error
    if tag in {known.name for known in tags}:
        raise OSError(f"{repo_id} has a version {tag} already, which stays what it is: choose another tag")
    try:
        if revision is not None:
            api.create_branch(repo_id, branch=revision, repo_type=kind, exist_ok=True)
        there = api.list_repo_files(repo_id, repo_type=kind, revision=revision) if mirror else []
        operations: list[Any] = [
            CommitOperationDelete(name) for name in there if name not in files and name != _KEPT
        ]
        operations += [
            CommitOperationAdd(name, str(source) if isinstance(source, Path) else source)
            for name, source in files.items()
        ]
        commit = api.create_commit(
            repo_id, operations, commit_message=commit_message, repo_type=kind, revision=revision
        )
    except Exception as error:
        raise _upload_error(repo_id, error) from error
    if tag is not None:
        try:
            api.create_tag(repo_id, tag=tag, revision=commit.oid, repo_type=kind)
        except Exception as error:
            raise OSError(
                f"{repo_id} was uploaded as {commit.oid}, but it could not be given the tag {tag}: run it again"
            ) from error
    return str(commit.commit_url)


def reserve(repo_id: str, *, private: bool | None = None, token: str | bool | None = None) -> None:
    """Makes the repository of a model unless it exists. Call it before long work, to find missing permissions early.

    Errors as in `upload_files`.
    """
    from huggingface_hub import HfApi

    check_repo_id(repo_id)
    try:
        _create(HfApi(token=token), repo_id, "model", private)
    except Exception as error:
        raise _upload_error(repo_id, error) from error


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError for text that cannot be the name of a repository."""
    if not REPO_ID.fullmatch(repo_id):
        raise ValueError(f'a Hub repository is written "user/repo", not {repo_id!r}')


def _create(api: Any, repo_id: str, kind: str, private: bool | None) -> None:
    sdk = "gradio" if kind == "space" else None
    api.create_repo(repo_id, private=private, exist_ok=True, repo_type=kind, space_sdk=sdk)


def _refuse_tokens(files: Mapping[str, Path | bytes], token: str | bool | None) -> None:
    """Raises ValueError if a file holds an access token."""
    from huggingface_hub import get_token

    own = token if isinstance(token, str) else get_token()
    for name, source in files.items():
        if name.endswith(_BINARY):
            continue
        content = source.read_bytes() if isinstance(source, Path) else source
        if _TOKEN.search(content) or (own and own.encode() in content):
            raise ValueError(f"{name} holds a Hub access token; remove it from the file, then upload again")


def _upload_error(repo_id: str, error: Exception) -> Exception:
    if isinstance(error, ValueError) and not isinstance(error, OSError) and not _advice(error):
        return ValueError(f"{repo_id} cannot be uploaded: {error}")
    status = _status(error)
    if status in (401, 403, 404):
        advice = "log in with `hf auth login`, or set HF_TOKEN (or pass token=...), with a token that may write there"
    elif status == 409:
        advice = "this name is taken there; choose another one"
    elif status == 412:
        advice = "somebody else uploaded at the same moment; run it again"
    else:
        advice = _advice(error) or "check the connection and run it again" + _through_proxy()
        advice = f"what is there has not changed; {advice}"
    return OSError(
        f"{repo_id} cannot be uploaded ({f'HTTP {status}' if status else type(error).__name__}); {advice}"
    )
