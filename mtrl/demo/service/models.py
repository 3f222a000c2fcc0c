"""The models that visitors choose: looked up, measured before they take memory, loaded, and the last few kept."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtrl.demo.service.model_cost import MAX_SECONDS, check_cost
from mtrl.demo.service.model_files import MAX_CARD, MAX_CONFIG, read_card, read_log
from mtrl.demo.service.service import DemoService
from mtrl.files.file_state import file_state
from mtrl.files.filenames import expanded
from mtrl.hub.client import CARD, CONFIG, REPO_ID, WEIGHTS
from mtrl.models.load import read_checkpoint

KEPT = 2
MAX_BYTES = {CONFIG: MAX_CONFIG, WEIGHTS: 500_000_000, CARD: MAX_CARD}

Progress = Callable[[float, str], None]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model at work on the page's gallery.

    source   "" for the page's own model, else what a visitor typed: a folder or a Hub id
    name     how the page calls it
    card     Markdown of its model card, "" where there is none
    records  of its training run, oldest first; empty where they are not beside it
    stamp    state of the files that it was read from
    """

    source: str
    name: str
    service: DemoService
    card: str = ""
    records: tuple[dict[str, Any], ...] = ()
    stamp: tuple[tuple[int, ...], ...] = ()


class Models:
    """The page's own model and up to `KEPT` others by their source. Safe to call from several threads.

    A visitor's page remembers only the source; a model that had to make room is loaded again when it is needed.
    """

    def __init__(
        self,
        home: DemoService,
        folder: Path | None = None,
        public: bool = False,
        listed: Mapping[str, Path] | None = None,
    ) -> None:
        """`folder` of the home model, for its card and records; `listed`: folders of models to try, by name.
        `public`: other models come from the Hub alone, without the rights of whoever started the page, and nothing
        of them stays on the disk."""
        self.public = public
        self.listed = dict(listed or {})
        self.home = Loaded("", "This page's model", home, read_card(folder), read_log(folder))
        self._kept: OrderedDict[str, Loaded] = OrderedDict()
        self._guard = threading.Lock()
        self._loading = threading.Lock()

    def is_ready(self, source: str | None) -> bool:
        """Whether a model is listed or in use here already: no folder need be looked for, nothing downloaded."""
        with self._guard:
            return bool(source) and (source in self.listed or source in self._kept)

    def service(self, source: str = "") -> DemoService:
        """The service of a source that `get` accepts."""
        return self.get(source).service

    def get(self, source: str = "", progress: Progress | None = None) -> Loaded:
        """The model of a source: "", a folder, "user/repo" or "user/repo@revision".

        Raises FileNotFoundError, ValueError or OSError that say what is wrong, before it takes much memory.
        """
        source = source.strip()
        if not source:
            return self.home
        found = self._find(source)
        if found is None:
            with self._loading:  # one at a time: each takes memory and a processor
                found = self._find(source) or self._load(source, progress or (lambda share, text: None))
                with self._guard:
                    self._kept[source] = found
                    self._kept.move_to_end(source)
                    while len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
        return found

    def _find(self, source: str) -> Loaded | None:
        with self._guard:
            found = self._kept.get(source)
            if found is None or found.stamp != self._stamp(source):
                return None
            self._kept.move_to_end(source)
            return found

    def _stamp(self, source: str) -> tuple[tuple[int, ...], ...]:
        if self.public and source not in self.listed:
            return ()
        folder = self.listed.get(source) or expanded(source)
        return tuple(file_state(folder / name) for name in (CONFIG, WEIGHTS))

    def _load(self, source: str, progress: Progress) -> Loaded:
        stamp = self._stamp(source)
        if source in self.listed:
            return self._read(source, self.listed[source], progress, stamp)
        if not self.public and (folder := expanded(source)).is_dir():
            return self._read(source, folder, progress, stamp)
        repo_id, _, revision = source.partition("@")
        if not REPO_ID.fullmatch(repo_id):
            raise ValueError(
                "this page is open to others, so it loads models from the Hugging Face Hub only: write user/repo"
                if self.public
                else f'there is no folder {source}, and a model on the Hugging Face Hub is written "user/repo"'
            )
        progress(0.0, "Asking the Hugging Face Hub")
        if not self.public:
            folder = fetch(repo_id, revision or None)
            return self._read(source, folder, progress, stamp)
        with tempfile.TemporaryDirectory() as cache:
            folder = fetch(repo_id, revision or None, token=False, cache=Path(cache))
            try:
                return self._read(source, folder, progress, stamp)
            except (ValueError, OSError) as error:
                raise ValueError(str(error).replace(str(folder), source)) from error

    def _read(
        self, source: str, folder: Path, progress: Progress, stamp: tuple[tuple[int, ...], ...]
    ) -> Loaded:
        progress(0.05, "Reading the weights")
        for name, most in MAX_BYTES.items():
            if (folder / name).is_file():
                check_size(str(folder / name), (folder / name).stat().st_size, most)
        model = read_checkpoint(folder)
        home = self.home.service
        check_cost(model, len(home.images))
        started = time.monotonic()

        def encoded(share: float) -> None:
            progress(0.1 + 0.9 * share, f"Encoding the gallery, {share:.0%}")
            if time.monotonic() - started > MAX_SECONDS:
                raise ValueError(f"encoding the gallery took more than {MAX_SECONDS // 60} minutes; stopped")

        service = DemoService(model, home.folder, home.translators, home.translator, encoded, home.public)
        named = source in self.listed or folder.parent.name == "snapshots"
        name = source if named else folder.resolve().name
        return Loaded(source, name, service, read_card(folder), read_log(folder), stamp)


def fetch(repo_id: str, revision: str | None, token: bool | None = None, cache: Path | None = None) -> Path:
    """The local folder of a Hub model with its card, once the sizes that the Hub states were found acceptable.

    Raises FileNotFoundError for what is not there, ValueError for files that are too large, OSError for a Hub
    out of reach.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    def get(name: str) -> Path:
        url = hf_hub_url(repo_id, name, revision=revision)
        check_size(f"{name} of {repo_id}", get_hf_file_metadata(url, token=token).size, MAX_BYTES[name])
        return Path(hf_hub_download(repo_id, name, revision=revision, token=token, cache_dir=cache))

    try:
        folder = get(CONFIG).parent
        get(WEIGHTS)
    except Exception as error:
        raise _in_words(repo_id, revision, error) from error
    with contextlib.suppress(errors.EntryNotFoundError, OSError, ValueError):
        get(CARD)  # welcome, not needed
    return folder


def _in_words(repo_id: str, revision: str | None, error: Exception) -> Exception:
    from huggingface_hub import errors

    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return error
    if isinstance(error, errors.GatedRepoError):
        return OSError(f"{repo_id} is gated on the Hugging Face Hub, and this page has no access to it")
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{repo_id} on the Hugging Face Hub has no revision {revision}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"there is no model {repo_id} on the Hugging Face Hub that this page may read"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return FileNotFoundError(
            f"{repo_id} on the Hugging Face Hub is no model of this kind: it needs {CONFIG} and {WEIGHTS}"
        )
    return OSError(f"the Hugging Face Hub cannot be reached for {repo_id}; try again later")


def check_size(what: str, size: int | None, most: int) -> None:
    """Raises ValueError for a size that is not known or above `most`, in bytes."""
    if size is None:
        raise ValueError(f"the size of {what} is not known, so it is not loaded")
    if size > most:
        raise ValueError(f"{what} has {size / 1e6:,.0f} MB; this page loads up to {most / 1e6:,.1f} MB of it")
