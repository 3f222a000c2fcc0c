"""What a training run is: one frozen record, from which flags, YAML and the run folder's settings are made."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl import cli
from mtrl.backbone import default_config
from mtrl.cli import option
from mtrl.config import POOLINGS, STEMS, ModelConfig
from mtrl.data.augment import CHANNEL_MODES
from mtrl.pretrained import WeightsOrigin, read_origin

DATASETS = ("synthetic", "sysu", "regdb", "llcm", "folder")
SIZES = ("tiny", "small", "large")
COMPILE = ("auto", "on", "off")
_OF_DATA = ("dataset", "size", "data_seed", "trial", "train_ids", "hold_out", "image_size")
FIXED = (*_OF_DATA, "seed", "identities", "instances", "batches")

# The added terms of a method. A baseline sees visible and infrared images only ("A") or the transition images
# too, as plain augmentation ("A'"); the direct controls carry the total weight of MTRL's own terms on one
# visible-infrared contrast, so that MTRL is compared with as much contrastive pressure, not with less; the
# single terms have the weights that they have in MTRL.
METHODS: dict[str, dict[str, Any]] = {
    "mtrl": {"transition": True, "mtc": 1.5, "center": 0.5, "mqr": 1.0, "direct": 0.0},
    "mtrl-triangle": {"transition": True, "mtc": 1.5, "center": 0.5, "mqr": 1.0, "direct": 1.5},
    "baseline": {"transition": False, "mtc": 0.0, "center": 0.0, "mqr": 0.0, "direct": 0.0},
    "augmented": {"transition": True, "mtc": 0.0, "center": 0.0, "mqr": 0.0, "direct": 0.0},
    "direct": {"transition": False, "mtc": 0.0, "center": 0.0, "mqr": 0.0, "direct": 3.0},
    "augmented-direct": {"transition": True, "mtc": 0.0, "center": 0.0, "mqr": 0.0, "direct": 3.0},
    "augmented-direct-4.5": {"transition": True, "mtc": 0.0, "center": 0.0, "mqr": 0.0, "direct": 4.5},
    "mtc": {"transition": True, "mtc": 1.5, "center": 0.0, "mqr": 0.0, "direct": 0.0},
    "center": {"transition": True, "mtc": 0.0, "center": 0.5, "mqr": 0.0, "direct": 0.0},
    "mqr": {"transition": True, "mtc": 0.0, "center": 0.0, "mqr": 1.0, "direct": 0.0},
}


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Every option of `python -m train`. Field names are the flags."""

    dataset: str = option("synthetic", "data set to train on", DATASETS)
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", SIZES)
    data_seed: int = option(0, "seed of the synthetic training identities")
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
    output: str | None = option(None, "run folder (default: runs/DATASET-METHOD-seedN)")
    resume: bool = option(False, "continue the run in --output from its last saved state")
    push: str | None = option(None, "after training publish the model, with its test figures, as this Hub id")
    private: bool = option(False, "make a new repository of --push private")
    seed: int = option(0, "seed of weights, sampling and augmentation")
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    compile: str = option("auto", "torch.compile: auto is on for long runs on a GPU, off on a CPU", COMPILE)
    sync_bn: bool = option(False, "several processes with GPUs: batch normalisation over the whole batch")
    precision: str = option("auto", "arithmetic of the forward pass", ("auto", "bf16", "fp32"))

    method: str = option("mtrl", "which terms are added to the baseline", tuple(METHODS))
    translator: str = option(
        "luminance", 'transition images: "luminance", "spectral", "learned", a folder or a Hub id'
    )
    transition: bool = option(True, "show the transition images to the network")
    mtc: float = option(1.5, "weight of the modality-transition contrastive loss")
    center: float = option(0.5, "weight of the centre loss")
    mqr: float = option(1.0, "weight of the modality-query regularisation loss")
    direct: float = option(0.0, "weight of a direct visible-infrared contrast")
    temperature: float = option(0.1, "temperature of the contrastive terms")
    query_temperature: float = option(0.1, "temperature of the modality-query regularisation")
    query_teacher: str = option(
        "better", "transitions that teach there: those that know better, or all", ("better", "all")
    )
    margin: float = option(0.3, "margin of the centre loss and of the margin form")
    hop1: str = option("instance", "positives of the visible-transition hop", ("instance", "identity"))
    mtc_form: str = option("infonce", "form of each hop", ("infonce", "margin"))
    smoothing: float = option(0.1, "label smoothing of the identity loss")
    triplet: float = option(1.0, "weight of the weighted regularised triplet")
    triplet_feature: str = option("embedding", "feature of the triplet", ("embedding", "pooled"))

    backbone: str = option("resnet50", "timm model name")
    backbone_args: str = option("{}", 'further timm arguments as JSON, e.g. {"channels": [32, 64, 128, 256]}')
    image_size: tuple[int, ...] = option((288, 144), "height and width in pixels")
    stem: str = option("shared", "one stem, or one per modality", STEMS)
    pooling: str = option("gem", "pooling", POOLINGS)
    last_stride: int = option(1, "stride of a ResNet's last stage")
    pretrained: bool | str = option(
        True, "start from timm's ImageNet weights, or from a local .safetensors or .pth file of them"
    )

    epochs: int = option(80, "passes over the training images")
    identities: int = option(8, "P: identities in a batch")
    instances: int = option(4, "K: images per identity and modality in a batch")
    optimizer: str = option("adamw", "optimiser", ("adamw", "sgd"))
    lr: float = option(3.5e-4, "peak learning rate of the head; the backbone's is lr x backbone_lr")
    backbone_lr: float = option(1.0, "factor of the backbone's learning rate")
    weight_decay: float = option(5e-4, "weight decay (not on biases and norms)")
    schedule: str = option("cosine", "learning rate after the warm-up", ("cosine", "step"))
    lr_warmup: float = option(1.0, "epochs of linear learning-rate warm-up")
    lr_steps: tuple[int, ...] = option((20, 50), "epochs at which the step schedule divides by ten")
    warmup_epochs: float = option(0.0, "first epochs on cross-entropy alone, without erasing")
    ramp_epochs: float = option(2.0, "epochs over which the added terms grow to full weight")
    clip: float = option(0.0, "largest gradient norm; 0 for no limit")
    ema: float = option(0.0, "decay of an exponential moving average of the weights; 0 for none")

    pad: int = option(10, "pixels of padding before the random crop")
    flip: float = option(0.5, "probability of a horizontal flip")
    erase: float = option(0.5, "probability of random erasing")
    erase_area: tuple[float, ...] = option((0.02, 0.4), "smallest and largest erased share of the image")
    channel: str = option("none", "channel augmentation of visible images", CHANNEL_MODES)
    jitter: float = option(0.0, "strength of brightness and contrast jitter, all images")
    noise: float = option(0.0, "largest standard deviation of grey noise, all images")

    on_nonfinite: str = option(
        "stop", "a loss or gradient that is not finite: stop, or leave its batch out", ("stop", "skip")
    )
    hold_out: int = option(0, "training identities kept for model selection, never trained on")
    eval_every: int = option(1, "epochs between evaluations on the held-out identities; 0 for none")
    log_every: int = option(20, "steps between log records")
    batches: int = option(0, "most batches per epoch; 0 for one pass over the visible images")

    def __post_init__(self) -> None:
        for name in ("identities", "instances", "epochs", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if len(self.image_size) != 2:
            raise ValueError(f"image_size is a height and a width, not {self.image_size}")
        if len(self.erase_area) != 2:
            raise ValueError(f"erase_area is a smallest and a largest share, not {self.erase_area}")
        if self.trial != "1" and self.dataset != "regdb":
            raise ValueError(f"trial is a split of RegDB; {self.dataset} has none")
        if self.trial not in ("all", *map(str, range(1, 11))):
            raise ValueError(f'trial must be 1 to 10 or "all", not {self.trial!r}')
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), not {self.ema}")

    @property
    def run_folder(self) -> str:
        """The folder of this run; for RegDB {trial} stands for the split."""
        regdb = self.dataset == "regdb"
        name = self.output or f"runs/{self.dataset}-{self.method}-seed{self.seed}" + "-trial{trial}" * regdb
        return name.replace("{trial}", self.trial) if regdb else name

    def fixed(self) -> dict[str, Any]:
        """What must be the same when a run continues, since its batches are made of it; as JSON gives it back."""
        values = {name: getattr(self, name) for name in FIXED}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def yaml(self) -> str:
        """The settings as a file for --config."""
        import yaml

        values = dataclasses.asdict(self)
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return yaml.safe_dump(plain, sort_keys=False)

    def runs(self) -> list[TrainSettings]:
        """One run, or RegDB's ten. With `resume`, those of the ten that have not begun begin."""
        if self.trial != "all":
            return [self]
        if self.output and "{trial}" not in self.output:
            raise ValueError(
                "--trial all trains ten models: write {trial} in --output, e.g. 'runs/regdb-{trial}'"
            )
        each = [dataclasses.replace(self, trial=str(number)) for number in range(1, 11)]
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


