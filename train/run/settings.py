"""The options of every training, `RunSettings`: those of the model and of translators add to them."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from mtrl.console.cli import option
from mtrl.data.sources import Names, trainable
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP


@dataclasses.dataclass(frozen=True)
class RunSettings(abc.ABC):
    """The options of every training: data set, run folder, seed, device. Field names are the flags.

    free          options that may differ between two commands of the same run: where and how fast it is computed
    tunable       options that a resumed run may change: its length, and what helps one that diverged
    unchanging    options that must stay the same when a run is resumed, since its batches follow from them
    positive, not_negative  numbers of at least 1, and of at least 0
    """

    free: ClassVar[frozenset[str]] = frozenset(
        {
            "output",
            "resume",
            "push",
            "private",
            "device",
            "precision",
            "compile",
            "cache_dir",
            "data_root",
            "log_every",
        }
    )
    tunable: ClassVar[frozenset[str]] = frozenset()
    unchanging: ClassVar[tuple[str, ...]] = (
        "dataset", "size", "data_seed", "spectrum", "trial", "train_ids", "hold_out", "image_size", "value_range",
        "seed", "batches",
    )  # fmt: skip
    positive: ClassVar[tuple[str, ...]] = ("epochs", "log_every")
    not_negative: ClassVar[tuple[str, ...]] = ("data_seed", "seed", "hold_out", "batches", "lr")

    dataset: str = option("synthetic", "data set to train on; one of your own as module:function", Names())
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    data_seed: int = option(0, "seed of the synthetic training identities")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    trial: str = option(
        "1",
        'RegDB split 1 to 10, or "all": ten models, with {trial} in --output and in what they start from',
    )
    train_ids: str = option(
        "395",
        "SYSU-MM01 training identities: 395, or 296 with the other 99 for model selection",
        ("395", "296"),
    )
    on_bad: str = option(
        "error", "image files that cannot be read: stop, or leave them out", ("error", "skip")
    )
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    output: str | None = option(None, "run folder (default: runs/DATASET-METHOD-seedN)")
    resume: bool = option(False, "continue the run in --output from its last saved state")
    seed: int = option(0, "seed of weights, sampling and augmentation")
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    precision: str = option("auto", "arithmetic of the forward pass", ("auto", "bf16", "fp32"))
    image_size: tuple[int, ...] = option((288, 144), "height and width in pixels")
    hold_out: int = option(0, "training identities kept for model selection, never trained on")
    epochs: int = option(80, "passes over the training images")
    batches: int = option(0, "most batches per epoch; 0 for one pass over the visible images")
    lr: float = option(3.5e-4, "peak learning rate of the head; the backbone's is lr x backbone_lr")
    ema: float = option(0.0, "decay of an exponential moving average of the weights; 0 for none")
    pad: int = option(10, "pixels of padding before the random crop")
    flip: float = option(0.5, "probability of a horizontal flip")
    log_every: int = option(20, "steps between log records")

    def __post_init__(self) -> None:
        for name in self.positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in self.not_negative:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if len(self.image_size) != 2:
            raise ValueError(f"image_size is a height and a width, not {self.image_size}")
        splits = trainable(self.dataset).splits
        if self.trial != "1" and not splits:
            raise ValueError(f"trial is a split of RegDB; {self.dataset} has none")
        if self.train_ids != "395" and self.dataset != "sysu":
            raise ValueError(f"train_ids are a choice of SYSU-MM01's identities; {self.dataset} has none")
        if self.trial not in ("all", *map(str, splits or (1,))):
            raise ValueError(f'trial must be 1 to {len(splits)} or "all", not {self.trial!r}')
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), not {self.ema}")

    @property
    def data_folder(self) -> str:
        """The data set as part of a folder's name, e.g. "synthetic-thermal"; without the colon of `module:function`."""
        return self.dataset.replace(":", "-") + f"-{self.spectrum}" * (self.spectrum != "nir")

    @property
    @abc.abstractmethod
    def run_folder(self) -> str:
        """The folder of this run."""

    @abc.abstractmethod
    def record(self) -> dict[str, Any]:
        """What is trained, for reports."""

    def fixed(self) -> dict[str, Any]:
        """The values of `unchanging`, as JSON gives them back."""
        values = {name: getattr(self, name) for name in self.unchanging}
        values["spectrum"] = (
            None if self.spectrum == "nir" else self.spectrum
        )  # as runs before this choice have it
        return {name: list(v) or None if isinstance(v, tuple) else v for name, v in values.items()}

    def yaml(self) -> str:
        """The settings as a file for --config. `output` is null where none was given."""
        import yaml

        values = dataclasses.asdict(self) | {"resume": False}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return yaml.safe_dump(plain, sort_keys=False)
