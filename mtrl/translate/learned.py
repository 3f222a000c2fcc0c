"""A small convolutional network that predicts the infrared image of a visible one as luminance + correction.

    out = clamp( luminance(x) + N(x) , 0, 1 )      in all three channels

N is a U-shaped network: strides 1, 2, 4 and 8, residual blocks at stride 8, and bilinear upsampling. A skip connection
at every stride, also at full resolution, keeps content in its place. There is no normalisation over the image, since N
needs its brightness and contrast. N knows outlines at the size that people had in training: for an image of another
height it is computed at that of training and resized.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .interface import Translator, check_images
from .photometric import LUMA

STRIDE = 8
SLOPE = 0.1
_RANGES = {"width": (1, 128), "deep": (1, 512), "blocks": (1, 32), "height": (0, 2048)}
_LARGEST_SCALE = 4.0  # of a small image that is brought to the height of training


@dataclasses.dataclass(frozen=True)
class LearnedConfig:
    """Size of the network and of its training images.

    width   channels at full resolution, 1 to 128; twice as many at stride 2, four times at stride 4
    deep    channels at stride 8, 1 to 512
    blocks  number of residual blocks at stride 8, 1 to 32
    height  of its training images in pixels, up to 2048; 0: not known, N is computed at the size of any image
    Raises ValueError for other values.
    """

    width: int = 24
    deep: int = 128
    blocks: int = 4
    height: int = 0

    def __post_init__(self) -> None:
        for name, (least, largest) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= largest:
                raise ValueError(f"{name} must be a whole number from {least} to {largest}, not {value!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LearnedConfig:
        """A configuration from parsed JSON. Raises ValueError for unknown or missing entries and impossible values.

        Older files have no height.
        """
        values = {"height": 0, **values}
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            raise ValueError(f"a translator is described by {sorted(names)}, not by {sorted(values)}")
        return cls(**values)


class Learned(Translator):
    """The learned translator.

    Initial weights are drawn from torch's global generator. The last layer starts at zero, so that an untrained
    translator gives the luminance.
    """

    deterministic = True

    def __init__(self, config: LearnedConfig | None = None) -> None:
        super().__init__()
        self.config = config or LearnedConfig()
        width, deep = self.config.width, self.config.deep
        channels = [width, 2 * width, 4 * width, deep]
        steps = list(itertools.pairwise(channels))
        self.stem = _convolution(3, width)
        self.down = nn.ModuleList(_convolution(fine, coarse, stride=2) for fine, coarse in steps)
        self.blocks = nn.ModuleList(Residual(deep) for _ in range(self.config.blocks))
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in reversed(steps))
        self.merge = nn.ModuleList(_convolution(fine, fine) for fine, _ in reversed(steps))
        self.head = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # as `mtrl.models.reid.MTRL`

    def forward(self, images: Tensor) -> Tensor:
        """Visible images, float [N,3,H,W] in [0, 1] -> translated images of the same shape and range.

        Raises ValueError for another shape or integers.
        """
        check_images(images)
        grey = self._at_known_height(images.to(self.head.weight.dtype)).clamp(0, 1)
        return grey.to(images.dtype).expand_as(images).contiguous()

    def _at_known_height(self, images: Tensor) -> Tensor:
        """`predict`, with N computed at the height of training and resized to that of the images."""
        height, width = images.shape[2:]
        scale = (
            min(self.config.height / height, _LARGEST_SCALE) if self.config.height and len(images) else 1.0
        )
        size = max(1, round(scale * height)), max(1, round(scale * width))
        if size == (height, width):
            return self.predict(images)
        return luminance(images) + _resize(self.correction(_resize(images, size)), (height, width))

    def predict(self, images: Tensor) -> Tensor:
        """Visible images, float [N,3,H,W] -> [N,1,H,W], not clamped to [0, 1], so that training has a gradient."""
        return luminance(images) + self.correction(images)

    def correction(self, images: Tensor) -> Tensor:
        """N(x), [N,1,H,W], of visible images, float [N,3,H,W], at their own size."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        features = self.encode(padded)
        x = features[-1]
        skips = reversed(features[: len(self.down)])
        for narrow, merge, skip in zip(self.narrow, self.merge, skips, strict=True):
            x = merge(F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear") + skip)
        return self.head(x)[:, :, :height, :width]

    def encode(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps: at strides 1, 2, 4 and 8, then after each residual block.

        images  float [N,3,H,W], H and W multiples of 8
        """
        features = [self.stem(images - 0.5)]
        for layer in (*self.down, *self.blocks):
            features.append(layer(features[-1]))
        return features


class Residual(nn.Module):
    """A residual block: x plus two convolutions of x, of which the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


def luminance(images: Tensor) -> Tensor:
    """RGB images, float [N,3,H,W] -> their luminance [N,1,H,W]."""
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """In float32: antialiasing does not exist for half precision."""
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True).to(images.dtype)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE))
