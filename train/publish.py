"""`python -m train publish RUN`: the best model of a run as a small checkpoint with model card and test metrics.

The metrics are those of the stored weights: they are saved, loaded again and evaluated on the test identities.
`reference.safetensors` holds a few drawn images with their embeddings, by which anyone can see that a copy is intact.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from eval.report import Report
from mtrl.console import cli
from mtrl.data.sources import find_source
from mtrl.data.synthetic import load_part
from mtrl.files.atomic import write_atomically
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.hub.client import PLACEHOLDER, reserve, upload_folder
from mtrl.models.card import CardFacts, Result, model_card
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from train.data import data_name, load
from train.presets import listed
from train.run.log import code_state, run_settings
from train.settings import TrainSettings
from train.validate import DIRECTIONS

REFERENCES = 2  # images of each modality
_DRAWS = (
    "one gallery image per identity and camera, drawn ten times with the seeds 0 to 9; rank of the identity."
)
RULES = {
    "sysu": f"SYSU-MM01's rules: {_DRAWS} A query skips the gallery images taken where it was taken.",
    "llcm": f"LLCM's rules: {_DRAWS} A query skips the gallery images of its own identity and camera.",
    "regdb": "RegDB's rules: every query against every image of the other modality; rank of the image.",
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train publish",
        description="Writes the best model of a run with a model card of its test metrics, ready to ship or push.",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--output", type=Path, help="folder of the checkpoint (default: RUN/published)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float16")
    parser.add_argument("--name", default="MTRL", help="title of the card")
    parser.add_argument("--push", metavar="USER/REPO", help="also upload it to the Hugging Face Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to upload to, made if need be (default: main)")
    parser.add_argument("--tag", help="name of the uploaded version")
    arguments = cli.arguments(parser, argv)
    output = arguments.output or arguments.run / "published"
    if arguments.push:
        reserve(arguments.push, private=arguments.private or None)
    publish(arguments.run, output, arguments.dtype, arguments.name)
    print((output / "README.md").read_text(encoding="utf-8"))
    if arguments.push:
        print(upload_folder(output, arguments.push, revision=arguments.revision, tag=arguments.tag))
    return 0


def reserve_repository(settings: TrainSettings) -> None:
    """With `push`, makes its repository before the training, so that missing rights show at once."""
    if settings.push:
        reserve(_repo_id(settings), private=settings.private or None)


def push_run(settings: TrainSettings) -> str:
    """Publishes a finished run into its folder and uploads that to `settings.push`; returns the commit's address."""
    run, repo_id = Path(settings.run_folder), _repo_id(settings)
    publish(run, run / "published", "float16", repo_id.split("/")[1])
    return upload_folder(run / "published", repo_id)


def _repo_id(settings: TrainSettings) -> str:
    return str(settings.push).replace("{trial}", settings.trial)


def publish(run: Path, output: Path, dtype: str, name: str) -> None:
    """Raises FileNotFoundError for a folder that is no run."""
    settings = cli.read_settings(TrainSettings, run_settings(run))
    data = load(settings, ("test",))
    load_pretrained(run).save_pretrained(output, dtype=dtype)
    model = load_pretrained(output)
    done = evaluate_settings(
        model, data.test, [Setting(data.protocol, direction) for direction in DIRECTIONS]
    )
    reports = [evaluation.report for evaluation in done]
    facts = describe(run, settings, reports, name)
    load_pretrained(run).save_pretrained(output, dtype=dtype, card=model_card(model.config, facts))
    write_atomically(output / "reference.safetensors", references(model, settings.cache_dir))


def describe(run: Path, settings: TrainSettings, reports: Sequence[Report], name: str) -> CardFacts:
    """The facts of a run: how it was made, from its own records, and what it reaches."""
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    rates = [r["images_per_second"] for r in read_records(run / METRICS) if r["kind"] == "train"]
    synthetic = settings.dataset == "synthetic"
    label = data_name(settings)
    options = f"--size {settings.size}" if synthetic else "--data-root DIR"
    options += f" --spectrum {settings.spectrum}" * (settings.spectrum != "nir")
    options += f" --trial {settings.trial}" * bool(find_source(settings.dataset).splits)
    speed = f", {sorted(rates)[len(rates) // 2]:.0f} images/s" if rates else ""
    return CardFacts(
        name=name,
        dataset=label,
        command=shlex.join(environment["command"]).replace(os.path.expanduser("~"), "~"),  # noqa: PTH111
        seed=settings.seed,
        training={
            "method": f"{settings.method} with {settings.terms()['transition']} transition images",
            "weights": listed(
                (name, weight)
                for name, weight in settings.terms().items()
                if name not in ("transition", "teacher")
            ),
            "starting weights": _origin(environment.get("starting_weights", {})),
            "teacher": _teacher(environment.get("teacher", {})),
            "epochs": str(settings.epochs),
            "machine": f"{environment['device']}, {environment['threads']} threads{speed}",
            "versions": ", ".join(f"{key} {value}" for key, value in environment["packages"].items()),
            "commit": code_state(environment),
        },
        results=[_result(label, report) for report in reports],
        protocol=RULES[reports[0].setting.protocol],
        evaluation=f"python -m eval --checkpoint {PLACEHOLDER} --dataset {settings.dataset} {options} --direction both",
        limits=(
            ["Trained on drawn people only: photographs of real people are embedded, but roughly."]
            if synthetic
            else []
        ),
    )


def _origin(weights: dict[str, str]) -> str:
    """Where the weights come from that a run started from; "" for a start at random."""
    licence = f", licence {weights['license']}" if weights.get("license") else ""
    return weights["source"] + licence if weights else ""


def _teacher(teacher: dict[str, str]) -> str:
    """The trained model whose similarities a run learned; "" for none."""
    if not teacher:
        return ""
    return f"{teacher['source'].replace(os.path.expanduser('~'), '~')}, fingerprint {teacher['fingerprint'][:16]}"  # noqa: PTH111


def _result(label: str, report: Report) -> Result:
    setting = report.setting
    words = {"sysu": f", {setting.mode} search, single-shot", "llcm": ", single-shot", "regdb": ""}
    return Result(
        dataset=label,
        setting=setting.direction + words[setting.protocol],
        rank1=report.mean["cmc"]["1"],
        mean_ap=report.mean["map"],
        mean_inp=report.mean["minp"],
        deviation=report.std["map"],
        trials=len(report.trials),
    )


def references(model: MTRL, cache_dir: str | None = None) -> bytes:
    """safetensors of "visible" and "infrared" uint8 [N,3,128,64], and of their embeddings float32 [N,D].

    Always of drawn people: no image of a data set's people leaves with its model.
    """
    images = load_part("test", "tiny", 0, (128, 64), cache_dir, progress=False, people=(0, 2))
    tensors: dict[str, torch.Tensor] = {}
    for modality in Modality:
        rows = images.rows(modality)[:: max(1, len(images.rows(modality)) // REFERENCES)][:REFERENCES]
        pixels = torch.from_numpy(images.images[rows]).permute(0, 3, 1, 2).contiguous()
        tensors[modality.name.lower()] = pixels
        tensors[f"{modality.name.lower()}_embeddings"] = model.encode(pixels, modality=modality)
    return save(tensors)
