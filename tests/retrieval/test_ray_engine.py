"""Encoding with Ray on a local cluster of two workers: equal to the local engine, also when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mtrl import MTRL
from mtrl.models.config import Modality, ModelConfig
from mtrl.retrieval.ray_engine import ShardEncoder, Work, encode_with_ray, read_part
from tests.helpers.paths import ROOT
from tests.helpers.pictures import picture

pytestmark = pytest.mark.slow


class DyingEncoder(ShardEncoder):
    """The actor that first gets shard 2 is killed, once; every call is noted."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        folder = Path(self.work.parts).parent
        (folder / f"called-{row['shard']}-{os.getpid()}").touch()
        if row["shard"] == 2 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    yield ray
    ray.shutdown()


def test_a_killed_worker_loses_and_doubles_nothing(cluster: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MTRL(ModelConfig("test_resnet", (64, 32), stem="dual")).eval()
    model.save_pretrained(tmp_path / "model")
    paths = []
    for number in range(22):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(picture(number, colour=number % 3 == 0))
    modalities = [Modality.VISIBLE if number % 3 == 0 else Modality.INFRARED for number in range(22)]
    wanted = torch.cat([model.encode([path], kind) for path, kind in zip(paths, modalities, strict=True)])
    work = Work(str(tmp_path / "model"), None, "cpu", (64, 32), str(tmp_path / "parts"), 8, None, 4)
    got = encode_with_ray(model, paths, modalities, work, 2, DyingEncoder)
    assert (tmp_path / "parts" / "killed").exists()
    assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-6, rtol=0)
    (folder,) = [path for path in (tmp_path / "parts").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir()) == [f"part-{n:06d}.safetensors" for n in range(6)]
    assert [len(read_part(folder, shard)) for shard in range(6)] == [4, 4, 4, 4, 4, 2]

    # What is there already is not made again; what is damaged is.
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "part-000003.safetensors").write_bytes(b"half")
    assert torch.equal(encode_with_ray(model, paths, modalities, work, 2), got)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["part-000003.safetensors"]

    (tmp_path / "7.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"7\.png"):
        encode_with_ray(model, paths, modalities, work, 2)
