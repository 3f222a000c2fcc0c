"""`python -m train`: trains a model. Further commands: `ablate`, `bench`, `publish`, `curves`, `translator`,
`imagenet`, `predict`, each with -h.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mtrl.console import cli
from train.settings import parse


def main(argv: Sequence[str]) -> int:
    if argv and not argv[0].startswith("-") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"python -m train {argv[0]} runs in one process: start it without torchrun")
    if argv and argv[0] == "curves":
        return curves(argv[1:])
    if argv and argv[0] == "ablate":
        from train.ablation.command import main as ablate

        return ablate(argv[1:])
    if argv and argv[0] == "publish":
        from train.publish import main as publish

        return publish(argv[1:])
    if argv and argv[0] == "bench":
        from train.bench.command import main as bench

        return bench(argv[1:])
    if argv and argv[0] == "predict":
        from train.bench.predict import main as predict

        return predict(argv[1:])
    if argv and argv[0] == "translator":
        from train.translator.command import main as translator

        return translator(argv[1:])
    if argv and argv[0] == "imagenet":
        from train.imagenet import main as imagenet

        return imagenet(argv[1:])
    return train(argv)


def train(argv: Sequence[str]) -> int:
    settings = parse(argv)
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


def curves(argv: Sequence[str]) -> int:
    from train.run.log import draw_curves

    parser = argparse.ArgumentParser(
        "python -m train curves", description="Draws the curves of a run folder."
    )
    parser.add_argument("run", type=Path)
    print(draw_curves(parser.parse_args(argv).run))
    return 0


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
