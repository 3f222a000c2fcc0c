"""Augmentation on a CPU, image by image. All steps of an image are done while it is in a processor core's cache, and
the cores share a batch.

The result equals that of `mtrl.data.augment.batched` up to rounding; only blur and noise need that module. Needs numba,
which compiles `mtrl.data.augment.kernels` for the first batch and keeps the result on disk.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment.plan import Colours, Geometry, Plan
from mtrl.data.augment.selection import Scale, Selection


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def render(
    plan: Plan,
    visible: Selection,
    infrared: Selection,
    transition: Selection | Callable[[Tensor], Tensor] | None,
    out: Sequence[Tensor],
    scale: Scale,
) -> None:
    """As `mtrl.data.augment.render`. The tensors of `out` must be in channels-last memory."""

    def fill(chosen: Selection, geometry: Geometry, colours: Colours, slot: Tensor) -> None:
        where = slot.permute(0, 2, 3, 1)
        render_rows(chosen.images, chosen.rows, geometry, plan.pad, colours, scale, where)

    fill(visible, plan.visible.geometry, plan.visible.colours, out[0])
    fill(infrared, plan.infrared.geometry, plan.infrared.colours, out[2])
    if plan.transition is None:
        return
    geometry, colours = plan.transition.geometry, plan.transition.colours
    if isinstance(transition, Selection):
        fill(transition, geometry, colours, out[1])
    elif transition is not None:
        moved = torch.empty_like(out[1])
        move(visible, geometry, plan.pad, moved)
        with torch.no_grad():
            made = transition(moved.contiguous()).permute(0, 2, 3, 1).contiguous()
        middle = torch.full_like(geometry.top, plan.pad)  # the translator's images are cropped already
        still = dataclasses.replace(geometry, top=middle, left=middle, mirrored=middle[:0])
        fill(Selection(made, torch.arange(len(made))), still, colours, out[1])


def move(chosen: Selection, geometry: Geometry, pad: int, out: Tensor) -> None:
    """Crops and mirrors images into `out` [B,3,H,W] in channels-last memory, scaled to [0, 1]. Erases nothing."""
    unerased = dataclasses.replace(geometry, boxes=())
    render_rows(chosen.images, chosen.rows, unerased, pad, Colours(), Scale(), out.permute(0, 2, 3, 1))


def render_rows(
    images: Tensor, rows: Tensor, geometry: Geometry, pad: int, colours: Colours, scale: Scale, out: Tensor
) -> None:
    """Augments images into `out`: crops and mirrors them, changes colours, scales, and erases boxes.

    images    contiguous [N,H,W,3] on the CPU, uint8 (255 is white) or float32 (1 is white). They may be a memory map:
              only the B images are read
    rows      int64 [B], which of the images
    geometry  positions in images that have `pad` more pixels, repeated from the border, on every side
    out       contiguous float32 [B,H,W,3]

    The work is shared by `torch.get_num_threads()` threads. Raises ValueError for arguments that do not fit each other,
    and IndexError for rows that do not exist.
    """
    count, _, width, channels = out.shape
    _check(images, rows, geometry, colours, out)
    if count == 0:
        return
    from mtrl.data.augment import kernels

    jittered = colours.levels is not None
    levels = torch.ones(count, 2) if colours.levels is None else colours.levels.T
    matrices = torch.eye(channels).expand(count, -1, -1) if colours.matrices is None else colours.matrices
    shifts, mirrored, boxes = _moves(geometry, pad, width)
    fill = ((geometry.fill.numpy() - scale.mean) / scale.std).astype(np.float32)
    line = _line(scale, 255 if images.dtype == torch.uint8 else 1, width, jittered)
    colour = [tensor.float().contiguous().numpy() for tensor in (matrices, levels)]
    every: list[NDArray[Any]] = [rows.numpy(), shifts, mirrored, *colour, boxes, fill, out.numpy()]
    source = images.numpy()

    def some(start: int, stop: int) -> None:
        kernels.render(source, line, jittered, *(each[start:stop] for each in every))

    threads = min(torch.get_num_threads(), count)
    edges = [count * part // threads for part in range(threads + 1)]
    others = [_pool(threads - 1).submit(some, *ends) for ends in pairwise(edges[1:])]
    some(0, edges[1])
    for other in others:
        other.result()


def _check(images: Tensor, rows: Tensor, geometry: Geometry, colours: Colours, out: Tensor) -> None:
    """Checks the arguments of `render_rows`, since the compiled loops check nothing."""
    count, channels = len(out), out.shape[3]
    fits = (
        images.shape[1:] == out.shape[1:] and channels == 3 and images.dtype in (torch.uint8, torch.float32)
    )
    if not (fits and out.dtype == torch.float32 and images.is_contiguous() and out.is_contiguous()):
        raise ValueError(
            "contiguous images [N,H,W,3] of uint8 or float32 go into float32 [B,H,W,3], "
            f"not {images.dtype} {list(images.shape)} into {out.dtype} {list(out.shape)}"
        )
    counts = [len(rows), len(geometry.top), len(geometry.left), len(geometry.fill)]
    counts += [] if colours.matrices is None else [len(colours.matrices)]
    counts += [] if colours.levels is None else [colours.levels.shape[1]]
    if set(counts) != {count}:
        raise ValueError(f"rows, places and colours of {counts} images for {count}")
    if count and not 0 <= int(rows.min()) <= int(rows.max()) < len(images):
        raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of {len(images)} images")


def _moves(geometry: Geometry, pad: int, width: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The geometry as the compiled loops read it: (shifts, mirrored, boxes).

    shifts    [B,2], pixels down and right
    mirrored  bool [B]
    boxes     [B,4], top, left, height and width; a height of 0 is no box
    """
    count = len(geometry.top)
    across = (geometry.left.numpy() - pad).clip(1 - width, width - 1)
    shifts = np.stack([geometry.top.numpy() - pad, across], axis=1)
    mirrored = np.zeros(count, bool)
    mirrored[geometry.mirrored.numpy()] = True
    boxes = np.zeros((count, 4), np.int64)
    if geometry.boxes:
        table = np.array(geometry.boxes)
        boxes[table[:, 0]] = table[:, 1:]
    return shifts, mirrored, boxes


@cache
def _line(scale: Scale, white: float, width: int, limited: bool) -> NDArray[np.float32]:
    """Scaling of one image line, float32 [4, 3 W] for R, G, B, R, ...: factor, shift, smallest and largest output.

    Without `limited`, the outputs have no limits.
    """
    mean, std = np.array(scale.mean), np.array(scale.std)
    ends = [(0 - mean) / std, (1 - mean) / std] if limited else [[-np.inf] * 3, [np.inf] * 3]
    return np.tile([1 / white / std, -mean / std, *ends], width).astype(np.float32)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "render")
