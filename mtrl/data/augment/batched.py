"""Augmentation of whole batches with tensor operations, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtrl.data.augment.plan import AugmentConfig, Colours, Draw, Geometry, Plan, draw_plan
from mtrl.data.augment.selection import Scale, Selection
from mtrl.translate.interface import check_images
from mtrl.translate.photometric import grey_noise, jitter, mix_channels, soft_blur

Move = Callable[[Selection, Geometry, int, Tensor], None]


class PairedAugment:
    """Augments visible images, their transition images and infrared images, on any device.

    A visible image and its transition image get the same crop, mirroring and erased box, but colour changes of their
    own. Visible and infrared images are changed in the same way with and without transition images.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self, visible: Tensor, transition: Tensor | None, infrared: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Augments a batch. Shapes, dtypes and the range [0, 1] stay the same.

        visible     float [N,3,H,W] in [0, 1]
        transition  float [N,3,H,W] in [0, 1], row by row those of `visible`, or None
        infrared    float [M,3,H,W] in [0, 1]
        generator   on the CPU; the same state gives the same images
        Raises ValueError for integer images, other shapes, or transition images that do not match the visible ones.
        """
        check_images(visible)
        check_images(infrared)
        if transition is not None:
            check_images(transition)
            if transition.shape != visible.shape:
                raise ValueError(
                    f"transition {list(transition.shape)} must match visible {list(visible.shape)} in shape"
                )
        size = (visible.shape[2], visible.shape[3])
        plan = draw_plan(
            self.config, len(visible), len(infrared), size, generator, transition=transition is not None
        )

        def change(images: Tensor, draw: Draw) -> Tensor:
            padded = pad_columns(images, plan.pad)
            return colour_(crop(padded, images.shape[3], torch.arange(len(images)), draw.geometry), draw)

        made = None
        if transition is not None and plan.transition is not None:
            made = change(transition, plan.transition)
        return change(visible, plan.visible), made, change(infrared, plan.infrared)


def render(
    plan: Plan,
    visible: Selection,
    infrared: Selection,
    transition: Selection | Callable[[Tensor], Tensor] | None,
    out: Sequence[Tensor],
    scale: Scale,
    move: Move,
) -> None:
    """As `mtrl.data.augment.render`. `move` is the function that cuts images out: the one below or `per_image.move`."""
    move(visible, plan.visible.geometry, plan.pad, out[0])
    move(infrared, plan.infrared.geometry, plan.pad, out[2])
    steps = [(out[0], out[0], plan.visible), (out[2], out[2], plan.infrared)]
    if plan.transition is not None:
        made = out[1]
        if isinstance(transition, Selection):
            move(transition, plan.transition.geometry, plan.pad, made)
        elif transition is not None:
            with torch.no_grad():
                made = transition(out[0].contiguous())
        steps.append((out[1], made, plan.transition))
    mean, std = (
        torch.tensor(values, device=out[0].device).view(3, 1, 1) for values in (scale.mean, scale.std)
    )
    for slot, moved, draw in steps:
        changed = colour_(moved, draw)
        if changed.data_ptr() != slot.data_ptr():
            slot.copy_(changed)
        slot.sub_(mean).div_(std)


def move(chosen: Selection, geometry: Geometry, pad: int, out: Tensor) -> None:
    """Crops and mirrors uint8 images into float `out` [B,3,H,W], with values in [0, 1]."""
    out.copy_(crop(chosen.images, chosen.images.shape[3] - 2 * pad, chosen.rows, geometry)).div_(255)


def colour_(images: Tensor, draw: Draw) -> Tensor:
    """Changes the colours of cropped images [B,3,H,W], then erases their boxes. May change `images` in place."""
    return _erase_(_photometric(images, draw.colours), draw.geometry)


def _photometric(images: Tensor, colours: Colours) -> Tensor:
    if colours.matrices is not None:
        images = mix_channels(images, colours.matrices.to(images.device))
    if colours.levels is not None:
        images = jitter(images, *colours.levels.to(images.device))
    if colours.blur is not None:
        images = soft_blur(images, colours.blur.to(images.device))
    if colours.noise is not None:
        images = grey_noise(images, colours.noise.to(images.device), colours.seed)
    return images


def pad_columns(images: Tensor, pad: int) -> Tensor:
    """[N,C,H,W] of any type -> [N,C,H,W + 2 pad] for `crop`, by repeating the outer columns."""
    count, channels, height, width = images.shape
    padded = images.new_empty(count, channels, height, width + 2 * pad)
    padded[..., pad : pad + width] = images
    padded[..., :pad] = images[..., :1]
    padded[..., pad + width :] = images[..., -1:]
    return padded


def crop(padded: Tensor, width: int, positions: Tensor, geometry: Geometry) -> Tensor:
    """Cuts [B,C,H,W] out of contiguous images [N,C,H,W + 2 pad], as `pad_columns` makes them, and mirrors some.

    positions  int64 [B], on the CPU: which image each output is cut from
    Pixels are copied, never interpolated.
    """
    _, channels, height, stride = padded.shape
    count = len(positions)
    if count == 0:
        return padded.new_empty(0, channels, height, width)
    # Each output row is a run of `width` neighbouring values in memory, so whole runs are gathered, not pixels.
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = positions[:, None] * channels + torch.arange(channels)
    pad = (stride - width) // 2
    rows = (torch.arange(height) + geometry.top[:, None] - pad).clamp(0, height - 1)
    starts = (planes[:, :, None] * height + rows[:, None, :]) * stride + geometry.left[:, None, None]
    images = runs.index_select(0, starts.flatten().to(padded.device)).view(count, channels, height, width)
    for number in geometry.mirrored.tolist():  # one by one: indexing all at once takes ten times as long
        images[number] = images[number].flip(2)
    return images


def _erase_(images: Tensor, geometry: Geometry) -> Tensor:
    """Paints the erased boxes in place, one by one: there are few, so this is faster than a mask."""
    fill = geometry.fill.to(images.device, images.dtype)[:, :, None, None]
    for number, top, left, tall, wide in geometry.boxes:
        images[number, :, top : top + tall, left : left + wide] = fill[number]
    return images