_SMALL_NETWORK = {
    "backbone": "resnet10t",
    "backbone_args": '{"channels": [32, 64, 128, 256], "stem_width": 16}',
    "pretrained": False,
    "lr": 2e-3,
    "lr_warmup": 0.5,
    "flip": 0.5,
    "erase": 0.3,
    "erase_area": (0.02, 0.2),
}

# Starting points by data set and size; any flag or YAML entry overrides them.
PRESETS: dict[str, dict[str, Any]] = {
    "synthetic-tiny": {
        **_SMALL_NETWORK,
        "backbone_args": '{"channels": [16, 32, 48, 64], "stem_width": 16}',
        "image_size": (64, 32), "pad": 2, "epochs": 10, "identities": 4, "instances": 2,
        "warmup_epochs": 1.0, "ramp_epochs": 1.0, "hold_out": 6,
    },
    "synthetic-small": {
        **_SMALL_NETWORK,
        "image_size": (128, 64), "pad": 5, "epochs": 24, "warmup_epochs": 1.0, "hold_out": 60, "eval_every": 4,
    },
    "synthetic-large": {
        **_SMALL_NETWORK,
        "backbone": "resnet18", "backbone_args": "{}",
        "image_size": (192, 96), "pad": 8, "epochs": 40, "identities": 16, "warmup_epochs": 2.0, "hold_out": 200,
        "eval_every": 4,
    },
    "sysu": {"pretrained": True, "eval_every": 2},
    "regdb": {"pretrained": True, "eval_every": 5},
    "llcm": {"pretrained": True, "eval_every": 2},
    "folder": {"pretrained": True, "eval_every": 5},
}  # fmt: skip


def parse(argv: Sequence[str], program: str = "python -m train") -> TrainSettings:
    """Settings from the preset of the data set and method, then --config, then flags."""
    first = cli.parse(TrainSettings, _parser(program), argv)
    preset = PRESETS[f"synthetic-{first.size}" if first.dataset == "synthetic" else first.dataset]
    base = dataclasses.replace(TrainSettings(), **{**preset, **METHODS[first.method]})
    return cli.parse(TrainSettings, _parser(program), argv, base)


def _parser(program: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        program,
        description="Trains a visible-infrared re-identification model. Writes a run folder that "
        "load_pretrained reads. Defaults depend on --dataset, --size and --method.",
    )
