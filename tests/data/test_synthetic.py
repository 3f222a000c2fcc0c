"""The renderer: deterministic, hue cannot be read from infrared, truth is aligned, people are disjoint."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest

from mtrl.data.synthetic import Difficulty, draw_person, load_part, render
from mtrl.data.synthetic.body import draw_body, draw_pose, pose_skeleton
from mtrl.data.synthetic.cameras import CAMERAS
from mtrl.data.synthetic.materials import Material, Surface, contrasting, fabric
from mtrl.data.synthetic.raycast import cast
from mtrl.data.synthetic.render import expose, moment
from mtrl.data.synthetic.shapes import box, ellipsoid, limb, loft
from mtrl.models.config import Modality
from tests.helpers.paths import ROOT

PLAIN = Surface((Material((0.5, 0.5, 0.5), 0.5),), folds=0.0, grain=0.0)
AXIS = np.linspace(-0.3, 0.3, 41).astype(np.float32)


def turn_hues(value):
    """The same clothes with every visible colour turned by 120 degrees; infrared is not touched."""
    if isinstance(value, Material):
        hue, saturation, bright = colorsys.rgb_to_hsv(*value.rgb)
        return Material(colorsys.hsv_to_rgb((hue + 1 / 3) % 1, saturation, bright), value.infrared)
    if isinstance(value, tuple):
        return tuple(turn_hues(item) for item in value)
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{f.name: turn_hues(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    return value


def test_same_bits_every_time_and_other_bits_for_other_keys():
    person = draw_person("train", 0, 5)
    first = render(person, 4, 1)
    assert first.shape == (256, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, render(draw_person("train", 0, 5), 4, 1))
    for other in (render(person, 4, 0), render(person, 5, 1), render(draw_person("train", 1, 5), 4, 1),
                  render(draw_person("test", 0, 5), 4, 1), render(draw_person("train", 0, 6), 4, 1)):  # fmt: skip
        assert np.abs(first.astype(int) - other).mean() > 5


def test_number_of_workers_changes_nothing(tmp_path):
    one = load_part("test", "tiny", cache_dir=tmp_path / "a", workers=1, progress=False, people=(0, 2))
    two = load_part("test", "tiny", cache_dir=tmp_path / "b", workers=2, progress=False, people=(0, 2))
    np.testing.assert_array_equal(one.images, two.images)
    assert one.names == two.names


@pytest.mark.parametrize("camera", [3, 6, 2])
def test_infrared_does_not_know_hue(camera):
    person = draw_person("train", 0, 1)
    recoloured = dataclasses.replace(person, outfit=turn_hues(person.outfit))
    assert recoloured.outfit != person.outfit
    scene, other = moment(person, camera, 0), moment(recoloured, camera, 0)
    np.testing.assert_array_equal(expose(person, scene, 0, True), expose(recoloured, other, 0, True))
    assert (
        np.abs(expose(person, scene, 0, False).astype(int) - expose(recoloured, other, 0, False)).max() > 40
    )


def test_infrared_has_three_equal_channels_and_visible_has_colour():
    person = draw_person("train", 0, 2)
    for camera, spec in CAMERAS.items():
        image = render(person, camera, 0)
        equal = (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()
        assert equal == (spec.modality == Modality.INFRARED)


def test_truth_is_the_same_moment():
    quiet = dataclasses.replace(Difficulty(), sensor_noise=0.0)
    person = draw_person("test", 0, 3, quiet)
    visible, infrared = render(person, 1, 0), render(person, 1, 0, infrared=True)
    scene = moment(person, 1, 0)
    mask = np.zeros(len(scene.xs) * len(scene.ys), dtype=np.float32)
    mask[scene.hits.pixels] = 1
    mask = mask.reshape(len(scene.ys), len(scene.xs))
    edge = np.abs(np.diff(mask[::3, :], axis=1))[:, 1::3] > 0
    # both spectra are drawn from one set of hits, so the outline is an edge in each of them
    for image in (visible.astype(float).mean(2), infrared.astype(float)[..., 0]):
        steps = np.abs(np.diff(image[::2], axis=1))[: edge.shape[0], ::2][:, : edge.shape[1]]
        assert steps[edge[:, : steps.shape[1]]].mean() > 1.5 * steps.mean()
    np.testing.assert_array_equal(render(person, 3, 0), render(person, 3, 0, infrared=True))


def test_hair_and_skin_follow_lightness_alone():
    people = [draw_person("train", 3, number).outfit for number in range(300)]
    for part in ("skin", "hair"):
        found = [getattr(outfit, part).materials[0] for outfit in people]
        light, infrared = (np.array([getattr(m, name) for m in found]) for name in ("lightness", "infrared"))
        residual = infrared - np.polyval(np.polyfit(light, infrared, 1), light)
        for channel in range(3):
            hue = np.array([m.rgb[channel] - m.lightness for m in found])
            assert abs(np.corrcoef(hue, residual)[0, 1]) < 0.2, part


def test_materials_follow_the_difficulty():
    rng = np.random.default_rng(0)
    for wanted in (0.0, 0.5, 0.95):
        difficulty = dataclasses.replace(
            Difficulty(), infrared_luminance_correlation=wanted, infrared_spread=0.1
        )
        cloth = [fabric(rng, difficulty) for _ in range(1500)]
        found = np.corrcoef([c.lightness for c in cloth], [c.infrared for c in cloth])[0, 1]
        assert found == pytest.approx(wanted, abs=0.1)
        hues = np.array([c.rgb[0] - c.rgb[2] for c in cloth])
        light = np.array([c.lightness for c in cloth])
        residual = np.array([c.infrared for c in cloth]) - np.polyval(
            np.polyfit(light, [c.infrared for c in cloth], 1), light
        )
        assert abs(np.corrcoef(hues, residual)[0, 1]) < 0.1
    base = Material((0.2, 0.2, 0.2), 0.5)
    vanish = dataclasses.replace(Difficulty(), vanish_share=1.0, invert_share=0.0)
    assert all(abs(contrasting(rng, vanish, base).infrared - base.infrared) < 0.05 for _ in range(50))
    invert = dataclasses.replace(Difficulty(), vanish_share=0.0, invert_share=1.0)
    for _ in range(50):
        other = contrasting(rng, invert, base)
        assert (other.lightness > base.lightness) == (other.infrared < base.infrared)


def test_bad_settings_and_arguments_are_refused():
    with pytest.raises(ValueError, match="occlusion"):
        Difficulty(occlusion=1.5)
    with pytest.raises(ValueError, match="vanish_share"):
        Difficulty(vanish_share=0.7, invert_share=0.7)
    with pytest.raises(ValueError, match="domain"):
        draw_person("val", 0, 0)
    with pytest.raises(ValueError, match="camera"):
        render(draw_person("test", 0, 0), 7, 0)


def test_feet_stand_on_the_ground_and_people_have_human_size():
    rng = np.random.default_rng(3)
    for _ in range(40):
        body = draw_body(rng, Difficulty())
        joints = pose_skeleton(body, draw_pose(rng, Difficulty(), (False, False))).joints
        lowest = min(joints["ankle_r"][1], joints["ankle_l"][1])
        assert lowest == pytest.approx(0.043 * body.height, abs=1e-9)
        assert 1.35 < joints["skull"][1] + 0.06 * body.height < 2.1
        for side in "rl":
            thigh = np.linalg.norm(joints[f"hip_{side}"] - joints[f"knee_{side}"])
            assert 0.30 < thigh < 0.55


def depth_image(part):
    hits = cast([part], AXIS, -AXIS)
    depth = np.full(len(AXIS) ** 2, np.inf)
    depth[hits.pixels] = hits.depth
    return depth.reshape(len(AXIS), len(AXIS)), hits


def march(inside):
    """Depth of the first point of each ray for which `inside(x, y, z)` holds, by small steps."""
    steps = np.linspace(2, 6, 4001)
    depth = np.full((len(AXIS), len(AXIS)), np.inf)
    for i, y in enumerate(-AXIS):
        for j, x in enumerate(AXIS):
            found = np.flatnonzero(inside(x * steps, y * steps, steps))
            if len(found):
                depth[i, j] = steps[found[0]]
    return depth


def assert_same(depth, wanted):
    both = np.isfinite(depth) & np.isfinite(wanted)
    assert both.sum() > 30
    assert (np.isfinite(depth) != np.isfinite(wanted)).sum() <= 0.04 * both.sum() + 2
    assert np.quantile(np.abs(depth[both] - wanted[both]), 0.98) < 0.006


def test_round_cone_against_marching():
    a, b, r0, r1 = np.array([-0.4, -0.5, 3.8]), np.array([0.5, 0.4, 4.3]), 0.35, 0.15

    def inside(x, y, z):
        points = np.stack([x, y, z], axis=-1)
        share = np.linspace(0, 1, 200)
        centres = a + share[:, None] * (b - a)
        radii = r0 + share * (r1 - r0)
        return (np.linalg.norm(points[:, None] - centres, axis=2) < radii).any(1)

    steps = AXIS[::5]
    part = limb(a, b, r0, r1, PLAIN, np.array([0.0, 0, 1]))
    hits = cast([part], steps, -steps)
    depth = np.full(len(steps) ** 2, np.inf)
    depth[hits.pixels] = hits.depth
    line = np.linspace(2.5, 5.5, 900)
    wanted = np.full(len(depth), np.inf)
    for k in range(len(depth)):
        x, y = steps[k % len(steps)], -steps[k // len(steps)]
        found = np.flatnonzero(inside(x * line, y * line, line))
        if len(found):
            wanted[k] = line[found[0]]
    both = np.isfinite(depth) & np.isfinite(wanted)
    assert both.sum() > 8
    assert (np.isfinite(depth) != np.isfinite(wanted)).sum() <= 1
    assert np.abs(depth[both] - wanted[both]).max() < 0.01


def test_ellipsoid_box_and_loft_against_marching():
    centre = np.array([0.1, -0.1, 4.0])
    depth, hits = depth_image(ellipsoid(centre, np.eye(3), (0.6, 0.8, 0.3), PLAIN))
    wanted = march(lambda x, y, z: ((x - 0.1) / 0.6) ** 2 + ((y + 0.1) / 0.8) ** 2 + ((z - 4) / 0.3) ** 2 < 1)
    assert_same(depth, wanted)
    np.testing.assert_allclose((hits.normal**2).sum(0), 1, atol=1e-4)
    assert (hits.normal[2] < 0.2).all()  # surfaces face the camera
    depth, _ = depth_image(box(centre, np.eye(3), (0.4, 0.5, 0.3), PLAIN))
    assert_same(
        depth, march(lambda x, y, z: (abs(x - 0.1) < 0.4) & (abs(y + 0.1) < 0.5) & (abs(z - 4) < 0.3))
    )
    cone = [(-0.6, 0.5, 0.3, 0.0), (0.6, 0.25, 0.15, 0.1)]
    depth, _ = depth_image(loft(centre, np.eye(3), cone, PLAIN, smooth=1))

    def inside(x, y, z):
        share = (y + 0.1 + 0.6) / 1.2
        wide, deep = 0.5 - 0.25 * share, 0.3 - 0.15 * share
        return (((x - 0.1) / wide) ** 2 + ((z - 4 - 0.1 * share) / deep) ** 2 < 1) & (share > 0) & (share < 1)

    wanted = march(inside)
    wanted[wanted > depth + 0.5] = np.inf
    # a loft is open at its ends: rays that enter through the top or bottom are not its business
    both = np.isfinite(depth) & np.isfinite(wanted)
    assert both.sum() > 200
    assert np.quantile(np.abs(depth[both] - wanted[both]), 0.95) < 0.01


def test_the_docs_print_the_settings():
    text = (ROOT / "docs" / "synthetic.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Difficulty):
        row = next(line for line in text.splitlines() if f"`{field.name}`" in line)
        assert float(row.split("|")[2]) == field.default
