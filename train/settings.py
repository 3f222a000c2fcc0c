"""Settings of a training run: frozen dataclasses, from which flags, YAML files and the run folder's record follow.

`python -m train settings`, with the options of a training, prints what they come to.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mtrl.console import cli
from mtrl.console.cli import Given, json_object, option
from mtrl.console.own_part import is_own
from mtrl.data.augment import CHANNEL_MODES
from mtrl.data.sources import find_source
from mtrl.losses.own import RESERVED
from mtrl.losses.terms import TERMS, weight_fields
from mtrl.models.backbone import default_config
from mtrl.models.config import POOLINGS, STEMS, ModelConfig
from mtrl.models.pretrained import WeightsOrigin, read_origin
from mtrl.translate import TRANSLATORS, quoted
from train.presets import METHODS, listed, resolve
from train.run.settings import RunSettings

COMPILE = ("auto", "on", "off")


@dataclasses.dataclass(frozen=True)
@weight_fields(before="temperature", field=lambda term: option(term.weight, term.help))
class TrainSettings(RunSettings):
    """Every option of `python -m train`: those of every training, these, and a weight per entry of `TERMS`."""

    free: ClassVar[frozenset[str]] = RunSettings.free | {"grad_checkpointing", "save_every", "test_every"}
    tunable: ClassVar[frozenset[str]] = frozenset(
        {"epochs", "lr", "backbone_lr", "layer_decay", "weight_decay", "schedule", "lr_warmup", "lr_steps", "clip",
         "warmup_epochs", "ramp_epochs", "on_nonfinite", "eval_every", "sync_bn"}
    )  # fmt: skip
    unchanging: ClassVar[tuple[str, ...]] = (
        *RunSettings.unchanging, "identities", "instances", "infrared_images",
    )  # fmt: skip
    positive: ClassVar[tuple[str, ...]] = (*RunSettings.positive, "identities", "instances")
    not_negative: ClassVar[tuple[str, ...]] = (
        *RunSettings.not_negative, "eval_every", "backbone_lr", "weight_decay", "clip", "lr_warmup", "warmup_epochs",
        "ramp_epochs", "freeze_blocks", "patch_stride", "grey_epochs", "save_every", "test_every",
    )  # fmt: skip

    push: str | None = option(None, "after training publish the model, with its test metrics, as this Hub id")
    private: bool = option(False, "make a new repository of --push private")
    compile: str = option("auto", "torch.compile: auto is on for long runs on a GPU, off on a CPU", COMPILE)
    sync_bn: bool = option(False, "several processes with GPUs: batch normalisation over the whole batch")

    method: str = option("mtrl", "which terms are added to the baseline", tuple(METHODS))
    translator: str = option(
        "luminance", f"transition images: {quoted(TRANSLATORS)}, a folder, a Hub id, or module:Class"
    )
    transitions: str | None = option(
        None,
        "transition images already made: a folder with one for each visible training image, at the same path; or "
        '"drawn": of the synthetic data set, the true infrared views',
    )
    transition: bool = option(True, "show the transition images to the network")
    temperature: float = option(0.1, "temperature of the contrastive terms")
    query_temperature: float = option(0.1, "temperature of the modality-query regularisation")
    query_teacher: str = option(
        "better", "transitions that teach there: the better ones, or all", ("better", "all")
    )
    margin: float = option(
        0.3,
        "margin of the centre loss, of the hetero-centre triplet, and of the margin form; cpm has its own",
    )
    hop1: str = option("instance", "positives of the visible-transition hop", ("instance", "identity"))
    mtc_form: str = option("infonce", "form of each hop", ("infonce", "margin"))
    smoothing: float = option(0.1, "label smoothing of the identity loss")
    loss: tuple[str, ...] = option(
        (), "losses of your own, module:callable or module:callable=WEIGHT; may be given again", repeat=True
    )
    distil: str | None = option(
        None,
        "a teacher, as --checkpoint of eval: the similarities that it finds in a batch are learned too",
    )
    distil_weight: float = option(1.0, "weight of learning the teacher's similarities")
    triplet: float = option(1.0, "weight of the weighted regularised triplet")
    triplet_feature: str = option("embedding", "feature of the triplet", ("embedding", "pooled"))

    triplet_form: str = option("weighted", "weighted, as AGW, or squared, as CAJ", ("weighted", "squared"))

    backbone: str = option("resnet50", "timm model name")
    backbone_args: str = option(
        "{}", 'further timm arguments as JSON, e.g. {"channels": [32, 64, 128, 256]}', kind=json_object
    )
    stem: str = option(
        "shared", "one stem, one per modality (dual), or one and a modality embedding in training", STEMS
    )
    pooling: str = option("auto", "pooling; auto: the one that suits the backbone", POOLINGS)
    last_stride: int = option(1, "stride of a ResNet's last stage")
    patch_stride: int = option(
        0,
        "pixels between the patches of a vision transformer; below the patch size they overlap; 0: beside each other",
    )
    freeze_blocks: int = option(0, "first blocks of the backbone that are not trained, with all before them")
    grad_checkpointing: bool = option(False, "compute activations twice instead of keeping them: less memory")
    pretrained: bool | str = option(
        True, "start from timm's ImageNet weights, or from a local .safetensors or .pth file of them"
    )
    init: str | None = option(
        None, "start from a checkpoint instead, as --checkpoint of eval; its classifier is left out"
    )

    identities: int = option(8, "P: identities in a batch")
    instances: int = option(4, "K: images per identity and modality in a batch")
    infrared_images: int | None = option(None, "most infrared images of each identity that are trained on")
    optimizer: str = option("adamw", "optimiser", ("adamw", "sgd"))
    backbone_lr: float = option(1.0, "factor of the backbone's learning rate")
    layer_decay: float = option(
        1.0, "factor of the learning rate from each layer of the backbone to the one before"
    )
    weight_decay: float = option(5e-4, "weight decay (not on biases, norms and tokens of position and class)")
    schedule: str = option("cosine", "learning rate after the warm-up", ("cosine", "step"))
    lr_warmup: float = option(1.0, "epochs of linear learning-rate warm-up")
    lr_steps: tuple[int, ...] = option((20, 50), "epochs at which the step schedule divides by ten")
    grey_epochs: int = option(0, "first epochs with visible images in grey (PMT's first stage)")
    warmup_epochs: float = option(0.0, "first epochs on cross-entropy alone (and a teacher), without erasing")
    ramp_epochs: float = option(2.0, "epochs over which the added terms grow to full weight")
    clip: float = option(0.0, "largest gradient norm; 0 for no limit")

    erase: float = option(0.5, "probability of random erasing")
    erase_area: tuple[float, ...] = option((0.02, 0.4), "smallest and largest erased share of the image")
    channel: str = option("none", "channel augmentation of visible images", CHANNEL_MODES)
    jitter: float = option(0.0, "strength of brightness and contrast jitter, all images")
    noise: float = option(0.0, "largest standard deviation of grey noise, all images")

    on_nonfinite: str = option("stop", "stop at a loss that is not finite, or skip it", ("stop", "skip"))
    save_every: int = option(0, "epochs between models kept in RUN/epochs, besides the best one; 0 for none")
    test_every: int = option(
        0, "epochs between looks at the test set, recorded as such; they never choose the model; 0 for none"
    )
    eval_every: int = option(1, "epochs between evaluations on the held-out identities; 0 for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trial != "all" and find_source(self.dataset).splits:
            for name in ("init", "translator"):  # {trial} in a name stands for the split
                if value := getattr(self, name):
                    object.__setattr__(self, name, value.replace("{trial}", self.trial))
        if self.transitions and not self.transition:
            raise ValueError(
                "transitions are given, but not shown: add --transition, or leave --transitions out"
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be in (0, 1], not {self.layer_decay}")
        if self.distil is None and self.distil_weight != 1.0:
            raise ValueError("distil_weight is given without a teacher: add --distil")
        if self.distil is not None and not 0 < self.distil_weight < math.inf:
            raise ValueError(
                f"distil_weight must be positive, not {self.distil_weight}: or leave --distil out"
            )
        names = [own_weight(entry)[0].partition(":")[2] for entry in self.loss]
        if taken := sorted({name for name in names if name in RESERVED or names.count(name) > 1}):
            raise ValueError(f"--loss: the name {taken[0]} is taken: give your loss another one")
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
        images = (self.transitions or self.translator) if self.transition else "none"
        own = dict(own_weight(entry) for entry in self.loss)
        taught = {"distil": self.distil_weight, "teacher": self.teacher} if self.distil else {}
        return {"transition": images, **{name: getattr(self, name) for name in TERMS}, **own, **taught}

    def record(self) -> dict[str, Any]:
        """What is trained, for reports: data set, method, and the weights that its terms really have."""
        source = find_source(self.dataset)
        split = {"trial": self.trial} if source.splits else {}
        chosen = source.chosen(self.size, self.spectrum) | split
        return {"dataset": self.dataset, **chosen, "method": self.method, "terms": self.terms()}

    @property
    def teacher(self) -> str | None:
        """The teacher's run folder or Hub id; for RegDB {trial} stands for the split."""
        return self.distil.replace("{trial}", self.trial) if self.distil else None

    @property
    def run_folder(self) -> str:
        """The folder of this run; for RegDB {trial} stands for the split."""
        split = bool(find_source(self.dataset).splits)
        usual = f"runs/{self.data_folder}-{self.method}-seed{self.seed}" + "-trial{trial}" * split
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
        if self.distil and "{trial}" not in self.distil:
            raise ValueError(
                "--trial all trains on ten splits, and a teacher of one has seen test identities of others: write "
                "{trial} in --distil"
            )
        each = [dataclasses.replace(self, trial=str(number)) for number in find_source(self.dataset).splits]
        begun = [(Path(run.run_folder) / "last" / "state.safetensors").is_file() for run in each]
        return [
            dataclasses.replace(run, resume=self.resume and there)
            for run, there in zip(each, begun, strict=True)
        ]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the data set that the training reads."""
        return ("train", "test") if self.test_every else ("train",)

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
            patch_stride=self.patch_stride,
            backbone_args=arguments,
            num_identities=num_identities,
        )
        if not self.pretrained:
            return config
        known = default_config(self.backbone, config.image_size)  # what timm's weights were trained with
        own = read_origin(self.pretrained) if isinstance(self.pretrained, str) else WeightsOrigin()
        return dataclasses.replace(config, mean=own.mean or known.mean, std=own.std or known.std)


def own_weight(entry: str) -> tuple[str, float]:
    """`module:callable=0.5` -> ("module:callable", 0.5); the weight is 1 where there is none. Raises ValueError."""
    name, given, weight = entry.partition("=")
    if not is_own(name):
        raise ValueError(f"--loss is written module:callable or module:callable=WEIGHT, not {entry!r}")
    try:
        value = float(weight) if given else 1.0
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"--loss {entry}: the weight must be a positive number, not {weight!r}")
    return name, value


def main(argv: Sequence[str]) -> int:
    """Prints every setting that a training with these options would have, as a file for --config."""
    does = (
        "Prints all settings of a training with these options, as a YAML file for --config. Trains nothing."
    )
    print(parse(argv, "python -m train settings", does).yaml(), end="")
    return 0


def parse(
    argv: Sequence[str],
    program: str = "python -m train",
    description: str = "Trains a visible-infrared re-identification model. Writes a run folder that load_pretrained "
    'reads. --dataset, --size and --method change the defaults: "python -m train settings", with the same options, '
    "prints what holds.",
    epilog: str = "",
) -> TrainSettings:
    """Settings from the preset of the data set and method, then --config, then flags; says what a name overrides.

    description, epilog  what the help says at its start and at its end
    """
    parser = argparse.ArgumentParser(program, description=description, epilog=epilog)
    cli.add_flags(parser, TrainSettings)
    settings, notes = settle(cli.given(parser, argv))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return settings


def settle(found: Given) -> tuple[TrainSettings, list[str]]:
    """Settings of what was given, and lines about entries of a file that a name on the command line overrides."""
    values, notes = resolve(found, "training", dataclasses.asdict(TrainSettings()), METHODS)
    return cli.build(TrainSettings, values), notes
