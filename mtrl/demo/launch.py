"""Starts the page from command-line options: model, gallery, address."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from mtrl.demo.service.galleries import tell_passed_over
from mtrl.demo.service.gallery_folder import scan_gallery
from mtrl.demo.service.model_files import find_runs
from mtrl.demo.service.service import DemoService
from mtrl.files.filenames import expanded
from mtrl.hub.detector import Detector
from mtrl.models.config import Modality
from mtrl.models.load import SHIPPED, load_pretrained, shipped_folder
from mtrl.translate import TRANSLATORS, load_translator

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FAVOURITE = "learned"  # the translator that is shown first
ASSETS = Path(__file__).parents[1] / "assets"


def open_service(
    checkpoint: str | None = None, gallery: str | None = None, public: bool = False
) -> DemoService:
    """The service over a checkpoint (as `load_pretrained`) and a gallery folder; None takes the shipped one.

    Raises FileNotFoundError or ValueError that say what is missing.
    """
    translators: dict[str, nn.Module] = {}
    for name in TRANSLATORS:
        try:
            translators[name] = load_translator(name)
        except FileNotFoundError:  # no learned translator is shipped with this version
            continue
    shown = FAVOURITE if FAVOURITE in translators else ""
    return DemoService(
        load_pretrained(checkpoint), gallery_folder(gallery), translators, shown, public=public
    )


def gallery_folder(gallery: str | None) -> Path:
    """The folder of the gallery; None is the shipped one."""
    return expanded(gallery) if gallery else ASSETS / "gallery"


def card_folder(checkpoint: str | None) -> Path | None:
    """The folder that may hold the model card; None for a model from the Hub, whose card stays there."""
    shipped = shipped_folder(checkpoint)
    if shipped is None and checkpoint is not None and Path(checkpoint).is_dir():
        return Path(checkpoint)
    return shipped


def other_shipped(checkpoint: str | None) -> dict[str, Path]:
    """The shipped models that the page can show beside its own, by the names that `load_pretrained` takes."""
    own = shipped_folder(checkpoint)
    return {name: folder for name, folder in SHIPPED.items() if folder != own and folder.is_dir()}


def is_public(host: str | None, share: bool, public: bool) -> bool:
    """Whether others can reach the page: it listens beyond this machine, is shared, runs in a Space, or is said to."""
    address = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    shared = share or os.environ.get("GRADIO_SHARE", "").lower() == "true"
    return public or shared or "SPACE_ID" in os.environ or address not in LOOPBACK


def _return_large_blocks() -> None:
    """Makes glibc give large blocks back to the system when they are freed.

    After the first ones it would keep them in the heap of every thread that had one: 276 MB for each thread that
    decoded an image of 58 megapixels. Elsewhere this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
            libc.mallopt(_M_ARENA_MAX, 2)


def serve(
    checkpoint: str | None,
    galleries: Sequence[str],
    host: str | None,
    port: int | None,
    share: bool,
    public: bool = False,
    runs: Sequence[str] = (),
    detector: str | None = None,
) -> int:
    """Serves the page until interrupted. The first of `galleries` with both spectra, or the shipped one, is the home
    of the examples; the others can be chosen. `runs` are folders whose sub-folders hold models to try,
    `detector` is a folder or Hub id of a detector of people."""
    finder = Detector(detector) if detector else None
    _return_large_blocks()
    # What ends a container ends the page as Ctrl-C does, so that the visitors' files go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    public = is_public(host, share, public)
    folders = [gallery_folder(gallery) for gallery in galleries]
    listed = other_shipped(checkpoint) | find_runs([expanded(folder) for folder in runs])
    complete = [
        folder
        for folder in folders
        if len({p.modality for p in scan_gallery(folder, public)[0]}) == len(Modality)
    ]
    home = complete[0] if complete else gallery_folder(None)
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))  # one core is busy importing gradio
    with ThreadPoolExecutor(1) as pool:  # gradio takes seconds to import; the gallery is encoded meanwhile
        module = pool.submit(importlib.import_module, "mtrl.demo.page")
        service = open_service(checkpoint, str(home), public)
        tell_passed_over(service)
        if not all(service.rows.values()):  # the examples need both spectra
            service = open_service(checkpoint, None, public)
        try:
            page_module = module.result()
        except ModuleNotFoundError as error:
            raise ImportError(f"the page needs gradio: pip install -r requirements.txt ({error})") from error
    # Visitors are served side by side, one image each: more threads per image would wait for one another.
    torch.set_num_threads(1)
    page = page_module.build_page(
        service,
        card_folder(checkpoint),
        public,
        [*folders, gallery_folder(None)],
        listed,
        finder,
    )
    page_module.launch(page, public, server_name=host, server_port=port, share=share)
    return 0
