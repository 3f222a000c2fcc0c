"""`python -m train ablate`: the same training with different methods and seeds, and one table of all of them.

A run that is finished is not repeated and a run that was stopped is continued, so the command can be interrupted and
called again. Figures are of the test identities, which no run has seen; each run's model is the one that was best on
its held-out training identities.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl import load_pretrained
from mtrl.checkpoint import write_atomically
from train.data import load
from train.loop import DIRECTIONS, Trainer
from train.settings import METHODS, TrainSettings, parse


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train ablate",
        description="Trains several methods with several seeds and writes one table. Every other option of "
        "python -m train may follow and holds for all runs.",
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["baseline", "augmented", "mtrl"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--test-seed", type=int, default=0, help="which synthetic test identities")
    chosen, rest = parser.parse_known_args(argv)
    results: dict[str, list[dict[str, Any]]] = {method: [] for method in chosen.methods}
    for seed in chosen.seeds:
        for method in chosen.methods:
            output = chosen.folder / f"{method}-seed{seed}"
            flags = [*rest, "--method", method, "--seed", str(seed), "--output", str(output)]
            results[method].append(run(parse(flags, "python -m train ablate"), chosen.test_seed))
            report(results, chosen.folder)
    print((chosen.folder / "ablation.md").read_text(encoding="utf-8"))
    return 0


def run(settings: TrainSettings, test_seed: int = 0) -> dict[str, Any]:
    """Trains one run unless it is finished, and returns {"seed", "ir2vis": {...}, "vis2ir": {...}} of the test set."""
    folder = Path(settings.run_folder)
    kept = folder / f"test-{test_seed}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    data = load(settings, test_seed=test_seed)
    state = folder / "last" / "state.safetensors"
    if state.is_file():
        settings = dataclasses.replace(settings, resume=True)
    Trainer(settings, data).run()
    model = load_pretrained(folder)
    result: dict[str, Any] = {"seed": settings.seed}
    for done in evaluate_settings(model, data.test, [Setting(data.protocol, d) for d in DIRECTIONS]):
        figures = done.report.mean
        result[done.report.setting.direction] = {
            "map": figures["map"],
            "minp": figures["minp"],
            "rank1": figures["cmc"]["1"],
        }
    write_atomically(kept, json.dumps(result, indent=1).encode())
    return result


def report(results: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Writes `ablation.json` and `ablation.md`: mean, deviation over seeds, and the paired gain over each control."""
    write_atomically(folder / "ablation.json", json.dumps(results, indent=1).encode())
    lines = [
        "| method | seeds | IR->VIS mAP | IR->VIS rank-1 | VIS->IR mAP | VIS->IR rank-1 |",
        "|---|---|---|---|---|---|",
    ]
    for method, runs in results.items():
        if runs:
            cells = [_spread([r[d][k] for r in runs]) for d in DIRECTIONS for k in ("map", "rank1")]
            lines.append(f"| {method} | {len(runs)} | " + " | ".join(cells) + " |")
    lines += ["", "Gain in mAP, paired by seed (IR->VIS / VIS->IR):", ""]
    for method in ("mtrl", "mtrl-triangle"):
        for control, runs in results.items():
            pairs = list(zip(results.get(method, []), runs, strict=False))
            if pairs and control != method:
                gains = [_spread([a[d]["map"] - b[d]["map"] for a, b in pairs]) for d in DIRECTIONS]
                lines.append(f"- {method} over {control}: {gains[0]} / {gains[1]}")
    write_atomically(folder / "ablation.md", ("\n".join(lines) + "\n").encode())


def _spread(values: list[float]) -> str:
    """Mean and sample deviation in percent."""
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"
