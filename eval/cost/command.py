"""`python -m eval cost`: compares the cost of inference with a trained model and with a plain backbone."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from eval.cost.plain_model import PlainModel
from eval.report import make_room, write_values
from mtrl.console.cli import option, parse
from mtrl.files.atomic import write_atomically
from mtrl.models.config import Modality
from mtrl.models.load import DEFAULT, SOURCE_HELP, load_pretrained
from mtrl.models.reid import MTRL, evaluating
from mtrl.models.stem import EMBEDDING


@dataclasses.dataclass(frozen=True)
class CostSettings:
    """Options of `python -m eval cost`."""

    checkpoint: str | None = option(None, SOURCE_HELP)
    rounds: int = option(31, "timed pairs per batch size and device; 0 for no timing")
    batches: tuple[int, ...] = option((1, 64), "batch sizes that are timed")
    json: str | None = option(None, "write everything here")
    table: str | None = option(None, "write the Markdown table here")

    def __post_init__(self) -> None:
        if self.rounds < 0 or not self.batches or min(self.batches) < 1:
            raise ValueError("rounds must be at least 0 and batches at least 1")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval cost",
        description="Compares a checkpoint's path from images to embeddings with that of a baseline model of the "
        "same config and with the plain timm backbone, pooling and batch normalisation: modules, parameters, "
        "operations, FLOPs. Exits with 1 when anything differs. Then times encoding beside the plain backbone.",
    )
    settings = parse(CostSettings, parser, argv)
    make_room(settings.json, settings.table)
    model = load_pretrained(settings.checkpoint)
    record = compare(model)
    record["checkpoint"] = settings.checkpoint or DEFAULT
    if settings.rounds:
        record["latency"] = latency(model, settings.batches, settings.rounds)
    text = table(record)
    print(text)
    if settings.json:
        write_values(settings.json, record)
    if settings.table:
        write_atomically(Path(settings.table), (text + "\n").encode())
    for line in record["differences"]:
        print(f"differs: {line}", file=sys.stderr)
    return 1 if record["differences"] else 0


def compare(model: MTRL) -> dict[str, Any]:
    """Compares three models on one visible and one infrared image: the checkpoint, a baseline, and a plain backbone.

    Returns the measurements of each and a list of differences, as JSON values. The baseline is a new model of the
    checkpoint's config, as `--method baseline` builds it; its modules must have the same names, types, settings and
    shapes. The plain backbone has names of its own, which are not compared.
    """
    trained = _paths(model)
    fresh = MTRL(model.config).to(model.mean.device)
    baseline = _paths(fresh)
    plain_model = PlainModel(model.config).to(model.mean.device)
    plain = _measure(plain_model, plain_model)
    differences = []
    left, right = _tensors(model), _tensors(fresh)
    if left != right:
        names = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
        differences.append(f"tensors of the checkpoint and of the baseline: {', '.join(names[:5])}")
    for kind, path in trained.items():
        for what in path:
            if path[what] != baseline[kind][what]:
                differences.append(f"{what}, {kind}, baseline: {_first(path[what], baseline[kind][what])}")
            mine, other = (_nameless(measured[what]) for measured in (path, plain))
            if mine != other:
                differences.append(f"{what}, {kind}, plain timm backbone: {_first(mine, other)}")
    return {
        "config": model.config.to_dict(),
        "stored_parameters": {
            "checkpoint": _count(model),
            "baseline": _count(fresh),
            "plain": _count(plain_model),
        },
        "training_parameters": _training_parameters(model),
        "paths": {"checkpoint": trained, "baseline": baseline, "plain": plain},
        "differences": differences,
    }


def _training_parameters(model: MTRL) -> dict[str, int]:
    """{name: number of values} of the stored parameters that embedding an image does not use."""
    return {
        name: parameter.numel() for name, parameter in model.named_parameters() if f".{EMBEDDING}." in name
    }


def _paths(model: MTRL) -> dict[str, dict[str, Any]]:
    """The measurements of a model (see `_measure`) from a visible and from an infrared image to its embedding."""

    def embed(images: Tensor, kind: Modality) -> Tensor:
        return model(images, kind).embedding

    return {kind.name.lower(): _measure(model, partial(embed, kind=kind)) for kind in Modality}


def _tensors(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _nameless(value: Any) -> Any:
    """A list of modules without their names; any other measurement as it is."""
    return (
        [entry[1:] if isinstance(entry, tuple) else entry for entry in value]
        if isinstance(value, list)
        else value
    )


def _first(mine: Any, other: Any) -> str:
    if not isinstance(mine, list):
        return f"{mine}, not {other}"
    pairs = [(a, b) for a, b in zip(mine, other, strict=False) if a != b]
    if pairs:
        return f"{pairs[0][0]}, not {pairs[0][1]}"
    longer = mine if len(mine) > len(other) else other
    return f"{len(mine)}, not {len(other)}; the first more is {longer[min(len(mine), len(other))]}"


def _measure(model: MTRL | PlainModel, path: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """What runs for one image: modules in order (those with parameters of their own or without children), number of
    their parameters, operations with the shapes of their inputs, and FLOPs.
    """
    names = {module: name for name, module in model.named_modules()}
    modules: list[tuple[str, ...]] = []
    used: set[nn.Parameter] = set()

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.Identity) or (list(module.children()) and not own):
            return
        shape = list(output.shape) if isinstance(output, Tensor) else []
        shapes = [list(parameter.shape) for parameter in own]
        modules.append(
            (names[module], type(module).__name__, f"{module.extra_repr()}", f"{shapes}", f"{shape}")
        )
        used.update(own)

    image = torch.zeros(1, 3, *model.config.image_size, device=model.mean.device)
    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with evaluating(model), torch.no_grad(), _Operations() as seen:
            path(image)
    finally:
        for handle in handles:
            handle.remove()
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        path(image)
    return {
        "modules": modules,
        "parameters": sum(parameter.numel() for parameter in used),
        "operations": seen.names,
        "flops": int(counter.get_total_flops()),
    }


class _Operations(TorchDispatchMode):
    """Context manager that records every operation that torch runs, with the shapes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = [list(value.shape) for value in args if isinstance(value, Tensor)]
        self.names.append(f"{func} {shapes}")
        return func(*args, **(kwargs or {}))


