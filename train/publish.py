"""`python -m train publish RUN`: the best model of a run as a small checkpoint with model card and test metrics.

The metrics are those of the stored weights: they are saved, loaded again and evaluated on the test identities.
`reference.safetensors` holds a few drawn images with their embeddings, by which anyone can see that a copy is intact.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from eval.measure import check, check_labels, measure
from eval.report import Report
from eval.settings import EvalSettings
from mtrl.console import cli
from mtrl.data.sources import find_source
from mtrl.data.synthetic import load_part
from mtrl.files.atomic import write_atomically
from mtrl.files.filenames import without_home
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.hub.client import PLACEHOLDER, reserve, upload_folder
from mtrl.models.card import CardFacts, Result, model_card
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from train.data import data_name
from train.presets import listed
from train.run.log import code_state, refuse_part_of_run, run_settings
from train.run.state import epochs_done
from train.settings import TrainSettings

REFERENCE = "reference.safetensors"
REFERENCES = 2  # images of each modality
_DRAWS = (
    "one gallery image (10-shot: ten) per identity and camera, drawn ten times with the seeds 0 to 9; "
    "rank of the identity."
)
_SHOWN = ("size", "spectrum", "test_seed", "mode", "shots", "trial", "on_bad", "value_range")
"""Options of an evaluation that a card's command repeats."""
_TAKEN = (
    "dataset",
    "data_root",
    *(name for name in _SHOWN if name != "trial"),
    "batch_size",
    "device",
    "cache_dir",
)
"""Options that a test may have: others would change figures without standing in a card's row."""
_REAL = (
    "m3svd: twelve real people, filmed once: a check whether a model works on a real sensor at all, no benchmark; a "
    "few points are noise. Chance beside it: mAP {chance}."
)
RULES = {
    "sysu": f"SYSU-MM01's rules: {_DRAWS} A query skips the gallery images taken where it was taken.",
    "llcm": f"LLCM's rules: {_DRAWS} A query skips the gallery images of its own identity and camera.",
    "regdb": "RegDB's rules: every query against every image of the other modality; rank of the image.",
    "clip": "Within a clip the last 40 % of a person's images search the first 40 % of all people's images in the "
    "other spectrum; means over the people.",
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
    parser.add_argument(
        "--test",
        action="append",
        metavar="OPTIONS",
        help='a test set of the card, in options of `python -m eval`: --test="--size small --spectrum thermal"; may '
        "be given again (default: that of the run's own data)",
    )
    parser.add_argument("--push", metavar="USER/REPO", help="also upload it to the Hugging Face Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to upload to, made if need be (default: main)")
    parser.add_argument("--tag", help="name of the uploaded version")
    arguments = cli.arguments(parser, argv)
    output = arguments.output or arguments.run / "published"
    if arguments.push:
        reserve(arguments.push, private=arguments.private or None)
    publish(arguments.run, output, arguments.dtype, arguments.name, arguments.test or ())
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


def publish(run: Path, output: Path, dtype: str, name: str, tests: Sequence[str] = ()) -> None:
    """Nothing is written into `output` before all is measured. Raises FileNotFoundError for a folder that is no run.

    tests  the card's test sets as options of `python -m eval`; none: that of the run's own data
    """
    if not name.strip():
        raise ValueError("--name is the title of the card: it must not be empty")
    refuse_part_of_run(output)
    recorded = run_settings(run)
    best = load_pretrained(run)  # once: a training that still runs may write a better one meanwhile
    settings = cli.read_settings(TrainSettings, recorded)
    stored = output / ".measured"
    chosen = [_options(text, settings, stored) for text in tests] or [_own_test(settings, stored)]
    for test in chosen:
        check(test)
        check_labels(test)
    try:
        best.save_pretrained(stored, dtype=dtype)
        measured = [(test, evaluation.report) for test in chosen for evaluation in measure(test)[0]]
        model = load_pretrained(stored)
    finally:
        shutil.rmtree(stored, ignore_errors=True)
    facts = describe(run, settings, measured, name)
    card, reference = model_card(model.config, facts), references(model, settings.cache_dir)
    (output / REFERENCE).unlink(missing_ok=True)  # of other weights
    best.save_pretrained(output, dtype=dtype, card=card)
    write_atomically(output / REFERENCE, reference)


def _options(text: str, settings: TrainSettings, output: Path) -> EvalSettings:
    """The settings that options of `python -m eval` stand for, of the checkpoint in `output`, both directions.

    Of a data set with splits it is the run's own: it may have trained on the test identities of the others.
    """
    parser = argparse.ArgumentParser("python -m train publish --test", allow_abbrev=False)
    cli.add_flags(
        parser,
        EvalSettings,
        without=[f.name for f in dataclasses.fields(EvalSettings) if f.name not in _TAKEN],
    )
    test = cli.build(EvalSettings, cli.given(parser, shlex.split(text)).values)
    own = test.dataset == settings.dataset and bool(find_source(test.dataset).splits)
    trial = settings.trial if own else test.trial
    return dataclasses.replace(test, checkpoint=(str(output),), direction="both", trial=trial)


def _own_test(settings: TrainSettings, output: Path) -> EvalSettings:
    """The test set of the data that a run was trained on, read in the same way."""
    return EvalSettings(
        checkpoint=(str(output),),
        dataset=settings.dataset,
        data_root=settings.data_root,
        size=settings.size,
        spectrum=settings.spectrum,
        trial=settings.trial,
        direction="both",
        cache_dir=settings.cache_dir,
        on_bad=settings.on_bad,
        value_range=settings.value_range,
    )


def describe(
    run: Path, settings: TrainSettings, measured: Sequence[tuple[EvalSettings, Report]], name: str
) -> CardFacts:
    """The facts of a run: how it was made, from its own records, and what it reaches on each test set."""
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    rates = [r["images_per_second"] for r in read_records(run / METRICS) if r["kind"] == "train"]
    speed = f", {sorted(rates)[len(rates) // 2]:.0f} images/s" if rates else ""
    return CardFacts(
        name=name,
        dataset=data_name(settings),
        command=without_home(shlex.join(environment["command"])),
        seed=settings.seed,
        training={
            "method": f"{settings.method} with {without_home(str(settings.terms()['transition']))} transition images",
            "weights": listed(
                (name, weight)
                for name, weight in settings.terms().items()
                if name not in ("transition", "teacher")
            ),
            "starting weights": _origin(environment.get("starting_weights", {})),
            "teacher": _teacher(environment.get("teacher", {})),
            "epochs": epochs_done(run / "last" / "state.safetensors", settings.epochs),
            "continued": without_home("; ".join(environment.get("continued", ()))),
            "machine": f"{environment['device']}, {environment['threads']} threads{speed}",
            "versions": ", ".join(f"{key} {value}" for key, value in environment["packages"].items()),
            "commit": code_state(environment),
        },
        results=[_result(test, report) for test, report in measured],
        protocol="\n\n".join(_rules(measured)),
        evaluation="\n".join(dict.fromkeys(_command(test) for test, _ in measured)),
        limits=(
            ["Trained on drawn people only: photographs of real people are embedded, but roughly."]
            if settings.dataset == "synthetic"
            else []
        ),
    )


def _origin(weights: dict[str, str]) -> str:
    """Where the weights come from that a run started from; "" for a start at random."""
    licence = f", licence {weights['license']}" if weights.get("license") else ""
    return without_home(weights["source"]) + licence if weights else ""


def _teacher(teacher: dict[str, str]) -> str:
    """The trained model whose similarities a run learned; "" for none."""
    if not teacher:
        return ""
    return f"{without_home(teacher['source'])}, fingerprint {teacher['fingerprint'][:16]}"


def _rules(measured: Sequence[tuple[EvalSettings, Report]]) -> list[str]:
    """How the tests were made, each once."""
    rules = list(dict.fromkeys(RULES[report.setting.protocol] for _, report in measured))
    real = [report.beside["chance"].mean["map"] for test, report in measured if test.dataset == "m3svd"]
    chance = " / ".join(f"{100 * value:.1f}" for value in real)
    return rules + [_REAL.format(chance=chance)] * bool(real)


def _command(test: EvalSettings) -> str:
    """The command that prints the figures of a test set, for those who have its images in a folder DIR."""
    words = ["--checkpoint", PLACEHOLDER, "--dataset", test.dataset]
    source = find_source(test.dataset)
    words += ["--data-root", "DIR"] * (not source.sizes)
    always = {"size": bool(source.sizes), "trial": bool(source.splits)}
    usual = EvalSettings()
    for name in _SHOWN:
        value = getattr(test, name)
        if always.get(name, value != getattr(usual, name)):
            words += [
                "--" + name.replace("_", "-"),
                *map(str, value if isinstance(value, tuple) else (value,)),
            ]
    return shlex.join(["python", "-m", "eval", *words, "--direction", "both"])


def _result(test: EvalSettings, report: Report) -> Result:
    setting = report.setting
    shots = "single-shot" if setting.shots == 1 else f"{setting.shots}-shot"
    words = {"sysu": f", {setting.mode} search, {shots}", "llcm": f", {shots}", "regdb": "", "clip": ""}
    return Result(
        dataset=data_name(test) + f", test seed {test.test_seed}" * bool(test.test_seed),
        setting=setting.direction + words[setting.protocol],
        rank1=report.mean["cmc"]["1"],
        mean_ap=report.mean["map"],
        mean_inp=report.mean["minp"],
        deviation=report.std["map"] if len(report.trials) > 1 else None,
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
