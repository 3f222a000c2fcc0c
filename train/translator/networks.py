"""Networks that only the training of a translator needs: discriminator and projections of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtrl.translate.learned import Learned

SLOPE = 0.2


class Discriminator(nn.Module):
    """Tells infrared from translated images (1 and 0), separately for overlapping patches of 38 x 38 pixels.

    It sees one channel, so that it cannot decide by colour. It sees patches, not scenes, since the cameras of the two
    spectra watch different places. It has no normalisation layers, which would remove brightness and contrast.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for outputs in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 3, padding=1))

    def forward(self, grey: Tensor) -> Tensor:
        """Float [N,1,H,W] in [0, 1] -> logits [N,1,H/8,W/8]."""
        return self.layers(2 * grey - 1).float()


class Projection(nn.Module):
    """Projects features to unit vectors by a two-layer perceptron for each chosen stage of the generator's encoder."""

    def __init__(self, channels: list[int], size: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, size), nn.ReLU(), nn.Linear(size, size)) for count in channels
        )

    def forward(self, features: list[Tensor], positions: list[Tensor]) -> list[Tensor]:
        """Feature maps [N,C,h,w], one per stage -> unit vectors [N,S,size] at S positions of each.

        positions  int64 [S] per stage, indices into the flattened h*w
        """
        picked = [
            feature.flatten(2).index_select(2, where).transpose(1, 2)
            for feature, where in zip(features, positions, strict=True)
        ]
        return [F.normalize(head(x).float(), dim=2) for head, x in zip(self.heads, picked, strict=True)]


class Networks(nn.Module):
    """All trained networks in one module, so that one optimiser and one file hold their state."""

    STAGES = (1, 2, -1)  # stride 2, stride 4, and the last block

    def __init__(self, generator: Learned) -> None:
        super().__init__()
        config = generator.config
        self.generator = generator
        self.discriminator = Discriminator()
        self.projection = Projection([2 * config.width, 4 * config.width, config.deep])

    def stages(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps that the contrastive loss compares, one per stage of STAGES.

        images  [N,1,H,W] or [N,3,H,W], H and W multiples of 8
        """
        features = self.generator.encode(images.expand(-1, 3, -1, -1))
        return [features[stage] for stage in self.STAGES]


def draw_positions(features: list[Tensor], samples: int, generator: torch.Generator) -> list[Tensor]:
    """Random positions, int64 [at most `samples`], in each feature map, the same for all images of the batch."""
    return [
        torch.randperm(feature[0, 0].numel(), generator=generator)[:samples].to(feature.device)
        for feature in features
    ]
