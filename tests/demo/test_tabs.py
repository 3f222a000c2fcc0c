"""The tabs Transition, Explore and Model: figures recomputed, cards of strangers."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl import MTRL
from mtrl.demo.html import cmc_curves, curves, distance_figure, explore_view
from mtrl.demo.html.about import DOES_IT_HELP, about_html
from mtrl.demo.html.model_card import markdown_html, parse_card
from mtrl.demo.html.transition_view import comparison
from mtrl.demo.service import benchmark, distances, embedding_map
from mtrl.demo.service.service import DemoService
from mtrl.files.metrics_log import read_records
from mtrl.models.config import Modality, ModelConfig
from mtrl.translate import load_translator
from tests.helpers.page import PEOPLE, draw, make_model, write_gallery

ROOMS = {1: 1, 2: 2, 3: 2, 4: 4, 5: 5, 6: 6}


def features(service: DemoService, modality: Modality) -> list[tuple[int, int, Any]]:
    pairs = zip(service.rows[modality], service.features[modality].numpy(), strict=True)
    return [(int(str(service.images[i].identity)), int(service.images[i].camera or 0), f) for i, f in pairs]


# the modality distance


def test_the_modality_distance_is_made_of_the_cosines_to_each_infrared_image(service: DemoService) -> None:
    entry = service.image("2_1.png")
    image = service.open(entry)
    made = {name: service.transition(image, name) for name in service.translators}
    found = distances.measure(distances.infrared_side(service), image, made, entry)
    v = service.model.encode([image], "visible")[0].numpy()
    t = service.model.encode([made["spectral"]], "infrared")[0].numpy()
    infrared = features(service, Modality.INFRARED)
    assert found.before.own == pytest.approx([float(f @ v) for who, _, f in infrared if who == 2], abs=1e-5)
    assert found.after["spectral"].others == pytest.approx(
        [float(f @ t) for who, _, f in infrared if who != 2], abs=1e-5
    )
    assert found.similarity["spectral"] == pytest.approx(float(v @ t), abs=1e-5)


def row(*own: float) -> distances.Distances:
    return distances.Distances(np.array(own, dtype=np.float32), np.linspace(-0.3, 0.3, 21, dtype=np.float32))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            (0.7, 0.8),
            "nearer to this person's infrared pictures than the visible picture {} (0.75 against 0.50)",
        ),
        (
            (0.1, 0.2),
            "farther from this person's infrared pictures than the visible picture {} (0.15 against 0.50)",
        ),
        ((0.501, 0.502), "about equally near (0.50 against 0.50)"),
    ],
)
def test_the_sentence_says_what_the_figures_say(after: tuple[float, ...], said: str) -> None:
    found = distances.ModalityDistance(row(0.5, 0.5), {"x": row(*after)}, {"x": 0.9})
    text = distance_figure.sentence(found, None, "x")
    assert f"Now {'the two are' if 'equally' in said else 'the x transition is'} {said.format('is')}" in text
    assert "efore training" not in text and ("no gap is left" in text) is ("equally" in said)
    first = distances.ModalityDistance(row(0.5, 0.5), {"x": row(*after)}, {"x": -0.001})
    text = distance_figure.sentence(found, first, "x")
    assert said.format("was").replace("(", "(cosine ") in text.partition("Now ")[0]
    assert "0.90 alike (with random weights: 0.00)" in text
    unknown = distances.ModalityDistance(row(), {"x": row()}, {"x": 0.9})
    assert "no infrared picture" in distance_figure.sentence(unknown, None, "x")
    assert "0.90" in distance_figure.sentence(unknown, None, "x")


def test_the_network_before_training_is_the_same_one_without_its_weights(service: DemoService) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    side = distances.untrained_side(service)
    assert side is not None
    assert torch.equal(state, torch.random.get_rng_state())
    assert side.model.config == service.model.config and not side.model.training
    assert side.features.shape == service.features[Modality.INFRARED].shape
    assert side.people == [service.images[i].person for i in service.rows[Modality.INFRARED]]
    # With the random weights of its seed, and normalised: no direction that all embeddings share.
    torch.manual_seed(distances.SEED)
    for mine, other in zip(side.model.parameters(), MTRL(service.model.config).parameters(), strict=True):
        assert torch.equal(mine, other)
    assert side.features.mean(0).norm() < 0.8


def test_random_weights_are_drawn_for_one_network_at_a_time(
    service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, together = threading.Lock(), []

    def draw_weights(config: ModelConfig) -> MTRL:
        together.append(not busy.acquire(blocking=False))
        threading.Event().wait(0.1)
        busy.release()
        return MTRL(config)

    monkeypatch.setattr(distances, "MTRL", draw_weights)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(distances.untrained_side, [service] * 2))
    assert together == [False] * 2


def test_pictures_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    service = DemoService(make_model(), write_gallery(tmp_path), {"luminance": load_translator("luminance")})
    for name in ("0_1.png", "0_3.png", "1_6.png"):
        (tmp_path / name).unlink()
    side = distances.untrained_side(service)
    assert side is not None and side.features.shape[0] == len(side.people) == 2 * PEOPLE - 2
    assert list(side.people).count(service.image("0_3.png").person) == 1
    data = embedding_map.make_map(service, "luminance")
    assert [point.image.name for point in data.points].count("0_1.png") == 0
    assert len(data.points) == 2 * (4 * PEOPLE - 1) + 2 * PEOPLE - 2
    for path in tmp_path.glob("*_[36].png"):
        path.unlink()
    assert distances.untrained_side(service) is None
    compare = pytest.importorskip("mtrl.demo.tabs.transition").compare
    assert "m-error" not in compare(service, draw(1, 1))


def test_what_is_made_for_one_service_keeps_no_other_waiting(service: DemoService, gallery: Path) -> None:
    parts = pytest.importorskip("mtrl.demo.tabs.parts")
    other = DemoService(service.model, gallery, service.translators)
    kept, go, made = parts.PerService(), threading.Event(), list[str]()

    def slowly() -> str:
        made.append("slow")
        assert go.wait(20)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(kept.get, service, slowly) for _ in range(2)]
        try:
            assert (
                kept.get(other, lambda: "quick")
                == kept.get(service, lambda: "quick", "another key")
                == "quick"
            )
        finally:
            go.set()
        assert [one.result() for one in waiting] == ["slow", "slow"] and made == ["slow"]
    with pytest.raises(ZeroDivisionError):
        kept.get(service, lambda: 1 / 0, "fails")
    assert kept.get(service, lambda: "again", "fails") == "again"


def test_before_and_after_training_stand_on_one_axis(service: DemoService, gallery: Path) -> None:
    found = distances.ModalityDistance(row(0.5), {"x": row(0.52)}, {"x": 0.9})
    first = distances.ModalityDistance(row(-0.6), {"x": row(0.1)}, {"x": 0.2})
    html = distance_figure.distance_figure(found, first)
    low, high = distance_figure.axis(found, first)
    assert low <= -0.6 and html.count("m-axis") == 1
    dots = [float(v) for v in re.findall(r'<i style="left:([\d.]+)%', html)]
    assert dots == pytest.approx([100 * (s - low) / (high - low) for s in (-0.6, 0.1, 0.5, 0.52)], abs=0.01)
    assert html.index("with random weights") < html.index("trained</h3>")
    compare = pytest.importorskip("mtrl.demo.tabs.transition").compare
    shown = compare(service, service.open(service.image("0_1.png")))
    assert "with random weights" in shown and "−0.0<" not in shown and "-0.0" not in shown


def test_dots_lie_where_their_cosines_belong() -> None:
    found = distances.ModalityDistance(row(0.5, 0.7), {"x": row(0.75)}, {"x": 0.9})
    low, high = distance_figure.axis(found)
    assert low <= -0.27 and high == 1
    html = distance_figure.distance_figure(found)
    dots = [float(v) for v in re.findall(r'<i style="left:([\d.]+)%', html)]
    assert dots == pytest.approx([100 * (s - low) / (high - low) for s in (0.5, 0.7, 0.75)], abs=0.01)
    means = [float(v) for v in re.findall(r'<b style="left:([\d.]+)%', html)]
    assert means == pytest.approx([100 * (s - low) / (high - low) for s in (0.6, 0.75)], abs=0.01)


def test_every_translator_stands_beside_the_visible_image(service: DemoService, gallery: Path) -> None:
    for name, truth in (("0_1.png", True), ("0_2.png", False)):
        results = {t: service.translate(gallery / name, t) for t in service.translators}
        made = {t: result.transition for t, result in results.items()}
        entry = service.image(name)
        found = distances.measure(distances.infrared_side(service), service.open(entry), made, entry)
        html = comparison(results, found, "luminance")
        assert html.count('data-tile="') == 2 + truth and ("true infrared" in html) is truth
        assert html.count("<img ") == html.count(' alt="') == 4 + truth
        assert 'type="range"' in html and "aria-label" in html


# the map


def test_the_map_holds_every_embedding_and_its_gaps(service: DemoService) -> None:
    told: list[float] = []
    data = embedding_map.make_map(service, "spectral", lambda share, text: told.append(share))
    visible, infrared = features(service, Modality.VISIBLE), features(service, Modality.INFRARED)
    kinds = [point.kind for point in data.points]
    assert [kinds.count(kind) for kind in embedding_map.KINDS] == [len(visible), len(visible), len(infrared)]
    for point in data.points:
        assert abs(point.x) <= 1 and abs(point.y) <= 1
        if point.kind == "transition":
            assert data.points[point.origin].image is point.image
    same, different = [], []
    for who, _, f in visible:
        for other, _, g in infrared:
            (same if who == other else different).append(1 - float(f @ g))
    gap = data.gaps[0]
    assert (gap.same, gap.different) == pytest.approx((np.mean(same), np.mean(different)), abs=1e-5)
    assert gap.ratio == pytest.approx(np.mean(same) / np.mean(different), abs=1e-4)
    assert told == sorted(told) and data.left_out == 0


def test_nearer_counts_transitions_by_their_mean_cosine() -> None:
    rng = np.random.default_rng(0)
    v, t, i = (torch.from_numpy(rng.normal(size=(n, 8)).astype(np.float32)) for n in (6, 6, 4))
    people, night = [0, 0, 1, 1, 2, 3], [0, 1, 1, 2]
    count = 0
    for row, who in enumerate(people):
        mates = [n for n, other in enumerate(night) if other == who]
        if mates:
            count += float((i[mates] @ t[row]).mean()) > float((i[mates] @ v[row]).mean())
    assert embedding_map.nearer(v, t, i, people, night) == (count, 5)
    assert embedding_map.nearer(v, t, i, [None] * 6, [None] * 4) is None


def test_points_and_small_images_lie_where_the_script_looks(service: DemoService) -> None:
    data = embedding_map.make_map(service, "luminance")
    html = explore_view.map_html(data)
    drawn = re.findall(r'data-n="(\d+)".*?transform="translate\(([\d.]+) ([\d.]+)\)"', html)
    assert len(drawn) == len(data.points)
    half = explore_view.SIDE / 2 - explore_view.MARGIN
    for n, x, y in drawn:
        point = data.points[int(n)]
        assert float(x) == pytest.approx(320 + half * point.x, abs=0.06)
        assert float(y) == pytest.approx(320 - half * point.y, abs=0.06)
    width, height = embedding_map.TILE
    for n in (0, 33, len(data.points) - 1):
        column, row = n % embedding_map.COLUMNS, n // embedding_map.COLUMNS
        tile = data.sheet.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
        point = data.points[n]
        image = service.open(point.image)
        if point.kind == "transition":
            image = service.transition(image, "luminance")
        wanted = image.resize(embedding_map.TILE, Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(tile), np.asarray(wanted))
    assert 'href="http' not in html and 'src="http' not in html


def test_large_galleries_are_thinned_by_person(service: DemoService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "MAX_IMAGES", 12)
    data = embedding_map.make_map(service, "luminance")
    assert {point.image.identity for point in data.points} == {0, 1}
    assert data.left_out == 6 * (PEOPLE - 2) and "left out" in explore_view.map_html(data)


def test_people_that_are_not_known_have_no_gap_and_no_benchmark(service: DemoService, tmp_path: Path) -> None:
    strangers = DemoService(service.model, write_gallery(tmp_path, known=False), service.translators)
    data = embedding_map.make_map(strangers, "luminance")
    assert data.gaps == () and "not known" in explore_view.map_html(data)
    with pytest.raises(ValueError, match="person and the camera"):
        benchmark.benchmark(strangers, "x")


# the benchmark


def test_the_benchmark_follows_the_rules_of_sysu(service: DemoService) -> None:
    for score, (query, target) in zip(
        benchmark.benchmark(service, "x"),
        ((Modality.INFRARED, Modality.VISIBLE), (Modality.VISIBLE, Modality.INFRARED)),
        strict=True,
    ):
        found, precision = np.zeros(20), []
        for who, camera, f in features(service, query):
            kept = [
                (1 - float(f @ g), other)
                for other, c, g in features(service, target)
                if ROOMS[c] != ROOMS[camera]
            ]
            order = [other for _, other in sorted(kept, key=lambda pair: pair[0])]
            if who not in order:
                continue
            ranks = [n for n, other in enumerate(order, 1) if other == who]
            precision.append(np.mean([k / rank for k, rank in enumerate(ranks, 1)]))
            found[len(set(order[: ranks[0] - 1])) :] += 1
        assert score.queries == len(precision)
        assert score.metrics.cmc[:20] == pytest.approx(found / len(precision))
        assert score.metrics.mean_ap == pytest.approx(float(np.mean(precision)))


def test_curves_of_two_models_lie_over_one_another(service: DemoService, gallery: Path) -> None:
    other = DemoService(make_model(1), gallery, service.translators)
    runs = [benchmark.benchmark(service, "one"), benchmark.benchmark(other, "<two>")]
    html = cmc_curves.benchmark_html(runs)
    lines = [
        [tuple(map(float, pair.split(","))) for pair in line.split()]
        for line in re.findall(r'<polyline points="([^"]+)"', html)
    ]
    assert len(lines) == 4 and all(len(line) == 20 for line in lines)
    shares = runs[0][0].metrics.cmc
    plot = cmc_curves.HEIGHT - cmc_curves.TOP - cmc_curves.BOTTOM
    assert [y for _, y in lines[0]] == pytest.approx(
        [cmc_curves.TOP + (1 - shares[k]) * plot for k in range(20)], abs=0.06
    )
    assert "<two>" not in html and "&lt;two&gt;" in html
    assert f"<b>{100 * runs[0][0].metrics.mean_ap:.1f}</b>" in html


# training curves


def test_training_curves_show_what_was_recorded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 9, 1000)
    lines = [
        {"kind": "train", "step": n + 1, "loss_mtc": v, "learning_rate": 1.0} for n, v in enumerate(values)
    ]
    lines += [{"kind": "eval", "step": n, "map_ir2vis": n / 2000} for n in (500, 1000)]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '\n{"kind": "tr')
    made = curves.panels(read_records(tmp_path / "metrics.jsonl"))
    assert [list(panel.lines) for panel in made] == [["loss_mtc"], ["map_ir2vis"]]
    assert made[1].lines["map_ir2vis"] == ([500, 1000], [25.0, 50.0])
    steps, means = curves.thinned(*made[0].lines["loss_mtc"])
    assert len(steps) == curves.MAX_POINTS and np.all(np.diff(steps) > 0)
    sizes = np.diff(np.linspace(0, 1000, curves.MAX_POINTS + 1).round())
    assert np.sum(np.array(means) * sizes) == pytest.approx(values.sum())
    html = curves.panel_html(made[1])
    points = re.findall(r'<polyline points="([^"]+)"', html)[0].split()
    top = curves.ticks(50)[-1]
    plot = curves.HEIGHT - curves.TOP - curves.BOTTOM
    assert float(points[-1].split(",")[1]) == pytest.approx(curves.TOP + (1 - 50 / top) * plot, abs=0.06)
    assert "No record" in curves.curves_html(())


@pytest.mark.parametrize("high", [1e-6, 0.3, 1.0, 7.1, 60, 99.9, 12345.0])
def test_ticks_are_round_and_cover_the_values(high: float) -> None:
    marks = curves.ticks(high)
    assert marks[0] == 0 and marks[-1] >= high * (1 - 1e-9) and 4 <= len(marks) <= 8


# cards


HOSTILE = """---
license: mit
model-index: [{name: x, results: [{dataset: {name: "synthetic-small, <i>"}, metrics: [{name: mAP, value: 50.4}]}]}]
---
# Title <script>alert(1)</script>

