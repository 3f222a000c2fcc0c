"""Settings of a translator's training: a frozen dataclass, whose fields are the flags and the entries of YAML files."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from mtrl.console import cli
from mtrl.console.cli import option
from mtrl.data.sources import find_source
from mtrl.translate.learned import LearnedConfig
from train.presets import resolve
from train.run.settings import RunSettings

_WEIGHTS = ("adversarial", "contrast", "structure", "identity", "match", "truth")


@dataclasses.dataclass(frozen=True)
class TranslatorSettings(RunSettings):
    """Every option of `python -m train translator`: those of `RunSettings` and these. Field names are the flags."""

    tunable: ClassVar[frozenset[str]] = frozenset({"epochs", "lr", "sheet_every"})
    unchanging: ClassVar[tuple[str, ...]] = (
        *RunSettings.unchanging,
        "paired",
        "match",
        "matches",
        "batch_size",
    )
    positive: ClassVar[tuple[str, ...]] = (*RunSettings.positive, "batch_size", "samples", "matches")
    not_negative: ClassVar[tuple[str, ...]] = (*RunSettings.not_negative, "sheet_every", *_WEIGHTS)

    trial: str = option("1", "RegDB split, 1 to 10")
    output: str | None = option(None, "run folder (default: runs/translator-DATASET-seedN)")
    width: int = option(24, "channels of the network at full resolution")
    deep: int = option(128, "channels at stride 8")
    blocks: int = option(4, "residual blocks at stride 8")

    paired: bool = option(False, "learn from true infrared views of the same instant (synthetic data only)")
    adversarial: float = option(1.0, "weight of the adversarial loss")
    contrast: float = option(0.25, "weight of the patch contrast")
    structure: float = option(0.0, "weight of the structure term")
    identity: float = option(0.0, "weight of the identity term on real infrared images")
    match: float = option(
        20.0, "weight of the distance to infrared images of similar outlines, without --paired"
    )
    matches: int = option(
        8, "how many infrared images of a similar outline each visible one has, for --match"
    )
    truth: float = option(20.0, "weight of the distance to the true infrared image, with --paired")
    samples: int = option(64, "places per image and stage in the patch contrast")

    epochs: int = option(20, "passes over the visible images")
    batch_size: int = option(16, "visible images per step, and as many infrared ones")
    batches: int = option(0, "most steps per epoch; 0 for one pass over the visible images")
    lr: float = option(4e-4, "learning rate of Adam; constant, then falling to zero over the second half")
    ema: float = option(0.995, "decay of the moving average of the weights that is kept")

    hold_out: int = option(0, "last training identities, kept for samples and for choosing between runs")
    sheet_every: int = option(1, "epochs between sheets of samples; 0 for none")

    def __post_init__(self) -> None:
        if self.trial == "all":
            raise ValueError("a translator learns from one split: --trial 1 to 10")
        super().__post_init__()
        if min(self.image_size) < 16 or max(self.image_size) > 2048:
            raise ValueError(f"image_size is a height and a width of 16 to 2048, not {self.image_size}")
        if self.paired and self.dataset != "synthetic":
            raise ValueError(f"{self.dataset} has no pixel-aligned pairs: --paired is for synthetic data")
        self.network()

    def network(self) -> LearnedConfig:
        """The configuration of the translator's network. Raises ValueError for impossible sizes."""
        return LearnedConfig(self.width, self.deep, self.blocks, self.image_size[0])

    def fixed(self) -> dict[str, Any]:
        """As `RunSettings.fixed`; runs without similar outlines, which earlier versions began too, name none."""
        unused = {} if self.match and not self.paired else {"match": None, "matches": None}
        return super().fixed() | unused

    @property
    def run_folder(self) -> str:
        """The folder of this run."""
        return self.output or f"runs/translator-{self.data_folder}-seed{self.seed}"

    def terms(self) -> dict[str, float]:
        """{name of a loss term: its weight}."""
        left_out = "match" if self.paired else "truth"
        return {name: getattr(self, name) for name in _WEIGHTS if name != left_out}

    def record(self) -> dict[str, Any]:
        """A description of the training for reports: data set, and the weights of the loss terms."""
        chosen = find_source(self.dataset).chosen(self.size, self.spectrum)
        return {"dataset": self.dataset, **chosen, "paired": self.paired, "terms": self.terms()}


def parse(argv: Sequence[str]) -> TranslatorSettings:
    """Settings from a command line. Flags win over --config, and that over the data set's preset.

    Prints a note about settings of the preset that the file overrides.
    """
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
