"""`python -m train`: trains a model. `python -m train curves RUN` draws the curves of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mtrl import cli
from train.settings import parse


def main(argv: Sequence[str]) -> int:
    if argv and argv[0] == "curves":
        return curves(argv[1:])
    if argv and argv[0] == "ablate":
        from train.ablate import main as ablate

        return ablate(argv[1:])
    return train(argv)


def train(argv: Sequence[str]) -> int:
    settings = parse(argv)
    from mtrl.data import load_data
    from train.loop import Trainer

    data = load_data(
        settings.dataset,
        settings.data_root,
        size=settings.size,
        seed=settings.data_seed,
        image_size=(settings.image_size[0], settings.image_size[1]),
        cache_dir=settings.cache_dir,
        parts=("train",),
    )
    trainer = Trainer(settings, data)
    progress = trainer.run()
    print(
        f"{trainer.folder}: {progress['step']} steps, best mAP of held-out identities {progress['best']:.3f}"
    )
    return 0


def curves(argv: Sequence[str]) -> int:
    from train.log import draw_curves

    parser = argparse.ArgumentParser(
        "python -m train curves", description="Draws the curves of a run folder."
    )
    parser.add_argument("run", type=Path)
    print(draw_curves(parser.parse_args(argv).run))
    return 0


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
