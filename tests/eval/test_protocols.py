"""Gallery draws against the published known answers, and the rules that a made-up test set makes visible."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from eval.protocols import Setting, make_trials
from mtrl.data.matfiles import read_permutations, read_test_ids
from tests.helpers.paths import OFFICIAL

needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the official SYSU-MM01 splits are not here"
)

# First 12 hex digits of the SHA-1 of the lines "camera,IIII,index"; trials 0 to 9.
KNOWN = {
    ("seeded", "all", 1): (
        "96607f6f1e91 ada68a3ae2d4 ac57ad246665 76476a3f4522 f4092f44061a "
        "783025c7e2a9 f17e29bef64d ab7fc15fbfbd 3e670eb21ff0 2dddfdf1e3f9"
    ),
    ("seeded", "indoor", 1): (
        "9aa6c6cc8c14 1b56aad21a5e dd60532fc581 d683bd66f66e e38f399bff33 "
        "236bbbe7266f 9e28886f2eb5 91c523d58124 1f0882b92b4e 34148dc0ca25"
    ),
    ("official", "all", 1): (
        "f3be4318630f afd223da67ab ed93b23b8a92 cd456197c1f2 eee95a9b4d0e "
        "fcf57fded524 3fd2deb1d771 08e06785bfd5 bfef355e02b9 3644b6d9cd7c"
    ),
    ("official", "indoor", 1): (
        "1d62ef90eabd 5acd76314027 057f2e907163 589d9962742b 19d88a2c6983 "
        "f083504b1d0b a7fa98366603 1feccbb081af a4c271287f99 595fe5c87ab1"
    ),
    ("official", "all", 10): (
        "7547d998c5ce 3757f0316bbc aaa7a1280cbd a8571154fd5c dee4753aa2d7 "
        "25b191a5ff95 9495de1a0892 92eec413ada3 2ff7a4e57d9b 514cf322e600"
    ),
    ("official", "indoor", 10): (
        "a2a2a3aa4da6 e9b26cb76c56 8ed96fc915a4 7da22f2c4a5e ad1b3eeec79a "
        "376ab1679d81 14b061a1c661 1acb0259ae7a 64fc045f2ffe 96b148b78da9"
    ),
}


@pytest.fixture(scope="module")
def sysu():
    """Labels of the real test set's images, from the lengths of the permutations."""
    permutations = read_permutations(OFFICIAL / "rand_perm_cam.mat")
    ids = set(read_test_ids(OFFICIAL / "test_id.mat"))
    rows = [
        (identity, camera, index)
        for (camera, identity), rows in permutations.items()
        if identity in ids
        for index in range(1, rows.shape[1] + 1)
    ]
    identities, cameras, indices = np.array(rows).T
    return identities, cameras, np.isin(cameras, (3, 6)).astype(np.uint8), indices, permutations


@needs_official
@pytest.mark.parametrize(("gallery", "mode", "shots"), KNOWN)
def test_known_galleries(sysu, gallery, mode, shots):
    identities, cameras, modalities, indices, permutations = sysu
    setting = Setting("sysu", "ir2vis", mode, shots, gallery)
    trials = make_trials(identities, cameras, modalities, setting, permutations)
    digests = []
    for trial in trials:
        lines = [f"{cameras[r]},{identities[r]:04d},{indices[r]}" for r in trial.gallery]
        digests.append(hashlib.sha1("\n".join(lines).encode()).hexdigest()[:12])
    assert digests == KNOWN[gallery, mode, shots].split()
    assert {len(trial.query) for trial in trials} == {3803}
    assert {len(trial.gallery) for trial in trials} == {(301 if mode == "all" else 112) * shots}


@needs_official
def test_valid_queries_of_indoor_search(sysu):
    from mtrl.retrieval.metrics.ranking import rank_metrics

    identities, cameras, modalities, _, _ = sysu
    trial = make_trials(identities, cameras, modalities, Setting(mode="indoor", trials=1))[0]
    distances = np.random.default_rng(0).random((len(trial.query), len(trial.gallery)))
    labels = (
        identities[trial.query],
        identities[trial.gallery],
        cameras[trial.query],
        cameras[trial.gallery],
    )
    assert rank_metrics(distances, *labels).valid == 2208


@needs_official
def test_official_gallery_names_a_missing_image(sysu):
    identities, cameras, modalities, _, permutations = sysu
    keep = np.ones(len(identities), dtype=bool)
    keep[np.flatnonzero((cameras == 4) & (identities == 10))[3]] = False
    with pytest.raises(ValueError, match="camera 4, identity 10"):
        make_trials(
            identities[keep], cameras[keep], modalities[keep], Setting(gallery="official"), permutations
        )
    with pytest.raises(ValueError, match="10 trials"):
        make_trials(identities, cameras, modalities, Setting(gallery="official", trials=11), permutations)


