"""What the page says about a search: when it is a match, when nobody can be found, what is left to find."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtrl.demo.html import cards, verdict
from mtrl.demo.html.charts import histogram, number
from mtrl.demo.service.service import DemoService
from mtrl.demo.service.thresholds import PairScores
from mtrl.models.config import Modality
from tests.demo import rejection
from tests.helpers.page import write_gallery


@pytest.fixture(scope="module")
def shipped() -> DemoService:
    from mtrl.demo.launch import open_service

    return open_service()


@pytest.mark.slow
def test_pictures_without_a_person_and_absent_people_are_no_match(shipped: DemoService) -> None:
    photographs = [image for images in rejection.photographs().values() for image in images]
    assert photographs
    for images in (photographs, rejection.backgrounds(100)):
        before, after = rejection.shares(shipped, images)
        assert after == 0 < before
    for image in photographs:
        result = shipped.retrieve(image, "visible to infrared")
        html = cards.answer(result, shipped.pairs)
        assert "searched: no match" in html and verdict.NOT_AMONG in html and "None of 120 reach" in html


def test_the_score_that_is_needed_is_that_of_searches_for_absent_people(shipped: DemoService) -> None:
    best = []
    for row, i in enumerate(shipped.rows[Modality.VISIBLE]):
        scores = shipped.features[Modality.INFRARED] @ shipped.features[Modality.VISIBLE][row]
        others = [
            float(score)
            for score, j in zip(scores, shipped.rows[Modality.INFRARED], strict=True)
            if shipped.images[j].person != shipped.images[i].person
        ]
        best.append(max(others))
    needed = shipped.pairs.needed(Modality.VISIBLE)
    assert needed is not None and needed == pytest.approx(np.quantile(best, 0.95), abs=1e-5)
    assert needed > shipped.threshold.value  # type: ignore[union-attr]
    assert shipped.pairs.decision(0.01, Modality.VISIBLE, known=True) == shipped.threshold.value  # type: ignore[union-attr]


def test_too_few_searches_or_unknown_people_set_no_score() -> None:
    scores = np.linspace(0, 1, 200, dtype=np.float32)
    few = PairScores(scores, scores, {Modality.VISIBLE: scores[:19], Modality.INFRARED: scores})
    assert few.needed(Modality.VISIBLE) is None and few.needed(Modality.INFRARED) == pytest.approx(
        0.95, abs=0.01
    )
    assert few.decision(0.1, Modality.VISIBLE, known=False) == pytest.approx(0.9, abs=0.01)
    unknown = dataclasses.replace(few, same=scores[:0])
    assert unknown.needed(Modality.INFRARED) is None
    assert unknown.decision(0.1, Modality.INFRARED, known=False) is None


def test_a_gallery_of_photographs_claims_nothing_about_who_is_in_it(
    service: DemoService, tmp_path: Path
) -> None:
    photographs = DemoService(service.model, write_gallery(tmp_path, truth=False), service.translators)
    image = Image.effect_noise((64, 128), 80).convert("RGB")
    for one, words in ((photographs, verdict.PERHAPS_ABSENT), (service, verdict.NOT_AMONG)):
        assert words in cards.answer(one.retrieve(image), one.pairs)
        known = one.retrieve(one.open(one.images[0]))
        assert 'id="not-among"' not in cards.answer(known, one.pairs)


def test_results_after_the_last_right_one_are_not_called_wrong(service: DemoService, gallery: Path) -> None:
    result = service.retrieve(gallery / "2_1.png", k=50)
    ranks = [hit.rank for hit in result.hits if hit.correct]
    assert result.last_right == ranks[-1] < len(result.scores)
    html = cards.answer(result, service.pairs)
    classes = re.findall(r'<li class="m-hit (\w*)"', html)
    wanted = ["right" if h.correct else "rest" if h.rank > ranks[-1] else "wrong" for h in result.hits]
    assert classes == wanted and html.count("✗ wrong") == wanted.count("wrong")
    assert ("nothing is left to find" in html) is ("rest" in wanted)
    # A ranking that is cut before the last right one has nothing to grey.
    cut = dataclasses.replace(result, hits=result.hits[: ranks[-1] - 1])
    assert 'class="m-hit rest"' not in cards.answer(cut, service.pairs)


@pytest.mark.parametrize(
    ("first", "last", "relevant", "words"),
    [
        (1, 2, 2, "The best match is right: both infrared pictures of this person come first."),
        (1, 1, 1, "The best match is right; there is one infrared picture of this person."),
        (
            1,
            9,
            3,
            "The best match is right, and all 3 infrared pictures of this person are among the first 9.",
        ),
        (4, 7, 2, "match is at rank 4, and both infrared pictures of this person are among the first 7."),
        (None, None, 0, "none of them shows this person"),
    ],
)
def test_the_summary_says_how_a_known_search_went(
    service: DemoService, gallery: Path, first: int | None, last: int | None, relevant: int, words: str
) -> None:
    result = service.retrieve(gallery / "2_1.png")
    result = dataclasses.replace(result, first_right=first, last_right=last, relevant=relevant)
    assert words in verdict.summary(result, 0.4)


def test_rounded_numbers_have_no_negative_zero() -> None:
    assert [number(value) for value in (-0.001, 0.001, -0.5, 1)] == ["0.00", "0.00", "−0.50", "1.00"]
    assert number(-0.04, 1) == "0.0"
    drawn = histogram(np.array([-0.04, 0.0, 0.02], dtype=np.float32), 1, -0.001)
    assert "-0.0" not in drawn and "−0.00" not in drawn
