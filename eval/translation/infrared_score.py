"""Infrared score: the probability that an image is infrared, by a small classifier trained on other identities.

The classifier sees single-channel images, so that it cannot decide by colour. Visible images are mixed from their
channels with random weights, new at every step. It averages over patches of 31 x 31 pixels, so that the scene has less
influence: the cameras of the two modalities watch different places. Its score of true infrared views from the places of
the visible cameras tells how well that works.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtrl.console.progress import Progress

WIDTHS = (16, 32, 64, 64)


class SpectrumClassifier(nn.Module):
    """Visible against infrared: images [N,1,H,W] in [0, 1] -> (logits of "infrared" [N], features [N,64])."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for number, outputs in enumerate(WIDTHS):
            stride = 2 if number < len(WIDTHS) - 1 else 1
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.logit = nn.Linear(inputs, 1)

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(2 * grey - 1).mean(dim=(2, 3))
        return self.logit(features)[:, 0], features


def train_classifier(
    visible: Tensor,
    infrared: Tensor,
    seed: int,
    steps: int,
    batch: int = 32,
    device: str | torch.device = "cpu",
) -> SpectrumClassifier:
    """Trains a classifier on uint8 images [N,3,H,W] of each modality.

    The same seed gives the same classifier. torch's global random state is not changed.
    """
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SpectrumClassifier().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    labels = torch.cat([torch.zeros(batch // 2), torch.ones(batch // 2)]).to(device)
    for _ in Progress(range(steps), title="classifier", unit="step", keep=False):
        day = _draw(visible, batch // 2, draws).to(device).float() / 255
        night = _draw(infrared, batch // 2, draws).to(device).float() / 255
        weights = torch.rand(len(day), 3, generator=draws).to(device) + 1e-3
        weights = weights / weights.sum(dim=1, keepdim=True)
        grey = (day * weights[:, :, None, None]).sum(dim=1, keepdim=True)
        images = torch.cat([grey, night[:, :1]])
        logits, _ = network(images.flip(3) if torch.rand((), generator=draws) < 0.5 else images)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def score_images(network: SpectrumClassifier, grey: Tensor, batch: int = 128) -> tuple[Tensor, Tensor]:
    """Images [N,1,H,W] in [0, 1] -> (probabilities of "infrared" [N], features [N,64]), on the CPU."""
    device = network.logit.weight.device
    with torch.inference_mode():
        parts = [network(part.to(device)) for part in grey.split(batch)]
    return torch.cat([p[0] for p in parts]).sigmoid().cpu(), torch.cat([p[1] for p in parts]).cpu()


def _draw(images: Tensor, count: int, draws: torch.Generator) -> Tensor:
    return images[torch.randint(len(images), (count,), generator=draws)]
