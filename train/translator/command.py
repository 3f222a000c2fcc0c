"""`python -m train translator`, and `python -m train translator publish RUN`."""

from __future__ import annotations

from collections.abc import Sequence

from train.translator.settings import parse


def main(argv: Sequence[str]) -> int:
    """Trains a translator."""
    if argv and argv[0] == "publish":
        from train.translator.publish import main as publish

        return publish(argv[1:])
    settings = parse(argv)
    from train.data import load, true_views
    from train.presets import listed
    from train.translator.loop import TranslatorTrainer
    from train.translator.preflight import check

    check(settings)
    images = load(settings, ("train",)).train
    trainer = TranslatorTrainer(settings, images, true_views(settings) if settings.paired else None)
    progress = trainer.run()
    print(f"{trainer.folder}: {progress['step']} steps, {listed(settings.terms().items())}")
    return 0
