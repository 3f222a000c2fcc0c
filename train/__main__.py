"""`python -m train`: trains a model; starts the other training commands too."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from mtrl.console import cli
from train.settings import parse

# The other commands: (module, what it does). Imported when it is called.
COMMANDS = {
    "ablate": ("train.ablation.command", "compares methods, translators, backbones, data sets and seeds"),
    "settings": ("train.settings", "prints all settings of a training, for --config"),
    "translator": ("train.translator.command", "trains a translator"),
    "imagenet": ("train.imagenet", "writes ImageNet weights without the Hub"),
    "predict": ("train.bench.predict", "says what a training will take"),
    "bench": ("train.bench.command", "times training, encoding, search and evaluation"),
    "publish": ("train.publish", "writes a run's model with its card"),
    "curves": ("train.run.curves", "draws the curves of a run folder"),
}


def main(argv: Sequence[str]) -> int:
    """The command line; see `python -m train -h`."""
    if argv and not argv[0].startswith("-") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"python -m train {argv[0]} runs in one process: start it without torchrun")
    if argv and argv[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:]))
    return train(argv)


def train(argv: Sequence[str]) -> int:
    others = "; ".join(f"{name} {does}" for name, (_, does) in COMMANDS.items())
    settings = parse(argv, epilog=f"Further commands, python -m train NAME, each with -h: {others}.")
    from train.data import load
    from train.preflight import check_runs
    from train.publish import push_run, reserve_repository
    from train.run.distributed import joined
    from train.trainer import Trainer

    with joined(settings.device) as context:
        runs = settings.runs()
        check_runs(runs)
        for run in runs:
            if context.main:
                reserve_repository(run)
            trainer = Trainer(run, load(run, run.parts))
            trainer.run()
            if context.main and run.push:
                print(push_run(run))
    return 0


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