def small_set(cameras_per_identity=(1, 2, 3, 4, 5, 6), identities=7, images=4, shuffle=False):
    table = np.array(
        [(i, c) for i in range(100, 100 + identities) for c in cameras_per_identity for _ in range(images)]
    )
    if shuffle:
        table = table[np.random.default_rng(3).permutation(len(table))]
    return table[:, 0], table[:, 1], np.isin(table[:, 1], (3, 6)).astype(np.uint8)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("direction", "cameras"), [("ir2vis", {1, 2, 4, 5}), ("vis2ir", {3, 6})])
def test_one_gallery_image_per_identity_and_camera(direction, cameras, shuffle):
    identities, camera, modalities = small_set(shuffle=shuffle)
    trials = make_trials(identities, camera, modalities, Setting(direction=direction))
    assert len(trials) == 10
    for trial in trials:
        pairs = list(zip(identities[trial.gallery].tolist(), camera[trial.gallery].tolist(), strict=True))
        assert len(set(pairs)) == len(pairs) == 7 * len(cameras)
        assert {pair[1] for pair in pairs} == cameras
        assert set(camera[trial.query]) == {1, 2, 3, 4, 5, 6} - cameras
    assert len({tuple(trial.gallery) for trial in trials}) == 10
    again = make_trials(identities, camera, modalities, Setting(direction=direction))
    assert all(np.array_equal(a.gallery, b.gallery) for a, b in zip(trials, again, strict=True))


def test_indoor_keeps_every_infrared_query():
    trial = make_trials(*small_set(), Setting(mode="indoor", trials=1))[0]
    cameras = small_set()[1]
    assert set(cameras[trial.gallery]) == {1, 2} and set(cameras[trial.query]) == {3, 6}


def test_ten_shots():
    identities, cameras, modalities = small_set(images=14)
    trial = make_trials(identities, cameras, modalities, Setting(shots=10, trials=1))[0]
    assert len(set(trial.gallery.tolist())) == len(trial.gallery) == 7 * 4 * 10
    few = make_trials(*small_set(images=4), Setting(shots=10, trials=1))[0]
    assert len(few.gallery) == 7 * 4 * 4


@pytest.mark.parametrize("direction", ["ir2vis", "vis2ir"])
def test_regdb_is_one_full_trial(direction):
    identities, cameras, modalities = small_set((2, 3), images=10)
    trials = make_trials(identities, cameras, modalities, Setting("regdb", direction))
    assert len(trials) == 1 and len(trials[0].query) == len(trials[0].gallery) == 70
    assert set(modalities[trials[0].query]) == {1 if direction == "ir2vis" else 0}


def test_llcm_released_variant_swaps_the_sides_and_warns():
    identities, cameras, modalities = small_set(images=5)
    straight = make_trials(identities, cameras, modalities, Setting("llcm", "vis2ir"))[0]
    with pytest.warns(UserWarning, match="vis2ir_released"):
        swapped = make_trials(identities, cameras, modalities, Setting("llcm", "vis2ir_released"))[0]
    assert np.array_equal(swapped.query, straight.gallery) and np.array_equal(swapped.gallery, straight.query)
    assert len(swapped.gallery) == 7 * 4 * 5 and len(swapped.query) == 7 * 2


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "market"},
        {"direction": "both"},
        {"mode": "outdoor"},
        {"shots": 3},
        {"gallery": "random"},
        {"trials": 0},
        {"cmc_level": "pixel"},
        {"protocol": "llcm", "mode": "indoor"},
        {"protocol": "regdb", "gallery": "official"},
        {"protocol": "regdb", "shots": 10},
        {"direction": "vis2ir_released"},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=r"must be|belong to|does not apply|is a variant"):
        Setting(**options)


def test_images_may_be_queries_or_gallery_only():
    identities, cameras, modalities = small_set((1, 6), identities=3, images=4)
    subsets = np.tile(np.array([0, 1, 2, 2], dtype=np.int8), 6)
    trial = make_trials(identities, cameras, modalities, Setting("regdb"), subsets=subsets)[0]
    assert len(trial.query) == 3 * 2 and set(subsets[trial.query]) == {0, 1}
    assert len(trial.gallery) == 3 * 3 and set(subsets[trial.gallery]) == {0, 2}
    with pytest.raises(ValueError, match="no visible gallery"):
        make_trials(identities, cameras, modalities, Setting("regdb"), subsets=np.ones(24, dtype=np.int8))


def test_empty_sides_are_refused():
    with pytest.raises(ValueError, match="no infrared query"):
        make_trials(*small_set((1, 2)), Setting())
    with pytest.raises(ValueError, match="no visible gallery image indoors"):
        make_trials(*small_set((4, 6)), Setting(mode="indoor"))
    with pytest.raises(ValueError, match="rand_perm_cam"):
        make_trials(*small_set(), Setting(gallery="official"))
