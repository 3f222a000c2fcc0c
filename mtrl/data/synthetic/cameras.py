"""Six fixed cameras as in SYSU-MM01: 1, 2, 4, 5 visible, 3 and 6 infrared; 2 and 3 watch the same room."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.models.config import Modality

Array = NDArray[Any]
FRAME_HEIGHT, FRAME_WIDTH = 720, 960
VISIBLE_CAMERAS, INFRARED_CAMERAS = (1, 2, 4, 5), (3, 6)
ALL_CAMERAS = (1, 2, 3, 4, 5, 6)


@dataclasses.dataclass(frozen=True)
class Camera:
    """Place and character of a camera. Metres, radians, pixels of the whole frame.

    place      position in the scene; the ground is y = 0
    distance   nearest and farthest distance of people; reach: how far to the side, in tangents
    sun        direction towards the main light; key and ambient: its colour and that of the rest (linear)
    resolution range of effective resolution of a crop (1: all of 256 x 128); quality: range of JPEG quality
    """

    number: int
    infrared: bool
    scene: str
    place: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float
    distance: tuple[float, float]
    reach: float
    sun: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]
    noise: float
    resolution: tuple[float, float]
    quality: tuple[int, int]

    @property
    def modality(self) -> Modality:
        """Spectrum of the camera."""
        return Modality.INFRARED if self.infrared else Modality.VISIBLE

    @property
    def rotation(self) -> Array:
        """float64 [3, 3], rows right, up and forward: camera = rotation @ (world - place)."""
        sy, cy, sp, cp = np.sin(self.yaw), np.cos(self.yaw), np.sin(self.pitch), np.cos(self.pitch)
        forward, right = np.array([sy * cp, -sp, cy * cp]), np.array([cy, 0.0, -sy])
        return np.stack([right, np.cross(forward, right), forward])

    def ground(self, distance: float, tangent: float) -> Array:
        """World point on the ground at a horizontal distance ahead and a tangent to the side."""
        forward, right = np.array([np.sin(self.yaw), 0, np.cos(self.yaw)]), self.rotation[0]
        return np.array([self.place[0], 0.0, self.place[2]]) + distance * (forward + tangent * right)


CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        Camera(1, False, "corridor", (0.0, 2.35, 2.2), 0.03, 0.20, 700, (3.9, 6.6), 0.24, (-0.25, 0.93, -0.25),
               (0.62, 0.66, 0.58), (0.44, 0.46, 0.42), 0.018, (0.55, 1.0), (60, 92)),
        Camera(2, False, "room", (-0.3, 2.20, 1.4), 0.16, 0.17, 680, (3.6, 5.8), 0.42, (0.55, 0.75, -0.35),
               (0.74, 0.68, 0.55), (0.38, 0.36, 0.32), 0.022, (0.5, 0.95), (55, 90)),
        Camera(3, True, "room", (0.6, 2.10, 1.2), -0.14, 0.16, 660, (3.4, 5.7), 0.40, (0.55, 0.75, -0.35),
               (0.74, 0.68, 0.55), (0.38, 0.36, 0.32), 0.020, (0.5, 0.9), (60, 92)),
        Camera(4, False, "plaza", (0.0, 2.9, 2.6), -0.05, 0.22, 760, (4.6, 7.4), 0.45, (0.62, 0.62, -0.48),
               (1.02, 0.95, 0.82), (0.34, 0.38, 0.46), 0.012, (0.55, 1.0), (60, 92)),
        Camera(5, False, "garden", (0.2, 2.5, 1.8), 0.10, 0.19, 720, (4.3, 7.2), 0.42, (-0.35, 0.85, -0.2),
               (0.42, 0.44, 0.46), (0.56, 0.60, 0.64), 0.014, (0.5, 1.0), (55, 90)),
        Camera(6, True, "yard", (-0.2, 2.6, 1.6), 0.06, 0.20, 700, (3.9, 7.0), 0.42, (0.3, 0.8, -0.4),
               (0.6, 0.6, 0.6), (0.4, 0.4, 0.45), 0.024, (0.45, 0.85), (50, 88)),
    )
}  # fmt: skip
