"""The page's work without Gradio: retrieve, compare, translate, encode."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mtrl.demo.service.gallery_folder import GalleryImage, alike, is_index, read_index, scan_gallery
from mtrl.demo.service.images import COLOURLESS, STRANGE, digest, fit, hints_for, read_query
from mtrl.demo.service.results import Comparison, Hit, Query, Retrieval, Translation
from mtrl.demo.service.thresholds import RATES, USUAL_RATE, measure
from mtrl.demo.service.truth import grade, same_person, same_room
from mtrl.files.filenames import as_text, some_of
from mtrl.files.images import read_image, to_batch
from mtrl.files.levels import ValueRange
from mtrl.files.scan import PassedOver, report, why_unreadable
from mtrl.models.config import Modality
from mtrl.models.evidence import likeness
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import detect_modality

AUTO = "auto"
DIRECTIONS = {"visible to infrared": Modality.VISIBLE, "infrared to visible": Modality.INFRARED}
MAX_RESULTS = 50
ENCODED_TOGETHER = 32


class DemoService:
    """A model, a gallery encoded once, and translators. Safe to call from several threads."""

    def __init__(
        self,
        model: MTRL,
        gallery: Path | str,
        translators: Mapping[str, nn.Module],
        translator: str = "",
        progress: Callable[[float], None] | None = None,
        public: bool = False,
    ) -> None:
        """`translators` by name; `translator` is the one shown beside a query (default: the first). `progress`
        is told the share of the gallery that is encoded; what it raises ends the work. `public`: see
        `scan_gallery`. Images that cannot be read are passed over; raises ValueError where none is left."""
        if not translators:
            raise ValueError("the page needs at least one translator")
        self.model = model
        self.fingerprint = model.fingerprint()
        self.translators = {name: module.eval() for name, module in translators.items()}
        self.translator = translator or next(iter(self.translators))
        self.folder = Path(gallery)
        self.public = public
        self.known: dict[bytes, GalleryImage] = {}  # by their pixels: see `_entry_of`
        self.images, self.scan = scan_gallery(self.folder, public)
        self.value_range: ValueRange | None = None  # of deep images: an index has it
        if is_index(self.folder):
            self.features, self.value_range = read_index(self.folder, model)
        else:
            self.features = self._encode(progress)
        self._by_name = {image.name: image for image in self.images}
        self.rows = {
            modality: [i for i, image in enumerate(self.images) if image.modality is modality]
            for modality in Modality
        }
        self.pairs = measure(self.images, self.rows, self.features)
        self.threshold = self.pairs.threshold(RATES[USUAL_RATE])
        # The first call of every translator is slow; a visitor should not be the one to wait for it.
        for name in self.translators:
            self.transition(Image.new("RGB", (64, 128)), name)

    @property
    def drawn(self) -> bool:
        """Whether the people of the gallery are drawn: only of a drawing is the true infrared view known."""
        return any(image.truth is not None for image in self.images)

    def names(self, modality: Modality | None = None) -> list[str]:
        """Names of the gallery's images, in its order."""
        return [p.name for p in self.images if modality is None or p.modality is modality]

    def image(self, name: str) -> GalleryImage:
        """The gallery image of that name. Raises ValueError if there is none."""
        if name not in self._by_name:
            raise ValueError(f"the gallery has no picture {name!r}")
        return self._by_name[name]

    def open(self, entry: GalleryImage) -> Image.Image:
        """A gallery image as the page shows and recognises it."""
        image = self.read(entry.path, entry.name)[0]
        self.known[digest(image)] = entry
        return image

    def opened(self, rows: Sequence[int]) -> dict[int, Image.Image]:
        """The images of `rows` by row, without those that can no longer be read."""
        found = {}
        for row in rows:
            with contextlib.suppress(ValueError, OSError):
                found[row] = self.open(self.images[row])
        return found

    def read(
        self, image: Image.Image | str | Path, what: str = "the picture"
    ) -> tuple[Image.Image, tuple[int, int]]:
        """An image as this gallery's were read, no larger than any model needs, and its own (width, height)."""
        return read_query(image, what, self.value_range)

    def retrieve(
        self,
        image: Image.Image | str | Path,
        direction: str = AUTO,
        k: int = 10,
        transition: bool = True,
        others: Sequence[Image.Image | str | Path] = (),
    ) -> Retrieval:
        """Ranks the gallery's other modality by cosine to `image`. ValueError or OSError for unusable input.

        A gallery of one modality is ranked whatever the query's is. `transition`: whether to make that image.
        With `others`, further images of the person, the mean of all embeddings is searched with.
        """
        started = time.perf_counter()
        if not 1 <= k <= MAX_RESULTS:
            raise ValueError(f"k must lie between 1 and {MAX_RESULTS}, not {k}")
        first = self._read(image, direction)
        query, known, modality = first.image, first.known, first.modality
        together = [first, *(self._read(one, direction) for one in others)]
        other = Modality(1 - modality)
        target = other if self.rows[other] else modality
        scores = (self.features[target] @ self._mean(together)).numpy()
        gallery = [self.images[i] for i in self.rows[target]]
        shown = [one.known for one in together]
        itself = np.array([any(one is entry for one in shown) for entry in gallery])
        beside = np.array([any(same_room(one, entry) for one in shown) for entry in gallery]) & ~itself
        order = [int(i) for i in np.argsort(-scores, kind="stable") if not (itself[i] or beside[i])]
        if not order:
            raise ValueError("no picture of this gallery was taken in another room than the query")
        seconds = time.perf_counter() - started
        strange = self.pairs.strange(modality) if known is None else None
        hints = list(first.hints)
        missed = [item.path for item in self.scan.passed_over if item.image]
        if missed and not self.public:
            hints.append(f"Pictures of this gallery that are not searched: {some_of(missed, 3)}.")
        if target is modality:
            hints.append(f"This gallery holds {target.name.lower()} pictures only, so those were searched.")
        elif strange is not None and scores[order[0]] < strange:
            hints.append(STRANGE)
        return Retrieval(
            query=fit(query),
            others=[fit(one.image) for one in together[1:]],
            known=known,
            detected=first.detected,
            modality=modality,
            target=target,
            hits=[
                Hit(rank, float(scores[i]), gallery[i], same_person(known, gallery[i]))
                for rank, i in enumerate(order[:k], start=1)
            ],
            transition=self._transition_beside(query, modality, gallery[order[0]]) if transition else None,
            scores=scores[order],
            **dataclasses.asdict(grade(known, [gallery[i] for i in order])),
            skipped=int(beside.sum()),
            drawn=self.drawn,
            hints=hints,
            seconds=seconds,
        )

    def compare(
        self,
        image: Image.Image | str | Path,
        name: str,
        direction: str = AUTO,
        others: Sequence[Image.Image | str | Path] = (),
    ) -> Comparison:
        """The query beside the gallery image `name`, and where their similarity comes from. `others` as in
        `retrieve`: they count for the score, and the maps are those of `image`."""
        first = self._read(image, direction)
        query, known, modality = first.image, first.known, first.modality
        feature = self._mean([first, *(self._read(one, direction) for one in others)])
        entry = self.image(name)
        match = self.open(entry)
        row = self.rows[entry.modality].index(self.images.index(entry))
        return Comparison(
            query,
            match,
            entry,
            modality,
            float(self.features[entry.modality][row] @ feature),
            same_person(known, entry),
            *likeness(self.model, query, match, modality, entry.modality),
        )

    def translate(self, image: Image.Image | str | Path, translator: str = "") -> Translation:
        """The transition image of an image, beside its true infrared view where the gallery holds it."""
        name = translator or self.translator
        if name not in self.translators:
            raise ValueError(f"translator must be one of {list(self.translators)}, not {name!r}")
        query, _ = self.read(image)
        known = self._entry_of(query)
        transition = self.transition(query, name)
        truth = read_image(known.truth, what=known.truth.name) if known and known.truth else None
        hints = []
        if (known.modality if known else detect_modality(query)) is Modality.INFRARED:
            hints.append(COLOURLESS)
        return Translation(fit(query), known, transition, truth, hints)

    def encode(self, image: Image.Image | str | Path, modality: str = AUTO) -> list[float]:
        """The embedding of an image: D numbers of unit length."""
        query, _ = self.read(image)
        parsed = detect_modality(query) if modality == AUTO else Modality.parse(modality)
        return self.model.encode([query], modality=parsed.name.lower())[0].tolist()

    def _read(self, image: Image.Image | str | Path, direction: str) -> Query:
        if direction != AUTO and direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {[AUTO, *DIRECTIONS]}, not {direction!r}")
        query, size = self.read(image)
        known = self._entry_of(query)
        detected = known.modality if known else detect_modality(query)
        modality = detected if direction == AUTO else DIRECTIONS[direction]
        hints = hints_for(query, size, known, detected, modality)
        if modality is Modality.INFRARED and known is None:
            query = query.convert("L").convert("RGB")  # an infrared camera sees no colour
        return Query(query, size, known, detected, modality, hints)

    def _entry_of(self, query: Image.Image) -> GalleryImage | None:
        """The gallery image that this is, pixel for pixel. None for another one."""
        key = digest(query)
        if key not in self.known and is_index(self.folder):  # whose images were not opened when it was read
            modality = detect_modality(query)
            feature = self.model.encode([query], modality.name.lower())[0]
            self.opened([self.rows[modality][row] for row in alike(self.features[modality], feature)])
        return self.known.get(key)

    def _mean(self, queries: Sequence[Query]) -> Tensor:
        """The mean embedding [D] of queries, of unit length."""
        features = [self.model.encode([one.image], one.modality.name.lower())[0] for one in queries]
        return F.normalize(torch.stack(features).mean(dim=0), dim=0)

    def passed_over(self) -> list[str]:
        """What of the gallery's folder is not searched, by name: a line for each reason."""
        return [*self.scan.errors, *report(self.scan.passed_over)]

    def _encode(self, progress: Callable[[float], None] | None) -> dict[Modality, Tensor]:
        """Embeddings of the images that can be read; the others leave `images`."""
        parts: dict[Modality, list[Tensor]] = {m: [torch.empty(0, self.model.dim)] for m in Modality}
        kept: set[str] = set()
        done = 0
        for modality in Modality:
            mine = [entry for entry in self.images if entry.modality is modality]
            for start in range(0, len(mine), ENCODED_TOGETHER):
                opened = [(entry, self._try(entry)) for entry in mine[start : start + ENCODED_TOGETHER]]
                images = [image for _, image in opened if image is not None]
                kept |= {entry.name for entry, image in opened if image is not None}
                if images:
                    parts[modality].append(self.model.encode(images, modality=modality.name.lower()))
                done += len(opened)
                if progress:
                    progress(done / len(self.images))
        self.images = [entry for entry in self.images if entry.name in kept]
        if not self.images:
            why = "; ".join(self.passed_over())
            raise ValueError(f"no picture of the gallery {as_text(self.folder)} can be read; {why}")
        return {modality: torch.cat(features) for modality, features in parts.items()}

    def _try(self, image: GalleryImage) -> Image.Image | None:
        """The image; None, and a remark, for one that cannot be read."""
        try:
            return self.open(image)
        except (ValueError, OSError) as error:
            self.scan.passed_over.append(PassedOver(image.name, why_unreadable(error, image.name), True))
            return None

    def _transition_beside(
        self, query: Image.Image, modality: Modality, best: GalleryImage
    ) -> Image.Image | None:
        """The transition image of whichever of the two is visible; None if neither is."""
        if modality is Modality.VISIBLE:
            return self.transition(query, self.translator)
        if best.modality is Modality.VISIBLE:
            with contextlib.suppress(ValueError, OSError):  # it may be gone
                return self.transition(self.open(best), self.translator)
        return None

    @torch.inference_mode()
    def transition(self, image: Image.Image, name: str) -> Image.Image:
        """What the translator of that name makes of an image: its size, at most 512 pixels, aligned with it."""
        image = fit(image)
        batch = to_batch([image], (image.height, image.width))
        pixels = self.translators[name](batch)[0].clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
