"""What a training run of a translator is: one frozen record, from which its flags and YAML are made."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from mtrl.console import cli
from mtrl.console.cli import option
from mtrl.data.sources import SOURCES, find_source
from mtrl.data.synthetic import SIZES
from mtrl.files.levels import RANGE_HELP
from mtrl.translate.learned import LearnedConfig
from train.presets import resolve
from train.settings import OF_DATA, TrainSettings

DATA_FIELDS = (*OF_DATA, "data_root", "cache_dir", "on_bad")
# What a run may go on with in another value: its length, its pace and what it shows.
TUNABLE = frozenset({"epochs", "lr", "sheet_every", "on_bad"})
_WEIGHTS = ("adversarial", "contrast", "structure", "identity", "truth")
_NOT_NEGATIVE = ("hold_out", "seed", "data_seed", "batches", "sheet_every", "lr", *_WEIGHTS)


@dataclasses.dataclass(frozen=True)
class TranslatorSettings:
    """Every option of `python -m train translator`. Field names are the flags."""

    dataset: str = option("synthetic", "data set whose training split is used", SOURCES)
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    data_seed: int = option(0, "seed of the synthetic training identities")
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    trial: str = option("1", "RegDB split, 1 to 10")
    train_ids: str = option("395", "SYSU-MM01 training identities", ("395", "296"))
    on_bad: str = option(
        "error", "image files that cannot be read: stop, or leave them out", ("error", "skip")
    )
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    output: str | None = option(None, "run folder (default: runs/translator-DATASET-seedN)")
    resume: bool = option(False, "continue the run in --output from its last saved state")
    seed: int = option(0, "seed of weights, sampling and augmentation")
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    precision: str = option("auto", "arithmetic of the forward pass", ("auto", "bf16", "fp32"))

    image_size: tuple[int, ...] = option((288, 144), "height and width in pixels")
    width: int = option(24, "channels of the network at full resolution")
    deep: int = option(128, "channels at stride 8")
    blocks: int = option(4, "residual blocks at stride 8")

    paired: bool = option(False, "learn from true infrared views of the same instant (synthetic data only)")
    adversarial: float = option(2.0, "weight of the adversarial loss")
    contrast: float = option(0.5, "weight of the patch contrast")
    structure: float = option(0.5, "weight of the structure term")
    identity: float = option(5.0, "weight of the identity term on real infrared images")
    truth: float = option(20.0, "weight of the distance to the true infrared image, with --paired")
    samples: int = option(64, "places per image and stage in the patch contrast")

    epochs: int = option(20, "passes over the visible images")
    batch_size: int = option(16, "visible images per step, and as many infrared ones")
    batches: int = option(0, "most steps per epoch; 0 for one pass over the visible images")
    lr: float = option(4e-4, "learning rate of Adam; constant, then falling to zero over the second half")
    ema: float = option(0.995, "decay of the moving average of the weights that is kept")
    pad: int = option(10, "pixels of padding before the random crop")
    flip: float = option(0.5, "probability of a horizontal flip")

    hold_out: int = option(0, "last training identities, kept for samples and for choosing between runs")
    sheet_every: int = option(1, "epochs between sheets of samples; 0 for none")
    log_every: int = option(20, "steps between log records")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "log_every", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise ValueError(f"image_size is a height and a width of at least 16, not {self.image_size}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), not {self.ema}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.paired and self.dataset != "synthetic":
            raise ValueError(f"{self.dataset} has no pixel-aligned pairs: --paired is for synthetic data")
        if self.trial == "all":
            raise ValueError("a translator learns from one split: --trial 1 to 10")
        self.network()
        self.data()

    def network(self) -> LearnedConfig:
        """Raises ValueError for impossible sizes."""
        return LearnedConfig(self.width, self.deep, self.blocks)

    @property
    def run_folder(self) -> str:
        """The folder of this run."""
        return self.output or f"runs/translator-{self.dataset}-seed{self.seed}"

    def terms(self) -> dict[str, float]:
        """The weights of the terms of the loss."""
        return {name: getattr(self, name) for name in _WEIGHTS if self.paired or name != "truth"}

    def record(self) -> dict[str, Any]:
        """What is trained, for reports: data set, and the weights that the terms really have."""
        size = self.size if find_source(self.dataset).sizes else None
        return {"dataset": self.dataset, "size": size, "paired": self.paired, "terms": self.terms()}

    def yaml(self) -> str:
        """The settings as a file for --config."""
        import yaml

        values = dataclasses.asdict(self) | {"output": self.run_folder, "resume": False}
        return yaml.safe_dump(
            {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}, sort_keys=False
        )

    def fixed(self) -> dict[str, Any]:
        """What must be the same when a run continues, since its batches are made of it; as JSON gives it back."""
        names = (*OF_DATA, "paired", "hold_out", "seed")
        values = {name: getattr(self, name) for name in (*names, "batch_size", "batches")}
        return {
            name: list(value) or None if isinstance(value, tuple) else value for name, value in values.items()
        }

    def data(self) -> TrainSettings:
        """The same data as settings of `train.data.load`."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return TrainSettings(**{name: own[name] for name in DATA_FIELDS})


def parse(argv: Sequence[str]) -> TranslatorSettings:
    """Settings from the preset of the data set, then --config, then flags; says what a preset leaves to the file."""
    parser = _parser()
    cli.add_flags(parser, TranslatorSettings)
    values, notes = resolve(cli.given(parser, argv), "translator", dataclasses.asdict(TranslatorSettings()))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return cli.build(TranslatorSettings, values)


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        "python -m train translator",
        description="Trains a visible-to-infrared translator on the training split, without pairs unless --paired. "
        "Writes a folder that load_translator reads. Defaults depend on --dataset and --size.",
        epilog='"python -m train translator publish RUN --output DIR" writes a small copy with its card.',
    )
