"""`python -m train translator publish RUN`: writes a run's translator, in half precision, with its model card.

The card's test metrics are those of the stored weights, which are saved, loaded again and then measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from eval.translation.command import markdown, measure
from eval.translation.settings import TranslatorEvalSettings
from mtrl.console import cli
from mtrl.files.filenames import without_home
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.translate import load_translator
from mtrl.translate.card import TranslatorFacts, translator_card
from mtrl.translate.files import read_translator, save_translator
from train.data import data_name
from train.presets import listed
from train.run.log import code_state, refuse_part_of_run, run_settings
from train.run.state import epochs_done
from train.translator.settings import TranslatorSettings

SIMPLE = ("luminance", "spectral")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train translator publish",
        description="Writes the translator of a run with a card of its test metrics, ready to ship or push.",
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of the translator")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float16")
    parser.add_argument("--name", default="MTRL translator", help="title of the card")
    parser.add_argument("--minutes", type=float, default=None, help="how long the run took, for the card")
    arguments = cli.arguments(parser, argv)
    refuse_part_of_run(arguments.output)
    recorded = run_settings(arguments.run)
    translator = read_translator(arguments.run)
    settings = cli.read_settings(TranslatorSettings, recorded)
    measured = arguments.output / ".measured"
    try:
        save_translator(translator, measured, dtype=arguments.dtype)
        stored = read_translator(measured)
    finally:
        shutil.rmtree(measured, ignore_errors=True)
    facts = describe(arguments.run, settings, arguments.name, arguments.minutes)
    facts.training["figures"] = "`python -m eval translators` on the test identities, stored weights"
    chosen = [(name, load_translator(name)) for name in SIMPLE] + [("learned", stored)]
    table = markdown(measure(evaluation(settings), chosen)[0])
    card = translator_card(stored, dataclasses.replace(facts, table=table))
    save_translator(translator, arguments.output, dtype=arguments.dtype, card=card)
    print(card)
    return 0


def evaluation(settings: TranslatorSettings) -> TranslatorEvalSettings:
    """Settings that evaluate a run's translator on the test identities of its own data set."""
    return TranslatorEvalSettings(
        dataset=settings.dataset,
        data_root=settings.data_root,
        size=settings.size,
        data_seed=settings.data_seed,
        spectrum=settings.spectrum,
        image_size=settings.image_size,
        trial=int(settings.trial),
        hold_out=max(1, settings.hold_out),
        cache_dir=settings.cache_dir,
        value_range=settings.value_range,
    )


def describe(run: Path, settings: TranslatorSettings, name: str, minutes: float | None) -> TranslatorFacts:
    """The facts for the card of a run, from the files in its folder. `minutes` is how long it took."""
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    records = [record for record in read_records(run / METRICS) if record["kind"] == "train"]
    synthetic = settings.dataset == "synthetic"
    took = f", {minutes:.0f} minutes" if minutes else ""
    return TranslatorFacts(
        name=name,
        dataset=data_name(settings),
        command=without_home(shlex.join(environment["command"])),
        seed=settings.seed,
        training={
            "form": "with true infrared views (paired)" if settings.paired else "without pairs",
            "weights": listed(settings.terms().items()),
            "steps": f"{records[-1]['step'] if records else 0} of {settings.batch_size} visible and as many "
            f"infrared images of {settings.image_size[0]} x {settings.image_size[1]} pixels",
            "epochs": epochs_done(run / "last" / "state.safetensors", settings.epochs),
            "continued": without_home("; ".join(environment.get("continued", ()))),
            "machine": f"{environment['device']}, {environment['threads']} threads{took}",
            "versions": ", ".join(f"{key} {value}" for key, value in environment["packages"].items()),
            "commit": code_state(environment),
        },
        limits=["Trained on drawn people only; photographs come out roughly right at best."]
        if synthetic
        else [],
    )
