"""Dynamic batches: images that wait at the same time, of whichever requests, go through the network together.

Nobody waits for a batch to fill up: while the network is at work on one, the next requests gather. One client alone
gets batches of its own images, at once; many clients share batches of up to `most`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mtrl.models.config import Modality

Encode = Callable[[Tensor, Modality], Tensor]


class Overloaded(Exception):
    """More images wait than may."""


@dataclasses.dataclass(eq=False)
class _Job:
    images: Tensor
    modality: Modality
    answer: asyncio.Future[Tensor]


class Batcher:
    """Encodes images [N,3,H,W] of one size, N at least 1, in the order in which they come.

    encode   images and their modality -> features [N,D]; called in a thread of its own, one call at a time
    most     images of a batch; a request with more takes several
    waiting  images that may wait
    noted    hears of the size of each batch
    """

    def __init__(
        self,
        encode: Encode,
        most: int = 64,
        waiting: int = 1024,
        noted: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._encode, self.most, self.waiting, self._noted = encode, most, waiting, noted
        self._jobs: deque[_Job] = deque()
        self._count = 0
        self._called = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._task: asyncio.Task[None] | None = None

    async def encode(self, images: Tensor, modality: Modality) -> Tensor:
        """Features [N,D]. Raises Overloaded, and what `encode` raises for its batch."""
        if self._count + len(images) > self.waiting:
            raise Overloaded(f"{self._count} images are waiting already; try again in a few seconds")
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        loop = asyncio.get_running_loop()
        jobs = [_Job(part, modality, loop.create_future()) for part in images.split(self.most)]
        self._jobs += jobs
        self._count += len(images)
        self._called.set()
        return torch.cat(await asyncio.gather(*(job.answer for job in jobs)))

    async def stop(self) -> None:
        """Ends the work; requests that still wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for job in self._jobs:
            job.answer.cancel()
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._called.wait()
            batch = self._next_batch()
            if not batch:
                self._called.clear()
                continue
            images = torch.cat([job.images for job in batch])
            self._noted(len(images))
            try:
                features = await loop.run_in_executor(self._thread, self._encode, images, batch[0].modality)
            except Exception as error:
                for job in batch:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                continue
            for job, part in zip(batch, features.split([len(job.images) for job in batch]), strict=True):
                if not job.answer.done():  # its client may have gone
                    job.answer.set_result(part)

    def _next_batch(self) -> list[_Job]:
        """The oldest job and, as far as they fit, those behind it of the same modality."""
        batch: list[_Job] = []
        size = 0
        kept: deque[_Job] = deque()
        while self._jobs:
            job = self._jobs.popleft()
            if job.answer.cancelled():
                self._count -= len(job.images)
            elif not batch or (job.modality is batch[0].modality and size + len(job.images) <= self.most):
                batch.append(job)
                size += len(job.images)
            else:
                kept.append(job)
        self._jobs = kept
        self._count -= size
        return batch
