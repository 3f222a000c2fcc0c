"""`python -m train curves RUN`: draws the curves of a run folder again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mtrl.console import cli
from train.run.log import draw_curves


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train curves", description="Draws the curves of a run folder."
    )
    parser.add_argument("run", type=Path)
    print(draw_curves(cli.arguments(parser, argv).run))
    return 0
