"""Training in several processes, as `torchrun` or `accelerate launch` start them.

Each process holds the whole model, and trains on a shard of every batch: some of its identities. Features are gathered
from all processes, so that the losses see the whole batch. torch's DistributedDataParallel averages the gradients. Only
process 0 writes, prints and evaluates.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtrl.data.sampler import Batch
from mtrl.losses.total import TriLayout
from mtrl.models.device import pick_device
from mtrl.models.reid import MTRL, Features

# How long the other processes wait at most, for instance while process 0 evaluates.
TIMEOUT = timedelta(hours=2)


class WorkerLostError(OSError):
    """Another process of the job has ended or cannot be reached, so that no step can be finished."""


@dataclasses.dataclass(frozen=True)
class DistributedContext:
    """This process's place among the processes that train together. By default it is the only one.

    rank  number of this process, from 0
    size  number of processes
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} is not one of {self.size} processes")

    @classmethod
    def current(cls) -> DistributedContext:
        """The context inside `joined`; outside of it, that of a single process."""
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def main(self) -> bool:
        """Whether this process writes, prints and evaluates."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process, chosen as by `pick_device`. Each process gets a GPU of its own.

        Raises ValueError for several processes on Apple's MPS.
        """
        device = pick_device(name)
        if self.size > 1 and device.type == "mps":
            if name != "auto":
                raise ValueError(
                    "several processes train on CUDA GPUs or the CPU: give --device cpu, or start one"
                )
            return torch.device("cpu")
        if self.size == 1 or device.type != "cuda":
            return device
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)))

    def check_batch(self, identities: int) -> None:
        """Raises ValueError unless P = `identities` can be divided equally among the processes."""
        if identities % self.size:
            raise ValueError(
                f"--identities {identities} cannot be shared by {self.size} processes: choose a multiple of {self.size}"
            )

    def check_sync_bn(self, sync_bn: bool, device: torch.device) -> None:
        """Raises ValueError if batch normalisation over all processes is wanted but not possible on this device."""
        if self.size > 1 and sync_bn and device.type != "cuda":
            raise ValueError("--sync-bn needs GPUs: torch synchronises batch statistics on CUDA only")

    def shard(self, batch: Batch) -> Batch:
        """The part of a batch that this process trains on: whole identities, with all their images."""
        length = len(batch.identities) // self.size
        own = slice(self.rank * length, (self.rank + 1) * length)
        return Batch(batch.visible[own], batch.infrared[own], batch.identities[own])

    def wrap(self, model: nn.Module, sync_bn: bool) -> nn.Module:
        """The module to call in a step: `model`, wrapped for averaging gradients if there are several processes."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        self.check_sync_bn(sync_bn, device)
        indices = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=indices)

    def gather(self, features: Features, layout: TriLayout) -> tuple[Features, TriLayout]:
        """Features and labels of the whole batch, from all processes: visible, transition, then infrared images.

        Rows of other processes have no gradient here. Each process computes the same loss of the whole batch, and the
        exact gradient of its own rows. The sum over the processes is the gradient of the parameters.
        """
        if self.size == 1:
            return features, layout
        logits = None if features.logits is None else self.gather_rows(features.logits, layout)
        gathered = Features(
            self.gather_rows(features.pooled, layout), self.gather_rows(features.embedding, layout), logits
        )
        visible, transition, infrared = (
            n * self.size for n in (layout.visible, layout.transition, layout.infrared)
        )
        identities = self.gather_rows(layout.identities, layout)
        return gathered, TriLayout(visible, transition, infrared, identities)

    def share_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sets the gradients of parameters of losses, after the backward pass of `size` times the loss.

        Unlike the model, losses see the whole batch in each process, so each has the whole gradient, times `size`. The
        mean over the processes, divided by that, is the same everywhere, whatever each drew at random. What is drawn
        must not decide whether a parameter takes part.
        """
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size**2

    def gather_rows(self, rows: Tensor, layout: TriLayout) -> Tensor:
        """Rows [V+T+I, ...] of this process -> those of the whole batch, in the order of `gather`."""
        if self.size == 1:
            return rows
        counts, own = [layout.visible, layout.transition, layout.infrared], rows
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own.detach().contiguous())
        parts[self.rank] = own
        pieces = [part.split(counts) for part in parts]
        return torch.cat([piece[kind] for kind in range(len(counts)) for piece in pieces])


def with_sync_bn(model: MTRL) -> MTRL:
    """`model` with batch normalisation over all processes, also in layers of timm. Weights keep their names."""
    from timm.layers.norm_act import convert_sync_batchnorm

    return convert_sync_batchnorm(model)


@contextmanager
def joined(device: str) -> Iterator[DistributedContext]:
    """Context manager: connects the processes that a launcher started, if there are several, until its end.

    Raises OSError if they cannot connect.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield DistributedContext()
        return
    cuda = pick_device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise OSError(
            f"the {os.environ['WORLD_SIZE']} processes did not find each other: {_first_line(error)}"
        ) from error
    try:
        yield DistributedContext.current()
    finally:
        dist.destroy_process_group()


@contextmanager
def worker_failures() -> Iterator[None]:
    """Context manager: turns the failure of an operation among all processes into a WorkerLostError."""
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized() or not _is_about_workers(error):
            raise
        raise WorkerLostError(
            f"another process of this job ended or cannot be reached ({_first_line(error)}); its own message says why"
        ) from error


def _is_about_workers(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("connection", "gloo", "nccl", "socket", "peer", "timed out")
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
