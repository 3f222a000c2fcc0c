"""Augmentation of training batches: `draw_plan` draws what happens to a batch, `render` carries it out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtrl.data.augment import batched as whole
from mtrl.data.augment import per_image
from mtrl.data.augment.batched import PairedAugment, pad_columns
from mtrl.data.augment.plan import CHANNEL_MODES, AugmentConfig, Plan, draw_plan
from mtrl.data.augment.selection import Scale, Selection

__all__ = ["CHANNEL_MODES", "AugmentConfig", "PairedAugment", "Plan", "Scale", "Selection", "batched_on", "draw_plan",
           "pad_columns", "render"]  # fmt: skip


def render(
    plan: Plan,
    visible: Selection,
    infrared: Selection,
    transition: Selection | Callable[[Tensor], Tensor] | None,
    out: Sequence[Tensor],
    scale: Scale,
    batched: bool,
) -> None:
    """Writes augmented, normalised images into `out`: three float32 tensors [B,3,H,W] for visible, transition and
    infrared images.

    transition  ready transition images; or a translator, which is given the cropped and mirrored visible images; or
                None
    batched     True: tensor operations on the whole batch; False: image by image on a CPU, into channels-last memory.
                Both give the same images up to rounding
    """
    if batched or plan.blur_or_noise:
        move = whole.move if batched else per_image.move
        whole.render(plan, visible, infrared, transition, out, scale, move)
    else:
        per_image.render(plan, visible, infrared, transition, out, scale)


def batched_on(device: torch.device) -> bool:
    """Whether to augment batches as a whole on this device: False on a CPU with numba, else True.

    Warns if numba is missing on a CPU.
    """
    if device.type == "cpu" and not per_image.available():
        warnings.warn(
            "numba is not installed: on a CPU it makes batches in as little as a sixth of the time "
            "(pip install numba)",
            stacklevel=4,
        )
        return True
    return device.type != "cpu"
