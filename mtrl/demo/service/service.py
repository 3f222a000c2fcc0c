"""The page's work without Gradio: retrieve, compare, translate, encode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mtrl.demo.service.gallery_folder import Picture, is_index, scan_gallery
from mtrl.demo.service.pictures import detect_modality, digest, fit, hints_for, read_query
from mtrl.demo.service.results import Comparison, Hit, Retrieval, Translation
from mtrl.demo.service.thresholds import RATES, USUAL_RATE, measure
from mtrl.files.filenames import as_text, some_of
from mtrl.files.images import read_image, to_batch
from mtrl.files.levels import ValueRange
from mtrl.files.scan import PassedOver, report, why_unreadable
from mtrl.models.config import Modality
from mtrl.models.evidence import evidence_maps
from mtrl.models.reid import MTRL
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.labels import room_of
from mtrl.retrieval.ranking import rank_metrics

AUTO = "auto"
DIRECTIONS = {"visible to infrared": Modality.VISIBLE, "infrared to visible": Modality.INFRARED}
MAX_RESULTS = 50
ENCODED_TOGETHER = 32
STRANGE = (
    "It is unlike every picture in this gallery. Is one person in it, alone, upright and from head to feet? The "
    "page does not look for people in a picture: crop it to one."
)


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
        `scan_gallery`. Pictures that cannot be read are passed over; raises ValueError where none is left."""
        if not translators:
            raise ValueError("the page needs at least one translator")
        self.model = model
        self.translators = {name: module.eval() for name, module in translators.items()}
        self.translator = translator or next(iter(self.translators))
        self.folder = Path(gallery)
        self.public = public
        # A query that is pixel for pixel a gallery picture is recognised, so its truth is known.
        self._known: dict[bytes, Picture] = {}
        self.pictures, self.scan = scan_gallery(self.folder, public)
        self.value_range: ValueRange | None = None  # of deep pictures: an index has it
        self.features = self._read_index() if is_index(self.folder) else self._encode(progress)
        self._by_name = {picture.name: picture for picture in self.pictures}
        self.rows = {
            modality: [i for i, picture in enumerate(self.pictures) if picture.modality is modality]
            for modality in Modality
        }
        self.pairs = measure(self.pictures, self.rows, self.features)
        self.threshold = self.pairs.threshold(RATES[USUAL_RATE])
        # The first call of every translator is slow; a visitor should not be the one to wait for it.
        for name in self.translators:
            self.transition(Image.new("RGB", (64, 128)), name)

    def names(self, modality: Modality | None = None) -> list[str]:
        """Names of the gallery's pictures, in its order."""
        return [p.name for p in self.pictures if modality is None or p.modality is modality]

    def picture(self, name: str) -> Picture:
        """The gallery picture of that name. Raises ValueError if there is none."""
        if name not in self._by_name:
            raise ValueError(f"the gallery has no picture {name!r}")
        return self._by_name[name]

    def open(self, picture: Picture) -> Image.Image:
        """A gallery picture as the page shows and recognises it."""
        image = self.read(picture.path, picture.name)[0]
        self._known[digest(image)] = picture
        return image

    def read(
        self, image: Image.Image | str | Path, what: str = "the picture"
    ) -> tuple[Image.Image, tuple[int, int]]:
        """A picture as this gallery's were read, no larger than any model needs, and its own (width, height)."""
        return read_query(image, what, self.value_range)

    def retrieve(
        self,
        image: Image.Image | str | Path,
        direction: str = AUTO,
        k: int = 10,
        transition: bool = True,
    ) -> Retrieval:
        """Ranks the gallery's other modality by cosine to `image`. ValueError or OSError for unusable input.

        A gallery of one modality is ranked whatever the query's is. `transition`: whether to make that image.
        """
        started = time.perf_counter()
        if not 1 <= k <= MAX_RESULTS:
            raise ValueError(f"k must lie between 1 and {MAX_RESULTS}, not {k}")
        query, size, known, detected, modality = self._read(image, direction)
        other = Modality(1 - modality)
        target = other if self.rows[other] else modality
        feature = self.model.encode([query], modality=modality.name.lower())[0]
        scores = (self.features[target] @ feature).numpy()
        gallery = [self.pictures[i] for i in self.rows[target]]
        searched = np.array([not same_room(known, picture) and picture is not known for picture in gallery])
        order = [int(i) for i in np.argsort(-scores, kind="stable") if searched[i]]
        if not order:
            raise ValueError("no picture of this gallery was taken in another room than the query")
        right = np.array([_correct(known, gallery[i]) is True for i in order], dtype=bool)
        usual = self.pairs.usual.get(modality) if known is None else None
        hints = hints_for(query, size, known, detected, modality)
        missed = [item.path for item in self.scan.passed_over if item.image]
        if missed and not self.public:
            hints.append(f"Pictures of this gallery that are not searched: {some_of(missed, 3)}.")
        if target is modality:
            hints.append(f"This gallery holds {target.name.lower()} pictures only, so those were searched.")
        elif usual is not None and scores[order[0]] < usual:
            hints.append(STRANGE)
        return Retrieval(
            query=fit(query),
            known=known,
            detected=detected,
            modality=modality,
            target=target,
            hits=[
                Hit(rank, float(scores[i]), gallery[i], _correct(known, gallery[i]))
                for rank, i in enumerate(order[:k], start=1)
            ],
            transition=self._transition_beside(query, modality, gallery[order[0]]) if transition else None,
            scores=scores[order],
            first_right=int(np.flatnonzero(right)[0]) + 1 if right.any() else None,
            relevant=int(right.sum()),
            precision=_average_precision(right) if right.any() else None,
            skipped=int((~searched).sum()),
            hints=hints,
            seconds=time.perf_counter() - started,
        )

    def compare(self, image: Image.Image | str | Path, name: str, direction: str = AUTO) -> Comparison:
        """The query beside the gallery picture `name`, and where their similarity comes from."""
        query, _, known, _, modality = self._read(image, direction)
        picture = self.picture(name)
        match = self.open(picture)
        kinds = [kind.name.lower() for kind in (modality, picture.modality)]
        feature = self.model.encode([query], kinds[0])[0]
        row = self.rows[picture.modality].index(self.pictures.index(picture))
        return Comparison(
            query,
            match,
            picture,
            modality,
            float(self.features[picture.modality][row] @ feature),
            _correct(known, picture),
            evidence_maps(self.model, query, match, kinds[0], kinds[1]),
        )

    def translate(self, image: Image.Image | str | Path, translator: str = "") -> Translation:
        """The transition image of a picture, beside its true infrared view where the gallery holds it."""
        name = translator or self.translator
        if name not in self.translators:
            raise ValueError(f"translator must be one of {list(self.translators)}, not {name!r}")
        query, _ = self.read(image)
        known = self._known.get(digest(query))
        transition = self.transition(query, name)
        truth = read_image(known.truth, what=known.truth.name) if known and known.truth else None
        hints = []
        if (known.modality if known else detect_modality(query)) is Modality.INFRARED:
            hints.append(
                "This picture has no colour. Translators start from a visible picture; an infrared one changes little."
            )
        return Translation(fit(query), known, transition, truth, hints)

    def encode(self, image: Image.Image | str | Path, modality: str = AUTO) -> list[float]:
        """The embedding of a picture: D numbers of unit length."""
        query, _ = self.read(image)
        parsed = detect_modality(query) if modality == AUTO else Modality.parse(modality)
        return self.model.encode([query], modality=parsed.name.lower())[0].tolist()

    def _read(
        self, image: Image.Image | str | Path, direction: str
    ) -> tuple[Image.Image, tuple[int, int], Picture | None, Modality, Modality]:
        """The query, its own size, the gallery picture that it is, the modality it looks like, and that it has."""
        if direction != AUTO and direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {[AUTO, *DIRECTIONS]}, not {direction!r}")
        query, size = self.read(image)
        known = self._known.get(digest(query))
        detected = known.modality if known else detect_modality(query)
        return query, size, known, detected, detected if direction == AUTO else DIRECTIONS[direction]

    def passed_over(self) -> list[str]:
        """What of the gallery's folder is not searched, by name: a line for each reason."""
        return [*self.scan.errors, *report(self.scan.passed_over)]

    def _encode(self, progress: Callable[[float], None] | None) -> dict[Modality, Tensor]:
        """Embeddings of the pictures that can be read; the others leave `pictures`."""
        parts: dict[Modality, list[Tensor]] = {m: [torch.empty(0, self.model.dim)] for m in Modality}
        kept: set[str] = set()
        done = 0
        for modality in Modality:
            mine = [picture for picture in self.pictures if picture.modality is modality]
            for start in range(0, len(mine), ENCODED_TOGETHER):
                opened = [(p, self._try(p)) for p in mine[start : start + ENCODED_TOGETHER]]
                images = [image for _, image in opened if image is not None]
                kept |= {picture.name for picture, image in opened if image is not None}
                if images:
                    parts[modality].append(self.model.encode(images, modality=modality.name.lower()))
                done += len(opened)
                if progress:
                    progress(done / len(self.pictures))
        self.pictures = [picture for picture in self.pictures if picture.name in kept]
        if not self.pictures:
            raise ValueError(
                f"no picture of the gallery {as_text(self.folder)} can be read; "
                + "; ".join(self.passed_over())
            )
        return {modality: torch.cat(features) for modality, features in parts.items()}

    def _try(self, picture: Picture) -> Image.Image | None:
        """The picture; None, and a remark, for one that cannot be read."""
        try:
            return self.open(picture)
        except (ValueError, OSError) as error:
            self.scan.passed_over.append(PassedOver(picture.name, why_unreadable(error, picture.name), True))
            return None

    def _read_index(self) -> dict[Modality, Tensor]:
        index = Gallery.load(self.folder)
        index.check_model(self.model)
        self.value_range = index.value_range
        empty = torch.empty(0, index.features.shape[1])
        return {modality: index.features if modality is index.modality else empty for modality in Modality}

    def _transition_beside(self, query: Image.Image, modality: Modality, best: Picture) -> Image.Image | None:
        """The transition image of whichever of the two is visible; None if neither is."""
        if modality is Modality.VISIBLE:
            return self.transition(query, self.translator)
        if best.modality is Modality.VISIBLE and best.path.is_file():
            return self.transition(read_image(best.path, best.name, self.value_range), self.translator)
        return None

    @torch.inference_mode()
    def transition(self, image: Image.Image, name: str) -> Image.Image:
        """What the translator of that name makes of a picture: its size, at most 512 pixels, aligned with it."""
        image = fit(image)
        batch = to_batch([image], (image.height, image.width))
        pixels = self.translators[name](batch)[0].clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _correct(query: Picture | None, picture: Picture) -> bool | None:
    if query is None or query.identity is None or picture.identity is None:
        return None
    return query.person == picture.person


def same_room(query: Picture | None, picture: Picture) -> bool:
    """The benchmark's rule: gallery pictures from the query's own room are left out."""
    if query is None or query.camera is None or picture.camera is None:
        return False
    return room_of(query.camera) == room_of(picture.camera)


def _average_precision(right: NDArray[np.bool_]) -> float:
    """AP of one ranked list, best first; one picture at least is right."""
    ranks = np.arange(len(right))[None]
    return float(rank_metrics(ranks, [1], right.astype(np.int64), protocol="regdb").ap[0])
