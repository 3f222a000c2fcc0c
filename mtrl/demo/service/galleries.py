"""The galleries that a visitor can search: those named at the start, and on a page for oneself any folder."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mtrl.demo.service.images import digest
from mtrl.demo.service.service import DemoService
from mtrl.files.filenames import as_text, expanded
from mtrl.labels.names import printable

KEPT = 4


class Galleries:
    """Gallery folders by the names that the page shows. Safe to call from several threads.

    A gallery is encoded when it is first searched with a model, and the last few stay in memory.
    """

    def __init__(self, home: DemoService, folders: Sequence[Path] = (), public: bool = False) -> None:
        """`folders` besides that of `home`. `public`: no other folder of this machine can be asked for."""
        self.public = public
        self._home = home
        self.folders = _named([home.folder, *folders])
        self.names = list(self.folders)
        self._kept: OrderedDict[tuple[int, Path], tuple[DemoService, DemoService]] = OrderedDict()
        self._guard = threading.Lock()
        self._loading = threading.Lock()

    def service(self, base: DemoService, name: str | None = None) -> DemoService:
        """The model and translators of `base` over the gallery `name` (None or "": its own gallery).

        Raises ValueError or FileNotFoundError for a gallery that is not there or cannot be searched by this model.
        """
        folder = self._folder(base, (name or "").strip())
        if folder == base.folder:
            return base
        found = self._find(base, folder)
        if found is None:
            with self._loading:
                found = self._find(base, folder)
                if found is None:
                    found = DemoService(
                        base.model, folder, base.translators, base.translator, public=self.public
                    )
                    tell_passed_over(found)
                    with self._guard:
                        self._kept[(id(base), folder)] = (base, found)
                        while len(self._kept) > KEPT:
                            self._kept.popitem(last=False)
        return found

    def hold(self, image: Image.Image) -> bool:
        """Whether an image, as `DemoService.read` gives it, is one of the galleries in memory, pixel for pixel."""
        with self._guard:
            services = [self._home, *(found for _, found in self._kept.values())]
        key = digest(image)
        return any(key in service.known for service in services)

    def _folder(self, base: DemoService, name: str) -> Path:
        if not name:
            return base.folder
        if name in self.folders:
            return self.folders[name]
        if self.public:
            raise ValueError(f"this page has no gallery {name!r}; it has {', '.join(self.names)}")
        return expanded(name)

    def _find(self, base: DemoService, folder: Path) -> DemoService | None:
        with self._guard:
            entry = self._kept.get((id(base), folder))
            if entry is None or entry[0] is not base:
                return None
            self._kept.move_to_end((id(base), folder))
            return entry[1]


def tell_passed_over(service: DemoService) -> None:
    """Names on the terminal what of a gallery's folder is not searched."""
    for line in service.passed_over():
        print(f"gallery {printable(as_text(service.folder))}: {line}", file=sys.stderr)


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Each folder by its own name, with a number where two have the same."""
    named: dict[str, Path] = {}
    for folder in folders:
        if folder in named.values():
            continue
        name = as_text(folder.resolve().name or folder)
        while name in named:
            name += " (2)"
        named[name] = folder
    return named
