"""Training with few infrared images of each identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtrl.data.imageset import ReIDData
from tests.helpers.runs import colour_people, settings
from train.data import split_rows
from train.preflight import check_runs
from train.trainer import Trainer


def test_infrared_images_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    images = colour_people(12, 0)  # four infrared images and eight visible ones of each
    every, held_out = split_rows(images, settings(tmp_path))
    assert len(every) == 9 * 12
    rows, still = split_rows(images, settings(tmp_path, infrared_images=3))
    assert np.array_equal(still, held_out) and (np.diff(rows) > 0).all() and set(rows) < set(every)
    for identity in np.unique(images.identities[every]):
        own = images.modalities[rows[images.identities[rows] == identity]]
        assert ((own == 0).sum(), (own == 1).sum()) == (8, 3)
    assert np.array_equal(split_rows(images, settings(tmp_path, infrared_images=3, seed=5))[0], rows)
    assert not np.array_equal(split_rows(images, settings(tmp_path, infrared_images=3, data_seed=1))[0], rows)
    assert np.array_equal(split_rows(images, settings(tmp_path, infrared_images=99))[0], every)


def test_a_run_sees_them_alone(tmp_path: Path, data: ReIDData) -> None:
    trainer = Trainer(settings(tmp_path / "run", infrared_images=1, epochs=1), data)
    assert len(trainer.pipeline.rows) == len(split_rows(data.train, trainer.settings)[0])
    trainer.run()
    with pytest.raises(ValueError, match="infrared_images 1, not 2"):
        Trainer(settings(tmp_path / "run", infrared_images=2, resume=True), data).run()
    with pytest.raises(ValueError, match="infrared_images must be at least 1, not 0"):
        check_runs([settings(tmp_path / "none", infrared_images=0)])
