"""Settings of a training run: frozen dataclasses, from which flags, YAML files and the run folder's record follow."""

from __future__ import annotations

import abc
import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mtrl.console import cli
from mtrl.console.cli import Given, json_object, option
from mtrl.data.augment import CHANNEL_MODES
from mtrl.data.sources import SOURCES, find_source, trainable
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP
from mtrl.losses.terms import TERMS, weight_fields
from mtrl.models.backbone import default_config
from mtrl.models.config import POOLINGS, STEMS, ModelConfig
from mtrl.models.pretrained import WeightsOrigin, read_origin
from mtrl.translate import TRANSLATORS, quoted
from train.presets import METHODS, listed, resolve

COMPILE = ("auto", "on", "off")


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

    dataset: str = option("synthetic", "data set to train on", SOURCES)
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    data_seed: int = option(0, "seed of the synthetic training identities")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    trial: str = option("1", 'RegDB split 1 to 10, or "all": ten models with {trial} in the name of --output')
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
        """The settings as a file for --config."""
        import yaml

        values = dataclasses.asdict(self) | {"output": self.run_folder, "resume": False}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return yaml.safe_dump(plain, sort_keys=False)


@dataclasses.dataclass(frozen=True)
@weight_fields(before="temperature", field=lambda term: option(term.weight, term.help))
class TrainSettings(RunSettings):
    """Every option of `python -m train`: those of every training, these, and a weight per entry of `TERMS`."""

    tunable: ClassVar[frozenset[str]] = frozenset(
        {"epochs", "lr", "backbone_lr", "weight_decay", "schedule", "lr_warmup", "lr_steps", "clip", "warmup_epochs",
         "ramp_epochs", "on_nonfinite", "eval_every", "on_bad", "sync_bn"}
    )  # fmt: skip
    unchanging: ClassVar[tuple[str, ...]] = (
        *RunSettings.unchanging, "identities", "instances", "infrared_images",
    )  # fmt: skip
    positive: ClassVar[tuple[str, ...]] = (*RunSettings.positive, "identities", "instances")
    not_negative: ClassVar[tuple[str, ...]] = (
        *RunSettings.not_negative, "eval_every", "backbone_lr", "weight_decay", "clip", "lr_warmup", "warmup_epochs",
        "ramp_epochs",
    )  # fmt: skip

    push: str | None = option(None, "after training publish the model, with its test metrics, as this Hub id")
    private: bool = option(False, "make a new repository of --push private")
    compile: str = option("auto", "torch.compile: auto is on for long runs on a GPU, off on a CPU", COMPILE)
    sync_bn: bool = option(False, "several processes with GPUs: batch normalisation over the whole batch")

    method: str = option("mtrl", "which terms are added to the baseline", tuple(METHODS))
    translator: str = option("luminance", f"transition images: {quoted(TRANSLATORS)}, a folder or a Hub id")
    transition: bool = option(True, "show the transition images to the network")
    temperature: float = option(0.1, "temperature of the contrastive terms")
    query_temperature: float = option(0.1, "temperature of the modality-query regularisation")
    query_teacher: str = option(
        "better", "transitions that teach there: the better ones, or all", ("better", "all")
    )
    margin: float = option(0.3, "margin of the centre loss and of the margin form")
    hop1: str = option("instance", "positives of the visible-transition hop", ("instance", "identity"))
    mtc_form: str = option("infonce", "form of each hop", ("infonce", "margin"))
    smoothing: float = option(0.1, "label smoothing of the identity loss")
    triplet: float = option(1.0, "weight of the weighted regularised triplet")
    triplet_feature: str = option("embedding", "feature of the triplet", ("embedding", "pooled"))

    backbone: str = option("resnet50", "timm model name")
    backbone_args: str = option(
        "{}", 'further timm arguments as JSON, e.g. {"channels": [32, 64, 128, 256]}', kind=json_object
    )
    stem: str = option("shared", "one stem, or one per modality", STEMS)
    pooling: str = option("auto", "pooling; auto: the one that suits the backbone", POOLINGS)
    last_stride: int = option(1, "stride of a ResNet's last stage")
    pretrained: bool | str = option(
        True, "start from timm's ImageNet weights, or from a local .safetensors or .pth file of them"
    )

    identities: int = option(8, "P: identities in a batch")
    instances: int = option(4, "K: images per identity and modality in a batch")
    infrared_images: int | None = option(None, "most infrared images of each identity that are trained on")
    optimizer: str = option("adamw", "optimiser", ("adamw", "sgd"))
    backbone_lr: float = option(1.0, "factor of the backbone's learning rate")
    weight_decay: float = option(5e-4, "weight decay (not on biases, norms and tokens of position and class)")
    schedule: str = option("cosine", "learning rate after the warm-up", ("cosine", "step"))
    lr_warmup: float = option(1.0, "epochs of linear learning-rate warm-up")
    lr_steps: tuple[int, ...] = option((20, 50), "epochs at which the step schedule divides by ten")
    warmup_epochs: float = option(0.0, "first epochs on cross-entropy alone, without erasing")
    ramp_epochs: float = option(2.0, "epochs over which the added terms grow to full weight")
    clip: float = option(0.0, "largest gradient norm; 0 for no limit")

    erase: float = option(0.5, "probability of random erasing")
    erase_area: tuple[float, ...] = option((0.02, 0.4), "smallest and largest erased share of the image")
    channel: str = option("none", "channel augmentation of visible images", CHANNEL_MODES)
    jitter: float = option(0.0, "strength of brightness and contrast jitter, all images")
    noise: float = option(0.0, "largest standard deviation of grey noise, all images")

    on_nonfinite: str = option("stop", "stop at a loss that is not finite, or skip it", ("stop", "skip"))
    eval_every: int = option(1, "epochs between evaluations on the held-out identities; 0 for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.erase_area) != 2:
            raise ValueError(f"erase_area is a smallest and a largest share, not {self.erase_area}")
        compared = [
            (name, getattr(self, name))
            for name, term in TERMS.items()
            if term.transition and getattr(self, name)
        ]
        if compared and not self.transition:
            raise ValueError(
                f"{listed(compared)} compare transition images, but there are none: add --transition, or set them to 0"
            )

    def terms(self) -> dict[str, Any]:
        """The weights that hold, in words that a record can keep: of the added terms, and which images they see."""
        images = self.translator if self.transition else "none"
        return {"transition": images, **{name: getattr(self, name) for name in TERMS}}

    def record(self) -> dict[str, Any]:
        """What is trained, for reports: data set, method, and the weights that its terms really have."""
        chosen = find_source(self.dataset).chosen(self.size, self.spectrum)
        return {"dataset": self.dataset, **chosen, "method": self.method, "terms": self.terms()}

    @property
    def run_folder(self) -> str:
        """The folder of this run; for RegDB {trial} stands for the split."""
        split = bool(find_source(self.dataset).splits)
        drawn = "" if self.spectrum == "nir" else f"-{self.spectrum}"
        usual = f"runs/{self.dataset}{drawn}-{self.method}-seed{self.seed}" + "-trial{trial}" * split
        name = self.output or usual
        return name.replace("{trial}", self.trial) if split else name

    def runs(self) -> list[TrainSettings]:
        """One run, or RegDB's ten. With `resume`, those of the ten that have not begun begin."""
        if self.trial != "all":
            return [self]
        if self.output and "{trial}" not in self.output:
            raise ValueError(
                "--trial all trains ten models: write {trial} in --output, e.g. 'runs/regdb-{trial}'"
            )
        each = [dataclasses.replace(self, trial=str(number)) for number in find_source(self.dataset).splits]
        begun = [(Path(run.run_folder) / "last" / "state.safetensors").is_file() for run in each]
        return [
            dataclasses.replace(run, resume=self.resume and there)
            for run, there in zip(each, begun, strict=True)
        ]

    def model_config(self, num_identities: int) -> ModelConfig:
        try:
            arguments = json.loads(self.backbone_args)
        except json.JSONDecodeError as error:
            raise ValueError(f"backbone_args must be JSON: {error}") from error
        height, width = self.image_size
        config = ModelConfig(
            backbone=self.backbone,
            image_size=(height, width),
            stem=self.stem,
            pooling=self.pooling,
            last_stride=self.last_stride,
            backbone_args=arguments,
            num_identities=num_identities,
        )
        if not self.pretrained:
            return config
        known = default_config(self.backbone, config.image_size)  # what timm's weights were trained with
        own = read_origin(self.pretrained) if isinstance(self.pretrained, str) else WeightsOrigin()
        return dataclasses.replace(config, mean=own.mean or known.mean, std=own.std or known.std)


def parse(argv: Sequence[str], program: str = "python -m train") -> TrainSettings:
    """Settings from the preset of the data set and method, then --config, then flags; says what a name overrides."""
    parser = _parser(program)
    cli.add_flags(parser, TrainSettings)
    settings, notes = settle(cli.given(parser, argv))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return settings


def settle(found: Given) -> tuple[TrainSettings, list[str]]:
    """Settings of what was given, and lines about entries of a file that a name on the command line overrides."""
    values, notes = resolve(found, "training", dataclasses.asdict(TrainSettings()), METHODS)
    return cli.build(TrainSettings, values), notes


def _parser(program: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        program,
        description="Trains a visible-infrared re-identification model. Writes a run folder that "
        "load_pretrained reads. Defaults depend on --dataset, --size and --method.",
    )