<img src="https://host/x.png" onerror="alert(1)"> ![a picture](https://host/y.png) ![b][r]
[bad](javascript:alert(1)) [good](https://host/z?a=1&b=2) `<b>` **bold**

- Data: synthetic-small
- <iframe src="//host">

| a | <b>b</b> |
|---|---|
| 1 | 2 |

```
<script>
```
"""


def test_a_strangers_card_can_neither_run_nor_load_anything() -> None:
    card = parse_card(HOSTILE)
    html = markdown_html(card.body)
    assert set(re.findall(r"<(\w+)", html)) <= {
        *(
            "h3",
            "p",
            "ul",
            "li",
            "a",
            "strong",
            "code",
            "pre",
            "div",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        )
    }
    assert not re.search(r"\ssrc=|\son\w+=(?![^<]*&gt;)", re.sub(r"&lt;.*?&gt;", "", html))
    assert re.findall(r'href="([^"]*)"', html) == ["https://host/z?a=1&amp;b=2"]
    assert "<strong>bold</strong>" in html and "<code>&lt;b&gt;</code>" in html and "<td>2</td>" in html
    assert card.license == "mit" and card.data == "synthetic-small" and card.drawn
    assert card.results[0].metrics == {"mAP": 50.4}


@pytest.mark.parametrize(
    ("line", "translator"),
    [
        ("- method: mtrl-triangle with learned transition images", "learned"),
        ("- method: mtrl with learned-thermal transition images", "learned-thermal"),
        ("- translator: spectral", "spectral"),
        ("- method: baseline", ""),
    ],
)
def test_a_card_names_the_translator_of_its_training(line: str, translator: str) -> None:
    assert parse_card(f"## Training\n\n- Data: x\n{line}\n").translator == translator


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "&#106;avascript:alert(1)",
        "data:text/html,x",
        "//host/x",
        "x.md",
        "vbscript:x",
        "ftp://h",
    ],
)
def test_links_of_a_card_lead_to_the_web_only(address: str) -> None:
    for text in (
        f"[words]({address})",
        f"[words][r]\n\n[r]: {address}",
        f"<{address}>",
        f"![words]({address})",
    ):
        html = markdown_html(text)
        assert "href" not in html and "<img" not in html and "src" not in html
    html = markdown_html('[![seen](https://h/x.png "t")](https://h/?a=1&b="2" "onclick=1") ```"><script>```')
    wanted = 'href="https://h/?a=1&amp;b=%222%22" rel="noopener noreferrer nofollow" target="_blank">seen</a>'
    assert wanted in html and html.count("=") == 5 and "<script" not in html


@pytest.mark.parametrize(
    "part", ["[", "![", "*a ", "[a](", "&", "`a", "\\", "_a__ ", "> ", "|a\n", "[a]: x\n"]
)
def test_a_card_that_is_made_to_be_slow_is_not(part: str) -> None:
    began = time.process_time()
    for text in (part * (20_000 // len(part)), (part * (1999 // len(part)) + "\n\n") * 10):
        words = re.sub(r"<.*?>", "", markdown_html(text))
    assert time.process_time() - began < 5  # minutes, were each tried to the end
    assert part not in ("[", "![", "[a](") or words.count("[") == text.count("[")
    assert markdown_html("<b>" * 40_000).startswith("<pre>&lt;b&gt;")


UNFOLDING = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
FIGURE = "model-index: [{results: [{dataset: {name: d}, metrics: [{name: %s, value: %s}]}]}]"


@pytest.mark.parametrize(
    "front",
    [
        *("a: [", "- 1", "model-index: 3", "model-index: [1, {results: {}}]", "&a [*a]"),
        "\n".join([*UNFOLDING, FIGURE % ("*a59", "1")]),
        *(FIGURE % ("mAP", value) for value in ("1" + "0" * 400, ".nan", ".inf", "true")),
    ],
)
def test_malformed_front_matter_says_nothing(front: str) -> None:
    card = parse_card(f"---\n{front}\n---\n# Title")
    assert (card.body, card.results, card.license, card.drawn) == ("# Title", (), "", False)


def test_the_words_on_people_depend_on_gallery_and_model(service: DemoService, tmp_path: Path) -> None:
    drawn, real = parse_card("- Data: synthetic-small\n"), parse_card("- Data: <sysu>\n")
    photographs = DemoService(service.model, write_gallery(tmp_path, truth=False), service.translators)
    assert "The people here are drawn" in about_html(service, drawn)
    assert "people of this gallery are drawn" in about_html(service, real)
    assert "&lt;sysu&gt;" in about_html(service, real)
    assert "learned from drawn people only" in about_html(photographs, drawn)
    assert "drawn" not in about_html(photographs, real).replace(DOES_IT_HELP, "")  # which is of the method
    assert "not stated" in about_html(photographs, None)
    for words in ("may not be used for", "What is stored, and for how long"):
        assert words in about_html(photographs, real)
