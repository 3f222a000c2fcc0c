"""The empty view of each camera, drawn once in perspective: walls, ground, furniture, plants."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.cameras import CAMERAS, FRAME_HEIGHT, FRAME_WIDTH, Camera
from mtrl.data.synthetic.raycast import Part, cast
from mtrl.data.synthetic.scenes import SCENES, Plane

Array = NDArray[Any]
PAD = 96
"""The frame is continued by this many pixels on each side, so that any crop lies inside."""


def illuminator(distance: Array, off_axis: Array) -> Array:
    """Relative strength of a camera's own infrared lamp at a distance in metres and a tangent off its axis."""
    return (4.6 / np.maximum(distance, 1.5)) ** 1.7 / (1 + 1.6 * off_axis**2)


@functools.lru_cache(maxsize=12)
def frame(number: int) -> tuple[Array, Array]:
    """uint8 [H, W, 3] visible and uint8 [H, W, 1] infrared view of a camera without people (sRGB scale, padded)."""
    camera = CAMERAS[number]
    xs = (np.arange(-PAD, FRAME_WIDTH + PAD) + 0.5 - FRAME_WIDTH / 2).astype(np.float32) / np.float32(
        camera.focal
    )
    ys = -(np.arange(-PAD, FRAME_HEIGHT + PAD) + 0.5 - FRAME_HEIGHT / 2).astype(np.float32) / np.float32(
        camera.focal
    )
    planes, objects = SCENES[camera.scene]()
    shape = (len(ys), len(xs))
    albedo, depth, shade, facing = _planes(camera, planes, xs, ys)
    _objects(camera, objects, xs, ys, albedo, depth, shade, facing)
    light = shade[:, None] * (0.55 * np.asarray(camera.key) + np.asarray(camera.ambient)).astype(np.float32)
    visible = np.clip(albedo[:, :3] * light, 0, 1) ** np.float32(1 / 2.2)
    grid_x, grid_y = np.broadcast_to(xs[None, :], shape).ravel(), np.broadcast_to(ys[:, None], shape).ravel()
    lamp = illuminator(depth, np.hypot(grid_x, grid_y)) * (0.35 + 0.65 * facing) * 0.9 + 0.03
    infrared = np.clip(albedo[:, 3] * lamp * (0.6 + 0.4 * shade), 0, 1) ** np.float32(1 / 2.2)
    seen = (255 * visible + 0.5).astype(np.uint8).reshape(*shape, 3)
    return seen, (255 * infrared + 0.5).astype(np.uint8).reshape(*shape, 1)


def _planes(camera: Camera, planes: list[Plane], xs: Array, ys: Array) -> tuple[Array, Array, Array, Array]:
    rotation = camera.rotation.astype(np.float32)
    rays = [
        (rotation[0, k] * xs + rotation[2, k])[None, :] + (rotation[1, k] * ys)[:, None] for k in range(3)
    ]
    rays = [ray.ravel() for ray in rays]
    depth = np.full(rays[0].shape, 60.0, dtype=np.float32)
    owner = np.full(rays[0].shape, -1, dtype=np.int8)
    for number, plane in enumerate(planes):
        along = rays[plane.axis]
        with np.errstate(divide="ignore"):
            t = np.float32(plane.level - camera.place[plane.axis]) / along
        nearer = (t > 0.3) & (t < depth)
        if plane.top is not None:
            nearer &= camera.place[1] + t * rays[1] < plane.top
        depth[nearer], owner[nearer] = t[nearer], number
    albedo = np.empty((len(depth), 4), dtype=np.float32)
    shade, facing = np.ones(len(depth), dtype=np.float32), np.ones(len(depth), dtype=np.float32)
    _sky(albedo, rays[1])
    length = np.sqrt(rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2)
    for number, plane in enumerate(planes):
        rows = np.flatnonzero(owner == number)
        point = [camera.place[k] + depth[rows] * rays[k][rows] for k in range(3)]
        others = [k for k in (0, 2, 1) if k != plane.axis]
        albedo[rows], shade[rows] = plane.texture(point[others[0]], point[others[1]])
        facing[rows] = np.abs(rays[plane.axis][rows]) / length[rows]
    facing[owner < 0] = 0.0
    return albedo, depth, shade, facing


def _sky(albedo: Array, up: Array) -> None:
    haze = np.clip(1 - 2.0 * up, 0.3, 1)[:, None]
    albedo[:] = (
        np.array([0.62, 0.72, 0.85, 0.02], dtype=np.float32) * (1 - haze)
        + np.array([0.85, 0.87, 0.88, 0.03], dtype=np.float32) * haze
    )


def _objects(
    camera: Camera,
    objects: list[Part],
    xs: Array,
    ys: Array,
    albedo: Array,
    depth: Array,
    shade: Array,
    facing: Array,
) -> None:
    shift = -camera.rotation @ np.asarray(camera.place)
    hits = cast([part.moved(camera.rotation, shift) for part in objects], xs, ys)
    front = hits.depth < depth[hits.pixels]
    pixels, normal = hits.pixels[front], hits.normal[:, front]
    sun = camera.rotation @ (np.asarray(camera.sun) / np.linalg.norm(camera.sun))
    up = camera.rotation @ np.array([0.0, 1.0, 0.0])
    albedo[pixels], depth[pixels] = hits.albedo[:, front].T, hits.depth[front]
    shade[pixels] = 0.45 + 0.25 * (up @ normal) + 0.5 * np.maximum(sun @ normal, 0)
    facing[pixels] = np.clip(-normal[2], 0, 1)
