"""Records of a run: metrics as JSON lines and TensorBoard scalars, its environment, and a figure of its curves."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mtrl.files.atomic import explained, flush_file, make_folder, write_atomically
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.hub.checkout import NoAnswerError, read_checkout

ENVIRONMENT = "environment.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors")


class RunLog:
    """Appends records to `metrics.jsonl` and to TensorBoard.

    A resumed run drops the records that it will write again:
    step       records of later steps are dropped
    evaluated  False drops what was evaluated at `step` too: those of held-out and of test identities
    """

    def __init__(self, folder: Path, step: int = 0, evaluated: bool = True) -> None:
        make_folder(folder)
        self.path = folder / METRICS
        kept = [
            record
            for record in read_records(self.path)
            if record["step"] < step
            or (record["step"] == step and (evaluated or record["kind"] not in ("eval", "test")))
        ]
        write_atomically(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())
        self.board = _tensorboard(folder / "tensorboard", step)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        self.note(kind, step, values)
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Appends a record of any JSON values, with the time of day in UTC, to `metrics.jsonl` only.

        Raises OSError if it cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, "time": now, **values}) + "\n")
        except OSError as error:
            raise explained(error, self.path) from error

    def hyperparameters(self, values: Mapping[str, Any]) -> None:
        """Gives TensorBoard the settings of a finished run with its last figures; nothing without TensorBoard."""
        if self.board is None:
            return
        last = {record["kind"]: record for record in read_records(self.path)}
        figures = {
            f"final/{kind}/{name}": float(value)
            for kind, record in last.items()
            for name, value in record.items()
            if name not in ("step", "epoch") and isinstance(value, (int, float))
        }
        plain = {
            n: v if isinstance(v, (int, float, str)) else str(v) for n, v in values.items() if v is not None
        }
        self.board.add_hparams(plain, figures, run_name="hyperparameters")

    def flush(self) -> None:
        """Flushes the records to the disk. Call it before saving a state that continues after them."""
        flush_file(self.path)

    def close(self) -> None:
        """Closes TensorBoard's file. Raises nothing, so that it cannot hide the error that ends a run."""
        if self.board is not None:
            with contextlib.suppress(Exception):
                self.board.close()


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None  # `metrics.jsonl` holds the same values
    return SummaryWriter(str(folder), purge_step=step + 1)


def run_settings(run: Path) -> Path:
    """The settings file of a run folder. Raises FileNotFoundError for a folder that is no run."""
    path = run / "settings.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} is no run folder: it has no settings.yaml; give the --output of a training"
        )
    return path


def refuse_part_of_run(folder: Path) -> None:
    """Raises ValueError for a run folder, and for the folders in it where a training keeps its models."""
    place = folder.resolve()
    kept = [place / "settings.yaml", place / "state.safetensors"]
    kept += [place.parents[1] / "settings.yaml"] * (place.parent.name == "epochs")
    if any(path.is_file() for path in kept):
        raise ValueError(
            f"{folder} holds what a training itself keeps, in full precision: publish into another folder, such as "
            "RUN/published"
        )


def environment(trained: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is needed to repeat a run: versions, machine, command and Git state, as JSON values.

    trained  description of what is trained, which is included
    If Git fails, the commit is "unknown (reason)" and the list of changed files is None.
    """
    commit, changed = git_state(Path(__file__).resolve().parents[2])
    return {
        **({} if trained is None else {"trained": trained}),
        "command": ["python", "-m", "train", *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "threads": torch.get_num_threads(),
        "git_commit": commit,
        "git_changed_files": changed,
    }


def add_change(path: Path, step: int, change: str) -> None:
    """Adds to a run's `environment.json` that it went on from a step with other settings. Nothing if it has none."""
    if path.is_file():
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["continued"] = [*facts.get("continued", []), f"from step {step} with {change}"]
        write_atomically(path, json.dumps(facts, indent=1).encode())


def git_state(root: Path) -> tuple[str, list[str] | None]:
    """(commit, lines of `git status`) of the code; ("unknown (reason)", None) if Git fails."""
    try:
        checkout = read_checkout(root)
    except NoAnswerError as error:
        return f"unknown ({error})", None
    if checkout is None:
        return "unknown (the code is in no Git checkout)", None
    return checkout.commit, list(checkout.changed)


def code_state(environment: Mapping[str, Any]) -> str:
    """The commit in a run's `environment.json`, and whether the code differed from it, as text for a card."""
    changed = environment["git_changed_files"]
    commit = environment["git_commit"] or "unknown"
    return f"{commit} with {len(changed)} changed files" if changed else commit


def processor() -> str:
    """The processor's name. On Linux it is read from a file that Python's `platform` module does not read."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def draw_curves(folder: Path) -> Path:
    """Writes `curves.png`: loss terms, learning rate, mAP and modality gap of held-out identities, and of the test set
    where it was looked at, all by step.

    Raises FileNotFoundError if the folder has no records.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    records = read_records(folder / METRICS)
    if not records:
        raise FileNotFoundError(f"{folder} holds no metrics.jsonl with records; is it a run folder?")
    series: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for name, value in record.items():
            if name not in ("kind", "step", "epoch") and isinstance(value, (int, float)):
                series[record["kind"]][name].append((record["step"], value))
    panels = [
        ("Loss terms", {n: v for n, v in series["train"].items() if n.startswith("loss_")}),
        ("Learning rate", {n: v for n, v in series["train"].items() if n == "learning_rate"}),
        ("Held-out identities", {n: v for n, v in series["eval"].items() if n != "modality_gap"}),
        (
            "Test identities, which choose nothing",
            {n: v for n, v in series["test"].items() if n != "modality_gap"},
        ),
        (
            "Modality gap of held-out identities",
            {n: v for n, v in series["eval"].items() if n == "modality_gap"},
        ),
    ]
    panels = [(title, lines) for title, lines in panels if lines]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.8), squeeze=False)
    for axis, (title, lines) in zip(axes[0], panels, strict=True):
        for name, points in lines.items():
            axis.plot(
                *zip(*points, strict=True), label=name.removeprefix("loss_").replace("_", " "), linewidth=1.4
            )
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=8)
    figure.tight_layout()
    target = folder / "curves.png"
    figure.savefig(target, dpi=130)
    pyplot.close(figure)
    return target
