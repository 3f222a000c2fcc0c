"""Peak memory of one task, in a process of its own: python -m train.bench.peak_memory PART FOLDER DEVICE."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.protocols import Setting, Trial, make_trials
from eval.score import FeatureSet, score_reranked, score_trials
from mtrl.data.augment import PairedAugment
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.retrieval.metrics.ranking import rank_features
from train.batches.memory import keep_freed_memory
from train.build import augment_config
from train.settings import parse
from train.trainer import Trainer

VISIBLE, INFRARED, IDENTITIES = 22_258, 11_909, 395  # SYSU-MM01's training set
STEPS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("train", "evaluate", "evaluate-10", "rank", "rerank"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("device")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--protocol", default="sysu", help="of the parts rank and rerank")
    given = parser.parse_args()
    if given.part in ("rank", "rerank"):  # their inputs count as memory used before the measurement
        gallery = 5_000 if given.quick else 50_000
        queries = gallery if given.part == "rank" else min(gallery, 3_803)
        problem = (*features_problem(queries, gallery), given.protocol)
    base = peak_mb(given.device)
    if given.part == "train":
        note = train(given.folder, given.device, given.quick)
    elif given.part in ("rank", "rerank"):
        began, spent = time.perf_counter(), time.process_time()
        rank_features(*problem) if given.part == "rank" else rerank(*problem)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
        note = f"features and labels included; {seconds:.0f} s, {spent:.0f} s of processor time"
    else:
        note = evaluate(10 if given.part == "evaluate-10" else 1)
    print(json.dumps({"base_mb": base, "peak_mb": peak_mb(given.device), "note": note}))
    return 0


def peak_mb(device: str) -> float:
    """Largest memory of this process so far, in MiB; on a GPU, that of its tensors there."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def train(folder: Path, device: str, quick: bool) -> str:
    """Makes training steps of the SYSU-MM01 preset on as many memory-mapped images. Returns a remark for the table."""
    flags = ["--dataset", "sysu", "--no-pretrained", "--device", device, "--output", str(folder / "run")]
    settings = parse([*flags, *(["--backbone", "test_resnet", "--image-size", "64", "32"] if quick else [])])
    height, width = settings.image_size
    count = VISIBLE + INFRARED
    # A sparse file, which takes no space on the disk and is read as zeros.
    made = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, height, width, 3)
    )
    del made
    modalities = (np.arange(count) >= VISIBLE).astype(np.uint8)
    images = ImageSet(
        np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        np.arange(count) % IDENTITIES,
        np.where(modalities == 1, 3, 1),
        modalities,
        tuple(map(str, range(count))),
    )
    if not device.startswith("cuda"):
        keep_freed_memory()
    trainer = Trainer(settings, ReIDData("sysu", "sysu", images, images))
    trainer.model.train()
    augment = PairedAugment(dataclasses.replace(augment_config(settings, erase=True)))
    for step, batch in zip(range(STEPS), trainer.pipeline.epoch(0, augment), strict=False):
        trainer._step(batch, 10**6 + step)
    held = trainer.pipeline.resident
    if held is not None:
        return f"{held.nbytes / 1e9:.1f} GB of images held on the device"
    return f"{images.images.nbytes / 1e9:.1f} GB of images mapped, read as needed"


def evaluate(shots: int) -> str:
    """Evaluates ten trials on random features of a ResNet-50's length, as many as SYSU-MM01's test set has images.

    Returns a remark for the table.
    """
    feature_set, _ = sysu_test(10)
    setting = Setting("sysu", "ir2vis", "all", shots, trials=10)
    trials = make_trials(feature_set.identities, feature_set.cameras, feature_set.modalities, setting)
    score_trials(feature_set, trials, setting, "cosine")
    return f"{feature_set.features.nbytes / 1e6:.0f} MB of features"


def rerank(*problem: Any) -> None:
    """Re-ranks what `features_problem` made, with queries in infrared, and computes its metrics."""
    query, gallery, *labels, protocol = problem
    identities, cameras = np.concatenate(labels[:2]), np.concatenate(labels[2:])
    rows = np.arange(len(identities))
    modalities = (rows < len(query)).astype(np.uint8)
    feature_set = FeatureSet(np.concatenate([query, gallery]), identities, cameras, modalities, rows)
    score_reranked(feature_set, [Trial(rows[: len(query)], rows[len(query) :])], Setting(protocol))


def features_problem(queries: int, gallery: int, dim: int = 512) -> tuple[Any, ...]:
    """Random arguments for `rank_features` under SYSU-MM01's rules, with about 50 gallery images of each identity.

    Features are made a thousand rows at a time, so that this takes no additional memory.
    """
    rng = np.random.default_rng(0)
    people = rng.standard_normal((max(20, gallery // 50), dim), dtype=np.float32)
    identities = [rng.integers(0, len(people), count) for count in (queries, gallery)]
    features = [np.empty((count, dim), dtype=np.float32) for count in (queries, gallery)]
    for labels, rows in zip(identities, features, strict=True):
        for start in range(0, len(rows), 1000):
            part = people[labels[start : start + 1000]]
            part = part + 2 * rng.standard_normal(part.shape, dtype=np.float32)
            rows[start : start + 1000] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return *features, *identities, rng.choice([3, 6], queries), rng.choice([1, 2, 4, 5], gallery)


def sysu_test(shots: int, dim: int = 2048) -> tuple[FeatureSet, NDArray[np.int64]]:
    """Random features of SYSU-MM01's size: (features, rows of the gallery images).

    There are 3,803 queries, and `shots` gallery images for each of 301 pairs of identity and camera.
    """
    rng = np.random.default_rng(0)
    seen = {1: 56, 2: 56, 4: 94, 5: 95}
    pairs = [(person, camera) for camera, people in seen.items() for person in range(people)]
    gallery = np.repeat(np.array(pairs), shots, axis=0)
    queries = 3803
    identities = np.concatenate([rng.integers(0, 95, queries), gallery[:, 0]])
    cameras = np.concatenate([rng.choice([3, 6], queries), gallery[:, 1]])
    modalities = (np.arange(len(identities)) < queries).astype(np.uint8)
    features = rng.standard_normal((len(identities), dim), dtype=np.float32)
    rows = np.arange(len(identities))
    return FeatureSet(features, identities, cameras, modalities, rows), rows[queries:]


if __name__ == "__main__":
    sys.exit(main())
