"""The network of a service before training, so that what training has done can be seen beside it."""

from __future__ import annotations

import threading
import weakref

import torch
from torch import nn

from mtrl.demo.service.distances import Side
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL

SEED = 0
MOST_IMAGES = 120  # of each spectrum
MOST_TOGETHER = 64  # in one batch
MOST_PARAMETERS = 60_000_000
_made: weakref.WeakKeyDictionary[DemoService, Side | None] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def untrained_side(service: DemoService) -> Side | None:
    """The infrared side of the service's gallery as its network saw it with the random weights of `SEED`.

    Training starts from normalisation layers that follow the images before them, so these are set on the gallery's
    images; nothing is learned. Made once for each service. None for networks of more than `MOST_PARAMETERS`.
    """
    with _guard:
        if service not in _made:
            _made[service] = _make(service)
        return _made[service]


def _make(service: DemoService) -> Side | None:
    if sum(p.numel() for p in service.model.parameters()) > MOST_PARAMETERS:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = MTRL(service.model.config)
    chosen = {m: _spread(service.rows[m]) for m in Modality}
    images = {m: [service.open(service.images[i]) for i in rows] for m, rows in chosen.items()}
    together = [(image, int(m)) for m in Modality for image in images[m]]
    together = together[:: -(-len(together) // MOST_TOGETHER)]
    if len(together) < 2:  # too few for any statistics
        return None
    batch, kinds = zip(*together, strict=True)
    _set_normalisation(model, model.preprocess(list(batch)), torch.tensor(kinds))
    people = [service.images[i].person for i in chosen[Modality.INFRARED]]
    return Side(model, model.encode(images[Modality.INFRARED], "infrared"), people)


def _spread(rows: list[int]) -> list[int]:
    step = -(-len(rows) // MOST_IMAGES) or 1
    return rows[::step]


@torch.no_grad()
def _set_normalisation(model: MTRL, batch: torch.Tensor, kinds: torch.Tensor) -> None:
    """Gives the batch-normalisation layers the statistics of a batch [N,3,H,W] of modalities [N]."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over batches, of which there is one
    model.train()
    model(batch, kinds)
    model.eval()
