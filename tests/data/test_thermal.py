"""Thermal drawings: temperatures, what a thermal camera cannot see, its gain, and near-infrared as it was."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from mtrl.data import load_data
from mtrl.data.synthetic import SPECTRA, Difficulty, draw_person, load_part, render, truth
from mtrl.data.synthetic.backgrounds import frame
from mtrl.data.synthetic.cameras import ALL_CAMERAS, CAMERAS, INFRARED_CAMERAS
from mtrl.data.synthetic.draw import Job, draw_all
from mtrl.data.synthetic.materials import Material, Surface
from mtrl.data.synthetic.raycast import cast
from mtrl.data.synthetic.render import expose, moment
from mtrl.data.synthetic.shapes import limb
from mtrl.data.synthetic.spectra import is_thermal
from mtrl.data.synthetic.thermal.clothes import dressed_for_winter
from mtrl.data.synthetic.thermal.heat import AS_AIR, Heat
from mtrl.data.synthetic.thermal.scenery import frame_samples, scenery_temperatures, traits
from mtrl.data.synthetic.thermal.sensor import expose_thermal
from mtrl.data.synthetic.thermal.temperature import surface_temperatures
from mtrl.data.synthetic.thermal.weather import Weather, draw_weather

COLD = Weather(air=4.0, still=0.6, sun=0.0, sky=0.0, stored=0.0, patches=0.0, sources=0.0)
AXIS = np.linspace(-0.12, 0.12, 49).astype(np.float32)
UP, SUN = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])
BOX = (400.0, 300.0, 500.0, 500.0)


def repainted(value, rng):
    """The same clothes in other colours and other near-infrared shades, without patterns and prints."""
    if isinstance(value, Material):
        return Material(tuple(rng.uniform(0.05, 0.95, 3)), float(rng.uniform(0.05, 0.95)))
    if isinstance(value, tuple):
        return tuple(repainted(item, rng) for item in value)
    if isinstance(value, Surface):
        value = dataclasses.replace(value, pattern="plain", logos=(), closure="", grain=0.3, shine=0.5)
    if dataclasses.is_dataclass(value):
        fields = {f.name: repainted(getattr(value, f.name), rng) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def temperatures(heat, weather=COLD, **surface):
    """Of an upright limb with that heat: float32 [n], and the hits."""
    cloth = Surface((Material((0.5, 0.5, 0.5), 0.5),), folds=0.0, grain=0.0, heat=heat, **surface)
    part = limb(
        np.array([0.0, -0.4, 4.0]), np.array([0.0, 0.4, 4.0]), 0.1, 0.1, cloth, np.array([0.0, 0, -1])
    )
    hits = cast([part], AXIS, -AXIS)
    return surface_temperatures(hits, [part], weather, UP, SUN, np.ones(len(hits.pixels)), 3), hits


@pytest.mark.parametrize("camera", [1, 3, 6])
def test_no_colour_and_no_print_is_seen(camera):
    person = draw_person("train", 0, 5)
    other = dataclasses.replace(person, outfit=repainted(person.outfit, np.random.default_rng(3)))
    scenes = moment(person, camera, 0), moment(other, camera, 0)
    seen = [expose(who, scene, 0, True, True) for who, scene in zip((person, other), scenes, strict=True)]
    np.testing.assert_array_equal(*seen)
    near = [expose(who, scene, 0, True) for who, scene in zip((person, other), scenes, strict=True)]
    assert np.abs(near[0].astype(int) - near[1]).max() > 40


def test_what_is_worn_is_seen():
    winter = next(p for p in (draw_person("train", 0, n) for n in range(50)) if dressed_for_winter(p.outfit))
    thin = dataclasses.replace(winter.outfit.top.surface, heat=Heat(35.5, 0.4))
    top = dataclasses.replace(winter.outfit.top, surface=thin, sleeve_surface=thin)
    other = dataclasses.replace(winter, outfit=dataclasses.replace(winter.outfit, top=top))
    one, two = (render(who, 6, 0, spectrum="thermal").astype(int) for who in (winter, other))
    assert np.abs(one - two).max() > 40


def test_near_infrared_and_visible_drawings_stay_as_they_were():
    """Means of images as they were before there was a thermal camera; a random draw more or less changes them all."""
    for number, camera, shot, mean in (
        (0, 3, 0, 122.64),
        (5, 6, 1, 79.49),
        (9, 1, 0, 131.38),
        (9, 4, 1, 117.32),
    ):
        assert render(draw_person("test", 0, number), camera, shot).mean() == pytest.approx(mean, abs=0.05)


def test_two_resistances_in_series():
    """Without air beneath, seams and creases: T = A + (C - A) S / (S + R), but for a little unevenness."""
    for core, clo in ((36.0, 0.12), (35.5, 0.5), (35.5, 4.0)):
        found, _ = temperatures(Heat(core, clo))
        wanted = 4.0 + (core - 4.0) * 0.6 / (0.6 + clo)
        assert np.abs(found - wanted).max() < (0.01 if clo < 0.2 else 0.6)
        assert found.mean() == pytest.approx(wanted, abs=0.15)
    thing, _ = temperatures(Heat(warmer=1.5))
    assert thing.mean() == pytest.approx(5.5, abs=0.15)


def test_cloth_that_hangs_free_is_colder_and_seams_and_creases_are_warmer():
    plain, loose = temperatures(Heat(35.5, 0.5))[0], temperatures(Heat(35.5, 0.5, gap=0.02))[0]
    assert loose.mean() < plain.mean() - 1
    quilted, hits = temperatures(Heat(35.5, 3.0, quilt=0.1))
    seam = np.abs(np.mod(hits.v, 0.1) - 0.05) < 0.004
    assert quilted[seam].min() > quilted[np.abs(np.mod(hits.v, 0.1) - 0.05) > 0.03].max()
    creased = temperatures(Heat(35.5, 3.0, crease=0.5))[0]
    assert creased.max() > temperatures(Heat(35.5, 3.0))[0].max() + 2


def test_open_fronts_show_what_is_beneath_and_glasses_are_cold():
    inner = Material((0.2, 0.2, 0.2), 0.2)
    found, hits = temperatures(Heat(35.5, 3.0, under=0.4), opening=0.5, inner=inner)
    middle = np.abs(hits.angle) < 0.1
    assert found[middle].mean() > found[np.abs(hits.angle) > 0.9].mean() + 6
    rings = tuple(("ring", side * 0.4, 0.4, 0.03, 0.03) for side in (-1, 1))
    found, hits = temperatures(Heat(36.0, 0.12), logos=rings)
    cold = found < 10
    assert 0.01 < cold.mean() < 0.3
    assert np.abs(hits.v[cold] - 0.4).max() < 0.03
    assert not (temperatures(Heat(35.5, 0.5), logos=rings)[0] < 10).any()  # a print of rings on cloth


def test_sun_and_wind():
    sunny, windy = dataclasses.replace(COLD, sun=15.0), dataclasses.replace(COLD, still=0.35)
    shade, lit = temperatures(Heat(35.5, 0.5))[0], temperatures(Heat(35.5, 0.5), sunny)[0]
    assert lit.max() > shade.max() + 6
    assert temperatures(Heat(35.5, 0.5), windy)[0].mean() < shade.mean() - 2


def test_sky_ground_walls_and_windows():
    night = dataclasses.replace(COLD, sky=30.0, sources=10.0)
    samples = frame_samples(CAMERAS[6], night, 1.0)
    assert samples.max() > 4 + 5  # a warm window
    assert samples.min() > 4 - 30 * 1.01
    day = dataclasses.replace(COLD, sun=20.0)
    assert frame_samples(CAMERAS[4], day, 1.0).max() > 4 + 5
    assert np.ptp(frame_samples(CAMERAS[4], day, 0.0)) == 0  # without clutter all is as warm as the air
    piece, inner = scenery_temperatures(CAMERAS[4], BOX, COLD, 1.0)
    assert piece.shape[0] >= 200 and inner[2] - inner[0] == pytest.approx(100)
    sky = np.concatenate([frame_samples(camera, night, 1.0) for camera in CAMERAS.values()]).min()
    assert sky < 4 - 5


def test_seasons_and_rooms():
    rng = np.random.default_rng(0)
    air = {
        (camera, winter): np.mean([draw_weather(rng, CAMERAS[camera], winter, 1.0).air for _ in range(60)])
        for camera in (3, 6)
        for winter in (True, False)
    }
    assert air[6, True] < 10 < 18 < air[6, False]
    assert 17 < air[3, True] < air[3, False] < 26
    assert draw_weather(rng, CAMERAS[3], True, 1.0).sky == 0


def exposed(scene, difficulty=None, seed=0, frame=None):
    frame = scene.ravel() if frame is None else frame
    difficulty = difficulty or Difficulty(black_hot=0.0)
    return expose_thermal(scene, frame, BOX, np.random.default_rng(seed), difficulty)[..., 0].astype(int)


def warm_disc():
    y, x = np.mgrid[:384, :192]
    return np.where((y - 190) ** 2 + (x - 96) ** 2 < 60**2, 30.0, 8.0).astype(np.float32)


def test_gain_follows_percentiles_of_the_frame():
    scene, hot = warm_disc(), warm_disc()
    hot[5:7, 5:7] = 400.0
    plain, spoilt = exposed(scene), exposed(hot, frame=hot.ravel())
    assert plain[128, 64] - plain[128, 5] > 150
    assert spoilt[128, 64] - spoilt[128, 20] > 150  # one hot point does not flatten the image
    even = exposed(np.full((384, 192), 8.0, np.float32))
    assert even.std() < 6  # nor is noise blown up where there is nothing to see


def test_polarity_and_noise():
    scene = warm_disc()
    white, black = exposed(scene), exposed(scene, Difficulty(black_hot=1.0))
    assert white[128, 64] > white[128, 5] and black[128, 64] < black[128, 5]
    clean = exposed(scene, Difficulty(black_hot=0.0, sensor_noise=0.0))
    assert np.abs(np.diff(clean[128])).max() > np.abs(np.diff(white[128])).max()  # no optics: sharp edges
    np.testing.assert_array_equal(white, exposed(scene))
    assert np.abs(white - exposed(scene, seed=1)).mean() > 1


def test_both_is_some_of_each_for_everybody():
    for shots in (1, 2, 5):
        kinds = [is_thermal("both", camera, shot) for camera in INFRARED_CAMERAS for shot in range(shots)]
        assert sum(kinds) == shots  # half of two cameras' shots
    for shot in range(3):
        assert is_thermal("both", 3, shot) != is_thermal("both", 3, shot + 1)
    assert not any(is_thermal("nir", camera, 0) for camera in ALL_CAMERAS)
    assert all(is_thermal("thermal", camera, 0) for camera in ALL_CAMERAS)
    with pytest.raises(ValueError, match="spectrum must be one of nir, thermal, both"):
        is_thermal("infrared", 3, 0)


def test_sets_of_each_spectrum(tmp_path):
    how = {"cache_dir": tmp_path, "workers": 1, "progress": False, "people": (0, 1)}
    sets = {spectrum: load_part("test", "tiny", spectrum=spectrum, **how) for spectrum in SPECTRA}
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    for row, (name, camera) in enumerate(zip(sets["nir"].names, sets["nir"].cameras.tolist(), strict=True)):
        shot = int(name[-8:-4]) - 1
        nir, thermal, both = (sets[spectrum].images[row].astype(int) for spectrum in SPECTRA)
        if camera not in INFRARED_CAMERAS:
            np.testing.assert_array_equal(nir, thermal)
            continue
        assert np.abs(nir - thermal).mean() > 5
        np.testing.assert_array_equal(both, thermal if is_thermal("both", camera, shot) else nir)
    aligned = truth(0, "tiny", cache_dir=tmp_path, workers=1, progress=False, spectrum="thermal")
    assert (aligned.images[..., 0] == aligned.images[..., 1]).all()
    person = draw_person("test", 0, 0)
    mean = render(person, 1, 0, infrared=True, spectrum="thermal").reshape(64, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(aligned.images[0] - mean).max() <= 1


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="nothing is shared with children there")
def test_views_are_drawn_before_the_children_are_started():
    """What the jobs need and nothing else: children then find it, and draw the same pictures as one process."""
    shots = ((1, 0), (3, 0), (3, 1))
    jobs = [Job("test", 0, person, shots, (64, 32), Difficulty(), None, "thermal") for person in (0, 1)]
    for cache in (frame, traits):
        cache.cache_clear()
    several = list(draw_all(jobs, 2))
    assert (frame.cache_info().currsize, traits.cache_info().currsize) == (1, 1)
    frame(1), traits(3)
    assert frame.cache_info().misses == traits.cache_info().misses == 1, "of the cameras that the jobs show"
    np.testing.assert_array_equal(several, list(draw_all(jobs, 1)))


def test_wrong_spectrum_is_refused(tmp_path):
    with pytest.raises(ValueError, match="spectrum must be one of"):
        load_part("test", "tiny", cache_dir=tmp_path, spectrum="far")
    with pytest.raises(ValueError, match="those of sysu are what its cameras saw"):
        load_data("sysu", tmp_path, spectrum="thermal")
    with pytest.raises(ValueError, match="black_hot"):
        Difficulty(black_hot=1.5)
    assert AS_AIR.core is None and not AS_AIR.bare
