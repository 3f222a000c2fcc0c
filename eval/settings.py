"""The options of `python -m eval`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from eval.features import FEATURES, Extraction
from eval.protocols import DIRECTIONS, GALLERIES, MODES, Setting
from eval.report import RERANK_HELP
from eval.score import DISTANCES
from mtrl.console.cli import option
from mtrl.data.sources import Names
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP
from mtrl.models.load import SOURCE_HELP
from mtrl.retrieval.metrics.ranking import CMC_LEVELS
from mtrl.retrieval.metrics.rerank import VARIANTS

BOTH = ("ir2vis", "vis2ir")
_DIRECTION_HELP = (
    "ir2vis: infrared queries in a visible gallery; vis2ir: the reverse; vis2ir_released: what released LLCM "
    "scripts call VIS to IR, sampled infrared queries among all visible images; both: the first two"
)


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """Every option of `python -m eval`. Field names are the flags."""

    checkpoint: tuple[str, ...] | None = option(None, f"one or several: {SOURCE_HELP}")
    dataset: str = option(
        "synthetic", "data set whose test split is evaluated; your own: module:function", Names()
    )
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    test_seed: int = option(0, "synthetic test identities: 0 the published ones, N fresh ones")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    direction: str = option("ir2vis", _DIRECTION_HELP, (*DIRECTIONS, "both"))
    mode: str = option("all", "all-search, indoor-search (SYSU-MM01 rules), or both", (*MODES, "both"))
    shots: tuple[int, ...] = option((1,), "gallery images per identity and camera, 1 or 10, or both: 1 10")
    gallery: str = option("seeded", "draw of the gallery: seeded, or by SYSU-MM01's official file", GALLERIES)
    splits: str | None = option(None, "folder with rand_perm_cam.mat (default: DATA_ROOT/exp)")
    trials: int = option(10, "number of gallery draws that are averaged")
    trial: str = option(
        "1", 'RegDB split 1 to 10, or "all" with {trial} in --checkpoint: one model per split'
    )
    cmc_level: str | None = option(
        None,
        "CMC by the rank of the right identity, or of the first right image (default: as usual)",
        CMC_LEVELS,
    )
    feature: str = option("after", "features after or before the neck", FEATURES)
    flip: bool = option(False, "average the features of an image and its mirror image")
    distance: str = option("cosine", "how features are compared", DISTANCES)
    rerank: str | None = option(None, RERANK_HELP, VARIANTS, bare="paper")
    imagenet: str | None = option(
        None, "also report ImageNet features of the grey images, from this file of `python -m train imagenet`"
    )
    corruptions: int | None = option(
        None, "add metrics on corrupted test images, mean of so many draws (alone: 1)", bare=1
    )
    batch_size: int = option(64, "images per forward pass")
    bf16: bool = option(False, "compute in bfloat16: faster, a little coarser")
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    cache: str | None = option(None, "folder where features are kept by checkpoint and data")
    cache_dir: str | None = option(None, "folder where rendered and resized images are kept")
    on_bad: str = option(
        "error", "image files that cannot be read: stop, or leave them out", ("error", "skip")
    )
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    json: str | None = option(
        None, 'write the metrics here; of several settings or checkpoints a list, "settings"'
    )
    per_query: str | None = option(None, "write AP and rank of every query and trial to this .npz file")
    output: str | None = option(None, "folder for figures: CMC curve, ranking strips, modality gap")

    def __post_init__(self) -> None:
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"--checkpoint names one twice: {' '.join(map(str, self.sources))}")
        if self.output and len(self.sources) > 1:
            raise ValueError("--output draws one checkpoint: give one --checkpoint, or leave --output out")
        if self.corruptions is not None and self.corruptions < 1:
            raise ValueError(f"--corruptions must be at least 1, not {self.corruptions}")
        if self.per_query and not self.per_query.endswith(".npz"):
            raise ValueError(f"--per-query writes a .npz file, not {self.per_query}")

    @property
    def sources(self) -> tuple[str | None, ...]:
        """The checkpoints; None stands for the shipped one."""
        return self.checkpoint or (None,)

    def protocol_settings(self, protocol: str) -> list[Setting]:
        """A `Setting` for each mode, number of shots and direction.

        Raises ValueError for a combination that the data set's protocol does not have.
        """
        directions = BOTH if self.direction == "both" else (self.direction,)
        modes = MODES if self.mode == "both" else (self.mode,)
        rest = (self.gallery, self.trials, self.cmc_level)
        return [
            Setting(protocol, direction, mode, shots, *rest)
            for mode in modes
            for shots in dict.fromkeys(self.shots)
            for direction in directions
        ]

    def extraction(self) -> Extraction:
        """How features are made. Raises ValueError for an impossible option."""
        cache = Path(self.cache) if self.cache else None
        return Extraction(self.feature, self.flip, self.batch_size, self.bf16, cache, progress=True)
