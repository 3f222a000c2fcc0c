"""The empty view of each camera, drawn once in perspective: walls, ground, furniture, plants."""

from __future__ import annotations

import dataclasses
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
_FAR = 60.0
"""Metres: beyond is sky."""


def illuminator(distance: Array, off_axis: Array) -> Array:
    """Relative strength of a camera's own infrared lamp at a distance in metres and a tangent off its axis."""
    return (4.6 / np.maximum(distance, 1.5)) ** 1.7 / (1 + 1.6 * off_axis**2)


@dataclasses.dataclass
class View:
    """The surfaces seen by a camera without people: directions xs [W], ys [H] of its pixels, and for each pixel albedo
    float32 [H * W, 4], depth, shade, how much it faces the camera, the sun and the sky (each [H * W], 0 to 1), and the
    share of a source of heat and of the sun's heat that it keeps."""

    xs: Array
    ys: Array
    albedo: Array
    depth: Array
    shade: Array
    facing: Array
    sunny: Array
    upward: Array
    warm: Array
    soak: Array

    @property
    def is_sky(self) -> Array:
        """Where there is nothing but sky, bool [H * W]."""
        return self.depth >= _FAR


def cut(
    image: Array, box: tuple[float, float, float, float]
) -> tuple[Array, tuple[float, float, float, float]]:
    """The part of a padded frame that holds a box of the frame, and the box in the coordinates of that part."""
    height, width = image.shape[:2]
    left, top, right, bottom = (value + PAD for value in box)
    left, right = np.clip([left, right], 0, width)
    top, bottom = np.clip([top, bottom], 0, height)
    i0, i1, j0, j1 = int(top), int(np.ceil(bottom)), int(left), int(np.ceil(right))
    return image[i0:i1, j0:j1], (left - j0, top - i0, right - j0, bottom - i0)


def survey(camera: Camera) -> View:
    """What a camera sees without people, before light falls on it."""
    xs = (np.arange(-PAD, FRAME_WIDTH + PAD) + 0.5 - FRAME_WIDTH / 2).astype(np.float32) / np.float32(
        camera.focal
    )
    ys = -(np.arange(-PAD, FRAME_HEIGHT + PAD) + 0.5 - FRAME_HEIGHT / 2).astype(np.float32) / np.float32(
        camera.focal
    )
    planes, objects = SCENES[camera.scene]()
    view = _planes(camera, planes, xs, ys)
    _objects(camera, objects, view)
    return view


@functools.lru_cache(maxsize=12)
def frame(number: int) -> tuple[Array, Array]:
    """uint8 [H, W, 3] visible and uint8 [H, W, 1] infrared view of a camera without people (sRGB scale, padded)."""
    camera = CAMERAS[number]
    view = survey(camera)
    shape = (len(view.ys), len(view.xs))
    light = view.shade[:, None] * (0.55 * np.asarray(camera.key) + np.asarray(camera.ambient)).astype(
        np.float32
    )
    visible = np.clip(view.albedo[:, :3] * light, 0, 1) ** np.float32(1 / 2.2)
    grid_x = np.broadcast_to(view.xs[None, :], shape).ravel()
    grid_y = np.broadcast_to(view.ys[:, None], shape).ravel()
    lamp = illuminator(view.depth, np.hypot(grid_x, grid_y)) * (0.35 + 0.65 * view.facing) * 0.9 + 0.03
    infrared = np.clip(view.albedo[:, 3] * lamp * (0.6 + 0.4 * view.shade), 0, 1) ** np.float32(1 / 2.2)
    seen = (255 * visible + 0.5).astype(np.uint8).reshape(*shape, 3)
    return seen, (255 * infrared + 0.5).astype(np.uint8).reshape(*shape, 1)


def _planes(camera: Camera, planes: list[Plane], xs: Array, ys: Array) -> View:
    rotation = camera.rotation.astype(np.float32)
    rays = [
        (rotation[0, k] * xs + rotation[2, k])[None, :] + (rotation[1, k] * ys)[:, None] for k in range(3)
    ]
    rays = [ray.ravel() for ray in rays]
    depth = np.full(rays[0].shape, _FAR, dtype=np.float32)
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
    shade, facing, soak = (np.ones(len(depth), dtype=np.float32) for _ in range(3))
    sunny, upward, warm = (np.zeros(len(depth), dtype=np.float32) for _ in range(3))
    _sky(albedo, rays[1])
    sun = _sun(camera)
    length = np.sqrt(rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2)
    for number, plane in enumerate(planes):
        rows = np.flatnonzero(owner == number)
        point = [camera.place[k] + depth[rows] * rays[k][rows] for k in range(3)]
        others = [k for k in (0, 2, 1) if k != plane.axis]
        albedo[rows], shade[rows] = plane.texture(point[others[0]], point[others[1]])
        outward = np.sign(camera.place[plane.axis] - plane.level)  # the side that is seen
        sunny[rows], soak[rows] = max(0.0, float(outward * sun[plane.axis])), plane.soak
        upward[rows] = plane.axis == 1 and outward > 0
        if plane.warm is not None:
            warm[rows] = plane.warm(point[others[0]], point[others[1]])
        facing[rows] = np.abs(rays[plane.axis][rows]) / length[rows]
    facing[owner < 0] = 0.0
    return View(xs, ys, albedo, depth, shade, facing, sunny, upward, warm, soak)


def _sun(camera: Camera) -> Array:
    """Unit vector towards a camera's main light in world coordinates."""
    return np.asarray(camera.sun) / np.linalg.norm(camera.sun)


def _sky(albedo: Array, up: Array) -> None:
    haze = np.clip(1 - 2.0 * up, 0.3, 1)[:, None]
    albedo[:] = (
        np.array([0.62, 0.72, 0.85, 0.02], dtype=np.float32) * (1 - haze)
        + np.array([0.85, 0.87, 0.88, 0.03], dtype=np.float32) * haze
    )


def _objects(camera: Camera, objects: list[Part], view: View) -> None:
    shift = -camera.rotation @ np.asarray(camera.place)
    hits = cast([part.moved(camera.rotation, shift) for part in objects], view.xs, view.ys)
    front = hits.depth < view.depth[hits.pixels]
    pixels, normal, owner = hits.pixels[front], hits.normal[:, front], hits.owner[front]
    sun = camera.rotation @ _sun(camera)
    up = camera.rotation @ np.array([0.0, 1.0, 0.0])
    view.albedo[pixels], view.depth[pixels] = hits.albedo[:, front].T, hits.depth[front]
    view.shade[pixels] = 0.45 + 0.25 * (up @ normal) + 0.5 * np.maximum(sun @ normal, 0)
    view.facing[pixels] = np.clip(-normal[2], 0, 1)
    view.sunny[pixels], view.upward[pixels] = np.clip(sun @ normal, 0, 1), np.clip(up @ normal, 0, 1)
    view.warm[pixels] = 0.0
    view.soak[pixels] = np.array([part.surface.heat.soak for part in objects], dtype=np.float32)[owner]
