"""The options of `python -m eval translators`."""

from __future__ import annotations

import dataclasses

from mtrl.console.cli import option
from mtrl.data.sources import Names, trainable
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP
from mtrl.models.load import SOURCE_HELP
from mtrl.translate import TRANSLATORS

PAIRED = "m3svd"
"""Real thermal images, aligned with visible ones, but none to train the classifier on: it sees drawn people."""


@dataclasses.dataclass(frozen=True)
class TranslatorEvalSettings:
    """Every option of `python -m eval translators`. Field names are the flags."""

    translators: tuple[str, ...] = option(tuple(TRANSLATORS), "names, folders or Hub ids")
    dataset: str = option(
        "synthetic", "data set; of m3svd the aligned pairs, with a classifier of drawn people", Names()
    )
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    data_seed: int = option(0, "synthetic training identities, on which the classifier is trained")
    test_seed: int = option(0, "synthetic test identities: 0 the published ones, N fresh ones")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    trial: int = option(1, "RegDB split, 1 to 10")
    part: str = option(
        "test",
        "identities that are translated: test, or the last --hold-out training identities",
        ("test", "held-out"),
    )
    hold_out: int = option(60, "training identities that the classifier does not see")
    image_size: tuple[int, ...] = option((128, 64), "height and width in pixels")
    checkpoint: str | None = option(
        None, f"also compare embeddings of translated and true infrared images, by this model: {SOURCE_HELP}"
    )
    limit: int = option(2000, "most images of each kind, evenly spaced")
    steps: int = option(300, "training steps of the classifier")
    seed: int = option(0, "seed of the classifier and of translators that draw at random")
    device: str = option("auto", '"auto", "cpu", "cuda", ...')
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    json: str | None = option(None, "write the metrics here")
    markdown: str | None = option(None, "write the table here")
    sheet: str | None = option(None, "write an image of samples here")

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise ValueError(f"image_size is a height and a width of at least 16, not {self.image_size}")
        if self.sheet and not self.sheet.lower().endswith((".png", ".jpg", ".jpeg")):
            raise ValueError(f"sheet must end in .png or .jpg, not {self.sheet!r}")
        if min(self.limit, self.steps, self.hold_out) < 1:
            raise ValueError("limit, steps and hold_out must be at least 1")
        if self.checkpoint and self.dataset not in ("synthetic", PAIRED):
            raise ValueError(
                f"{self.dataset} has no true infrared views to compare embeddings with: leave out --checkpoint"
            )
        if self.dataset != PAIRED:
            trainable(self.dataset)  # the classifier needs training images
        elif self.spectrum != "thermal" or self.part != "test":
            raise ValueError(
                f"{PAIRED} is thermal and has test images alone: give --spectrum thermal and no --part"
            )
