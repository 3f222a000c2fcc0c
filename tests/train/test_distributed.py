"""Several processes: shared batches, gathered features, the gradient of one process, and ends that say why."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtrl import load_pretrained
from mtrl.data.sampler import Batch
from mtrl.files.metrics_log import read_records
from mtrl.losses.own import own_loss
from mtrl.losses.total import LossWeights, TriLayout, total_loss
from mtrl.models.config import ModelConfig
from mtrl.models.reid import MTRL
from tests.helpers.paths import ROOT
from train.__main__ import main
from train.run.distributed import DistributedContext, joined

PEOPLE, EACH = 4, 3


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_identities_are_shared_without_overlap() -> None:
    rows = np.arange(12)
    batch = Batch(rows, rows + 100, rows // 3)
    shares = [DistributedContext(rank, 2).shard(batch) for rank in range(2)]
    assert [share.identities.tolist() for share in shares] == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]
    assert np.array_equal(np.concatenate([share.infrared for share in shares]), batch.infrared)
    with pytest.raises(ValueError, match="multiple of 3"):
        DistributedContext(0, 3).check_batch(8)
    with pytest.raises(ValueError, match="rank 2"):
        DistributedContext(2, 2)


def test_alone_there_is_nothing_to_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as world:
        assert world == DistributedContext() and world.main
    model = torch.nn.Linear(1, 1)
    assert world.wrap(model, sync_bn=False) is model


def test_other_commands_refuse_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="without torchrun"):
        main(["ablate"])


def problem() -> tuple[MTRL, Tensor, Tensor]:
    """A model whose batch normalisation is in evaluation mode, images [3, P, K, 3, H, W] by kind, labels [P, K]."""
    torch.manual_seed(0)
    model = MTRL(ModelConfig(backbone="test_resnet", image_size=(32, 16), num_identities=PEOPLE)).eval()
    return model, torch.rand(3, PEOPLE, EACH, 3, 32, 16), torch.arange(PEOPLE)[:, None].expand(-1, EACH)


class Pulls(torch.nn.Module):
    """A loss with parameters: infrared features are pulled to a learned point. `unused` never has a gradient."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.point = torch.nn.Parameter(torch.linspace(0, 1, dim))
        self.unused = torch.nn.Parameter(torch.zeros(2))

    def forward(self, infrared: Tensor, infrared_identities: Tensor) -> Tensor:
        return ((infrared - self.point).square().sum(1) * (1 + infrared_identities)).mean()


def gradients(world: DistributedContext, folder: Path) -> None:
    """Loss and gradients of this world's share of the problem, written by process 0."""
    model, images, labels = problem()
    length = PEOPLE // world.size
    own = slice(world.rank * length, (world.rank + 1) * length)
    layout = TriLayout.balanced(labels[own].reshape(-1))
    network = world.wrap(model, sync_bn=False)
    features, layout = world.gather(network(images[:, own].reshape(-1, 3, 32, 16)), layout)
    pulls = own_loss(Pulls(model.dim), "pulls", 0.7, model.dim, PEOPLE)
    loss, _ = total_loss(features, layout, LossWeights(direct=0.5), own=[pulls])
    (loss * world.size).backward()
    world.share_gradients(pulls.module.parameters())  # type: ignore[union-attr]
    if world.main:
        named = [*model.named_parameters(), *pulls.module.named_parameters()]  # type: ignore[union-attr]
        kept = {n: p.grad.contiguous() for n, p in named if p.grad is not None}
        save_file({"loss": loss.detach()} | kept, folder / f"{world.size}.safetensors")


def one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    with joined("cpu") as world:
        gradients(world, Path(folder))


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    gradients(DistributedContext(), tmp_path)
    multiprocessing.spawn(one_of_two, (free_port(), str(tmp_path)), nprocs=2)
    one, two = (load_file(tmp_path / f"{size}.safetensors") for size in (1, 2))
    assert one.keys() == two.keys() and len(one) > 20 and "point" in one and "unused" not in one
    assert one["loss"].item() == pytest.approx(two["loss"].item(), rel=1e-5)
    for name in one:
        scale = one[name].abs().max().item()
        assert (one[name] - two[name]).abs().max().item() <= 1e-5 * max(scale, 1e-3), name
    assert not dist.is_initialized()


def launch(run: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    command += [
        str(free_port()),
        "-m",
        "train",
        "--size",
        "tiny",
        "--device",
        "cpu",
        "--output",
        str(run),
        *flags,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True)  # fmt: skip


@pytest.mark.slow
def test_torchrun_trains_saves_and_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ["--batches", "3", "--log-every", "1"]
    for epochs, more in (("1", []), ("2", ["--resume"])):
        process = launch(run, "--epochs", epochs, *flags, *more)
        shown, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert shown.count("best mAP of held-out identities") == 1  # process 0 alone speaks
    load_pretrained(run)
    steps = [record["step"] for record in read_records(run / "metrics.jsonl") if record["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]
    refused = launch(run, "--epochs", "2")
    _, errors = refused.communicate(timeout=300)
    assert refused.returncode != 0 and "already holds a run" in errors


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_a_message(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = launch(run, "--epochs", "500", "--log-every", "1", "--eval-every", "0")
    try:
        deadline = time.monotonic() + 200
        while process.poll() is None and not read_records(run / "metrics.jsonl"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(worker(process.pid, rank=1), signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert "Signal 9" in errors or "SIGKILL" in errors  # the launcher's word on the one that died
    assert "--resume" in errors and (run / "last" / "state.safetensors").is_file()


def worker(launcher: int, rank: int) -> int:
    """The process of a rank among a launcher's children."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            known = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={rank}".encode() in known:
            return int(entry.name)
    raise AssertionError(f"no process of rank {rank}")
