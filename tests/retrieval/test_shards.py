"""What Ray's tasks and actors do, without Ray: shards are decoded, checked and encoded as the local engine does it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from mtrl import MTRL
from mtrl.commands import index
from mtrl.commands.photos import Photos
from mtrl.models.config import Modality, ModelConfig
from mtrl.retrieval import ray_engine
from mtrl.retrieval.ray_engine import ShardEncoder, Work, decode_shard, read_part
from tests.helpers.pictures import picture

KINDS = [Modality.VISIBLE, Modality.INFRARED, Modality.VISIBLE]


@pytest.fixture
def model() -> MTRL:
    torch.manual_seed(0)
    return MTRL(ModelConfig("test_resnet", (64, 32), stem="dual")).eval()


@pytest.fixture
def shard(tmp_path: Path) -> dict[str, Any]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(picture(number, colour=True))
    return {"shard": 4, "paths": list(map(str, paths)), "modalities": list(map(int, KINDS))}


def test_a_shard_becomes_a_file_of_each_images_spectrum(
    model: MTRL, shard: dict[str, Any], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    work = Work(str(tmp_path / "model"), None, "cpu", (64, 32), str(tmp_path))
    assert ShardEncoder(work)(decode_shard(shard, work)) == {"shard": 4, "failed": ""}
    wanted = [model.encode([path], kind) for path, kind in zip(shard["paths"], KINDS, strict=True)]
    assert torch.allclose(read_part(tmp_path, 4), torch.cat(wanted), atol=1e-6)


def test_an_image_of_another_scale_is_refused_where_it_is_decoded(shard: dict[str, Any]) -> None:
    work = Work(None, None, "cpu", (64, 32), "", value_range=(0.0, 9.0))
    assert "1.png has 8 bits and does not say how" in decode_shard(shard, work)["failed"]
    visible = shard | {"modalities": [int(Modality.VISIBLE)] * 3}
    assert decode_shard(visible, work)["failed"] == ""


@pytest.mark.parametrize(
    ("output", "parts"), [("out/day.1", "out/day.1.parts"), ("http://host:19530", "night.parts"), (".", None)]
)
def test_parts_lie_beside_the_index_and_workers_get_a_kind_of_device(
    output: str, parts: str | None, model: MTRL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Work] = []
    monkeypatch.setattr(ray_engine, "encode_with_ray", lambda *args: given.append(args[3]))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    parser = argparse.ArgumentParser()
    index.add_arguments(parser)
    words = ["photos", "--output", output, "--collection", "night", "--device", "auto", "--engine", "ray"]
    index._encode_with_ray(model, Photos([], []), [], parser.parse_args(words), None)
    wanted = tmp_path / "here.parts" if parts is None else tmp_path / "here" / parts
    assert Path(given[0].parts) == wanted and given[0].device == "cpu"
