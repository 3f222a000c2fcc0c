"""Peak memory for data of SYSU-MM01's size, and growth of time with the numbers of images, identities and gallery."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eval.protocols import Setting, Trial
from eval.score import FeatureSet, score_trials
from mtrl.data.augment import PairedAugment
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from train.batches.pipeline import BatchPipeline
from train.bench.data import PLAIN, K, P
from train.bench.peak_memory import sysu_test
from train.bench.table import Line, Options, paired


def lines(options: Options) -> Iterator[Line]:
    """Measures peak memory in separate processes, then times for several sizes, which show growth."""
    yield from _memory(options)
    yield from _images(options)
    yield from _identities(options)
    yield from _gallery(options)
    # Last, since it takes minutes.
    yield from _peaks(options, (("rank", "rank_features, 50,000 x 50,000 x 512"),))


def _memory(options: Options) -> Iterator[Line]:
    yield from _peaks(
        options,
        (
            ("train", "training, ResNet-50 288x144 P8 K4, 34,167 images mapped"),
            ("evaluate", "evaluation, ten trials of 3,803 x 301, 2,048 values each"),
            ("evaluate-10", "evaluation, ten trials of 3,803 x 3,010, 2,048 values each"),
        ),
    )


def _peaks(options: Options, parts: Sequence[tuple[str, str]]) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        for part, what in parts:
            flags = [part, folder, str(options.device)] + ["--quick"] * options.quick
            command = [sys.executable, "-m", "train.bench.peak_memory", *flags]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
            peak = json.loads(done.stdout.splitlines()[-1])
            note = f"{peak['base_mb']:,.0f} MB of it before the work began; {peak['note']}"
            yield Line("scale", f"peak memory: {what}", peak["peak_mb"], None, "", "MB", False, note)


def _images(options: Options) -> Iterator[Line]:
    """Time of a training batch from a memory map, for several numbers of images. It should not grow."""
    for count in (1000, 2000) if options.quick else (2_000, 8_000, 32_000):
        rows = np.arange(count)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npy"
            shape = (count, 128, 64, 3)
            np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)[:] = 7
            pixels = np.load(path, mmap_mode="r", allow_pickle=False)
            images = ImageSet(
                pixels,
                rows // 16,
                np.where(rows % 2, 3, 1),
                (rows % 2).astype(np.uint8),
                tuple(map(str, rows)),
            )
            sampler = IdentitySampler(images.identities, images.modalities, P, K)
            pipeline = BatchPipeline(
                images, rows, sampler, None, options.device, 0, PLAIN.pad, resident=False
            )
            epoch = iter(range(10**9))

            def read(pipeline: BatchPipeline = pipeline, epoch: Iterator[int] = epoch) -> None:
                for _, _ in zip(range(10), pipeline.epoch(next(epoch), PairedAugment(PLAIN)), strict=False):
                    pass

            seconds, _ = paired(read, None, options.repeats)
        yield Line("scale", f"a batch of 64 from {count:,} mapped images", 100 * seconds, None, "", "ms", False,
                   at=("batch, by training images", count))  # fmt: skip


def _identities(options: Options) -> Iterator[Line]:
    """Time for the sampler to draw all batches of an epoch, with 40 visible and 20 infrared images of each person."""
    for count in (100, 200) if options.quick else (400, 1_600, 6_400):
        labels = np.repeat(np.arange(count), 60)
        kinds = np.tile(np.repeat([0, 1], [40, 20]), count)
        sampler = IdentitySampler(labels, kinds, P, K)

        def deal(sampler: IdentitySampler = sampler) -> None:
            for _ in sampler.epoch(0):
                pass

        seconds, _ = paired(deal, None, options.repeats)
        yield Line("scale", f"an epoch of {count:,} identities dealt", seconds, None, "", "s", False,
                   f"{1e6 * seconds / len(sampler):.0f} microseconds a batch",
                   at=("dealing an epoch, by identities", count))  # fmt: skip


def _gallery(options: Options) -> Iterator[Line]:
    """Time of one trial, distances included: 3,803 queries against galleries of several sizes."""
    for shots in (1, 2) if options.quick else (1, 4, 10, 40):
        feature_set, gallery = sysu_test(shots)
        setting = Setting("sysu", "ir2vis", "all", 1, trials=1)
        trial = Trial(np.arange(len(feature_set.rows) - len(gallery)), gallery)

        def score(
            feature_set: FeatureSet = feature_set, trial: Trial = trial, setting: Setting = setting
        ) -> None:
            score_trials(feature_set, [trial], setting, "cosine")

        seconds, _ = paired(score, None, options.repeats)
        yield Line("scale", f"ranking 3,803 queries in a gallery of {len(gallery):,}", seconds, None, "", "s", False,
                   at=("ranking, by gallery images", len(gallery)))  # fmt: skip