def latency(model: MTRL, batches: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Times `encode`, and the plain backbone with the same preprocessing, on the CPU and on a CUDA GPU if there is one.

    The two run in turn, and the order alternates from pair to pair. Each record holds the median seconds of both, and
    the median and quartiles of the pairs' ratios.
    """
    home = model.mean.device
    result = []
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        model.to(device)
        plain_model = PlainModel(model.config).to(device).eval()
        for count in batches:
            images = torch.randint(0, 256, (count, 3, *model.config.image_size), dtype=torch.uint8)
            calls = [partial(model.encode, images, batch_size=count), partial(plain_model.encode, images)]
            for call in calls * 3:
                call()
            pairs = [_pair(calls, number % 2 == 1) for number in range(rounds)]
            ratios = sorted(ours / theirs for ours, theirs in pairs)
            quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
            result.append(
                {
                    "device": device,
                    "name": torch.cuda.get_device_name() if device == "cuda" else "processor",
                    "threads": torch.get_num_threads(),
                    "batch": count,
                    "rounds": rounds,
                    "seconds": statistics.median(ours for ours, _ in pairs),
                    "plain_seconds": statistics.median(theirs for _, theirs in pairs),
                    "ratio": statistics.median(ratios),
                    "ratio_quartiles": [quartiles[0], quartiles[2]],
                }
            )
    model.to(home)
    return result


def _pair(calls: Sequence[Callable[[], Tensor]], reverse: bool) -> tuple[float, float]:
    times = [0.0, 0.0]
    for number in (1, 0) if reverse else (0, 1):
        start = time.perf_counter()
        calls[number]()  # the result is on the CPU, so a GPU has finished
        times[number] = time.perf_counter() - start
    return times[0], times[1]


def table(record: dict[str, Any]) -> str:
    """The comparison as Markdown text."""
    paths = record["paths"]
    columns = {
        "MTRL checkpoint": [*paths["checkpoint"].values()],
        "baseline model": [*paths["baseline"].values()],
        "plain timm + pooling + BN": [paths["plain"]],
    }
    lines = [
        f"| one image of {' x '.join(map(str, record['config']['image_size']))} | {' | '.join(columns)} |"
    ]
    lines.append("|---" * (len(columns) + 1) + "|")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "modules that run": lambda path: str(len(path["modules"])),
        "parameters they hold": lambda path: f"{path['parameters']:,}",
        "operations": lambda path: str(len(path["operations"])),
        "FLOPs": lambda path: f"{path['flops']:,}",
    }
    for name, show in rows.items():
        cells = [" / ".join(dict.fromkeys(show(path) for path in paths)) for paths in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    same = "no" if record["differences"] else "yes"
    lines += ["", f"Same modules, shapes and operations, in the same order: {same}."]
    if unused := record["training_parameters"]:
        listed = ", ".join(f"{name} ({count:,})" for name, count in unused.items())
        lines.append(f"Parameters that only training uses: {listed}.")
    if "latency" in record:
        lines += [
            "",
            "| device | batch | encode, ms | plain, ms | ratio (quartiles), pairs |",
            "|---" * 5 + "|",
        ]
    for one in record.get("latency", ()):
        low, high = one["ratio_quartiles"]
        threads = f", {one['threads']} threads" if one["device"] == "cpu" else ""
        lines.append(
            f"| {one['name']}{threads} | {one['batch']} | {1000 * one['seconds']:.2f} | "
            f"{1000 * one['plain_seconds']:.2f} | {one['ratio']:.3f} ({low:.3f} to {high:.3f}), {one['rounds']} |"
        )
    return "\n".join(lines)
