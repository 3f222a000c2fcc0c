"""Difficulty settings and sizes of the synthetic data set."""

from __future__ import annotations

import dataclasses

HEIGHT, WIDTH = 256, 128
"""Every synthetic image is defined at this size; data sets hold an area-averaged copy at theirs."""


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """What makes matching people across the two spectra hard. Shares and correlations lie in [0, 1].

    infrared_luminance_correlation  of a fabric's infrared lightness with its visible lightness (hue: always 0)
    infrared_spread     standard deviation of fabrics' infrared lightness
    vanish_share        share of prints that cannot be seen in infrared
    invert_share        share of prints that are dark on bright in one spectrum and bright on dark in the other
    body_spread         scale of the variation of body shapes and of gait between identities
    accessory_share     scale of the chance of bags, hats and scarves
    dull_share          share of garments in black, grey, white and navy
    crop_jitter         scale of the errors of the detector's boxes (shift, size, aspect, cut feet or head)
    occlusion           share of images in which something stands in front of the person
    background_clutter  contrast of the background; 0 is plain grey
    pose_variation      scale of the variation of posture between images of one person
    illumination        scale of the variation of light and exposure between images of one camera
    sensor_noise        scale of noise, blur and compression
    black_hot           share of thermal images in which warm is dark
    """

    infrared_luminance_correlation: float = 0.8
    infrared_spread: float = 0.21
    vanish_share: float = 0.2
    invert_share: float = 0.1
    body_spread: float = 1.2
    accessory_share: float = 1.0
    dull_share: float = 0.45
    crop_jitter: float = 0.4
    occlusion: float = 0.06
    background_clutter: float = 1.0
    pose_variation: float = 1.0
    illumination: float = 0.9
    sensor_noise: float = 1.0
    black_hot: float = 0.1

    def __post_init__(self) -> None:
        shares = (
            "infrared_luminance_correlation",
            "vanish_share",
            "invert_share",
            "dull_share",
            "occlusion",
            "black_hot",
        )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            top = 1.0 if field.name in shares else 4.0
            if not 0.0 <= value <= top:
                raise ValueError(f"difficulty {field.name} must lie in [0, {top:g}], not {value!r}")
        if self.vanish_share + self.invert_share > 1.0:
            raise ValueError("difficulty vanish_share + invert_share must not exceed 1")


@dataclasses.dataclass(frozen=True)
class Size:
    """Numbers of identities and of images per identity and camera, and the default (height, width)."""

    train: int
    test: int
    visible_shots: int
    infrared_shots: int
    image_size: tuple[int, int]


SIZES: dict[str, Size] = {
    "tiny": Size(24, 12, 1, 2, (64, 32)),
    "small": Size(700, 100, 2, 4, (128, 64)),
    "large": Size(3200, 200, 2, 4, (256, 128)),
}
